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

import orjson

from m3.errors import StoredDataError
from m3.types import Representation
from store.contract import StoredChunk
from store.table.table import Version

_ROW_BYTES = 3_000
"""Of the objects that hold a row, beside its text and its numbers."""
_METADATA_FACTOR = 8
"""Bytes in memory for one of JSON."""


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk with its representations."""

    chunk: StoredChunk
    embedding: Representation

    def owned(self) -> Row:
        """With arrays of its own: views would keep all that was read with them."""
        own = self.embedding
        return Row(
            self.chunk,
            replace(
                own,
                dense=own.dense.copy(),
                sparse_ids=own.sparse_ids.copy(),
                sparse_weights=own.sparse_weights.copy(),
                token_ids=own.token_ids.copy(),
                codes=own.codes.copy(),
                groups=None if own.groups is None else own.groups.copy(),
            ),
        )

    def bytes(self) -> int:
        own, chunk = self.embedding, self.chunk
        arrays = [own.dense, own.sparse_ids, own.sparse_weights, own.token_ids, own.codes]
        arrays += [] if own.groups is None else [own.groups]
        words = (chunk.title, chunk.text, chunk.document_id, *chunk.heading)
        return (
            _ROW_BYTES
            + sum(array.nbytes for array in arrays)
            + sum(4 * len(word) for word in words)
            + _METADATA_FACTOR * len(orjson.dumps(chunk.metadata))
        )


class RowCache:
    """The rows used last, of all tables of a process, within a budget. Threads may share it."""

    def __init__(self, budget: int) -> None:
        """`budget`: bytes; 0 keeps nothing."""
        self._budget = budget
        self._bytes = 0
        self._rows: OrderedDict[tuple[str, int], tuple[Row, int]] = OrderedDict()
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
        sized = [(row.owned(), row.bytes()) for row in rows]
        with self._lock:
            if not self._at(table, version):
                return
            for row, size in sized:
                self._drop((table, row.chunk.row))
                self._rows[table, row.chunk.row] = (row, size)
                self._bytes += size
            while self._bytes > self._budget:
                self._drop(next(iter(self._rows)))

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

    def _drop(self, key: tuple[str, int]) -> None:
        if key in self._rows:
            self._bytes -= self._rows.pop(key)[1]


def _gone(before: Version, after: Version) -> list[int] | None:
    """The rows that a version lost; None where the one before can be read no longer."""
    try:
        return before.over(after).tolist()
    except StoredDataError:
        return None
