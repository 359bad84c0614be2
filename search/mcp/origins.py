"""Pages of other origins reach nothing."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request

from m3.errors import Forbidden


def refuse_foreign(request: Request, allowed: Sequence[str]) -> None:
    """Let pass what no page sends, and what pages of our own or allowed origins send.

    A page under a name of its own that leads here is of our origin; `serving/hosts.py` knows it.

    Args:
        allowed: origins, `https://host:port` each.

    Raises:
        Forbidden: anything else.
    """
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if origin is not None and origin not in allowed and urlsplit(origin).netloc != host:
        raise Forbidden(f"pages of {origin} may not call this: M3_ALLOWED_ORIGINS lets them")
