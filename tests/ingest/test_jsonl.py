from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources import (
    FORMATS,
    MAX_DOCUMENT_BYTES,
    Fields,
    Parsed,
    Place,
    Reject,
    SourceFile,
    discover,
    read,
)
from ingest.sources.jsonl import Jsonl
from m3.errors import InvalidInput
from m3.types import Document
from store.checks import MAX_ID_BYTES

FILE = SourceFile(None, "rows.jsonl", "rows.jsonl", FORMATS["jsonl"])


def rows(data: bytes, **fields: Any) -> list[Parsed | Reject]:
    stream = io.BufferedReader(io.BytesIO(data))  # pyright: ignore[reportArgumentType]
    return list(Jsonl().read(FILE, stream, Fields(**fields)))


def row(record: Any, **fields: Any) -> Parsed | Reject:
    [found] = rows(orjson.dumps(record), **fields)
    return found


def document(record: Any, **fields: Any) -> Document:
    found = row(record, **fields)
    assert isinstance(found, Parsed), found
    return found.document


def test_other_fields_are_metadata():
    found = document({"_id": "a", "title": "T", "text": "x", "lang": "en", "tags": [1, 2]})
    assert found == Document("a", "x", "T", {"lang": "en", "tags": [1, 2]})


def test_a_metadata_object_is_spread():
    record = {"id": "a", "text": "x", "lang": "en", "metadata": {"year": 2020, "lang": "de"}}
    assert document(record).metadata == {"lang": "de", "year": 2020}
    assert document({"id": "a", "text": "x", "metadata": None}).metadata == {}
    assert document({"id": "a", "text": "x", "metadata": 7}).metadata == {"metadata": 7}


def test_fields_can_be_named():
    record = {"url": "u", "body": "x", "name": "T", "_id": "other"}
    found = document(record, id="url", text=("body",), title="name", source="s", tenant="t")
    assert found == Document("u", "x", "T", {"_id": "other"}, "s", "t")


def test_whole_numbers_are_ids():
    assert document({"id": 17, "text": "x"}).id == "17"


def test_blank_lines_are_counted_but_no_documents():
    found = rows(b'\n{"id": "a", "text": "x"}\r\n  \nnonsense')
    assert [str(item.place) for item in found] == ["rows.jsonl:2", "rows.jsonl:4"]


def test_a_byte_order_mark_is_skipped():
    assert isinstance(rows(b'\xef\xbb\xbf{"id": "a", "text": "x"}')[0], Parsed)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", "text": "x"', "invalid JSON at character"),
        (b"[1, 2]", "the line is a list, not an object"),
        (b'"text"', "the line is text, not an object"),
        (b'{"text": "x"}', "there is no field '_id' or 'id'"),
        (b'{"id": null, "text": "x"}', "field 'id' is null, not an id"),
        (b'{"id": true, "text": "x"}', "field 'id' is true or false, not an id"),
        (b'{"id": {}, "text": "x"}', "field 'id' is an object, not an id"),
        (b'{"id": "", "text": "x"}', "its id is empty"),
        (b'{"id": "a"}', "there is no field 'text'"),
        (b'{"id": "a", "text": 5}', "field 'text' is a number, not text"),
        (b'{"id": "a", "text": ["x"]}', "field 'text' is a list, not text"),
        (b'{"id": "a", "text": "x", "title": 3}', "field 'title' is a number, not text"),
        (b'{"id": "a", "text": " \\n\\t"}', "empty text"),
        (b'{"id": "a", "text": "\xff"}', "invalid UTF-8 at byte 22"),
        (b'{"id": "a", "text": "\\ud800"}', "invalid JSON"),
        (b'{"id": "' + b"i" * 513 + b'", "text": "x"}', "its id has 513 bytes; at most 512"),
        (b'{"id": "a", "text": "x", "m": "' + b"m" * 65_536 + b'"}', "as every chunk carries"),
        (
            b'{"id": "a", "text": "x", "m": ' + b"[" * 400 + b"]" * 400 + b"}",
            "its title or metadata cannot be stored: Recursion limit reached",
        ),
    ],
)
def test_a_bad_line_is_rejected_with_its_place_and_the_rest_is_read(line: bytes, reason: str):
    good = b'{"id": "good", "text": "x"}'
    first, bad, last = rows(b"\n".join([good, line, good]))
    assert isinstance(first, Parsed)
    assert isinstance(last, Parsed)
    assert isinstance(bad, Reject)
    assert reason in bad.reason
    assert bad.place == Place("rows.jsonl", 2)
    kept = line.decode("utf-8", "replace")
    assert bad.raw == (kept if len(line) < 16_384 else None)


def test_an_id_of_the_longest_size_is_taken():
    assert document({"id": "é" * (MAX_ID_BYTES // 2), "text": "x"}).id


@given(
    st.lists(
        st.fixed_dictionaries(
            {"_id": st.text(min_size=1, max_size=20), "text": st.text(min_size=1)},
            optional={
                "title": st.text(),
                "n": st.integers(-(2**53), 2**53) | st.booleans() | st.none(),
            },
        ).filter(lambda record: record["text"].strip())
    )
)
def test_what_was_written_is_read(records: list[dict[str, Any]]):
    data = b"".join(orjson.dumps(record) + b"\n" for record in records)
    found = [item for item in rows(data) if isinstance(item, Parsed)]
    assert sum(item.size for item in found) == len(data)
    assert [item.place.line for item in found] == list(range(1, len(records) + 1))
    assert [
        {"_id": d.id, "text": d.text, **({"title": d.title} if d.title else {}), **d.metadata}
        for d in (item.document for item in found)
    ] == [{k: v for k, v in r.items() if k != "title" or v} for r in records]


@given(st.binary(max_size=300))
def test_any_bytes_are_documents_or_rejects(data: bytes):
    try:
        found = rows(data)
    except InvalidInput:
        assert b"\0" in data
    else:
        assert len(found) <= data.count(b"\n") + 1


def test_a_line_of_100_mb_is_a_reject_and_never_in_memory(tmp_path: Path):
    path = tmp_path / "big.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id": "before", "text": "x"}\n{"id": "huge", "text": "')
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"id": "after", "text": "x"}\n')
    tracemalloc.start()
    try:
        first, huge, last = read(discover([str(path)]).files, Fields())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(first, Parsed)
    assert first.document.id == "before"
    assert isinstance(huge, Reject)
    assert huge.reason == "the line is over 32 MB: split it"
    assert huge.place.line == 2
    assert huge.raw is None
    assert huge.size == path.stat().st_size - first.size - last.size
    assert isinstance(last, Parsed)
    assert last.document.id == "after"
    # As much as a document may have, and the next piece of what is passed over.
    assert most < 2.5 * MAX_DOCUMENT_BYTES
