"""The fields of a webhook: where to, with which headers, signed with which secret."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from controller.contract.field_error import FieldError, text_of

SECRETS = "nomad-build-service/webhook/"  # below the KV mount: the one place that is read
_URL = re.compile(r"[!-~]+\Z")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")  # RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[ -~]*\Z")
_PATH = re.compile(
    rf"[A-Za-z0-9_@+=.-]+/(data/)?{SECRETS}[A-Za-z0-9_@+=.-]+(/[A-Za-z0-9_@+=.-]+)*\Z"
)
_CREDENTIAL = re.compile(
    r"(proxy-)?authorization|cookie2?|.*[-_]?(token|secret|key|password|signature)", re.IGNORECASE
)
_OURS = re.compile(
    r"host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|content-.*|expect"
    r"|user-agent|proxy-.*|accept-encoding|x-webhook-.*",
    re.IGNORECASE,
)


def url(value: Any) -> str:
    """An absolute http or https URL, without credentials in it."""
    text = text_of(value)
    if not _URL.match(text) or "\\" in text:
        raise FieldError(
            "holds blanks or characters outside ASCII", "write a host's name in its xn-- form"
        )
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise FieldError("is not a URL", "write https://HOST/PATH") from error
    if parts.scheme not in ("https", "http") or not host:
        raise FieldError("is not an https URL", "write https://HOST/PATH")
    if "@" in parts.netloc:
        raise FieldError("holds credentials", "put them into the secret that webhook_secret names")
    if "#" in text:
        raise FieldError("has a fragment, which is never sent", "leave out what begins with #")
    return text


def secret_path(value: Any) -> str:
    """The Vault path of a webhook's secret. What is refused may be the secret: it is not shown."""
    text = value if isinstance(value, str) else ""
    if not _PATH.match(text) or any(not part.strip(".") for part in text.split("/")):
        raise FieldError(
            f"is not a Vault path below MOUNT/{SECRETS}",
            f"store the secret (vault kv put secret/{SECRETS}NAME secret=…) and write its path:"
            " values never belong into a request",
        )
    return text


def header_name(value: Any) -> str:
    """The name of a header of the sender's own."""
    name = text_of(value)
    if not _HEADER_NAME.match(name):
        raise FieldError("is not the name of a header", "use letters, digits and dashes")
    if _CREDENTIAL.fullmatch(name):
        raise FieldError(
            "carries a credential, which would be stored with the job",
            "put it into the secret that webhook_secret names, as field authorization",
        )
    if _OURS.fullmatch(name):
        raise FieldError("is set by the service itself", "leave it out")
    return name


def header_value(value: Any) -> str:
    """The value of a header: printable ASCII on one line."""
    text = text_of(value)
    if not _HEADER_VALUE.match(text) or text != text.strip():
        raise FieldError(
            "holds a line break, blanks around it or characters outside ASCII", "write plain text"
        )
    return text
