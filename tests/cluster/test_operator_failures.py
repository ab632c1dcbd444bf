"""Builds that fail for what the operator has to mend: a pull credential, a node's Buildah."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import Builds
from probe import with_environment
from test_build_failures import check

pytestmark = pytest.mark.slow
# All that is asked of one before it is trusted with a Dockerfile.
OLD_BUILDAH = "#!/bin/sh\necho 'buildah version 1.28.2 (image-spec 1.0.2, runtime-spec 1.0.2)'\n"


def test_a_pull_credential_that_is_refused(builds: Builds, tmp_path: Path) -> None:
    path, registry = f"nomad-build-service/pull/t{uuid.uuid4().hex[:8]}", builds.cluster.registry
    builds.cluster.vault_put(
        path,
        {"registry": registry.host, "username": registry.username, "password": "not-the-password"},
    )
    env = {"NBS_PULL_CREDENTIALS_PATH": f"secret/{path}"}
    with with_environment(builds, tmp_path, env) as own:
        request = own.request(own.dockerfile("RUN true"))
        failure = check(own, request, "build", "BaseImageAuthenticationFailed")
        assert "not-the-password" not in own.text(own.submitted[-1])
    assert (failure["fix_owner"], failure["retryable"]) == ("operator", False)
    assert builds.cluster.base_image in failure["message"]
    assert "pull_credentials_path" in failure["hint"]
    builds.cluster.vault.client().secrets.kv.v2.delete_metadata_and_all_versions(path)


def absent(directory: Path) -> Path:
    return directory / "no-such-buildah"


def too_old(directory: Path) -> Path:
    path = directory / "old-buildah"
    path.write_text(OLD_BUILDAH)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("program", "says"), [(absent, "cannot be run"), (too_old, "1.28.2 (image-spec")]
)
def test_a_buildah_that_will_not_do(
    builds: Builds, tmp_path: Path, program: Callable[[Path], Path], says: str
) -> None:
    path = program(builds.cluster.state.node)
    try:
        with with_environment(builds, tmp_path, {"NBS_BUILDAH": str(path)}) as own:
            failure = check(
                own, own.request(own.dockerfile("RUN true")), "build", "NodeNotPrepared"
            )
    finally:
        path.unlink(missing_ok=True)
    assert (failure["fix_owner"], failure["retryable"]) == ("operator", False)
    assert str(path) in failure["message"]
    assert says in failure["message"]
