"""Holding index and table against each other, row by row, and checksums against bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from m3.errors import StoredDataError
from store.generations.generation import Generations
from store.generations.publication import Publisher, write_rows
from store.places.place import Lease
from store.reports import Verification
from store.spec import CollectionSpec
from store.table.rows import ROW_ID, corrupt, embedding_columns, values
from store.table.version import Version, missing


def verify(generations: Generations, publisher: Publisher, *, repair: bool) -> Verification:
    """Compare; with `repair`, write and delete what the index lacks and has too much."""
    moved = 0
    if repair:
        moved = _bring_here(generations)
        publisher.caught_up()
        publisher.sweep()
    with generations.publishing() as lease:
        found = _compare(generations, lease, repair=repair)
    return replace(found, missing=found.missing + moved, corrupt=_corrupt_rows(generations))


def _bring_here(generations: Generations) -> int:
    """Have an index in this Milvus: the one that is there, or a new one in place of another's.

    Returns:
        The rows that were written. Only with them in it does the record say that it is here.
    """
    generations.index_here(generations.current()).create()
    if generations.current().engine == generations.engine:
        return 0
    with generations.publishing() as lease:
        generation = generations.current()
        version = generations.table(generation).at(generation.published)
        index = generations.index_here(generation)
        lacking = missing(version.row_ids, index.row_ids())
        write_rows(index, version, lacking, lease)
        generations.update(generation, lambda g: replace(g, engine=generations.engine))
        return len(lacking)


def _compare(generations: Generations, lease: Lease, *, repair: bool) -> Verification:
    generation = generations.current()
    table, index = generations.table(generation), generations.index(generation)
    version = table.at(generation.published)
    indexed = index.row_ids() if index.exists() else np.empty(0, np.int64)
    lacking = missing(version.row_ids, indexed)
    stale = missing(indexed, version.row_ids)
    # What was replaced a moment ago waits for readers to move on; that is as it should be.
    for earlier in (generation.swept, *(p.version for p in generation.recent)):
        stale = missing(stale, table.at(earlier).row_ids)
    if repair:
        write_rows(index, version, lacking, lease)
        index.delete(stale.tolist())
    return Verification(
        chunks=len(version.row_ids),
        missing=len(lacking),
        stale=len(stale),
        corrupt=[],
        repaired=repair,
    )


def _corrupt_rows(generations: Generations, again: int = 2) -> list[int]:
    """Ids of rows whose representations do not match their checksum, while writers go on."""
    generation = generations.current()
    try:
        version = generations.table(generation).at(generation.published)
        return list(chain.from_iterable(_scanned(version, generation.spec)))
    except StoredDataError:
        # A purge may have taken away what was published when this began.
        if not again or generations.current().published == generation.published:
            raise
        return _corrupt_rows(generations, again - 1)


def _scanned(version: Version, spec: CollectionSpec) -> Iterator[list[int]]:
    columns = [*embedding_columns(spec), "checksum"]
    for rows in version.scan(columns, at_once=version.at_once):
        ids = values(rows, ROW_ID)
        yield [ids[i] for i in corrupt(rows, spec)]
