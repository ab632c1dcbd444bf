"""Which build class a request goes to: the named one, or the smallest that satisfies it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller.contract.json_schema import Problem
from controller.errors import InvalidFieldsError
from controller.settings import BuildClass

_PHASES = ("build", "test", "publish")


def choose(parents: Mapping[str, BuildClass], document: Mapping[str, Any]) -> str:
    """The Nomad job ID of the class. Raises InvalidFieldsError that lists the classes."""
    needs = _needs(document["resource_limits"] or {})
    archs = [str(platform).split("/")[1] for platform in document["platforms"]]
    named = document["class"]
    if named is not None and not any(one.name == named for one in parents.values()):
        raise _none_fits(parents, "class", f"{named!r} is not a build class")
    candidates = {job: one for job, one in parents.items() if named in (None, one.name)}
    fitting = [(job, one) for job, one in candidates.items() if _fits(one, needs, archs, named)]
    if not fitting:
        field = "platforms" if archs and not needs else "resource_limits"
        wanted = ", ".join(f"{name} {amount}" for name, amount in needs.items())
        asked = " and ".join(
            part for part in (wanted, f"architecture {' or '.join(archs)}" if archs else "") if part
        )
        raise _none_fits(parents, field, f"no build class has {asked}")
    default = next(job for job, one in parents.items() if one.name == "default")
    if named is None and not needs and not archs:
        return default
    # Who does not ask for an architecture gets the default's, not whichever class is smallest.
    usual = archs or [parents[default].arch]
    return min(fitting, key=lambda found: (found[1].arch not in usual, *_size(found[1])))[0]


def _needs(limits: Mapping[str, Any]) -> dict[str, int]:
    """The largest amount asked for, globally or for a phase."""
    needs: dict[str, int] = {}
    for part in (limits, *(limits.get(phase) or {} for phase in _PHASES)):
        for name in ("cpu", "memory", "disk"):
            if part.get(name):
                needs[name] = max(needs.get(name, 0), int(part[name]))
    return needs


def _fits(
    one: BuildClass, needs: Mapping[str, int], archs: Sequence[str], named: str | None
) -> bool:
    has = {"cpu": one.cpu, "memory": max(one.memory, one.memory_max), "disk": one.disk}
    # A class that names no architecture runs wherever Nomad places it. What no class is by itself
    # may be emulated, where somebody names the class that can.
    return all(has[name] >= amount for name, amount in needs.items()) and (
        not archs or not one.arch or one.arch in archs or named is not None
    )


def _size(one: BuildClass) -> tuple[int, int, int, bool, str]:
    return one.memory, one.cpu, one.disk, one.name != "default", one.name


def _none_fits(parents: Mapping[str, BuildClass], field: str, problem: str) -> InvalidFieldsError:
    classes = "; ".join(
        f"{one.name}: cpu {one.cpu}, memory {max(one.memory, one.memory_max)}, disk {one.disk}"
        + (f", {one.arch}" if one.arch else "")
        for one in parents.values()
    )
    return InvalidFieldsError([Problem(field, problem, f"build classes: {classes}")])
