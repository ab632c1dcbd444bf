"""What leaves the layer cache first, from the files that containers/storage keeps."""

from __future__ import annotations

import json
import os
from pathlib import Path

from controller.tasks.node.eviction import Uses, forget, oldest, stored

SIZES = {"base": 100, "a1": 10, "a2": 20, "b1": 30}


def image_id(name: str) -> str:
    return name.encode().hex().ljust(64, "0")


def owner(root: Path, images: dict[str, str], parents: dict[str, str]) -> Path:
    """A storage whose layers were made at 1970-01-01T00:00:01."""
    for folder in ("overlay-layers", "overlay-images"):
        (root / "root" / folder).mkdir(parents=True)
    made = "1970-01-01T00:00:01.123456789Z"
    layers = [{"id": one, "parent": up, "created": made} for one, up in parents.items()]
    (root / "root/overlay-layers/layers.json").write_text(json.dumps(layers))
    listed = [{"id": image_id(name), "layer": layer} for name, layer in images.items()]
    (root / "root/overlay-images/images.json").write_text(json.dumps(listed))
    return root


def used(root: Path, name: str, when: int) -> None:
    uses = Uses(root)
    uses.feed(f"--> Using cache {image_id(name)}")
    uses.feed("--> Using cache ../../etc")
    uses.mark([])
    os.utime(root / "used" / image_id(name)[:12], (when, when))


def two_chains(root: Path) -> Path:
    """`a` and `b` stand on one base; `b` was used last."""
    parents = {"base": "", "a1": "base", "a2": "a1", "b1": "base"}
    images = {"base": "base", "a-one": "a1", "a-two": "a2", "b": "b1"}
    made = owner(root, images, parents)
    used(made, "a-one", 50)
    used(made, "b", 90)
    return made


def chosen(root: Path, wanted: int) -> tuple[list[str], int]:
    sizes = {(root, layer): size for layer, size in SIZES.items()}
    found, freed = oldest(stored(root), sizes, wanted)
    names = {image_id(name): name for name in ("base", "a-one", "a-two", "b")}
    return [names[one.image] for one in found], freed


def test_what_stands_on_others_goes_before_them(tmp_path: Path) -> None:
    root = two_chains(tmp_path)
    assert chosen(root, 0) == ([], 0)
    assert chosen(root, 15) == (["a-two"], 20)
    assert chosen(root, 25) == (["a-two", "a-one"], 30)


def test_what_is_used_stays_until_nothing_else_is_left(tmp_path: Path) -> None:
    root = two_chains(tmp_path)
    assert chosen(root, 31) == (["a-two", "a-one", "b"], 60)
    assert chosen(root, 999) == (["a-two", "a-one", "b", "base"], 160)


def test_the_oldest_of_several_owners_goes_first(tmp_path: Path) -> None:
    roots = [two_chains(tmp_path / name) for name in ("first", "second")]
    used(roots[1], "a-two", 10)
    sizes = {(root, layer): size for root in roots for layer, size in SIZES.items()}
    found, _ = oldest([one for root in roots for one in stored(root)], sizes, 1)
    assert [(one.owner, one.image) for one in found] == [(roots[0], image_id("a-two"))]


def test_marks_of_images_that_are_gone_go_too(tmp_path: Path) -> None:
    root = two_chains(tmp_path)
    (root / "root/overlay-images/images.json").write_text(
        json.dumps([{"id": image_id("b"), "layer": "b1"}])
    )
    forget(root)
    assert [mark.name for mark in (root / "used").iterdir()] == [image_id("b")[:12]]


def test_a_storage_that_cannot_be_read_has_no_images(tmp_path: Path) -> None:
    root = two_chains(tmp_path)
    (root / "root/overlay-images/images.json").write_text("[")
    assert stored(root) == []
