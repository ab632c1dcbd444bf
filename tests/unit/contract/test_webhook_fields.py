"""What a request may say of a webhook; credentials never."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract import webhook_fields
from controller.contract.field_error import FieldError


@pytest.mark.parametrize(
    "url",
    ["https://a.example/", "http://10.0.0.1:8080/x?y=z", "https://[2001:db8::1]/", "https://a"],
)
def test_urls(url: str) -> None:
    assert webhook_fields.url(url) == url


@pytest.mark.parametrize(
    "url",
    ["", "a.example", "//a.example", "ftp://a.example", "https://", "https:///x",
     "https://user@a.example/", "https://user:pass@a.example/", "https://a.example\\@b.example/",
     "https://a.example/#x", "https://a .example/", "https://ä.example/", "https://a:99999/",
     "https://a\n.example/", "https://\uff11\uff12\uff17.0.0.1/", "javascript:alert(1)", "https://[::1/",
     "unix:///var/run/docker.sock", "file:///etc/passwd", "gopher://a/"],
)  # fmt: skip
def test_what_is_no_url_of_a_receiver(url: str) -> None:
    with pytest.raises(FieldError):
        webhook_fields.url(url)


@given(st.text(max_size=200))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        assert webhook_fields.url(text) == text
    except FieldError:
        return
    assert text.startswith(("http://", "https://"))


def test_a_secret_is_named_never_given() -> None:
    for path in (
        "secret/nomad-build-service/webhook/team",
        "kv/data/nomad-build-service/webhook/a/b",
    ):
        assert webhook_fields.secret_path(path) == path
    for value in (
        "hunter2hunter2",
        "secret/nomad-build-service/registry/team",
        "secret/nomad-build-service/webhook//x",
        "secret/nomad-build-service/webhook/../registry/team",
        "secret/x/nomad-build-service/webhook/team",
        "secret/nomad-build-service/webhook/a//b",
        12,
        None,
    ):
        with pytest.raises(FieldError) as refused:
            webhook_fields.secret_path(value)
        assert str(value) not in refused.value.problem + refused.value.fix


@pytest.mark.parametrize(
    "name",
    ["Authorization", "proxy-authorization", "Cookie", "X-Api-Key", "X-GitLab-Token", "apikey",
     "X-Hub-Signature", "Host", "Content-Length", "transfer-encoding", "Connection",
     "X-Webhook-Id", "a b", "", "a:b", "é"],
)  # fmt: skip
def test_headers_that_are_not_the_caller_s(name: str) -> None:
    with pytest.raises(FieldError):
        webhook_fields.header_name(name)


def test_headers() -> None:
    assert webhook_fields.header_name("X-Environment") == "X-Environment"
    assert webhook_fields.header_value("staging 1") == "staging 1"
    for value in ("a\r\nHost: b", "a\nb", "\x00", "ä", " a"):
        with pytest.raises(FieldError):
            webhook_fields.header_value(value)
