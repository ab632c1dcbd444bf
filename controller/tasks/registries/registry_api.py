"""One repository of an OCI registry, spoken to directly: what skopeo and Buildah cannot do.

Tags are given and taken by manifest, artifacts are attached to an image, and every answer is told
apart by its status (https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from controller.tasks.errors import PhaseFailed
from controller.tasks.process import within
from controller.tasks.registries.registry import host_of
from controller.tasks.registries.tries import Transient

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ACCEPTED = ", ".join(
    (
        MANIFEST,
        INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_TIMEOUT = 20  # seconds for one call; a blob gets more, by its size
_SLOWEST = 1 << 20  # bytes a second
_MOST = 4 << 20  # bytes of a manifest, as registries limit it themselves
_LONGEST_PAUSE = 300.0  # seconds of Retry-After
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_TRANSIENT = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's bytes with their media type."""

    content: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """Computed from the bytes, not taken from a header."""
        return digest_of(self.content)


def digest_of(content: bytes) -> str:
    """The digest that names some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A credential goes to the registry that was named, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Message
    body: bytes


class RegistryApi:
    """A repository and a credential (`username`, `password`) for it; empty for none.

    Methods raise Transient for what may pass, else PhaseFailed.
    """

    def __init__(
        self, repository: str, credential: Mapping[str, str], *, insecure: bool = False
    ) -> None:
        self.repository = repository
        host = host_of(repository)
        self._host = _HUB.get(host, host)
        self._insecure = insecure
        self._base = "" if self._insecure else f"https://{self._host}"
        self._path = urllib.parse.quote(repository.partition("/")[2])
        self._basic = ""
        if credential:
            pair = f"{credential['username']}:{credential['password']}"
            self._basic = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._granted: dict[str, str] = {}
        # Made once: reading the system's authorities takes longer than most calls.
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._insecure:
            trust.check_hostname = False
            trust.verify_mode = ssl.CERT_NONE
        else:
            trust.load_default_certs()
        self._opener = urllib.request.build_opener(
            _NoRedirect(), urllib.request.HTTPSHandler(context=trust)
        )

    def may_push(self) -> None:
        """Begin an upload, as every push begins, and cancel it: nothing is left there."""
        answer = self._ask("POST", "blobs/uploads/", actions="pull,push")
        if answer.status != 202:
            raise self._unexpected("a push", answer)
        where = self._location(answer)
        if where:
            self._call("DELETE", where, actions="pull,push")  # else it expires by itself

    def manifest(self, reference: str) -> Manifest | None:
        """The manifest that a tag or digest names, None where there is none."""
        answer = self._ask("GET", f"manifests/{reference}", headers={"Accept": _ACCEPTED})
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._unexpected(f"the manifest of {reference}", answer)
        return Manifest(answer.body, answer.headers.get_content_type())

    def put_manifest(self, reference: str, manifest: Manifest) -> Mapping[str, str]:
        """Put a manifest under a tag or its digest; the answer's headers."""
        answer = self._ask(
            "PUT",
            f"manifests/{reference}",
            manifest.content,
            {"Content-Type": manifest.media_type},
            actions="pull,push",
        )
        if answer.status not in (200, 201, 202):
            raise self._unexpected(f"the manifest of {reference}", answer)
        return dict(answer.headers.items())

    def delete_manifest(self, reference: str) -> bool:
        """Take a tag, or a manifest by digest, away; False where the registry does not do that."""
        answer = self._ask("DELETE", f"manifests/{reference}", actions="pull,push,delete")
        if answer.status in (400, 401, 403, 404, 405, 501):
            return answer.status == 404
        if answer.status not in (200, 202, 204):
            raise self._unexpected(f"the deletion of {reference}", answer)
        return True

    def tags(self) -> list[str]:
        """The first thousand tags, as the registry orders them."""
        answer = self._ask("GET", "tags/list?n=1000")
        if answer.status == 404:
            return []
        if answer.status != 200:
            raise self._unexpected("the list of tags", answer)
        return [str(tag) for tag in _json(answer.body).get("tags") or []]

    def put_blob(self, content: bytes) -> str:
        """Store some bytes, unless they are there; their digest."""
        digest = digest_of(content)
        if self._ask("HEAD", f"blobs/{digest}").status == 200:
            return digest
        begun = self._ask("POST", "blobs/uploads/", actions="pull,push")
        where = self._location(begun) if begun.status == 202 else ""
        if not where:
            raise self._unexpected("an upload", begun)
        join = "&" if "?" in where else "?"
        answer = self._call(
            "PUT",
            f"{where}{join}digest={urllib.parse.quote(digest)}",
            content,
            {"Content-Type": "application/octet-stream"},
            actions="pull,push",
        )
        if answer.status != 201:
            raise self._unexpected("an upload", answer)
        return digest

    def blob(self, digest: str, limit: int = 64 << 20) -> bytes:
        """The bytes that a digest names, checked. For what is small."""
        answer = self._ask("GET", f"blobs/{digest}", limit=limit)
        if answer.status != 200:
            raise self._unexpected(f"the blob {digest}", answer)
        if digest_of(answer.body) != digest:
            raise PhaseFailed("DigestMismatch", f"{self.repository}@{digest}: other bytes came")
        return answer.body

    def referrers(self, digest: str) -> list[dict[str, Any]] | None:
        """Descriptors of what is attached to an image; None: the registry keeps no such list."""
        answer = self._ask("GET", f"referrers/{digest}", headers={"Accept": INDEX})
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._unexpected("the list of referrers", answer)
        found = _json(answer.body).get("manifests")
        return found if isinstance(found, list) else []

    def _location(self, answer: _Answer) -> str:
        """Where an upload goes on; only on the same server: a credential goes with it."""
        where = urllib.parse.urljoin(
            f"{self._base}/v2/{self._path}/blobs/uploads/", answer.headers.get("Location", "")
        )
        return where if where.startswith(f"{self._base}/v2/") else ""

    def _ask(
        self,
        method: str,
        below: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        actions: str = "pull",
        limit: int = _MOST,
    ) -> _Answer:
        if not self._base:
            self._base = self._scheme()
        url = f"{self._base}/v2/{self._path}/{below}"
        return self._call(method, url, body, headers, actions=actions, limit=limit)

    def _call(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        actions: str,
        limit: int = _MOST,
    ) -> _Answer:
        answer = self._send(method, url, body, headers, self._granted.get(actions, ""), limit)
        if answer.status == 401:
            # No credential is sent unasked, and a token that has expired is asked for again.
            self._granted[actions] = self._authorization(
                answer.headers.get("WWW-Authenticate", ""), actions
            )
            answer = self._send(method, url, body, headers, self._granted[actions], limit)
        if answer.status in _TRANSIENT:
            raise Transient(
                f"{self.repository}: the registry answered {answer.status}{_words(answer)}",
                retry_after=_pause(answer.headers),
            )
        return answer

    def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        authorization: str,
        limit: int,
    ) -> _Answer:
        if body is None and method in ("POST", "PUT"):
            body = b""
        request = urllib.request.Request(url, data=body, method=method)  # noqa: S310  checked
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        seconds = _TIMEOUT + (len(body or b"") + (limit if limit > _MOST else 0)) / _SLOWEST
        try:
            with within(seconds), self._opener.open(request, timeout=seconds) as answer:
                content = answer.read(limit + 1)
                status, found = answer.status, answer.headers
        except urllib.error.HTTPError as error:
            with error, within(seconds):
                return _Answer(error.code, error.headers, error.read(_MOST))
        except (OSError, http.client.HTTPException) as error:
            raise self._away(error) from error
        if len(content) > limit:
            raise PhaseFailed(
                "PublishFailed", f"{self.repository}: an answer of more than {limit} bytes"
            )
        return _Answer(status, found, content)

    def _scheme(self) -> str:
        """An insecure registry speaks TLS with any certificate, or none at all."""
        for base in (f"https://{self._host}", f"http://{self._host}"):
            try:
                self._send("GET", f"{base}/v2/", None, None, "", _MOST)
            except Transient as error:
                failed = error
            else:
                return base
        raise failed

    def _authorization(self, challenge: str, actions: str) -> str:
        """What the registry wants: the credential itself, or a token for it (Bearer)."""
        if not challenge.lower().startswith("bearer"):
            return self._basic
        told = dict(_PARAMETER.findall(challenge))
        scope = f"repository:{urllib.parse.unquote(self._path)}:{actions}"
        query = urllib.parse.urlencode({"service": told.get("service", ""), "scope": scope})
        realm = told.get("realm", "")
        if not realm.startswith(("https://", f"{self._base}/")):
            raise PhaseFailed("RegistryUnavailable", f"the registry's token service is {realm!r}")
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        answer = self._send("GET", url, None, None, self._basic, _MOST)
        if answer.status in _TRANSIENT:
            raise Transient(
                f"{self.repository}: the token service answered {answer.status}",
                retry_after=_pause(answer.headers),
            )
        if answer.status != 200:
            raise self._unexpected("a login", answer)
        found = _json(answer.body)
        return f"Bearer {found.get('token') or found.get('access_token') or ''}"

    def _unexpected(self, what: str, answer: _Answer) -> PhaseFailed:
        if answer.status in (401, 403):
            who = "this credential" if self._basic else "a caller without credential"
            return PhaseFailed(
                "RegistryAuthenticationFailed",
                f"the registry does not let {who} push to {self.repository} ({answer.status})",
            )
        return PhaseFailed(
            "PublishFailed",
            f"{self.repository}: the registry answered {answer.status} to {what}{_words(answer)}",
        )

    def _away(self, error: Exception) -> PhaseFailed:
        reason = getattr(error, "reason", None) or error
        words = f"{self._base or self._host}: {str(reason) or type(error).__name__}"
        broken = isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        if isinstance(reason, ssl.SSLError) and not broken and not self._insecure:
            return PhaseFailed("RegistryNotTrusted", words)  # a certificate does not mend itself
        return Transient(words)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Transient(f"the registry's answer is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Transient("the registry's answer is no JSON object")
    return found


def _words(answer: _Answer) -> str:
    """What the registry says of its refusal, in one short line."""
    try:
        errors = json.loads(answer.body)["errors"]
        said = "; ".join(f"{one.get('code', '')}: {one.get('message', '')}" for one in errors)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return ""
    plain = "".join(char if char.isprintable() else " " for char in said)
    return f": {plain[:300]}" if plain else ""


def _pause(headers: Message) -> float:
    """Retry-After in seconds; a date is left out, as clocks differ."""
    try:
        return min(max(float(headers.get("Retry-After", "0")), 0.0), _LONGEST_PAUSE)
    except ValueError:
        return 0.0
