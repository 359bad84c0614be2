"""Nothing but probes is answered without a key, and no key gets more than its limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.keys.key import Key, unauthorized
from serving.keys.rates import Rates
from serving.keys.ring import KeyRing

EXEMPT = frozenset({"/livez", "/readyz", "/metrics"})
Open: TypeAlias = Callable[[str], bool]
"""Whether a path is answered without a key, because what it answers asks for one itself."""


class KeyCheck:
    """Lets requests pass that bear a known key, probes, and what `is_open` says."""

    def __init__(self, app: ASGIApp, keys: KeyRing, rates: Rates, is_open: Open) -> None:
        self._app = app
        self._keys = keys
        self._rates = rates
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in EXEMPT or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        key = self._key(scope)
        scope["state"]["key"] = key
        scope["state"]["noted"]["key"] = key.name
        with self._rates.within(key):
            await self._app(scope, receive, send)

    def _key(self, scope: Scope) -> Key:
        header = Headers(scope=scope).get("authorization", "")
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthorized()
        return self._keys.find(secret.encode("latin-1"))
