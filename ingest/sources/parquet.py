"""Parquet: one document a row, read some rows at a time, of the columns that are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.sources.base import Parsed, Place, Reject, SourceFile, Stream
from ingest.sources.fields import Fields, plain
from ingest.sources.opening import seekable
from m3.errors import InvalidInput

_BATCH_BYTES = 32 * 2**20
_MOST_ROWS = 1024


class Parquet:
    """Columns that are not id, text or title are metadata; a place's line is its row, from 1.

    A column of Parquet's JSON type holds what its text says.
    """

    name = "parquet"
    suffixes = (".parquet", ".pq")

    def read(self, file: SourceFile, stream: Stream, fields: Fields) -> Iterator[Parsed | Reject]:
        try:
            with (
                seekable(stream) as there,
                pq.ParquetFile(cast(BinaryIO, there), page_checksum_verification=True) as table,
            ):
                columns: list[str] = table.schema_arrow.names
                fields.check_columns(columns)
                wanted = fields.wanted(columns)
                size = (file.size or 0) // max(1, table.metadata.num_rows)
                parsed = _json_columns(table.schema_arrow)
                number = 0
                for batch in _batches(table, wanted):
                    for row in range(batch.num_rows):
                        number += 1
                        place = file.place(number)
                        yield _one(batch.slice(row, 1), parsed, fields, place, size)
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise InvalidInput(f"it is no Parquet, or corrupt: {reason}") from error


def _json_columns(schema: Any) -> list[str]:
    return [field.name for field in schema if isinstance(field.type, pa.JsonType)]


def _batches(table: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Rows of about as many bytes, by what each row group says of its own."""
    for group in range(table.num_row_groups):
        about = table.metadata.row_group(group)
        row_bytes = max(1, about.total_byte_size // max(1, about.num_rows))
        rows = min(_MOST_ROWS, max(1, _BATCH_BYTES // row_bytes))
        yield from table.iter_batches(  # pyright: ignore[reportUnknownMemberType]
            rows, [group], columns, use_threads=False
        )


def _one(
    row: pa.RecordBatch, parsed: list[str], fields: Fields, place: Place, size: int
) -> Parsed | Reject:
    try:
        [record] = row.to_pylist()
        present = {name: value for name, value in record.items() if value is not None}
        present |= {name: orjson.loads(present[name]) for name in parsed if name in present}
        return Parsed(fields.of_record(plain(present)), place, size=size)
    except InvalidInput as error:
        return Reject(place, error.message, size=size)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        return Reject(place, f"a value cannot be read: {error}", size=size)
