"""Erasing what a collection no longer has, from all of its generations."""

from __future__ import annotations

from m3.types import DocumentKey
from store.contract import Collection, Store
from store.generations.differences import hashes_of, unlike
from store.reports import Compaction


def erase(store: Store, name: str) -> Compaction:
    """Leave no byte of documents that were deleted or replaced before this began.

    Generations that do not serve lose every document that is not as in the one that serves; a
    rebuild or a rollback brings it back as it is there.

    Raises:
        NotFound: no such collection.
        DeadlineExceeded: as `store.contract.Collection.purge`.
    """
    for number in store.generations(name).leaving:
        store.discard(name, number)
    known = store.generations(name)
    serving = store.open(name, known.current)
    done = [serving.purge()]
    for number in known.specs:
        if number != known.current:
            other = store.open(name, number)
            other.delete(_unlike(other, serving))
            done.append(other.purge())
    return Compaction(
        fragments_before=sum(each.fragments_before for each in done),
        fragments=sum(each.fragments for each in done),
        bytes_freed=sum(each.bytes_freed for each in done),
    )


def _unlike(other: Collection, serving: Collection) -> list[DocumentKey]:
    """Documents that differ are looked at again: a switch may just have copied some over."""
    found = list(unlike(other.hashes(), serving.hashes()))
    return list(unlike(hashes_of(other, found), hashes_of(serving, found)))
