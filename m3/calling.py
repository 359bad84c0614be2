"""HTTP as a caller has it: the key that it sends, and what a refusal says.

The other side of `serving/keys/` and `serving/problems.py`.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from m3.errors import InvalidInput


def refuse_no_address(url: str, of: str) -> None:
    """Raise InvalidInput for what leads to no server; `of` says to which one it should."""
    if not _is_address(url):
        raise InvalidInput(f"{url!r} is no address of {of}: write http://HOST:PORT")


def _is_address(url: str) -> bool:
    """One of HTTP, with a host and a port that there can be."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return whole and url.isprintable() and url.startswith(("http://", "https://"))


def as_sent(api_key: str) -> str:
    """A key without the white space around it, with which files of secrets often end.

    Raises:
        InvalidInput: no header carries it. The message does not show it.
    """
    key = api_key.strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidInput("an API key is printable ASCII, and this one is not: paste it anew")
    return key


def bearer(api_key: str | None) -> dict[str, str]:
    """The headers that carry a key; none without one. Raises InvalidInput as `as_sent` does."""
    key = as_sent(api_key or "")
    return {"Authorization": f"Bearer {key}"} if key else {}


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
