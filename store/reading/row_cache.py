"""Rows that searches read again and again, in memory.

A row never changes under its id, so what is kept of it cannot be wrong; but it may be gone from a
later version. What is kept of a table is therefore all alive in one version of it, and moves on
with the versions: it loses the few rows that the next one lacks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, Self, TypeVar

from m3.errors import StoredDataError
from store.table.version import Version

_PASSED = 10_000
"""Rows not kept that are remembered by name: those of some fifty searches."""

_Place = tuple[str, int]
"""A table, and a row's id there."""


class Kept(Protocol):
    """What is kept of a row."""

    @property
    def id(self) -> int:
        """The row's in its table."""
        ...

    def owned(self) -> Self:
        """As it is kept: nothing in it keeps anything else in memory."""
        ...

    def bytes(self) -> int:
        """Of that, by estimate."""
        ...


T = TypeVar("T", bound=Kept)


class RowCache(Generic[T]):
    """The rows used last, of all tables of a process, within a budget. Threads may share it.

    Once it is full, a row is kept when it is read for the second time in a while: one that is
    wanted once is not worth its copy, nor another's place.
    """

    def __init__(self, budget: int) -> None:
        """`budget`: bytes; 0 keeps nothing."""
        self._budget = budget
        self._bytes = 0
        self._rows: OrderedDict[_Place, tuple[T, int]] = OrderedDict()
        self._passed: OrderedDict[_Place, None] = OrderedDict()
        self._versions: dict[str, Version] = {}
        self._lock = threading.Lock()

    @property
    def enabled(self) -> bool:
        return self._budget > 0

    @property
    def bytes(self) -> int:
        """What is kept, by estimate."""
        return self._bytes

    def get(self, table: str, version: Version, ids: Iterable[int]) -> list[T]:
        """Those of these rows that are kept, and alive in a version of the table."""
        self._move(table, version)
        found: list[T] = []
        with self._lock:
            if self._at(table, version):
                for key in [(table, id_) for id_ in ids]:
                    if kept := self._rows.get(key):
                        self._rows.move_to_end(key)
                        found.append(kept[0])
        return found

    def put(self, table: str, version: Version, rows: Sequence[T]) -> None:
        """Keep rows that were read from a version, unless the cache has gone on to another."""
        sized = [(row, row.bytes()) for row in rows]
        with self._lock:
            worth = self._worth(table, sized)
        owned = [(row.owned(), size) for row, size in worth]
        with self._lock:
            if not self._at(table, version):
                return
            for row, size in owned:
                self._drop((table, row.id))
                # Room first: who asks meanwhile how much there is hears of no more than the budget.
                while self._bytes + size > self._budget:
                    self._drop(next(iter(self._rows)))
                self._rows[table, row.id] = (row, size)
                self._bytes += size

    def _worth(self, table: str, rows: Sequence[tuple[T, int]]) -> list[tuple[T, int]]:
        """Those that there is room for, or that were passed over not long ago."""
        worth, room = list[tuple[T, int]](), self._budget - self._bytes
        for row, size in rows:
            place = (table, row.id)
            if size <= room or (place in self._passed and size <= self._budget):
                self._passed.pop(place, None)
                worth.append((row, size))
                room -= size
            else:
                self._passed[place] = None
        while len(self._passed) > _PASSED:
            self._passed.popitem(last=False)
        return worth

    def _at(self, table: str, version: Version) -> bool:
        known = self._versions.get(table)
        return known is not None and known.number == version.number

    def _move(self, table: str, version: Version) -> None:
        """Go on to a later version. One of before is not gone back to: its readers read the table.

        Rows that are put in meanwhile are of the version before, and fall with the others.
        """
        with self._lock:
            known = self._versions.setdefault(table, version)
            if known.number >= version.number:
                return
        gone = _gone(known, version)
        with self._lock:
            if self._versions[table] is known:
                for id_ in self._ids(table) if gone is None else gone:
                    self._drop((table, id_))
                self._versions[table] = version

    def _ids(self, table: str) -> list[int]:
        return [id_ for of, id_ in self._rows if of == table]

    def _drop(self, key: _Place) -> None:
        if key in self._rows:
            self._bytes -= self._rows.pop(key)[1]


def _gone(before: Version, after: Version) -> list[int] | None:
    """The rows that a version lost; None where the one before can be read no longer."""
    try:
        return before.over(after).tolist()
    except StoredDataError:
        return None
