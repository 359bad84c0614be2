"""Files against the table: every row there once, in the table's order, with the same values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from m3.errors import Corrupt
from store.bulk.files import Files
from store.bulk.manifest import File
from store.filters import FieldType, field_values
from store.index.index import KEY, NO_TERM, TENANT
from store.index.milvus_filters import column, columns_of, presence
from store.spec import CollectionSpec
from store.table.rows import ROW_ID, dense_matrix, ragged, values

_AT_ONCE = 1_000
_VECTORS = ("dense", "sparse")

_TYPES: dict[FieldType, pa.DataType] = {
    FieldType.STRING: pa.string(),
    FieldType.INT: pa.int64(),
    FieldType.FLOAT: pa.float64(),
    FieldType.BOOL: pa.bool_(),
    FieldType.STRINGS: pa.list_(pa.string()),
}


def check_files(
    written: Sequence[File],
    files: Files,
    rows: Iterable[pa.Table],
    spec: CollectionSpec,
    advance: Callable[[int], None],
) -> None:
    """Hold files against the rows they were written from, of `INDEX_COLUMNS` and ids.

    Args:
        rows: read anew from the table.
        advance: told how many rows were compared.

    Raises:
        Corrupt: a file or a row is missing, too much, or not as the table has it.
    """
    source = _Source(rows)
    for file in written:
        place = f"{files.address}/{file.name}"
        try:
            for batch in _batches(files.open(file.name), spec):
                _compare(place, batch, source.take(len(batch)), spec)
                advance(len(batch))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Corrupt(f"{place} cannot be read back: {error}; write it again") from error
    if left := source.left():
        raise Corrupt(f"the files under {files.address} lack {left:,} rows: write them again")


class _Source:
    """Rows in pieces of any size."""

    def __init__(self, rows: Iterable[pa.Table]) -> None:
        self._rows = iter(rows)
        self._kept: list[pa.Table] = []

    def take(self, count: int) -> pa.Table:
        """The next rows; fewer where there are no more."""
        while sum(map(len, self._kept)) < count and (some := next(self._rows, None)) is not None:
            self._kept.append(some)
        if not self._kept:
            return pa.table({ROW_ID: pa.array([], pa.uint64())})
        kept = pa.concat_tables(self._kept)
        self._kept = [kept.slice(count)] if len(kept) > count else []
        return kept.slice(0, count)

    def left(self) -> int:
        return sum(map(len, self._kept)) + sum(map(len, self._rows))


def _batches(opened: pa.NativeFile, spec: CollectionSpec) -> Iterator[pa.Table]:
    reader: Any = pq
    with opened, reader.ParquetFile(opened) as file:
        found = {field.name: field.type for field in file.schema_arrow}
        if found != _columns(spec):
            raise ValueError(f"its columns are {found}")
        for batch in file.iter_batches(_AT_ONCE):
            yield pa.Table.from_batches([batch])


def _columns(spec: CollectionSpec) -> dict[str, pa.DataType]:
    """The columns of a file, as the server's Parquet reader takes them."""
    columns: dict[str, pa.DataType] = {
        KEY: pa.int64(),
        "dense": pa.list_(pa.uint8()),
        "sparse": pa.string(),
        TENANT: pa.string(),
    }
    for name, type_ in spec.fields.items():
        columns[presence(name)] = pa.bool_()
        columns[column(name)] = _TYPES[type_]
    return columns


def _compare(place: str, written: pa.Table, rows: pa.Table, spec: CollectionSpec) -> None:
    """Raises Corrupt at the first value that is not the table's."""
    ids = values(rows, ROW_ID)
    if values(written, KEY) != ids:
        raise Corrupt(f"{place} has not the rows of the table, each once: write it again")
    found, expected = _found(written), _expected(rows.combine_chunks(), spec)
    for name in expected:
        for row, here, there in zip(ids, found[name], expected[name], strict=True):
            if here != there:
                raise Corrupt(
                    f"{place}: row {row} has another {name!r} than the table: write it again"
                )


def _found(written: pa.Table) -> Mapping[str, Sequence[Any]]:
    """The columns of a file, but for its ids; vectors as bytes, terms by their ids."""
    plain = {name: values(written, name) for name in written.column_names if name not in _VECTORS}
    offsets, dense = ragged(written, "dense")
    terms = (orjson.loads(text) for text in values(written, "sparse"))
    return plain | {
        "dense": [dense[a:b].tobytes() for a, b in pairwise(offsets)],
        "sparse": [{int(term): weight for term, weight in each.items()} for each in terms],
    }


def _expected(rows: pa.Table, spec: CollectionSpec) -> Mapping[str, Sequence[Any]]:
    """The same columns, from the table's rows."""
    dense = dense_matrix(rows).astype(np.float16, copy=False)
    offsets, term_ids = ragged(rows, "sparse_ids")
    _, weights = ragged(rows, "sparse_weights")
    terms = [
        dict(zip(term_ids[a:b].tolist(), weights[a:b].tolist(), strict=True)) or NO_TERM
        for a, b in pairwise(offsets)
    ]
    fields = [
        columns_of(field_values(orjson.loads(metadata), spec.fields), spec.fields)
        for metadata in values(rows, "metadata")
    ]
    names = [each(name) for name in spec.fields for each in (column, presence)]
    return {
        "dense": [row.tobytes() for row in dense],
        "sparse": terms,
        TENANT: values(rows, "tenant"),
        **{name: [each[name] for each in fields] for name in names},
    }
