"""Settings: environment, then Consul, then default; each with its source."""

from __future__ import annotations

import pytest

from controller.access.exposure import check, is_loopback
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


@pytest.mark.parametrize(
    "policies",
    [
        "[]",
        '{"a": []}',
        '{"a": {"repositorys": []}}',
        '{"a": {"repositories": "github.com/acme"}}',
        '{"a": {"registries": [""]}}',
        '{"a": {"vault_paths": [1]}}',
        '{"a": {"max_running": "3"}}',
        '{"a": {"max_queued": -1}}',
        '{"a": {"max_queued": true}}',
    ],
)
def test_a_policy_that_would_not_do_what_it_says_is_refused(policies: str) -> None:
    with pytest.raises(SettingError, match="owner_policies"):
        load({"NBS_OWNER_POLICIES": policies}, {})


def test_flags_are_true_or_false() -> None:
    assert load({"NBS_ALLOW_ANONYMOUS": "true"}, {}).allow_anonymous
    assert not load({"NBS_ALLOW_ANONYMOUS": "False"}, {}).allow_anonymous
    with pytest.raises(SettingError, match="ALLOW_ANONYMOUS"):
        load({"NBS_ALLOW_ANONYMOUS": "no"}, {})


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("127.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("0", False),
        ("::", False),
        ("", False),
        ("::ffff:0.0.0.0", False),
        ("192.0.2.1", False),
        ("no-such-name.invalid", False),
    ],
)
def test_what_only_this_host_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_network_is_served_only_with_credentials_or_on_purpose() -> None:
    open_to_all = {"NBS_BIND": "0.0.0.0"}
    with pytest.raises(SettingError, match=r"auth_mode.*127\.0\.0\.1.*allow_anonymous"):
        check(load(open_to_all, {}))
    with pytest.raises(SettingError):
        check(load(open_to_all, {"auth_mode": ""}))
    check(load(open_to_all | {"NBS_AUTH_MODE": "nomad"}, {}))
    check(load(open_to_all | {"NBS_ALLOW_ANONYMOUS": "true"}, {}))
    check(load({}, {}))
