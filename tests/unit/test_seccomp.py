"""The pack's seccomp profile: Docker's own, and one rule."""

from __future__ import annotations

import json

from cluster.node_setup import SECCOMP

NAMESPACES = {"chroot", "clone", "mount", "pivot_root", "setns", "umount2", "unshare"}


def test_nothing_is_allowed_to_all_but_what_is_named() -> None:
    profile = json.loads(SECCOMP.read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    (ours,) = [
        rule for rule in profile["syscalls"] if "comment" in rule and "nomad" in rule["comment"]
    ]
    assert set(ours["names"]) == NAMESPACES
    unconditional = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        and not (rule.get("args") or rule.get("includes") or rule.get("excludes"))
        for name in rule["names"]
    }
    assert unconditional >= NAMESPACES
    assert not unconditional & {"bpf", "init_module", "kexec_load", "open_by_handle_at", "reboot"}
