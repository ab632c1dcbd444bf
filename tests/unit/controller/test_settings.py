"""Settings: environment, then Consul, then default; each with its source."""

from __future__ import annotations

import pytest

from controller.settings import SettingError, load


def test_the_environment_comes_first_then_consul_then_the_default() -> None:
    settings = load({"NBS_PORT": "1"}, {"port": "2", "metrics_port": "3"})
    assert (settings.port, settings.metrics_port, settings.max_body) == (1, 3, 1 << 20)
    assert settings.sources["port"] == "environment NBS_PORT"
    assert settings.sources["metrics_port"] == "consul nomad-build-service/config/metrics_port"
    assert settings.sources["max_body"] == "default"


def test_names_of_the_hashicorp_programs_count() -> None:
    settings = load({"NOMAD_ADDR": "http://n:4646", "NOMAD_TOKEN": "hunter2"}, {})
    assert settings.nomad_addr == "http://n:4646"
    assert "hunter2" not in str(settings.shown())
    assert settings.shown()["nomad_token"] == {
        "value": "(set)",
        "source": "environment NOMAD_TOKEN",
    }


def test_secrets_never_come_from_consul() -> None:
    assert load({}, {"vault_token": "x"}).vault_token == ""


def test_build_classes_name_their_jobs() -> None:
    settings = load(
        {
            "NBS_NAME_PREFIX": "a-",
            "NBS_BUILD_CLASSES": '{"default": {"cpu": 500, "constraints": []},'
            ' "arm": {"arch": "arm64"}}',
        },
        {},
    )
    assert set(settings.parent_jobs) == {"a-image-build", "a-image-build-arm"}
    assert settings.parent_jobs["a-image-build"].cpu == 500


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NBS_PORT", "x"),
        ("NBS_BUILD_CLASSES", "{}"),
        ("NBS_BUILD_CLASSES", "["),
        ("NBS_BUILD_CLASSES", '{"default": 3}'),
        ("NBS_NOMAD_TIMEOUT", "soon"),
    ],
)
def test_a_bad_value_is_named_with_its_source(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"environment {name}"):
        load({name: value}, {})
