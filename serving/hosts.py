"""The names by which a server without keys may be asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from m3.errors import Forbidden
from serving.keys.check import EXEMPT

_PRIVATE = (".localhost", ".local", ".internal")
"""Ends of names that no public name server may answer for."""


class HostCheck:
    """Lets pass what asks for an address, a private name or the host of an allowed origin, and
    probes.

    A page can have its own name lead to this machine (DNS rebinding), and then is of our origin to
    its browser. It has no key; where none is asked for, only the name tells it from our own pages.
    Where `app.state.any_host` says so, others than this machine are served under names of theirs.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._names = {urlsplit(origin).hostname for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in EXEMPT:
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises Forbidden."""
        host = Headers(scope=scope).get("host", "")
        name = _name(host)
        known = name in self._names or _is_address(name) or _is_private(name)
        if known or scope["app"].state.any_host:
            return
        raise Forbidden(
            f"this server is not known as {host!r}: use its address, configure keys, or name "
            "it in M3_ALLOWED_ORIGINS"
        )


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_private(name: str) -> bool:
    """Whether no page of the internet can have the name: of one label, as proxies and containers
    call their servers, or of a private domain.
    """
    return bool(name) and ("." not in name or name.endswith(_PRIVATE))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
