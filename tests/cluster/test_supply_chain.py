"""Provenance and signatures of published images: what is attached, and what verifies."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, cli, nomad_job_id

from cluster.cluster import Cluster

pytestmark = pytest.mark.slow

KEY = "transit/nbs-images"
OCI = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="module")
def public_key(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key in Vault's transit engine; the file holds its public half."""
    client = cluster.vault.client()
    if "transit/" not in client.sys.list_mounted_secrets_engines()["data"]:
        client.sys.enable_secrets_engine("transit")
    client.secrets.transit.create_key("nbs-images", key_type="ecdsa-p256")
    found = client.secrets.transit.read_key("nbs-images")["data"]
    file = tmp_path_factory.mktemp("key") / "cosign.pub"
    file.write_text(found["keys"][str(found["latest_version"])]["public_key"])
    return file


@pytest.fixture(scope="module")
def signing(cluster: Cluster, public_key: Path) -> Iterator[Builds]:
    """The service with a signing key."""
    yield Builds(cluster, cluster.pack.deploy({"signing_key": KEY}))
    cluster.pack.deploy()


@pytest.fixture(scope="module")
def signed(signing: Builds) -> dict[str, Any]:
    """A signed build."""
    return signing.run(signing.request(signing.dockerfile("RUN echo signed > /mark")), "SUCCEEDED")


def get(cluster: Cluster, path: str) -> httpx.Response:
    registry = cluster.registry
    return httpx.get(
        f"{registry.address}/v2/{path}",
        auth=(registry.username, registry.password),
        headers={"Accept": OCI},
    )


def repository(build: dict[str, Any]) -> str:
    return str(build["image"]).partition("/")[2]


def verify(cluster: Cluster, image: str, key: Path, tmp: Path) -> subprocess.CompletedProcess[str]:
    registry = cluster.registry
    pair = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
    login = tmp / "auth.json"
    login.write_text(json.dumps({"auths": {registry.host: {"auth": pair}}}))
    os.environ["REGISTRY_AUTH_FILE"] = str(login)
    try:
        return cli(cluster, "nbs", "verify", image, "--key", str(key), "--insecure", "--json")
    finally:
        del os.environ["REGISTRY_AUTH_FILE"]


def test_provenance_is_attached_to_every_image(builds: Builds) -> None:
    repository_ = builds.dockerfile("ARG VERSION", "RUN echo $VERSION > /version")
    request = builds.request(
        repository_,
        build_args={"VERSION": "1.2"},
        webhook_url=None,
        image_tags=["v1", "v2"],
    )
    build = builds.run(request, "SUCCEEDED")
    attached = [
        one for one in build["referrers"] if one["kind"] == "https://slsa.dev/provenance/v1"
    ]
    assert [one["media_type"] for one in attached] == ["application/vnd.in-toto+json"]
    where = repository(build)
    # docker-registry 2.8 keeps no list of referrers: it is under the tag of the specification.
    listed = get(builds.cluster, f"{where}/manifests/{build['digest'].replace(':', '-')}").json()
    assert [one["digest"] for one in listed["manifests"]] == [
        one["digest"] for one in build["referrers"]
    ]
    manifest = get(builds.cluster, f"{where}/manifests/{attached[0]['digest']}").json()
    assert manifest["subject"]["digest"] == build["digest"]
    assert manifest["artifactType"] == "application/vnd.in-toto+json"
    statement = get(builds.cluster, f"{where}/blobs/{manifest['layers'][0]['digest']}").json()
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [
        {"name": build["image"], "digest": {"sha256": build["digest"].removeprefix("sha256:")}}
    ]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["build_args"] == {"VERSION": "1.2"}
    assert definition["externalParameters"]["image_tags"] == ["v1", "v2"]
    assert "secret/" not in json.dumps(statement)
    base = builds.cluster.base_image
    path, _, tag = base.partition("/")[2].partition(":")
    assert definition["resolvedDependencies"] == [
        {
            "name": "source",
            "uri": f"git+{request['repo_url']}@main",
            "digest": {"gitCommit": repository_.commit},
        },
        {
            "name": "base image",
            "uri": f"docker://{base}",
            "digest": {"sha256": builds.cluster.registry.digest(path, tag).removeprefix("sha256:")},
        },
    ]
    details = statement["predicate"]["runDetails"]
    assert details["metadata"]["invocationId"] == build["job_id"]
    assert details["metadata"]["startedOn"] < details["metadata"]["finishedOn"]


def test_a_signed_image_verifies(
    cluster: Cluster, signed: dict[str, Any], public_key: Path, tmp_path: Path
) -> None:
    for image in (f"{signed['image']}:v1", f"{signed['image']}@{signed['digest']}"):
        done = verify(cluster, image, public_key, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert found["image"] == f"{signed['image']}@{signed['digest']}"
        assert found["signed_as"] == [signed["image"]]
        kinds = [one["kind"] for one in found["attestations"]]
        assert "https://slsa.dev/provenance/v1" in kinds
    assert {one["kind"] for one in signed["referrers"]} >= {
        "https://slsa.dev/provenance/v1",
        "cosign attestations",
        "cosign signature",
    }


def test_openssl_verifies_as_the_documentation_says(
    cluster: Cluster, signed: dict[str, Any], public_key: Path, tmp_path: Path
) -> None:
    where, tag = repository(signed), f"{signed['digest'].replace(':', '-')}.sig"
    layer = get(cluster, f"{where}/manifests/{tag}").json()["layers"][0]
    (tmp_path / "payload").write_bytes(get(cluster, f"{where}/blobs/{layer['digest']}").content)
    signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
    (tmp_path / "signature").write_bytes(base64.b64decode(signature))
    command = ["openssl", "dgst", "-sha256", "-verify", str(public_key), "-signature", "signature"]
    done = subprocess.run(
        [*command, "payload"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "Verified OK", done.stderr
    with (tmp_path / "payload").open("ab") as file:
        file.write(b" ")
    done = subprocess.run([*command, "payload"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode != 0


def test_what_is_tampered_with_does_not_verify(
    cluster: Cluster, signing: Builds, signed: dict[str, Any], public_key: Path, tmp_path: Path
) -> None:
    registry = cluster.registry
    other = signing.run(
        signing.request(
            signing.dockerfile("RUN echo other > /mark"),
            registry_url=signed["image"].removesuffix("/app"),
        ),
        "SUCCEEDED",
    )
    where = repository(signed)
    http = httpx.Client(
        base_url=f"{registry.address}/v2/{where}/", auth=(registry.username, registry.password)
    )

    def copy_signature(change: Any) -> None:
        """Put the first image's signature, changed, beside the second."""
        tag = f"manifests/{signed['digest'].replace(':', '-')}.sig"
        manifest = http.get(tag, headers={"Accept": OCI}).json()
        change(manifest["layers"][0])
        put = http.put(
            f"manifests/{other['digest'].replace(':', '-')}.sig",
            content=json.dumps(manifest),
            headers={"Content-Type": manifest["mediaType"]},
        )
        assert put.status_code == 201, put.text

    def own_payload(layer: dict[str, Any]) -> None:
        """A payload that names the second image, under the first one's signature."""
        payload = http.get(f"blobs/{layer['digest']}").text
        content = payload.replace(signed["digest"], other["digest"]).encode()
        begun = http.post("blobs/uploads/")
        import hashlib

        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        location = begun.headers["Location"]
        join = "&" if "?" in location else "?"
        done = http.put(f"{location}{join}digest={digest}", content=content)
        assert done.status_code == 201, done.text
        layer |= {"digest": digest, "size": len(content)}

    image = f"{other['image']}@{other['digest']}"
    assert verify(cluster, image, public_key, tmp_path).returncode == 0
    for change in (lambda layer: None, own_payload):
        copy_signature(change)
        done = verify(cluster, image, public_key, tmp_path)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "has no signature by this key" in done.stdout + done.stderr


def test_another_key_does_not_verify(
    cluster: Cluster, signed: dict[str, Any], tmp_path: Path
) -> None:
    client = cluster.vault.client()
    name = f"other-{uuid.uuid4().hex[:8]}"
    client.secrets.transit.create_key(name, key_type="ecdsa-p256")
    found = client.secrets.transit.read_key(name)["data"]["keys"]["1"]["public_key"]
    (tmp_path / "other.pub").write_text(found)
    done = verify(cluster, f"{signed['image']}:v1", tmp_path / "other.pub", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr


def test_an_unsigned_image_does_not_verify(
    cluster: Cluster, builds: Builds, public_key: Path, tmp_path: Path
) -> None:
    done = verify(cluster, cluster.base_image, public_key, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr


def test_a_signing_key_that_is_refused_or_missing_fails_the_build(
    cluster: Cluster, public_key: Path
) -> None:
    try:
        for key, reason in (
            ("transit/other-people", "SecretRefused"),
            ("transit/nbs-none", "SecretNotFound"),
        ):
            builds = Builds(cluster, cluster.pack.deploy({"signing_key": key}))
            request = builds.request(builds.dockerfile())
            build = builds.run(request, "FAILED")
            assert build["failure"]["reason"] == reason, build["failure"]
            assert build["failure"]["phase"] == "publish"
            assert builds.tags(request) == []
            builds.assert_clean(builds.await_end(nomad_job_id(build["job_id"]))["ID"])
    finally:
        cluster.pack.deploy()


def test_only_the_publish_role_may_sign(cluster: Cluster, public_key: Path) -> None:
    root = cluster.vault.client()
    answers = {}
    for role in ("build", "publish", "controller"):
        token = root.auth.token.create(policies=[f"nbs-{role}"], ttl="1m")["auth"]["client_token"]
        answers[role] = {
            path: httpx.post(
                f"{cluster.vault.address}/v1/{path}",
                json={"input": base64.b64encode(b"x").decode()},
                headers={"X-Vault-Token": token},
                verify=ssl.create_default_context(cafile=str(cluster.state.cacert)),
            ).status_code
            for path in ("transit/sign/nbs-images", "transit/sign/other", "transit/keys/nbs-x")
        }
    refused = dict.fromkeys(answers["build"], 403)
    assert answers == {
        "build": refused,
        "publish": refused | {"transit/sign/nbs-images": 200},
        "controller": refused,
    }
