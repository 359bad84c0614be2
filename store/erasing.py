"""Erasing what a collection no longer has, from all of its generations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from m3.types import DocumentKey
from store.contract import Collection, Compaction, Store


def erase(store: Store, name: str) -> Compaction:
    """Leave no byte of documents that were deleted or replaced before this began.

    Generations that do not serve lose every document that is not as in the one that serves; a
    rebuild or a rollback brings it back as it is there.

    Raises:
        NotFound: no such collection.
        DeadlineExceeded: as `store.contract.Collection.purge`.
    """
    known, serving = store.generations(name), store.open(name)
    done = [serving.purge()]
    for number in known.specs:
        if number != known.current:
            other = store.open(name, number)
            other.delete([key for some in other.hashes() for key in _unlike(some, serving)])
            done.append(other.purge())
    return Compaction(
        fragments_before=sum(each.fragments_before for each in done),
        fragments=sum(each.fragments for each in done),
        bytes_freed=sum(each.bytes_freed for each in done),
    )


def _unlike(some: Mapping[DocumentKey, str], serving: Collection) -> Iterator[DocumentKey]:
    there = serving.content_hashes(some)
    return (key for key, content_hash in some.items() if there.get(key) != content_hash)
