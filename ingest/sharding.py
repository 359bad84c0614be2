"""A source split between processes that need not know of each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from ingest.sources import Parsed, Reject
from m3.errors import InvalidInput
from m3.types import DocumentKey


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`, counted from 0 as Kubernetes counts the pods of an Indexed Job.

    A document's key alone says whose it is, so that it stays with its shard wherever it stands.
    """

    index: int
    count: int

    @classmethod
    def parsed(cls, given: str) -> Self:
        """From `I/N`. Raises InvalidInput for anything else."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", given.strip(), re.ASCII)
        if found is None or not int(found[1]) < int(found[2]):
            raise InvalidInput(f"--shard {given}: expected I/N with I from 0 to N-1, such as 0/4")
        return cls(int(found[1]), int(found[2]))

    def has(self, key: DocumentKey) -> bool:
        return self._has(key.digest())

    def select(self, items: Iterable[Parsed | Reject]) -> Iterator[Parsed | Reject]:
        """Its documents, and its part of what cannot be read."""
        for item in items:
            match item:
                case Parsed():
                    mine = self.has(item.document.key)
                case Reject():
                    mine = self._has(_digest(item))
            if mine:
                yield item

    def _has(self, digest: str) -> bool:
        return int(digest, 16) % self.count == self.index


def _digest(reject: Reject) -> str:
    place = str(reject.place).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(place, digest_size=16).hexdigest()
