"""An answer as a tool's result."""

from __future__ import annotations

import json
from typing import Any

import mcp_types as types


def answered(answer: dict[str, Any], *, is_error: bool = False) -> types.CallToolResult:
    """The answer structured, and the same as text for clients that read only that."""
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return types.CallToolResult(
        content=[types.TextContent(text=text)], structured_content=answer, is_error=is_error
    )
