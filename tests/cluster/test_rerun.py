"""rerunPhase: the same image tested or published again, and nothing else."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, cli, nomad_job_id
from test_callers import call
from test_owners import OWN, Team

from cluster import skopeo

COUNTED = "test -e /allowed"


def rerun(builds: Builds, job_id: str, phase: str, **fields: Any) -> httpx.Response:
    return builds.http.post("/mcp/rerunPhase", json={"job_id": job_id, "phase": phase, **fields})


def started(builds: Builds, job_id: str, phase: str, **fields: Any) -> str:
    answer = rerun(builds, job_id, phase, **fields)
    assert answer.status_code == 200, answer.text
    new: str = answer.json()["job_id"]
    assert answer.json()["rerun_of"] == job_id
    return new
