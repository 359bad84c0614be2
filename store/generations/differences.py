"""What one collection holds otherwise than another, from one reading of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from m3.types import DocumentKey
from store.contract import Collection

Hashes: TypeAlias = Iterable[Mapping[DocumentKey, str]]
"""Documents' content hashes, some at a time."""

_AT_ONCE = 1_024


def hashes_of(collection: Collection, keys: Sequence[DocumentKey] | None) -> Hashes:
    """Of these documents, those that are there; of all of them without keys."""
    if keys is None:
        return collection.hashes()
    parts = (keys[first : first + _AT_ONCE] for first in range(0, len(keys), _AT_ONCE))
    return (collection.content_hashes(part) for part in parts)


def unlike(some: Hashes, other: Hashes) -> Iterator[DocumentKey]:
    """Those of some documents that are not among the other ones, or not so.

    The other ones are read first, and held in about 130 bytes each.
    """
    there = {_digest(key) + bytes.fromhex(own) for part in other for key, own in part.items()}
    for part in some:
        for key, own in part.items():
            if _digest(key) + bytes.fromhex(own) not in there:
                yield key


def absent(some: Hashes, other: Hashes) -> Iterator[DocumentKey]:
    """Those of some documents that are not among the other ones, which are read first."""
    there = {_digest(key) for part in other for key in part}
    return (key for part in some for key in part if _digest(key) not in there)


def _digest(key: DocumentKey) -> bytes:
    return bytes.fromhex(key.digest())
