"""What fetched images say of themselves."""

import base64
from pathlib import Path

import pytest

from controller.tasks.node import image_configs

ABSENT = "cd" * 32


def stored(root: Path, config: bytes) -> str:
    """Put a configuration where containers/storage has it; the image's ID."""
    image = "ab" * 32
    key = base64.b64encode(f"sha256:{image}".encode()).decode()
    path = root / "overlay-images" / image / f"={key}"
    path.parent.mkdir(parents=True)
    path.write_bytes(config)
    return image


@pytest.mark.parametrize(
    ("config", "user"),
    [
        (b'{"config": {"User": "1000:1000"}}', "1000:1000"),
        (b'{"config": {}}', "root"),
        (b'{"config": {"OnBuild": ["USER 1"]}}', None),
        (b'{"config": null}', None),
        (b"{}", None),
        (b"[]", None),
        (b"not JSON \xff", None),
    ],
)
def test_the_user_of_a_pulled_image(tmp_path: Path, config: bytes, user: str | None) -> None:
    image = stored(tmp_path, config)
    assert image_configs.users(tmp_path, {"one": [image]}) == {"one": user}
    assert image_configs.users(tmp_path, {"two": [image, ABSENT]})["two"] is None


@pytest.mark.parametrize(
    ("config", "triggers"),
    [
        (b'{"config": {"OnBuild": ["RUN a", "COPY . /"]}}', {"one": ["RUN a", "COPY . /"]}),
        (b'{"config": {"OnBuild": []}}', {}),
        (b'{"config": {"OnBuild": {"a": 1}}}', {}),
        (b'{"config": {}}', {}),
        (b"{", {}),
    ],
)
def test_the_triggers_of_a_pulled_image(
    tmp_path: Path, config: bytes, triggers: dict[str, list[str]]
) -> None:
    image = stored(tmp_path, config)
    assert image_configs.triggers(tmp_path, {"one": [image, ABSENT]}) == triggers
