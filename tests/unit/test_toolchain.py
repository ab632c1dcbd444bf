"""Obtaining programs: the order of the ways, checksums, interruption, two at once.

The vendor's release server is a real HTTP server on loopback, and the programs are small shell
scripts that print a version, zipped as the vendor zips its binaries.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import multiprocessing
import os
import socketserver
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import pins, release_archive
from cluster.errors import ClusterError
from cluster.pins import PROGRAMS, Program
from cluster.toolchain import Toolchain

VERSION = "1.11.3"


def script(version: str) -> bytes:
    return f"#!/bin/sh\necho Nomad v{version}\n".encode()


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        pack.writestr("LICENSE.txt", "licence")
        pack.writestr("nomad", content)
    return buffer.getvalue()


class Releases:
    """A release server that counts requests, and can break off in the middle of an answer."""

    def __init__(self) -> None:
        self.body = archive(script(VERSION))
        self.break_off_at: int | None = None
        self.requests: list[str] = []
        releases = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                releases.requests.append(self.path)
                if not self.path.startswith(f"/nomad/{VERSION}/nomad_{VERSION}_linux_"):
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(releases.body)))
                self.end_headers()
                self.wfile.write(releases.body[: releases.break_off_at])

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def releases(monkeypatch: pytest.MonkeyPatch) -> Iterator[Releases]:
    served = Releases()
    pinned = Program(
        name="nomad",
        version=VERSION,
        oldest=(1, 10, 0),
        below=(3, 0, 0),
        version_argument="version",
        package="example.com/nomad",
        sums={release_archive.architecture(): hashlib.sha256(served.body).hexdigest()},
    )
    monkeypatch.setitem(PROGRAMS, "nomad", pinned)
    thread = threading.Thread(target=served.server.serve_forever, daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()


def environment(tmp_path: Path, releases: Releases, **more: str) -> dict[str, str]:
    """An environment whose PATH holds neither nomad nor go nor gcc."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    return {
        "HOME": str(tmp_path),
        "PATH": str(tools),
        "NBS_RELEASES_URL": releases.url,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        **more,
    }


def put_on_path(tmp_path: Path, version: str) -> Path:
    program = tmp_path / "tools" / "nomad"
    program.parent.mkdir(exist_ok=True)
    program.write_bytes(script(version))
    program.chmod(0o755)
    return program


def obtain(environ: dict[str, str], said: list[str] | None = None, modules: Path | None = None):  # type: ignore[no-untyped-def]
    said = [] if said is None else said
    toolchain = Toolchain(environ, progress=said.append, modules=modules or Path("/nonexistent"))
    return toolchain.obtain(["nomad"])["nomad"]


def test_a_program_on_path_in_range_is_taken_as_it_is(tmp_path: Path, releases: Releases) -> None:
    program = put_on_path(tmp_path, "1.12.9")

    found = obtain(environment(tmp_path, releases))

    assert (found.path, found.version, found.source) == (program, "1.12.9", "PATH")
    assert releases.requests == []


@pytest.mark.parametrize("version", ["1.9.7", "3.0.0"])
def test_a_program_on_path_out_of_range_is_passed_over(
    tmp_path: Path, releases: Releases, version: str
) -> None:
    put_on_path(tmp_path, version)

    assert obtain(environment(tmp_path, releases)).source == "archive"


def test_the_programs_of_an_embedded_cluster_are_passed_over(
    tmp_path: Path, releases: Releases
) -> None:
    """Symptom: after `eval "$(scripts/demo env)"`, a second run linked programs to themselves.

    Cause: the cluster's own directory of programs was on PATH.
    """
    put_on_path(tmp_path, "1.12.9")
    (tmp_path / "cluster.json").write_text("{}")

    assert obtain(environment(tmp_path, releases)).source == "archive"


def test_the_archive_is_fetched_once_and_then_the_cache_serves(
    tmp_path: Path, releases: Releases
) -> None:
    environ = environment(tmp_path, releases)

    first, second = obtain(environ), obtain(environ)

    assert (first.source, second.source) == ("archive", "cache")
    assert (
        first.path
        == second.path
        == (tmp_path / "cache" / "nomad-build-service" / "bin" / f"nomad-{VERSION}")
    )
    assert os.access(first.path, os.X_OK)
    assert len(releases.requests) == 1


def test_a_wrong_checksum_is_an_error_that_names_file_expected_and_got(
    tmp_path: Path, releases: Releases
) -> None:
    expected = PROGRAMS["nomad"].sums[release_archive.architecture()]
    releases.body = archive(script(VERSION) + b"# tampered\n")
    got = hashlib.sha256(releases.body).hexdigest()

    with pytest.raises(ClusterError) as error:
        obtain(environment(tmp_path, releases))

    assert f"nomad_{VERSION}_linux_" in str(error.value)
    assert expected in str(error.value) and got in str(error.value)
    assert not list((tmp_path / "cache").rglob(f"nomad-{VERSION}*"))


def test_a_download_that_breaks_off_leaves_nothing_and_the_next_one_succeeds(
    tmp_path: Path, releases: Releases
) -> None:
    environ = environment(tmp_path, releases)
    releases.break_off_at = 40
    said: list[str] = []

    with pytest.raises(ClusterError, match="cannot be had"):
        obtain(environ, said)

    assert any("broke off" in line for line in said)
    assert not list((tmp_path / "cache").rglob(f"*nomad-{VERSION}*"))
    releases.break_off_at = None
    assert obtain(environ).source == "archive"


def test_what_a_killed_process_left_half_done_is_not_taken_for_the_program(
    tmp_path: Path, releases: Releases
) -> None:
    part = tmp_path / "cache" / "nomad-build-service" / "bin" / f".nomad-{VERSION}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half of a program")

    assert obtain(environment(tmp_path, releases)).source == "archive"
    assert not part.exists()


def test_an_unreachable_server_costs_one_line_and_seconds_and_the_build_is_next(
    tmp_path: Path, releases: Releases
) -> None:
    said: list[str] = []
    environ = environment(tmp_path, releases, NBS_RELEASES_URL="http://127.0.0.1:9")
    go = tmp_path / "tools" / "go"
    go.write_text(
        "#!/bin/sh\n"
        '[ "$1" = version ] && { echo go version go1.26.1 linux/amd64; exit; }\n'
        'while [ "$1" != -o ]; do shift; done\n'
        f"printf '#!/bin/sh\\necho Nomad v{VERSION}\\n' >\"$2\"\n"
    )
    go.chmod(0o755)
    (tmp_path / "tools" / "gcc").symlink_to("/bin/true")
    module = tmp_path / "modules" / "nomad"
    module.mkdir(parents=True)

    found = obtain(environ, said, modules=tmp_path / "modules")

    assert found.source == "build"
    assert len([line for line in said if "no archive" in line]) == 1


def test_a_program_that_reports_another_version_is_not_kept(
    tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases.body = archive(script("1.11.2"))
    sums = {release_archive.architecture(): hashlib.sha256(releases.body).hexdigest()}
    monkeypatch.setitem(PROGRAMS, "nomad", Program(**{**PROGRAMS["nomad"].__dict__, "sums": sums}))

    with pytest.raises(ClusterError, match=r"says version 1\.11\.2"):
        obtain(environment(tmp_path, releases))


def _obtain_in_child(environ: dict[str, str], results: multiprocessing.Queue[str]) -> None:
    results.put(obtain(environ).source)


def test_two_at_once_fetch_once(tmp_path: Path, releases: Releases) -> None:
    environ = environment(tmp_path, releases)
    fork = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = fork.Queue()  # type: ignore[assignment]
    children = [fork.Process(target=_obtain_in_child, args=(environ, results)) for _ in range(4)]
    for child in children:
        child.start()
    sources = sorted(results.get(timeout=30) for _ in children)
    for child in children:
        child.join(timeout=30)

    assert sources == ["archive", "cache", "cache", "cache"]
    assert len(releases.requests) == 1


def test_every_pinned_archive_has_a_sum_for_both_architectures() -> None:
    for program in pins.PROGRAMS.values():
        if program.name in ("buildah", "docker-compose"):  # no archive that the pins know
            assert program.sums == {}
            continue
        assert set(program.sums) == {"amd64", "arm64"}
        assert all(len(value) == 64 for value in program.sums.values())


def test_every_program_has_a_tool_module_with_sums() -> None:
    modules = Path(__file__).parents[2] / "nomad" / "toolchain"
    for program in pins.PROGRAMS.values():
        assert program.package in (modules / program.name / "go.mod").read_text()
        assert (modules / program.name / "go.sum").stat().st_size > 0
