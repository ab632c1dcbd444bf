"""`nomad-pack run` again, `stop` and `destroy` while builds run."""

from __future__ import annotations

import pytest
from builds import Builds

pytestmark = pytest.mark.slow


def test_nomad_pack_run_again_leaves_running_builds_alone(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN echo has-begun; sleep 8"))
    by_hand = builds.request(builds.dockerfile("RUN echo has-begun; sleep 8"))
    job_id = builds.submit(request)
    child = builds.dispatch(by_hand)
    builds.await_log(job_id, "has-begun")
    builds.cluster.pack.deploy({"build_timeout": 1799})
    again = Builds(builds.cluster, builds.cluster.pack.wait_healthy())
    again.await_status(job_id, "SUCCEEDED")
    again.await_end(child)
    assert again.tags(request) == ["v1"]
    assert again.tags(by_hand) == ["v1"]
    again.cluster.pack.deploy()
