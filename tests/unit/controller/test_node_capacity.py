"""Whether any node could run a job at all."""

from __future__ import annotations

from typing import Any

import pytest

from controller.status.node_capacity import Need, impossible, need_of


def task(cpu: int, memory: int, hook: str | None = None) -> dict[str, Any]:
    return {
        "Driver": "raw_exec",
        "Lifecycle": {"Hook": hook} if hook else None,
        "Resources": {"CPU": cpu, "MemoryMB": memory},
    }


JOB = {
    "NodePool": "builders",
    "TaskGroups": [
        {
            "EphemeralDisk": {"SizeMB": 1000},
            "Tasks": [
                task(1000, 2000, "prestart"),
                task(500, 1000, "prestart"),
                task(800, 256),
                task(100, 128, "poststop"),
            ],
        }
    ],
}


def node(**changes: Any) -> dict[str, Any]:
    return {
        "Status": "ready",
        "SchedulingEligibility": "eligible",
        "NodePool": "builders",
        "Drivers": {"raw_exec": {"Healthy": True}},
        "NodeResources": {
            "Cpu": {"CpuShares": 4000},
            "Memory": {"MemoryMB": 8000},
            "Disk": {"DiskMB": 9000},
        },
        "ReservedResources": {"Memory": {"MemoryMB": 100}},
    } | changes


def test_the_largest_stage_counts() -> None:
    assert need_of(JOB) == Need(cpu=1500, memory=3000, disk=1000)


def test_a_node_that_has_it_all() -> None:
    assert impossible(JOB, [node(Status="down"), node()]) is None


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([], "no node is ready"),
        ([node(Status="down"), node(SchedulingEligibility="ineligible")], "no node is ready"),
        ([node(NodePool="default")], "node pool 'builders'"),
        ([node(Drivers={"raw_exec": {"Healthy": False}})], "driver raw_exec"),
        ([node(NodeResources={"Memory": {"MemoryMB": 3050}})], "3000 MB memory"),
    ],
)
def test_what_is_missing_is_named(nodes: list[dict[str, Any]], why: str) -> None:
    assert why in (impossible(JOB, nodes) or "")


@pytest.mark.parametrize(
    ("constraint", "possible"),
    [
        ({"LTarget": "${attr.cpu.arch}", "Operand": "=", "RTarget": "arm64"}, True),
        ({"LTarget": "${attr.cpu.arch}", "Operand": "=", "RTarget": "amd64"}, False),
        ({"LTarget": "${attr.cpu.arch}", "Operand": "!=", "RTarget": "arm64"}, False),
        ({"LTarget": "${meta.gpu}", "Operand": "=", "RTarget": "true"}, False),
        ({"LTarget": "${attr.kernel.version}", "Operand": "version", "RTarget": "> 9"}, True),
    ],
)
def test_constraints_that_no_node_meets(constraint: dict[str, str], possible: bool) -> None:
    arm = node(Attributes={"cpu.arch": "arm64"}, Meta={})
    found = impossible({**JOB, "Constraints": [constraint]}, [arm])
    assert (found is None) is possible
    assert possible or "constraint" in (found or "")


def test_parts_on_different_nodes_do_not_add_up() -> None:
    small = {"Cpu": {"CpuShares": 100}, "Memory": {"MemoryMB": 9000}, "Disk": {"DiskMB": 9000}}
    slow = {"Cpu": {"CpuShares": 9000}, "Memory": {"MemoryMB": 100}, "Disk": {"DiskMB": 9000}}
    found = impossible(JOB, [node(NodeResources=small), node(NodeResources=slow)])
    assert "at once" in (found or "")
