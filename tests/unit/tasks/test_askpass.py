"""What Git is told when it asks for a credential, and what nobody is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.tasks.context.askpass import answer, write_answers
from controller.tasks.errors import PhaseFailed

CREDENTIAL = {"username": "u", "password": "p w"}


@pytest.fixture
def answers(tmp_path: Path) -> str:
    found = write_answers(
        tmp_path, host="git.example.com:8443", credential=CREDENTIAL, known_hosts=""
    )
    assert found.stat().st_mode & 0o077 == 0
    return str(found)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("Username for 'https://git.example.com:8443': ", "u\n"),
        ("Password for 'https://u@git.example.com:8443': ", "p w\n"),
        ('Password for "https://git.example.com:8443/a/b.git"', "p w\n"),  # git-lfs
    ],
)
def test_its_own_server_is_told(
    answers: str, prompt: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(answers, [prompt]) == 0
    assert capsys.readouterr().out == told


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.com",
        "https://evil.example.com:8443",
        "https://git.example.com:8443@evil.example.com",
        "https://evil.example.com/@git.example.com:8443",
        "https://evil.example.com/git.example.com:8443",
        "git.example.com:8443",
        "",
    ],
)
def test_no_other_server_is(answers: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(answers, [f"Password for '{url}': "]) == 1
    assert capsys.readouterr().out == ""


def test_nothing_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = write_answers(tmp_path, host="h", credential={"password": "p"}, known_hosts="")
    assert answer(str(found), ["Username for 'https://h': "]) == 1
    assert capsys.readouterr().out == ""


def test_a_value_cannot_become_an_option_of_ssh(tmp_path: Path) -> None:
    with pytest.raises(PhaseFailed, match="NUL") as caught:
        write_answers(
            tmp_path, host="h", credential={"password": "p\0-oProxyCommand=id"}, known_hosts=""
        )
    assert caught.value.reason == "SecretIncomplete"
