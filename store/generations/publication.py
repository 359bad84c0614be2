"""Publishing: the index is brought up to the table, then readers' pointer moves.

There is no other way rows get into the index, so that a writer that crashed, a second writer
and a lost index are all the same case: the difference between two versions of the table.

Rows that a publication replaces stay in the index for `READER_SECONDS`, so that a reader that
began on the version before finds all of it; then they are swept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from m3.types import I64
from store.generations.generation import Generations
from store.index.index import Index
from store.places.place import Lease
from store.registry import Generation
from store.table.rows import INDEX_COLUMNS, values
from store.table.table import Table
from store.table.version import Version

READER_SECONDS = 3.0
"""How long a reader may take to ask the index; one that takes longer starts over."""

_INDEX_ROWS = 1_000
_MANY_ROWS = 100_000
"""New rows from which on it is quicker to look at all documents than at theirs by name."""

# The standard library's logger: silent until a command configures its logs.
_log = logging.getLogger("m3.store")


class Publisher:
    """Moves one collection's published version forward."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations

    def caught_up(self) -> Generation:
        """The serving generation, after publishing what a writer that crashed left behind."""
        generation = self._generations.current()
        self._generations.refuse_elsewhere(generation)
        if self._generations.table(generation).latest_number() != generation.published:
            self.publish()
        return self._generations.current()

    def publish(self) -> None:
        """Make the newest version of the table the one that readers see, whoever wrote it."""
        with self._generations.publishing() as lease:
            generation = self._generations.current()
            table = self._generations.table(generation)
            base = table.at(generation.published)
            target, added = _consistent_over(table, base)
            if target.number == base.number:
                return
            _log.debug("indexing")
            write_rows(self._generations.index(generation), target, added, lease)
            _log.debug("indexed")
            replaced = len(base.over(target)) > 0
            self._generations.update(
                generation, lambda g: _published(g, target.number, replaced=replaced)
            )
            _log.debug("published")
            self._sweep()

    def publish_filled(self, version: int, fill: Callable[[Generation, Lease], None]) -> None:
        """Make readers see a version once `fill` has brought its rows into an empty index here.

        However long that takes, nobody else publishes meanwhile: writers wait.
        """
        with self._generations.publishing() as lease:
            generation = self._generations.current()
            fill(generation, lease)
            lease.check()
            engine = self._generations.engine
            self._generations.update(
                generation,
                lambda g: replace(_published(g, version, replaced=False), engine=engine),
            )

    def settle(self) -> None:
        """Wait until what has been replaced by now has left the index."""
        target = self.caught_up().published
        while (generation := self._generations.current()).swept < target and generation.recent:
            time.sleep(max(0.0, generation.recent[0].at + READER_SECONDS - time.time()))
            self.sweep()

    def sweep(self) -> None:
        """Delete from the index what was replaced longer ago than any reader reads."""
        with self._generations.publishing():
            self._sweep()

    def _sweep(self) -> None:
        generation = self._generations.current()
        horizon = time.time() - READER_SECONDS
        due = [publication for publication in generation.recent if publication.at <= horizon]
        if not due:
            return
        table, index = self._generations.table(generation), self._generations.index(generation)
        before = table.at(generation.swept)
        _log.debug("sweeping")
        for publication in due:
            after = table.at(publication.version)
            index.delete(before.over(after).tolist())
            before = after
        _log.debug("swept")
        self._generations.update(generation, lambda g: g.sweep(before.number))


class Deferred(Publisher):
    """Leaves all that is published as it is: commits wait for a publisher that comes later."""

    def caught_up(self) -> Generation:
        return self._generations.current()

    def publish(self) -> None:
        """Not now."""

    def settle(self) -> None:
        """Nothing was replaced that readers see."""

    def sweep(self) -> None:
        """Not now."""


def consistent_latest(table: Table) -> Version:
    """The newest version, made one write a document, by reading all of its documents' digests."""
    while True:
        latest = table.latest()
        doubled = latest.doubled()
        if not doubled or not table.drop_overtaken(latest, doubled):
            return latest


def _consistent_over(table: Table, base: Version) -> tuple[Version, I64]:
    """The newest version, made one write a document, and the rows it has over `base`."""
    while True:
        latest = table.latest()
        added = latest.over(base)
        if len(added) > _MANY_ROWS:
            latest = consistent_latest(table)
            return latest, latest.over(base)
        documents = set(values(latest.take(added.tolist(), ["document"]), "document"))
        if not table.drop_overtaken(latest, sorted(documents)):
            return latest, added


def _published(generation: Generation, version: int, *, replaced: bool) -> Generation:
    published = generation.publish(version, time.time())
    if replaced or generation.recent:
        return published
    return published.sweep(version)


def write_rows(index: Index, version: Version, row_ids: I64, lease: Lease) -> None:
    """Write these rows of a version into the index. Raises LeaseLost."""
    for first in range(0, len(row_ids), _INDEX_ROWS):
        lease.check()
        some = row_ids[first : first + _INDEX_ROWS].tolist()
        index.upsert(version.take(some, INDEX_COLUMNS))
