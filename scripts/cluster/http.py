"""The few HTTP requests that bring-up needs, with errors as OSError."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""No proxy: every server of the cluster is on loopback."""


def direct(cacert: Path | None) -> urllib.request.OpenerDirector:
    """Return what opens addresses; `cacert` is whom it trusts."""
    if cacert is None:
        return _DIRECT
    trust = ssl.create_default_context(cafile=cacert)
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )


def get(url: str, *, headers: dict[str, str] | None = None, seconds: float = 5) -> bytes:
    """Return the body of a GET; OSError (HTTPError included) when it does not succeed."""
    request = urllib.request.Request(url, headers=headers or {})
    with _DIRECT.open(request, timeout=seconds) as answer:
        body: bytes = answer.read()
    return body


def get_json(url: str, *, headers: dict[str, str] | None = None, seconds: float = 5) -> Any:
    """Return the JSON body of a GET; OSError as `get`."""
    return json.loads(get(url, headers=headers, seconds=seconds))


def put(
    url: str,
    document: Mapping[str, Any] | None = None,
    *,
    headers: dict[str, str] | None = None,
    seconds: float = 10,
) -> Any:
    """Return the JSON answer to a PUT of a JSON document; OSError when it does not succeed."""
    request = urllib.request.Request(
        url, data=json.dumps(document or {}).encode(), headers=headers or {}, method="PUT"
    )
    with _DIRECT.open(request, timeout=seconds) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def status_of(
    url: str,
    *,
    headers: dict[str, str] | None = None,
    cacert: Path | None = None,
    seconds: float = 5,
) -> int:
    """Return the HTTP status of a GET, whichever it is; OSError when nothing answers."""
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with direct(cacert).open(request, timeout=seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
