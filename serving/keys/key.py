"""A key as the server knows it: by its SHA-256, with what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from m3.errors import Unauthorized
from m3.types import DEFAULT_TENANT

Scope: TypeAlias = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
EVERY_TENANT = "*"
"""A key's tenant where it may act for any."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may ask of a server; None is unlimited.

    Attributes:
        rate: requests a second in the long run.
        burst: requests at once after a rest.
        concurrency: requests under way.
    """

    rate: float | None = None
    burst: int = 1
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `digest` is its SHA-256; the key itself is kept nowhere.

    Attributes:
        tenant: whose documents it reads and writes, or EVERY_TENANT.
        expires: from when on it is refused; None is never.
    """

    name: str
    digest: bytes
    scopes: frozenset[Scope] = frozenset(SCOPES)
    tenant: str = DEFAULT_TENANT
    expires: datetime | None = None
    limits: Limits = Limits()

    def expired(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires


def unauthorized() -> Unauthorized:
    """The one answer for no key, an unknown one and one that has expired."""
    return Unauthorized("send a known key: `Authorization: Bearer KEY`")
