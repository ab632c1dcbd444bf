"""Secrets, SSH agents and patches, by the tests of the other driver, in containers."""

from __future__ import annotations

from test_build_inputs import secret as secret
from test_build_inputs import test_a_patch_is_built_recorded_and_labelled as test_patch
from test_build_inputs import (
    test_a_run_step_sees_its_secret_and_nothing_else_does as test_build_secret,
)
from test_build_inputs import (
    test_a_run_step_uses_an_ssh_key_without_seeing_it as test_ssh_agent,
)

__all__ = ["secret", "test_build_secret", "test_patch", "test_ssh_agent"]
