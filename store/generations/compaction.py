"""A generation's table kept small: few files, and no versions that nobody reads any more.

Compacting moves rows and keeps their ids, so that readers and the index notice nothing. Cleaning
takes away what only old versions hold; versions that readers or the index may still need stay.
"""

from __future__ import annotations

import time
from datetime import timedelta

from store.generations.generation import Generations
from store.generations.publication import READER_SECONDS, Publisher
from store.registry import Generation
from store.reports import Compaction
from store.table.table import FRAGMENT_ROWS, Table

RETENTION = timedelta(days=7)
"""How long old versions stay: longer than any copy or rebuild reads one."""

MOST_FRAGMENTS = 64
"""Small fragments that a table may have before a run's end compacts it."""

MOST_AMID_RUN = 128
"""As many before a run does so beside its writes, where they make no large one sooner."""


class Compactor:
    """Compacts and cleans one collection's table, beside readers and writers."""

    def __init__(self, generations: Generations, publisher: Publisher) -> None:
        self._generations = generations
        self._publisher = publisher
        self._patience = 1
        self._uncleaned = False

    def tidy(self) -> None:
        """See `store.contract.Collection.tidy`. One caller at a time."""
        small = self._table().small_fragments()
        # As soon as they make a large one, so that hardly a row is moved twice.
        enough = sum(small) >= self._patience * FRAGMENT_ROWS
        if (enough or len(small) > self._patience * MOST_AMID_RUN) and not self._compacted():
            # Who writes to the same fragments would be quicker again.
            self._patience *= 2

    def finish(self) -> None:
        """Compact at a run's end, and clean where that or the run beside it has compacted."""
        if len(self._table().small_fragments()) > MOST_FRAGMENTS:
            self._compacted()
        if self._uncleaned:
            self._clean(RETENTION)
            self._uncleaned = False

    def _table(self) -> Table:
        return self._generations.table(self._generations.current())

    def _compacted(self) -> bool:
        """Whether compacting came through; another who does so already will do."""
        through = self._table().compact(retries=0)
        if through:
            self._publisher.publish()
            self._uncleaned = True
        return through

    def compact(self, retention: timedelta) -> Compaction:
        """See `store.contract.Collection.compact`."""
        generation = self._publisher.caught_up()
        table = self._generations.table(generation)
        before = table.fragments()
        table.compact()
        self._publisher.publish()
        return Compaction(before, table.fragments(), self._clean(retention))

    def purge(self) -> Compaction:
        """See `store.contract.Collection.purge`."""
        self._publisher.settle()
        table = self._generations.table(self._generations.current())
        before = table.fragments()
        table.compact(every_deletion=True)
        self._publisher.publish()
        self._publisher.settle()
        # The version before was what readers saw until a moment ago.
        time.sleep(READER_SECONDS)
        freed = self._clean(timedelta(0))
        self._generations.index(self._generations.current()).erase()
        return Compaction(before, table.fragments(), freed)

    def _clean(self, retention: timedelta) -> int:
        # Publications need the record's versions: none may pass while these are read.
        with self._generations.publishing():
            generation = self._generations.current()
            return self._generations.table(generation).clean(retention, _oldest(generation))


def _oldest(generation: Generation) -> int:
    """The oldest version that the record names: it, and those after it, are needed."""
    named = (generation.published, generation.swept, *(p.version for p in generation.recent))
    return min(named)
