"""Any bytes are documents or rejects, in every format, within a minute on any machine."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.sources import Parsed, Reject
from tests.ingest import formats
from tests.ingest.formats import of


def _parquet() -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["x", "y"], "n": [[1], None]}), data)
    return data.getvalue()


VALID = {
    "a.jsonl": b'{"id": "a", "text": "x", "tags": ["y"]}\n{"id": 2, "text": "z"}\n',
    "a.csv": b'id,text,n\n1,"x ""y""\nz",3\n2,b,4\n',
    "a.parquet": _parquet(),
    "a.md": b"---\ntitle: x\ntags: [a, b]\n---\n# Heading\n\ntext\n",
    "a.txt": b"text",
    "a.html": b"<html lang=en><meta charset=utf-8><h1>a</h1><table><tr><td>b<pre>c</table>d",
    "a.pdf": formats.pdf("one", "two", Title="T"),
}


@pytest.mark.parametrize("name", VALID)
def test_the_valid_file_is_read(name: str):
    assert all(isinstance(item, Parsed) for item in of(name, VALID[name]))


@pytest.mark.parametrize("name", VALID)
@settings(deadline=60_000, max_examples=60)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes):
    assert all(isinstance(item, Parsed | Reject) for item in of(name, data))


@pytest.mark.parametrize("name", VALID)
@settings(deadline=60_000, max_examples=80)
@given(choice=st.data())
def test_a_file_that_was_damaged(name: str, choice: st.DataObject):
    valid = bytearray(VALID[name])
    places = st.integers(0, len(valid) - 1)
    for place in choice.draw(st.lists(places, max_size=4)):
        valid[place] = choice.draw(st.integers(0, 255))
    start, end = sorted([choice.draw(places), choice.draw(places)])
    cut = choice.draw(st.sampled_from(["none", "end", "middle", "twice"]))
    data = bytes(valid)
    if cut == "end":
        data = data[:end]
    elif cut == "middle":
        data = data[:start] + data[end:]
    elif cut == "twice":
        data = data[:end] + data[start:]
    assert all(isinstance(item, Parsed | Reject) for item in of(name, data))
