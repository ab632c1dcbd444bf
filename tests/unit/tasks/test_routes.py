"""Which addresses are closed to a build step."""

from __future__ import annotations

import ipaddress
import os
import subprocess

import pytest

from controller.tasks.errors import PhaseFailed
from controller.tasks.isolation.routes import batch
from controller.tasks.node import disk


def test_routes_close_near_ranges_and_the_hosts_own_addresses() -> None:
    lines = batch([]).splitlines()
    closed = [ipaddress.ip_network(line.split()[-1]) for line in lines]
    for address in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"):
        assert any(ipaddress.ip_address(address) in network for network in closed)
    assert not any(ipaddress.ip_address("93.184.216.34") in network for network in closed)
    shown = subprocess.run(["ip", "-br", "-4", "address"], capture_output=True, text=True).stdout
    own = {
        word.partition("/")[0]
        for line in shown.splitlines()
        for word in line.split()[2:]
        if "/" in word
    } - {"127.0.0.1"}
    assert all(any(ipaddress.ip_address(one) in network for network in closed) for one in own)


def test_routes_allowed_range_stays_open() -> None:
    lines = batch(["10.20.0.0/16", "192.168.0.0/16"]).splitlines()
    assert "route replace 10.20.0.0/16 via 10.0.2.2" in lines
    assert "route replace blackhole 10.0.0.0/8" in lines
    assert "route replace blackhole 192.168.0.0/16" not in lines


def test_routes_malformed_range() -> None:
    with pytest.raises(PhaseFailed, match="build_network_allow"):
        batch(["10.0.0.1/8"])


def test_disk_floor(tmp_path: os.PathLike[str]) -> None:
    from pathlib import Path

    disk.DiskFloor(Path(tmp_path), 1).check()
    disk.DiskFloor(Path(tmp_path) / "missing", 1 << 60).check()
    with pytest.raises(PhaseFailed, match="disk_floor_mb") as failed:
        disk.DiskFloor(Path(tmp_path), 1 << 60).check()
    assert failed.value.reason == "OutOfDisk"
