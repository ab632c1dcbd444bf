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
    502: exit_codes.UNAVAILABLE,
    503: exit_codes.UNAVAILABLE,
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
    return f"http://{host}:{entries[0]['Service']['Port']}"


class Client:
    """Calls of one controller. Methods raise CommandError."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address
        self._http = httpx.Client(
            base_url=address,
            timeout=httpx.Timeout(10.0, read=_SILENCE),
            trust_env=False,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )

    def post(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """One call of the API."""
        try:
            response = self._http.post(f"/json/{name}", json=document)
        except httpx.HTTPError as error:
            raise self._down(error) from error
        return _checked(response)

    def stream(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The build's events up to `end`; a broken stream is taken up after the last cursor."""
        after, failed = "", 0
        while True:
            try:
                for event, cursor in self._events(job_id, after):
                    after, failed = cursor or after, 0
                    yield event
                    if event["event"] == "end":
                        return
            except httpx.HTTPError as error:
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

    def _down(self, error: httpx.HTTPError) -> CommandError:
        return CommandError(
            f"the controller at {self.address} does not answer: {error}", exit_codes.UNAVAILABLE
        )


def _checked(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = {"error": response.text[:300], "code": response.status_code}
    if response.status_code >= 400:
        raise _error(body)
    return dict(body)


def _error(body: dict[str, Any]) -> CommandError:
    lines = [str(body.get("error"))]
    if problems := body.get("problems"):
        lines += [f"  {one['field']}: {one['problem']}\n    {one['fix']}" for one in problems]
    elif body.get("details"):
        lines.append(f"  {body['details']}")
    status = int(body.get("code") or 0)
    return CommandError("\n".join(lines), _CODES.get(status, exit_codes.INVALID), body)


def _pause(failed: int) -> None:
    import time

    time.sleep(min(5.0, 0.2 * 2**failed))
