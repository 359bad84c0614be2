"""Bearer keys: the file holds the SHA-256 of each key, never a key."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from m3.errors import InvalidConfiguration, Unauthorized

EXEMPT = frozenset({"/livez", "/readyz", "/metrics"})
Open: TypeAlias = Callable[[str], bool]
"""Whether a path is answered without a key, because what it answers asks for one itself."""
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


def read_digests(path: Path) -> tuple[bytes, ...]:
    """The digests in a keys file: one hexadecimal SHA-256 a line; `#` begins a comment.

    Raises:
        InvalidConfiguration: a file that cannot be read, holds no key or another thing.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"M3_API_KEYS_FILE: {path} cannot be read: {error}") from error
    digests: list[bytes] = []
    for number, line in enumerate(lines, 1):
        word = line.split("#", 1)[0].strip()
        if not word:
            continue
        if not _DIGEST.fullmatch(word):
            raise InvalidConfiguration(
                f"M3_API_KEYS_FILE: line {number} of {path} is not a SHA-256 in hexadecimal: "
                "write `printf %s KEY | sha256sum`"
            )
        digests.append(bytes.fromhex(word))
    if not digests:
        raise InvalidConfiguration(f"M3_API_KEYS_FILE: {path} holds no key")
    return tuple(digests)


def is_known(key: bytes, digests: Sequence[bytes]) -> bool:
    """Whether one of the digests is the key's."""
    digest = hashlib.sha256(key.strip()).digest()
    # All are compared, so that the time taken says nothing of which came close.
    matches = [hmac.compare_digest(digest, known) for known in digests]
    return any(matches)


class KeyCheck:
    """Lets requests pass that bear a known key, probes, and what `is_open` says."""

    def __init__(self, app: ASGIApp, digests: Sequence[bytes], is_open: Open) -> None:
        self._app = app
        self._digests = digests
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._may_pass(scope):
            raise Unauthorized("send a known key: `Authorization: Bearer KEY`")
        await self._app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        path = scope["path"]
        return path in EXEMPT or self._is_open(path) or self._bears_key(scope)

    def _bears_key(self, scope: Scope) -> bool:
        header = Headers(scope=scope).get("authorization", "")
        scheme, _, key = header.partition(" ")
        return scheme.lower() == "bearer" and is_known(key.encode("latin-1"), self._digests)
