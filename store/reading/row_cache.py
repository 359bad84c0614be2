"""Rows that searches read again and again, in memory.

A row never changes under its id, so what is kept of it cannot be wrong; but it may be gone from a
later version. What is kept of a table is therefore all alive in one version of it, and moves on
with the versions: it loses the few rows that the next one lacks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from m3.errors import StoredDataError
from m3.types import Representation
from store.contract import ChunkKey
from store.table.rows import EMBEDDING_COLUMNS
from store.table.table import Version

_ROW_BYTES = 2_000
"""Of the objects that hold a row, beside its numbers."""
_DENSE_BYTES = np.dtype(np.float32).itemsize
_PASSED = 10_000
"""Rows not kept that are remembered by name: those of some fifty searches."""

_ARRAYS = (*EMBEDDING_COLUMNS, "groups")
"""What a representation may hold."""

_Place = tuple[str, int]
"""A table, and a row's id there."""


@dataclass(frozen=True, slots=True)
class Row:
    """Which chunk it is, with its representations."""

    chunk: ChunkKey
    embedding: Representation

    def owned(self) -> Row:
        """With arrays of its own: views would keep all that was read with them.

        The dense vector is fp32: to widen halves is most of what a dense score takes.
        """
        copies = {name: array.copy() for name, array in self._arrays().items()}
        copies["dense"] = self.embedding.dense.astype(np.float32)
        return Row(self.chunk, replace(self.embedding, **copies))

    def bytes(self) -> int:
        """Of such a row."""
        dense = self.embedding.dense
        arrays = sum(array.nbytes for array in self._arrays().values())
        return _ROW_BYTES + arrays - dense.nbytes + dense.size * _DENSE_BYTES

    def _arrays(self) -> dict[str, Any]:
        arrays = {name: getattr(self.embedding, name) for name in _ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}


class RowCache:
    """The rows used last, of all tables of a process, within a budget. Threads may share it.

    Once it is full, a row is kept when it is read for the second time in a while: one that is
    wanted once is not worth its copy, nor another's place.
    """

    def __init__(self, budget: int) -> None:
        """`budget`: bytes; 0 keeps nothing."""
        self._budget = budget
        self._bytes = 0
        self._rows: OrderedDict[_Place, tuple[Row, int]] = OrderedDict()
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

    def get(self, table: str, version: Version, ids: Iterable[int]) -> list[Row]:
        """Those of these rows that are kept, and alive in a version of the table."""
        self._move(table, version)
        found: list[Row] = []
        with self._lock:
            if self._at(table, version):
                for key in [(table, id_) for id_ in ids]:
                    if kept := self._rows.get(key):
                        self._rows.move_to_end(key)
                        found.append(kept[0])
        return found

    def put(self, table: str, version: Version, rows: Sequence[Row]) -> None:
        """Keep rows that were read from a version, unless the cache has gone on to another."""
        sized = [(row, row.bytes()) for row in rows]
        with self._lock:
            worth = self._worth(table, sized)
        owned = [(row.owned(), size) for row, size in worth]
        with self._lock:
            if not self._at(table, version):
                return
            for row, size in owned:
                self._drop((table, row.chunk.row))
                self._rows[table, row.chunk.row] = (row, size)
                self._bytes += size
            while self._bytes > self._budget:
                self._drop(next(iter(self._rows)))

    def _worth(self, table: str, rows: Sequence[tuple[Row, int]]) -> list[tuple[Row, int]]:
        """Those that there is room for, or that were passed over not long ago."""
        worth, room = list[tuple[Row, int]](), self._budget - self._bytes
        for row, size in rows:
            place = (table, row.chunk.row)
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
