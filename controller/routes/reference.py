"""The API described by itself: /openapi.json, and /docs for people."""

from __future__ import annotations

import base64
import hashlib
import re

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.routing import Route

from controller.reference import description, openapi

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


async def openapi_json(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(openapi.document())


async def docs(request: Request) -> HTMLResponse:
    """The page: runs its own script only, and may not be framed."""
    page = description.render("page.html.j2")
    sources = {
        kind: "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in _INLINE.findall(page)
    }
    policy = (
        f"default-src 'none'; script-src '{sources['script']}'; style-src '{sources['style']}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


async def root(request: Request) -> RedirectResponse:
    """Who opens the address in a browser wants the page."""
    return RedirectResponse("/docs", 307)


routes = [
    Route("/openapi.json", openapi_json, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
    Route("/", root, methods=["GET"]),
]
