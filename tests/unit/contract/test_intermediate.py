"""The name of a build's intermediate image is always one that a registry takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.contract import image_names
from controller.contract.job_id import DispatchedJob

REPOSITORY = "registry.example.com/nbs/intermediate"
PARTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def test_the_tag_is_the_job_id() -> None:
    job_id = "default.image-build.1763864400-1a2b3c4d"
    assert image_names.intermediate(REPOSITORY, job_id) == f"{REPOSITORY}:{job_id}"


@given(st.lists(st.builds(DispatchedJob, PARTS, PARTS, PARTS), min_size=2, max_size=2, unique=True))
def test_every_build_has_a_valid_tag_of_its_own(jobs: list[DispatchedJob]) -> None:
    names = [image_names.intermediate(REPOSITORY, one.job_id) for one in jobs]
    assert names[0] != names[1]
    for name in names:
        assert image_names.tag(name.removeprefix(f"{REPOSITORY}:"))
