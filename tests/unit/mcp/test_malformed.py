"""Thousands of messages that are wrong: each gets an answer, and none finds a bug."""

from __future__ import annotations

import logging

import malformed
import pytest
from in_process import Api


@pytest.mark.parametrize("seed", range(4))
def test_no_message_finds_a_bug(api: Api, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        statuses = set()
        for body, headers in malformed.requests(seed, 150):
            answer = api.post(body, **headers)
            malformed.assert_civil(answer.status_code, answer.text)
            statuses.add(answer.status_code)
    assert "Traceback" not in caplog.text
    assert {200, 400} <= statuses
