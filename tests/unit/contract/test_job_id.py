"""Public build ids: reversible, URL-safe, and no other text passes for one."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract.job_id import DispatchedJob, from_nomad, parse

NAMES = st.text(string.ascii_letters + string.digits + "-_./~ é", min_size=1, max_size=40)
SUFFIXES = st.from_regex(r"([a-z]+-)?[0-9]{10}-[0-9a-f]{8}", fullmatch=True)


@given(NAMES, NAMES, SUFFIXES)
def test_job_id_round_trip(namespace: str, parent: str, suffix: str) -> None:
    job = DispatchedJob(namespace, parent, suffix)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", job.job_id)
    assert parse(job.job_id) == job
    if "/dispatch-" not in parent + "/":
        assert from_nomad(namespace, job.nomad_job_id) == job


def test_job_id_accepts_nomads_own() -> None:
    assert parse(
        "image-build/dispatch-1763864400-1a2b3c4d", default_namespace="ci"
    ) == DispatchedJob("ci", "image-build", "1763864400-1a2b3c4d")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b",
        "a.b.c.d",
        "a.b.",
        "a.b.c/d",
        "a.b.~zz",
        "../x",
        "a.b.c\n",
        "/dispatch-1",
        "a/dispatch-",
        "a" * 600,
        "~ff.a.b",
    ],
)
def test_job_id_refuses_other_text(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)
