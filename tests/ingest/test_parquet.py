from __future__ import annotations

import io
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.sources import Fields, MetaField
from m3.types import Document
from tests.ingest.formats import documents, of, reasons


def parquet(table: dict[str, Any] | pa.Table, **options: Any) -> bytes:
    data = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), data, **options)
    return data.getvalue()


def test_columns_are_metadata_as_json_has_it():
    data = parquet(
        {
            "_id": [1, 2],
            "title": ["T", None],
            "text": ["one", "two"],
            "day": [date(2024, 5, 1), None],
            "at": [datetime(2024, 5, 1, 12, tzinfo=UTC), None],
            "price": [Decimal("12.50"), None],
            "nested": [{"a": [1, 2], "b": None}, None],
            "raw": [b"bytes", None],
        }
    )
    assert documents(of("a.parquet", data)) == [
        Document(
            "1",
            "one",
            "T",
            {
                "day": "2024-05-01",
                "at": "2024-05-01T12:00:00+00:00",
                "price": "12.50",
                "nested": {"a": [1, 2], "b": None},
                "raw": "bytes",
            },
        ),
        Document("2", "two"),
    ]


def test_a_bad_row_is_rejected_with_its_number():
    data = parquet(
        {
            "id": ["a", None, "c", "d"],
            "text": ["x", "x", None, "x"],
            "raw": [None, None, None, b"\xff"],
        },
        row_group_size=2,
    )
    assert reasons(of("a.parquet", data)) == [
        (2, "there is no field '_id' or 'id' for the id"),
        (3, "there is no field 'text' with the text"),
        (4, "its metadata cannot be written as JSON: Type is not JSON serializable: bytes"),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (parquet({"id": ["a"], "body": ["x"]}), "there is no column text; there are: id, body"),
        (parquet({"id": ["a"], "text": ["x"]})[:-20], "it is no Parquet, or corrupt"),
        (b"PAR1", "it is no Parquet, or corrupt"),
        (b"", "it is no Parquet, or corrupt"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_reject(data: bytes, reason: str):
    [(line, said)] = reasons(of("a.parquet", data))
    assert line is None
    assert reason in said


def test_a_table_without_rows_is_nothing():
    empty = pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    assert of("a.parquet", parquet(empty)) == []


def test_only_the_columns_that_are_needed_are_read():
    data = bytearray(
        parquet(
            {"id": ["a"], "text": ["x"], "lang": ["en"], "big": ["secret" * 9]},
            compression="none",
            use_dictionary=False,
            write_page_checksum=True,
            write_statistics=False,
        )
    )
    place = data.index(b"secretsecret")
    data[place : place + 6] = b"SECRET"
    fields = Fields(metadata=(MetaField("lang", "lang"),), rest=False)
    assert documents(of("a.parquet", bytes(data), fields))[0].metadata == {"lang": "en"}
    [(_, said)] = reasons(of("a.parquet", bytes(data)))
    assert "corrupt" in said


READ = """
import sys
import psutil
from ingest.sources import Fields, Parsed, discover, read
process = psutil.Process()
before, count, most = process.memory_info().rss, 0, 0
for item in read(discover([sys.argv[1]]).files, Fields()):
    count += isinstance(item, Parsed)
    most = max(most, process.memory_info().rss - before)
print(count, most)
"""
"""In a process of its own: what tests before have left to the allocator counts for nothing."""


def test_memory_is_bounded_by_rows_not_by_the_file(tmp_path: Path):
    path = tmp_path / "big.parquet"
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, 300, 20):
            texts = [f"{n}" * 400_000 for n in range(start, start + 20)]
            writer.write_table(pa.table({"id": range(start, start + 20), "text": texts}, schema))
    assert path.stat().st_size > 250_000_000
    read_ = subprocess.run(
        [sys.executable, "-c", READ, path], capture_output=True, text=True, check=True
    )
    count, most = map(int, read_.stdout.split())
    assert count == 300
    assert most < 200_000_000
