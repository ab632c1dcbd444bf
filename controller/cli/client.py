"""The REST API seen from the command line, over plain HTTP requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from controller.cli import exit_codes

_SERVICE = "nomad-build-service"
_SILENCE = 60.0  # seconds; the service shows a sign of life each 15
_TRIES = 10  # to take up a broken stream
_CODES = {
    401: exit_codes.REFUSED,
    403: exit_codes.REFUSED,
    404: exit_codes.UNKNOWN,
    429: exit_codes.UNAVAILABLE,
}


class CommandError(Exception):
    """What a command ends with: a message for people and an exit code."""

    def __init__(self, message: str, code: int, body: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body = body


def find(environ: Mapping[str, str]) -> str:
    """The controller's address: NBS_ADDR, else a healthy instance in Consul's catalogue.

    Raises CommandError.
    """
    if address := environ.get("NBS_ADDR"):
        return address.rstrip("/")
    consul = environ.get("CONSUL_HTTP_ADDR", "127.0.0.1:8500")
    consul = consul if "://" in consul else f"http://{consul}"
    service = environ.get("NBS_NAME_PREFIX", "") + _SERVICE
    token = environ.get("CONSUL_HTTP_TOKEN")
    try:
        answer = httpx.get(
            f"{consul}/v1/health/service/{service}",
            params={"passing": "true"},
            headers={"X-Consul-Token": token} if token else {},
            timeout=5.0,
            trust_env=False,
        )
        entries = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise CommandError(
            f"NBS_ADDR is not set, and Consul at {consul} does not answer: {error}",
            exit_codes.UNAVAILABLE,
        ) from error
    if not entries:
        raise CommandError(
            f"NBS_ADDR is not set, and Consul at {consul} knows no healthy service {service}",
            exit_codes.UNAVAILABLE,
        )
    host = entries[0]["Service"]["Address"] or entries[0]["Node"]["Address"]
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{entries[0]['Service']['Port']}"


class Client:
    """Calls of one controller. Methods raise CommandError. `known`: it sends a credential."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address.rstrip("/")
        token = token.strip()
        self.known = bool(token)
        if not all("!" <= char <= "~" for char in token):
            raise CommandError(
                "NBS_TOKEN holds blanks or characters that no token has", exit_codes.INVALID
            )
        try:
            self._http = httpx.Client(
                base_url=self.address,
                timeout=httpx.Timeout(10.0, read=_SILENCE),
                trust_env=False,
                headers={"Authorization": f"Bearer {token}"} if token else {},
            )
        except httpx.InvalidURL as error:
            raise CommandError(
                f"{address!r} is no address of a controller: {error}", exit_codes.INVALID
            ) from error

    def post(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """One call of the API."""
        try:
            response = self._http.post(f"/json/{name}", json=document)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._down(error) from error
        return _checked(response)

    def ask_again(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """A call that may be repeated: a controller that restarts meanwhile is waited for."""
        failed = 0
        while True:
            try:
                return self.post(name, document)
            except CommandError as error:
                failed += 1
                if error.code != exit_codes.UNAVAILABLE or failed == _TRIES:
                    raise
            _pause(failed)

    def stream(self, job_id: str, after: str = "") -> Iterator[dict[str, Any]]:
        """The build's events up to `end`; a broken stream is taken up after the last cursor."""
        failed = 0
        while True:
            try:
                for event, cursor in self._events(job_id, after):
                    after, failed = cursor or after, 0
                    yield event
                    if event["event"] == "end":
                        return
            except (httpx.HTTPError, ValueError, KeyError) as error:
                failed += 1
                if failed == _TRIES:
                    raise self._down(error) from error
            else:
                failed += 1
                if failed == _TRIES:
                    raise CommandError(
                        "the stream ends again and again before the build does",
                        exit_codes.UNAVAILABLE,
                    )
            _pause(failed)

    def _events(self, job_id: str, after: str) -> Iterator[tuple[dict[str, Any], str]]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        with self._http.stream(
            "GET",
            "/json/streamLogs",
            params={"job_id": job_id},
            headers=headers,
            timeout=httpx.Timeout(10.0, read=_SILENCE),
        ) as response:
            if response.status_code != 200:
                response.read()
                _checked(response)
            cursor = ""
            for line in response.iter_lines():
                if line.startswith("id: "):
                    cursor = line.removeprefix("id: ")
                elif line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    if "event" not in event:
                        raise _error(event)
                    yield event, cursor

    def _down(self, error: Exception) -> CommandError:
        return CommandError(
            f"the controller at {self.address} does not answer: {error}", exit_codes.UNAVAILABLE
        )


def _checked(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and response.status_code == 200:
        return body
    if isinstance(body, dict) and "error" in body:
        raise _error({**body, "code": response.status_code})
    raise CommandError(
        f"{response.url} answered {response.status_code} with something that is no answer of this "
        "service: is the address the controller's?",
        exit_codes.REFUSED if response.status_code in (401, 403) else exit_codes.UNAVAILABLE,
    )


def _error(body: dict[str, Any]) -> CommandError:
    lines = [str(body.get("error"))]
    if problems := body.get("problems"):
        lines += [f"  {one['field']}: {one['problem']}\n    {one['fix']}" for one in problems]
    elif body.get("details"):
        lines.append(f"  {body['details']}")
    status = int(body.get("code") or 0)
    usual = exit_codes.UNAVAILABLE if status >= 500 else exit_codes.INVALID
    return CommandError("\n".join(lines), _CODES.get(status, usual), body)


def _pause(failed: int) -> None:
    import time

    time.sleep(min(5.0, 0.2 * 2**failed))
