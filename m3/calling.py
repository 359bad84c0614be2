"""HTTP as a caller has it: the key that it sends, and what a refusal says.

The other side of `serving/keys/` and `serving/problems.py`.
"""

from __future__ import annotations

from typing import Any, cast

import orjson


def bearer(api_key: str | None) -> dict[str, str]:
    """The headers that carry a key; none without one."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def members(content: bytes) -> dict[str, Any]:
    """Of a problem document; none where the content is no JSON object, as a proxy's page is not."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def seconds_of(retry_after: str) -> float:
    """Of the header `Retry-After`; a date, which it may hold too, counts as one second."""
    return float(retry_after) if retry_after.isdigit() else 1.0
