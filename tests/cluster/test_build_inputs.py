"""What a Dockerfile is given beside the commit: secrets, SSH agents, a patch."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from builds import Builds, nomad_job_id
from controllers import serving

from cluster.cluster import Cluster
from controller.contract.patch import PATCH_LABEL, digest

pytestmark = pytest.mark.slow

BUILD = "nomad-build-service/build"


@pytest.fixture
def secret(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A secret's path below its mount, and the value of its field `token`."""
    path, value = f"{BUILD}/t{uuid.uuid4().hex[:8]}", f"tok-{uuid.uuid4()}"
    cluster.vault_put(path, {"token": value, "other": "unused-value"})
    yield f"secret/{path}", value
    cluster.vault.client().secrets.kv.v2.delete_metadata_and_all_versions(path)


def test_a_run_step_sees_its_secret_and_nothing_else_does(
    builds: Builds, secret: tuple[str, str]
) -> None:
    path, value = secret
    repository = builds.dockerfile(
        "RUN --mount=type=secret,id=npm cat /run/secrets/npm && wc -c < /run/secrets/npm > /size",
        "RUN --mount=type=secret,id=npm,target=/t,mode=0444 base64 /t && cmp /t /t",
        "RUN test ! -e /run/secrets/npm && ! grep -r tok- /run /proc/self/environ",
        "RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent",
    )
    request = builds.request(repository, build_secrets={"npm": f"{path}#token"})
    status = builds.run(request, "SUCCEEDED")
    child = nomad_job_id(status["job_id"])
    allocation = builds.await_end(child)
    reference = f"{status['image']}@{status['digest']}"
    assert builds.run_image(reference, "cat", "/size").strip() == str(len(value))
    said = "\n".join(
        [
            builds.text(status["job_id"]),
            json.dumps([status, builds.job(child), builds.config(request, "v1")]),
            base64.b64decode(builds.job(child)["Payload"]).decode("latin-1"),
            builds.run_image(reference, "sh", "-c", "grep -rc tok- / --include=* -s || true"),
        ]
    )
    assert value not in said
    assert base64.b64encode(value.encode()).decode().rstrip("=") not in said
    assert path in json.dumps(status["config"])
    assert not list((builds.cluster.state.allocations / allocation["ID"]).rglob("run-mounts"))
    builds.assert_clean(allocation["ID"])


def test_a_missing_field_and_a_missing_secret_are_named(
    builds: Builds, secret: tuple[str, str]
) -> None:
    path, _ = secret
    repository = builds.dockerfile("RUN true")
    wrong = builds.request(repository, build_secrets={"npm": f"{path}#password"})
    status = builds.run(wrong, "FAILED")
    assert status["failure"]["reason"] == "SecretIncomplete"
    assert status["failure"]["message"] == f"the secret at {path} has no password"
    absent = f"{path}-absent#token"
    told = builds.http.post(
        "/mcp/submitJob", json=builds.request(repository, build_secrets={"npm": absent})
    )
    assert told.status_code == 422
    assert told.json()["problems"][0]["field"] == "build_secrets.npm"
    checked = builds.http.post("/mcp/checkJob", json=wrong, timeout=60).json()
    failed = {one["name"]: one["message"] for one in checked["checks"] if one["status"] == "failed"}
    assert failed == {"build_secrets": f"SecretIncomplete: the secret at {path} has no password"}


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("secret/nomad-build-service/git/demo#password", "is not a path below"),
        ("secret/nomad-build-service/build/../git/demo#password", "is not a path below"),
        ("secret/data/nomad-build-service/build/x#y", "is not a path below"),
        ("secret/nomad-build-service/build/x", "which field"),
        ("hunter2", "is not a path below"),
    ],
)
def test_credentials_of_other_kinds_are_no_build_secrets(
    builds: Builds, path: str, problem: str
) -> None:
    request = builds.request(builds.dockerfile("RUN true"), build_secrets={"x": path})
    told = builds.http.post("/mcp/submitJob", json=request)
    assert told.status_code == 422
    assert problem in told.json()["problems"][0]["problem"]
    assert "hunter2" not in told.text
    outcome = builds.await_end(builds.dispatch(request))  # nor past the controller
    assert json.loads(builds.file(outcome["ID"], "finish/local/outcome.json"))["failure"][
        "reason"
    ] == ("InvalidRequest")


def test_a_run_step_uses_an_ssh_key_without_seeing_it(builds: Builds, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "build", "-f", str(key)], check=True
    )
    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", f"{key}.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    path = f"{BUILD}/t{uuid.uuid4().hex[:8]}"
    builds.cluster.vault_put(path, {"ssh_key": key.read_text().strip()})
    repository = builds.repository(
        {
            "Dockerfile": f"FROM {builds.cluster.base_image}\nCOPY --chmod=755 rootfs/ /\n"
            "RUN --mount=type=ssh ssh-add -l > /keys; cat /keys\n"
            "RUN ! ssh-add -l\n",
            **_program("ssh-add"),
        }
    )
    request = builds.request(repository, build_ssh={"default": f"secret/{path}"})
    status = builds.run(request, "SUCCEEDED")
    said = builds.text(status["job_id"])
    assert fingerprint in said, said
    assert key.read_text().splitlines()[2] not in said
    keys = builds.run_image(f"{status['image']}@{status['digest']}", "cat", "/keys")
    assert fingerprint in keys


def _program(name: str) -> dict[str, bytes]:
    """A program of this machine with its libraries, below `rootfs/`."""
    path = shutil.which(name)
    assert path is not None
    linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", linked)
    found = {f"rootfs/bin/{name}": Path(path).read_bytes()}
    for library in libraries:
        found[f"rootfs{library}"] = Path(library).read_bytes()
    return found


PATCH = """\
diff --git a/app.txt b/app.txt
--- a/app.txt
+++ b/app.txt
@@ -1,2 +1,2 @@
 first
-second
+second, but changed
diff --git a/new/file.txt b/new/file.txt
new file mode 100755
--- /dev/null
+++ b/new/file.txt
@@ -0,0 +1 @@
+brand new
"""


def test_a_patch_is_built_recorded_and_labelled(builds: Builds) -> None:
    repository = builds.dockerfile("COPY . /src", **{"app.txt": "first\nsecond\n"})
    request = builds.request(repository, patch=PATCH.rstrip("\n"), image_tags=None)
    status = builds.run(request, "SUCCEEDED")
    name = digest(PATCH)
    assert status["patch"] == {
        "digest": name,
        "files": 2,
        "additions": 2,
        "deletions": 1,
        "paths": ["app.txt", "new/file.txt"],
    }
    assert status["commit"] == repository.commit
    assert status["config"]["patch"] == name
    tag = f"{repository.commit[:12]}-patch-{name[7:15]}"
    assert builds.tags(request) == [tag]
    labels = builds.config(request, tag)["config"]["Labels"]
    assert labels[PATCH_LABEL] == name
    assert labels["org.opencontainers.image.revision"] == repository.commit
    shown = builds.run_image(
        f"{status['image']}@{status['digest']}",
        "sh",
        "-c",
        "cat /src/app.txt /src/new/file.txt; test -x /src/new/file.txt && echo mode",
    )
    assert shown.splitlines() == ["first", "second, but changed", "brand new", "mode"]


def _creates(path: str) -> str:
    return f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (PATCH.replace("-second", "-third"), "app.txt: patch does not apply"),
        (_creates("../../escaped"), "invalid path '../../escaped'"),
        (_creates("/tmp/escaped"), "invalid path '/tmp/escaped'"),
        (_creates(".git/hooks/post-checkout"), "invalid path '.git/hooks/post-checkout'"),
        (_creates("link/escaped"), "beyond a symbolic link"),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n", "corrupt patch"),
    ],
    ids=["other commit", "dots", "absolute", "git", "link", "cut"],
)
def test_a_patch_that_does_not_fit_or_leads_out_is_refused(
    builds: Builds, patch: str, message: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "Dockerfile").write_text(f"FROM {builds.cluster.base_image}\nCOPY . /src\n")
    (source / "app.txt").write_text("first\nsecond\n")
    (source / "link").symlink_to("/tmp")
    repository = builds.cluster.create_git_repository(f"r{uuid.uuid4().hex[:8]}", source)
    request = builds.request(repository, patch=patch)
    failure = builds.run(request, "FAILED")["failure"]
    assert failure["reason"] == "PatchRejected"
    assert message in failure["message"]
    assert failure["fix_owner"] == "author"
    assert not Path("/tmp/escaped").exists()


def test_what_is_no_patch_and_what_is_too_large_is_told_at_once(builds: Builds) -> None:
    repository = builds.dockerfile("RUN true")
    told = builds.http.post("/mcp/submitJob", json=builds.request(repository, patch="hello"))
    assert told.status_code == 422
    assert told.json()["problems"][0]["field"] == "patch"
    told = builds.http.post("/mcp/submitJob", json=builds.request(repository, patch=_large(7000)))
    assert told.status_code == 422
    assert told.json()["problems"][0]["field"] == "patch"


def test_a_patch_of_almost_the_largest_size_is_checked_and_built(builds: Builds) -> None:
    large = _large(6500)
    assert len(large) > 240_000
    repository = builds.dockerfile("COPY x /x")
    request = builds.request(repository, patch=large, image_tags=["p"])
    found = builds.http.post("/mcp/checkJob", json=request, timeout=60).json()
    assert found["ok"], found
    status = builds.run(request, "SUCCEEDED")
    assert (status["patch"]["digest"], status["patch"]["additions"]) == (digest(large), 6500)
    said = builds.run_image(f"{status['image']}@{status['digest']}", "wc", "-l", "/x")
    assert said.split()[0] == "6500"


def _large(lines: int) -> str:
    """A patch whose text hardly compresses, 38 bytes a line."""
    noise = "".join(f"+{uuid.uuid4()}\n" for _ in range(lines))
    return f"--- /dev/null\n+++ b/x\n@@ -0,0 +1,{lines} @@\n{noise}"


def test_protected_tags_are_closed_to_a_patch_also_by_promotion(
    builds: Builds, tmp_path: Path
) -> None:
    policies = json.dumps({"*": {"protected_tags": ["latest", "v*"]}})
    repository = builds.dockerfile("COPY . /src", **{"app.txt": "first\nsecond\n"})
    request = builds.request(repository, patch=PATCH, image_tags=["try", "v1", "latest"])
    with serving(builds.cluster, tmp_path, {"NBS_OWNER_POLICIES": policies}) as service:
        held = Builds(builds.cluster, service.address)
        told = service.post("submitJob", request).json()["problems"]
        assert [one["field"] for one in told] == ["image_tags[1]", "image_tags[2]"]
        assert "is protected" in told[0]["problem"]
        patched = held.run(request | {"image_tags": ["try"]}, "SUCCEEDED")
        answers = [
            service.post("promoteImage", wish | {"tags": ["again", "v2"], "owner": "x"}).json()
            for wish in (
                {"job_id": patched["job_id"]},
                {
                    "image": patched["image"],
                    "digest": patched["digest"],
                    "registry_credentials_path": request["registry_credentials_path"],
                },
            )
        ]
        for answer in answers:
            assert answer["failure"]["reason"] == "TagProtected", answer
            assert "v2 may not name" in answer["failure"]["message"]
        allowed = service.post("promoteImage", {"job_id": patched["job_id"], "tags": ["again"]})
        assert allowed.json()["status"] == "SUCCEEDED", allowed.text
        assert builds.tags(request) == ["again", "try"]
        pushed = held.run(builds.request(repository), "SUCCEEDED")
        allowed = service.post("promoteImage", {"job_id": pushed["job_id"], "tags": ["latest"]})
        assert allowed.json()["status"] == "SUCCEEDED", allowed.text
