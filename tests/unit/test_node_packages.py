"""The lock of the Node.js packages: whole, exact, and from no registry in particular."""

from __future__ import annotations

import json

from cluster.node_packages import SOURCE


def test_every_version_is_exact_and_locked() -> None:
    wanted = json.loads((SOURCE / "package.json").read_text())
    locked = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    for kind in ("dependencies", "optionalDependencies"):
        for name, version in wanted[kind].items():
            assert locked[f"node_modules/{name}"]["version"] == version
    for path, package in locked.items():
        assert not path or package.get("integrity"), path


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (SOURCE / "package-lock.json").read_text()
