"""How a caller without a sufficient credential is told to get one.

As RFC 6750 and the authorization of MCP say: `WWW-Authenticate` leads to the metadata of RFC 9728
and names every scope that is needed, in one challenge.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from controller.access.callers import READ, WRITE
from controller.errors import ForbiddenError, UnauthenticatedError
from controller.settings import Settings

METADATA = "/.well-known/oauth-protected-resource"
# Of this origin's only resource, and of the resource at /mcp by name: clients ask for either.
METADATA_PATHS = (METADATA, f"{METADATA}/mcp")


def header(connection: HTTPConnection, error: UnauthenticatedError | ForbiddenError) -> str:
    """The value of WWW-Authenticate."""
    parts = {"resource_metadata": f"{base_url(connection)}{METADATA}/mcp"}
    if isinstance(error, ForbiddenError):
        parts |= {"error": "insufficient_scope", "scope": error.scope}
    else:
        parts |= {"error": "invalid_token"} if "authorization" in connection.headers else {}
        parts |= {"scope": f"{READ} {WRITE}"}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parts.items())


def base_url(connection: HTTPConnection) -> str:
    """The URL that the caller reaches this service by."""
    settings: Settings = connection.app.state.service.settings
    if settings.public_url:
        return settings.public_url.rstrip("/")
    url = connection.url
    return f"{url.scheme.replace('ws', 'http')}://{url.netloc}"
