"""Holding index and table against each other, row by row, and checksums against bytes."""

from __future__ import annotations

import numpy as np

from store.contract import CollectionSpec, Verification
from store.generations import Generations
from store.places import Lease
from store.publication import Publisher, missing, write_rows
from store.rows import EMBEDDING_COLUMNS, ROW_ID, checksum, to_embeddings, values
from store.table import Version


def verify(generations: Generations, publisher: Publisher, *, repair: bool) -> Verification:
    """Compare; with `repair`, write and delete what the index lacks and has too much."""
    if repair:
        generations.index(generations.current()).create()
        publisher.caught_up()
        publisher.sweep()
    with generations.publishing() as lease:
        return _compare(generations, lease, repair=repair)


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
        corrupt=_corrupt_rows(version, generation.spec),
        repaired=repair,
    )


def _corrupt_rows(version: Version, spec: CollectionSpec) -> list[int]:
    """Ids of rows whose representations do not match their checksum."""
    corrupt: list[int] = []
    for rows in version.scan([*EMBEDDING_COLUMNS, "checksum"]):
        embeddings = to_embeddings(rows, spec)
        expected = zip(values(rows, ROW_ID), values(rows, "checksum"), strict=True)
        corrupt += [
            row
            for (row, stored), embedding in zip(expected, embeddings, strict=True)
            if checksum(embedding) != stored
        ]
    return corrupt
