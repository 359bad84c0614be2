"""One version of a Lance table: which rows are alive in it, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from m3.types import I64
from store.table.failures import lance_errors
from store.table.rows import ROW_ID, values
from store.table.sql import joined, quoted

_IDS_PER_FILTER = 5_000
_READ_AHEAD_BYTES = 64 * 2**20
READ_BYTES = 16 * 2**20
"""About so much is read at once where whole rows are, and a few times that held."""
_READ_ROWS = 1_024


class Version:
    """One version of the table, unchanging."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.number: int = dataset.version

    @cached_property
    def row_ids(self) -> I64:
        """[rows] int64, ascending: the rows alive in this version."""
        return self._row_ids(None)

    def over(self, other: Version) -> I64:
        """[rows] int64, ascending: the rows alive in this version and not in the other.

        Only fragments that differ are looked at, so that a small write costs little however
        large the table is.
        """
        ours, theirs = self._fragments, other._fragments
        here = self._row_ids([ours[each] for each in ours.keys() - theirs.keys()])
        there = other._row_ids([theirs[each] for each in theirs.keys() - ours.keys()])
        return missing(here, there)

    @cached_property
    def _fragments(self) -> dict[tuple[int, int], Any]:
        """The fragments by what they hold: a fragment's rows stay but for those it loses."""
        with lance_errors():
            found = [(each.metadata, each) for each in self._dataset.get_fragments()]
        return {
            (of.id, of.deletion_file.num_deleted_rows if of.deletion_file else 0): each
            for of, each in found
        }

    def _row_ids(self, fragments: Sequence[Any] | None) -> I64:
        if fragments is not None and not fragments:
            return np.empty(0, np.int64)
        with lance_errors():
            ids = self._dataset.scanner(
                columns=[], with_row_id=True, fragments=fragments
            ).to_table()
        return np.sort(ids[ROW_ID].to_numpy().astype(np.int64))

    def having(self, columns: Sequence[str]) -> list[str]:
        """Those of these columns that the table has: one of format 1 has no originals."""
        return [name for name in columns if name in self._dataset.schema.names]

    def take(self, row_ids: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """The rows with these ids that are alive in this version, with their ids."""
        batches = [
            self._scan(columns, f"{ROW_ID} in ({joined(row_ids[i : i + _IDS_PER_FILTER])})")
            for i in range(0, len(row_ids), _IDS_PER_FILTER)
        ]
        return pa.concat_tables(batches) if batches else self._scan(columns, "false")

    def of_documents(
        self, digests: Sequence[str], columns: Sequence[str], *, first: bool = False
    ) -> pa.Table:
        """The rows of the documents with these digests, or the first of each, with their ids."""
        condition = f"document in ({quoted(digests)})" if digests else "false"
        return self._scan(columns, f"{condition} and position = 0" if first else condition)

    def scan(
        self,
        columns: Sequence[str],
        condition: str | None = None,
        *,
        part: tuple[int, int] | None = None,
        at_once: int = _READ_ROWS,
    ) -> Iterator[pa.Table]:
        """All rows that meet an SQL condition, with their ids, `at_once` of them at a time.

        Args:
            part: (i, n) for every n-th of the table's own files from the i-th on, in their order.
        """
        fragments = None if part is None else self._part(*part)
        if fragments == []:
            return
        with lance_errors():
            scanner = self._dataset.scanner(
                columns=list(columns),
                filter=condition,
                with_row_id=True,
                batch_size=at_once,
                io_buffer_size=_READ_AHEAD_BYTES,
                fragments=fragments,
            )
            for batch in scanner.to_batches():
                yield pa.Table.from_batches([batch])

    def _part(self, index: int, count: int) -> list[Any]:
        with lance_errors():
            return self._dataset.get_fragments()[index::count]

    def count_part(self, index: int, count: int) -> int:
        """Rows of a part, as `scan` takes it."""
        fragments = self._part(index, count)
        with lance_errors():
            return sum(fragment.count_rows() for fragment in fragments)

    def doubled(self) -> list[str]:
        """Digests of documents that may have more than one write; eight bytes a document."""
        shorts = [_short(rows) for rows in self.scan(["document"], "position = 0")]
        ordered = np.sort(np.concatenate([np.empty(0, np.uint64), *shorts]))
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not len(twice):
            return []
        found = {
            digest
            for rows in self.scan(["document"], "position = 0")
            for digest, again in zip(
                values(rows, "document"), np.isin(_short(rows), twice).tolist(), strict=True
            )
            if again
        }
        return sorted(found)

    def _scan(self, columns: Sequence[str], condition: str) -> pa.Table:
        with lance_errors():
            return self._dataset.scanner(
                columns=list(columns), filter=condition, with_row_id=True
            ).to_table()

    def count(self, condition: str | None = None) -> int:
        """Rows that meet an SQL condition, or all."""
        with lance_errors():
            return self._dataset.count_rows(condition)

    @property
    def at_once(self) -> int:
        """As many whole rows as are about `READ_BYTES`: a long document's has megabytes."""
        size = self.bytes() / max(1, self.count())
        return max(1, min(_READ_ROWS, int(READ_BYTES / max(1.0, size))))

    def bytes(self) -> int:
        """Bytes on disk of the files of this version."""
        return sum(
            file.file_size_bytes or 0
            for fragment in self._dataset.get_fragments()
            for file in fragment.metadata.files
        )


def missing(wanted: I64, there: I64) -> I64:
    """What of `wanted` is not in `there`; both without doubles."""
    return np.setdiff1d(wanted, there, assume_unique=True)


def _short(rows: pa.Table) -> NDArray[np.uint64]:
    """[rows] the first half of each document's digest."""
    digests = values(rows, "document")
    return np.fromiter((int(digest[:16], 16) for digest in digests), np.uint64, len(digests))
