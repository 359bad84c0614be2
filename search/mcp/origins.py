"""Pages of other origins reach nothing, whatever name of their own they gave this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request

from m3.errors import Forbidden


def refuse_foreign(request: Request, allowed: Sequence[str], *, keyed: bool) -> None:
    """Let pass what no page sends, and what pages of our own or allowed origins send.

    A page can have its own name lead to this machine (DNS rebinding), and then is of our origin.
    It has no key. Where none is asked for, a server goes by its addresses, by `localhost`, and
    by the names of allowed origins.

    Args:
        allowed: origins, `https://host:port` each.
        keyed: whether the request came in with a key.

    Raises:
        Forbidden: anything else.
    """
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if origin is not None and origin not in allowed and urlsplit(origin).netloc != host:
        raise Forbidden(f"pages of {origin} may not call this: M3_ALLOWED_ORIGINS lets them")
    if not keyed and not _is_ours(_name(host), allowed):
        raise Forbidden(
            f"this server is not known as {host!r}: use its address, configure keys, or name "
            "it in M3_ALLOWED_ORIGINS"
        )


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_ours(name: str, allowed: Sequence[str]) -> bool:
    if name == "localhost" or name in {urlsplit(origin).hostname for origin in allowed}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
