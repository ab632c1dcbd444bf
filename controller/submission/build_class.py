"""Which build class a request goes to: the named one, or the smallest that satisfies it.

A request for several architectures goes to several classes, an allocation each, where every one of
them has a class that says it runs it. Otherwise one class makes all of them, by emulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller.contract.json_schema import Problem
from controller.errors import InvalidFieldsError
from controller.settings import BuildClass

_PHASES = ("build", "test", "publish")
_PUBLISH_MEMORY = 256  # MB, at least: a small class's half would not do for a push
Needs = Mapping[tuple[str, str], int]


def by_architecture(
    parents: Mapping[str, BuildClass], document: Mapping[str, Any]
) -> list[tuple[str, list[str]]]:
    """The Nomad job IDs of the classes, each with the platforms that are made there.

    Raises InvalidFieldsError that lists the classes.
    """
    needs, found = _needs(document["resource_limits"] or {}), dict[str, list[str]]()
    for platform in document["platforms"] if document["class"] is None else ():
        arch = _arch(platform)
        able = [(job, one) for job, one in parents.items() if one.runs(arch) and _has(one, needs)]
        if not able:
            found.clear()
            break
        # Nodes of the architecture before emulation, and classes that emulate nothing before those.
        best = min(
            able, key=lambda one: (one[1].arch != arch, bool(one[1].emulates), *_size(one[1]))
        )
        found.setdefault(best[0], []).append(platform)
    if len(found) > 1:
        return list(found.items())
    return [(choose(parents, document), list(document["platforms"]))]


def choose(parents: Mapping[str, BuildClass], document: Mapping[str, Any]) -> str:
    """The Nomad job ID of the class. Raises InvalidFieldsError that lists the classes."""
    needs = _needs(document["resource_limits"] or {})
    archs = [_arch(platform) for platform in document["platforms"]]
    named = document["class"]
    if named is not None and not any(one.name == named for one in parents.values()):
        raise _none_fits(parents, "class", f"{named!r} is not a build class")
    candidates = {job: one for job, one in parents.items() if named in (None, one.name)}
    fitting = [(job, one) for job, one in candidates.items() if _fits(one, needs, archs, named)]
    if not fitting:
        field = "platforms" if archs and not needs else "resource_limits"
        wanted = ", ".join(
            f"{name} {amount}{f' for phase {phase}' if phase else ''}"
            for (phase, name), amount in needs.items()
        )
        asked = " and ".join(
            part for part in (wanted, f"architecture {' or '.join(archs)}" if archs else "") if part
        )
        raise _none_fits(parents, field, f"no build class has {asked}")
    default = next(job for job, one in parents.items() if one.name == "default")
    if named is None and not needs and not archs:
        return default
    # Who does not ask for an architecture gets the default's, not whichever class is smallest.
    usual = archs or [parents[default].arch]

    def order(found: tuple[str, BuildClass]) -> tuple[Any, ...]:
        one = found[1]
        return -sum(map(one.runs, archs)), one.arch not in usual, *_size(one)

    return min(fitting, key=order)[0]


def _arch(platform: object) -> str:
    return str(platform).split("/")[1]


def _needs(limits: Mapping[str, Any]) -> Needs:
    """The amounts asked for, by the phase that they are of; empty for the build as a whole."""
    parts = {"": limits, **{phase: limits.get(phase) or {} for phase in _PHASES}}
    return {
        (phase, name): int(part[name])
        for phase, part in parts.items()
        for name in ("cpu", "memory", "disk")
        if part.get(name)
    }


def _fits(one: BuildClass, needs: Needs, archs: Sequence[str], named: str | None) -> bool:
    # A class that names no architecture runs wherever Nomad places it. What no class says it runs
    # may be emulated all the same, where somebody names the class.
    return _has(one, needs) and (
        not archs or not one.arch or any(map(one.runs, archs)) or named is not None
    )


def _has(one: BuildClass, needs: Needs) -> bool:
    return all(_gives(one, phase)[name] >= amount for (phase, name), amount in needs.items())


def _gives(one: BuildClass, phase: str) -> dict[str, int]:
    """What the pack's job has for a phase's task, or for the build as a whole."""
    share = 2 if phase in ("test", "publish") else 1
    most = _PUBLISH_MEMORY if phase == "publish" else one.memory_max
    return {
        "cpu": one.cpu // share,
        "memory": max(one.memory // share, most),
        "disk": one.disk,
    }


def _size(one: BuildClass) -> tuple[int, int, int, bool, str]:
    return one.memory, one.cpu, one.disk, one.name != "default", one.name


def _none_fits(parents: Mapping[str, BuildClass], field: str, problem: str) -> InvalidFieldsError:
    classes = "; ".join(
        f"{one.name}: cpu {one.cpu}, memory {max(one.memory, one.memory_max)}, disk {one.disk}"
        + "".join(f", {arch}" for arch in (one.arch, *one.emulates) if arch)
        for one in parents.values()
    )
    halves = "phases test and publish have half of a class's cpu and memory"
    return InvalidFieldsError([Problem(field, problem, f"build classes: {classes}; {halves}")])
