"""What is wrong with the webhook of a request before it is dispatched; DNS is asked at delivery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.clients.vault import Found, VaultClient
from controller.contract.json_schema import Problem
from controller.contract.webhook_fields import parse_url
from controller.webhook_addresses import Allowed, refusal_before_dns
from controller.webhooks import key


def problems(request: Mapping[str, Any], allowed: Allowed) -> list[Problem]:
    """What the fields alone show."""
    if not request["webhook_url"]:
        if request["webhook_secret"] or request["webhook_headers"]:
            return [
                Problem(
                    "webhook_url", "is missing, but there are other webhook fields", "write the URL"
                )
            ]
        return []
    url = parse_url(request["webhook_url"])
    if why := refusal_before_dns(url, allowed):
        problem, _, fix = why.partition("; ")
        return [Problem("webhook_url", problem, fix)]
    return []


async def key_problem(request: Mapping[str, Any], vault: VaultClient) -> Problem | None:
    """What is wrong with the secret behind webhook_secret. Raises UnavailableError."""
    name = request["webhook_secret"].partition("/nomad-build-service/webhook/")[2]
    found = await vault.webhook(name)
    if isinstance(found, Found):
        why = "there is no such secret" if found is Found.NO else "this service may not read it"
        return Problem("webhook_secret", why, "store it with the field `secret`")
    try:
        key.read(found, parse_url(request["webhook_url"]))
    except key.UnusableKeyError as error:
        return Problem("webhook_secret", str(error), "correct the secret in Vault")
    return None
