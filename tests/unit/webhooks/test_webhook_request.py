"""The webhook fields of a request: what they take, and that nothing secret is repeated."""

from __future__ import annotations

from typing import Any

import pytest

from controller.contract import request
from controller.contract.webhook_fields import parse_url
from controller.webhook_addresses import Allowed
from controller.webhooks import acceptance, key

SEED = {
    "owner": "team",
    "repo_url": "https://git.example.com/team/app.git",
    "registry_url": "registry.example.com:5000/team/app",
}
PATH = "secret/nomad-build-service/webhook/team"


def problems(**fields: Any) -> dict[str, str]:
    try:
        request.normalise(SEED | fields)
    except request.RequestError as error:
        return {one.field: str(one) for one in error.problems}
    return {}


def test_a_complete_webhook_is_taken_and_travels() -> None:
    given = {
        "webhook_url": "https://ci.example.com/hooks?build=1",
        "webhook_secret": PATH,
        "webhook_on_success": False,
        "webhook_headers": {"X-Team": "web"},
    }
    normal = request.normalise(SEED | given)
    assert {name: normal[name] for name in given} == given
    assert normal["webhook_on_failure"] is True
    assert request.read(request.encode(normal), {}) == normal


@pytest.mark.parametrize(
    "value",
    [
        "hunter2hunter2",
        "whsec_aHVudGVyMg==",
        "secret/hunter2",
        "secret/nomad-build-service/git/hunter2",
        "secret/nomad-build-service/webhook/",
        "secret/nomad-build-service/webhook/../git/hunter2",
        "secret/nomad-build-service/webhook/hunter2\n",
        "/nomad-build-service/webhook/hunter2",
        "secret/data/nomad-build-service/webhook/hunter2",
    ],
)
def test_a_key_instead_of_its_path_is_refused_and_not_repeated(value: str) -> None:
    told = problems(webhook_secret=value)
    assert "MOUNT/nomad-build-service/webhook/" in told["webhook_secret"]
    assert "hunter2" not in str(told)


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "PROXY-AUTHORIZATION",
        "cookie",
        "X-Api-Key",
        "Api_Key",
        "X-Gitlab-Token",
        "Client-Secret",
        "Token",
        "key",
        "X-Auth",
    ],
)
def test_headers_that_carry_credentials_are_refused_with_the_way_out(name: str) -> None:
    told = problems(webhook_headers={name: "hunter2"})
    assert "webhook_secret" in told[f"webhook_headers.{name}"]
    assert "hunter2" not in str(told)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Upgrade",
        "Expect",
        "Content-Type",
        "X-Webhook-Signature",
        "X-Forwarded-For",
        "Sec-Fetch-Mode",
        "a b",
        "a:b",
        "a\r\nb",
        "",
        "ä",
    ],
)
def test_headers_that_are_not_the_callers_are_refused(name: str) -> None:
    assert problems(webhook_headers={name: "x"})


@pytest.mark.parametrize("value", ["", " a", "a ", "a\r\nX: y", "ä", "a\0", "x" * 513])
def test_header_values_are_one_line_of_ascii(value: str) -> None:
    told = problems(webhook_headers={"X-A": value})
    assert list(told) == ["webhook_headers.X-A"]
    assert "X: y" not in str(told)


def test_there_are_bounds() -> None:
    assert problems(webhook_headers={f"X-{number}": "x" for number in range(17)})
    assert problems(webhook_url="https://example.com/" + "x" * 2048)


def test_a_url_is_not_repeated_in_its_error() -> None:
    assert "hunter2" not in str(problems(webhook_url="ftp://example.com/?t=hunter2"))


def test_what_the_settings_forbid_is_told_by_field() -> None:
    normal = request.normalise(SEED | {"webhook_url": "https://10.0.0.1/"})
    (one,) = acceptance.problems(normal, Allowed())
    assert (one.field, "private" in one.problem, "webhook_allow" in one.fix) == (
        "webhook_url",
        True,
        True,
    )
    assert acceptance.problems(request.normalise(SEED), Allowed()) == []
    alone = request.normalise(SEED | {"webhook_secret": PATH})
    assert [one.field for one in acceptance.problems(alone, Allowed())] == ["webhook_url"]


URL = parse_url("https://ci.example.com/x")


def test_the_key_of_a_secret() -> None:
    assert key.read({"secret": "k"}, URL) == key.Key("k")
    whole = {"secret": "k", "authorization": "Bearer t", "hosts": "a.example, CI.example.com"}
    assert key.read(whole, URL) == key.Key("k", "Bearer t")
    assert "Bearer" not in repr(key.read(whole, URL))


@pytest.mark.parametrize(
    ("fields", "url", "words"),
    [
        ({}, URL, "no field `secret`"),
        ({"secret": 5}, URL, "no field `secret`"),
        ({"secret": "k", "hosts": "other.example.com"}, URL, "not for ci.example.com"),
        ({"secret": "k", "authorization": "hunter2"}, URL, "no `hosts`"),
        (
            {"secret": "k", "authorization": "hunter2\r\nX: y", "hosts": "ci.example.com"},
            URL,
            "no header's value",
        ),
        (
            {"secret": "k", "authorization": "hunter2", "hosts": "ci.example.com"},
            parse_url("http://ci.example.com/"),
            "HTTPS only",
        ),
    ],
)
def test_a_secret_that_cannot_be_used_says_why_without_its_values(
    fields: dict[str, Any], url: Any, words: str
) -> None:
    with pytest.raises(key.UnusableKeyError, match=words) as caught:
        key.read(fields, url)
    assert "hunter2" not in str(caught.value)
