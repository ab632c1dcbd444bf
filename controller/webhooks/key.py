"""The Vault secret of a webhook: its key, where it may be used, and an Authorization header.

Whoever names a path gets its key used for a URL of their choice. So `hosts` in the secret says
for which hosts it is; without it there is no Authorization header at all, because a header can be
used by whoever receives it, and a signature cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.contract.webhook_fields import WebhookUrl

_VALUE = re.compile(r"[!-~](?:[ -~]{0,8190}[!-~])?\Z")


class UnusableKeyError(ValueError):
    """A secret that cannot be used for a webhook; the words hold nothing of its values."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a secret gives for one URL. It is not kept beyond one try."""

    secret: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)


def read(fields: Mapping[str, Any], url: WebhookUrl) -> Key:
    """The key for a URL. Raises UnusableKeyError."""
    secret, authorization = fields.get("secret"), fields.get("authorization")
    if not isinstance(secret, str) or not secret:
        raise UnusableKeyError("the secret has no field `secret`")
    hosts = fields.get("hosts") or ""
    names = {name.strip().lower() for name in str(hosts).split(",") if name.strip()}
    if names and url.host not in names:
        raise UnusableKeyError(f"the secret is not for {url.host}: see its `hosts`")
    if authorization is None or authorization == "":
        return Key(secret)
    if not names:
        raise UnusableKeyError("the secret has `authorization`, but no `hosts` that may get it")
    if not isinstance(authorization, str) or not _VALUE.match(authorization):
        raise UnusableKeyError("its `authorization` is no header's value")
    if url.scheme != "https":
        raise UnusableKeyError("its `authorization` is sent over HTTPS only")
    return Key(secret, authorization)
