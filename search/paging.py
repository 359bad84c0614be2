"""Pages of one search: the token that names the next, and the rankings that pages are cut from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from m3.errors import InvalidInput
from m3.types import Representation
from scoring.fusion import Weights
from search.embed import bytes_of
from search.ranking import Place
from search.response import Staged
from store.candidates import Snapshot

_FORM = struct.Struct(">B12s12sHHH")
_VERSION = 2
_DIGEST_BYTES = 12

_MAX_BYTES = 32 * 2**20
_SECONDS = 300.0
"""A document that is deleted shows up on no page for longer than this."""
_CHUNK_BYTES = 800


@dataclass(frozen=True, slots=True)
class Page:
    """Where a search goes on.

    Attributes:
        search: digest of what was asked, `SearchRequest.digest`.
        snapshot: digest of what it read, and what it went without.
        depth: candidates of each leg.
        stage: how many of them get a ColBERT score; 0: all.
        offset: hits before this page.
    """

    search: bytes
    snapshot: bytes
    depth: int
    stage: int
    offset: int

    def token(self) -> str:
        """Opaque to callers."""
        packed = _FORM.pack(
            _VERSION, self.search, self.snapshot, self.depth, self.stage, self.offset
        )
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def read(cls, token: str) -> Page:
        """Raises InvalidInput for what is no token of ours."""
        try:
            packed = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            version, *fields = _FORM.unpack(packed)
        except (binascii.Error, struct.error, ValueError):
            version, fields = 0, []
        if version != _VERSION or not 0 < fields[4] < fields[2]:
            raise InvalidInput("page: send that of the answer before, as it is, or leave it out")
        return cls(*fields)


def digest(*facts: object) -> bytes:
    """[12] bytes of values that have a faithful `repr`."""
    return hashlib.blake2b(repr(facts).encode(), digest_size=_DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Ranking:
    """All hits of a search, best first, from one snapshot.

    Attributes:
        chunks: how many it was made of, whether they are hits or not.
        weights: how they were fused, on all its pages.
        degraded: what the search went without, on all its pages.
        staged: how many of the candidates are ranked, where not all are.
        stage: how many were to be, at most, on all its pages; None: all.
        like: the document that is the query, which may be another by now; None: the query is a
            text, which is always embedded as it was.
    """

    places: Sequence[Place]
    chunks: int
    snapshot: Snapshot
    weights: Weights
    degraded: tuple[str, ...] = ()
    staged: Staged | None = None
    stage: int | None = None
    like: Representation | None = None

    @property
    def bytes(self) -> int:
        """What it takes in memory, nearly."""
        return _CHUNK_BYTES * self.chunks + (bytes_of(self.like) if self.like else 0)

    def digest(self) -> bytes:
        """[12] bytes of what its pages have in common."""
        made = self.snapshot.table, self.snapshot.version, self.weights, self.stage
        return digest(*made, *self.degraded)


class Rankings:
    """The last searches' rankings, for a while and in bounded memory; for one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, bytes, int], tuple[float, Ranking]] = OrderedDict()
        self._bytes = 0

    def of(self, page: Page) -> Ranking | None:
        """The ranking that a page is of, if it is still kept."""
        kept = self._kept.get(_key(page))
        return kept[1] if kept and time.monotonic() - kept[0] < _SECONDS else None

    def keep(self, page: Page, ranking: Ranking) -> None:
        """Keep what this and other pages are of, from when it was found."""
        found, before = self._kept.get(_key(page), (0.0, None))
        since = found if before is ranking else time.monotonic()
        self._forget(_key(page))
        self._kept[_key(page)] = (since, ranking)
        self._bytes += ranking.bytes
        while self._bytes > _MAX_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: tuple[bytes, bytes, int]) -> None:
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[1].bytes


def _key(page: Page) -> tuple[bytes, bytes, int]:
    return page.search, page.snapshot, page.depth
