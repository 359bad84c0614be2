"""Files that are read back and differ from the table are noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3.errors import (
    Corrupt,
)
from store.bulk import load as bulk_load
from store.bulk import writing
from tests.store.bulk.loads import uncounted_loosely


def changed(**columns: Callable[[Any], Any]) -> Callable[[Path], None]:
    """One value of a row in the middle is made another, the file as sound as before."""

    def change(path: Path) -> None:
        table = pq.read_table(path)
        rows = table.to_pylist()
        for name, make in columns.items():
            rows[5][name] = make(rows[5][name])
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)

    return change


def rewritten(make: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(make(pq.read_table(path)), path)


def flipped(path: Path) -> None:
    """A byte of the first page of values."""
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)


def first_weight(text: str, make: Callable[[float], float]) -> str:
    terms = json.loads(text)
    term = next(iter(terms))
    return json.dumps(terms | {term: make(terms[term])})


DAMAGES = {
    "a flipped byte of the file": flipped,
    "no bytes": lambda path: path.write_bytes(b""),
    "half a file": lambda path: path.write_bytes(path.read_bytes()[:2_000]),
    "no file": Path.unlink,
    "a flipped bit of a vector": changed(dense=lambda dense: [dense[0] ^ 1, *dense[1:]]),
    "a vector too short": changed(dense=lambda dense: dense[:-1]),
    "a weight": changed(sparse=lambda text: first_weight(text, lambda w: w * (1 + 2e-7))),
    "a term missing": changed(
        sparse=lambda text: json.dumps(dict([*json.loads(text).items()][1:]))
    ),
    "a term for none": changed(sparse=lambda _: "{}"),
    "a tenant": changed(tenant=lambda _: "another"),
    "a string": changed(f_lang=lambda _: "en"),
    "an integer": changed(f_year=lambda year: year + 1),
    "a number": changed(f_price=lambda _: 1.5000000000000002),
    "a boolean": changed(f_open=lambda _: False),
    "strings": changed(f_tags=lambda _: ["", "x"]),
    "a presence": changed(has_lang=lambda _: False),
    "an id": changed(row=lambda row: row + 1_000),
    "a missing row": rewritten(lambda table: pa.concat_tables([table[:5], table[6:]])),
    "the last row missing": rewritten(lambda table: table[:-1]),
    "a row twice": rewritten(lambda table: pa.concat_tables([table[:5], table[4:]])),
    "a row more": rewritten(lambda table: pa.concat_tables([table, table[:1]])),
    "a column missing": rewritten(lambda table: table.drop_columns("f_year")),
    "another type": rewritten(
        lambda table: table.set_column(0, "row", table["row"].cast(pa.uint64()))
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_differs_is_noticed(filled, tmp_path, monkeypatch, damage):
    files = tmp_path / "files"

    def write(*arguments: Any) -> Any:
        written = writing.write_files(*arguments)
        damage(files / written[0].name)
        return written

    monkeypatch.setattr(bulk_load, "write_files", write)
    with pytest.raises(Corrupt, match=r"000000\.parquet|lack") as raised:
        filled.bulk("docs").write(str(files), uncounted_loosely)
    assert raised.value.exit_code == 4
    assert not (files / "manifest.json").exists()


def test_a_whole_file_that_is_missing_is_noticed(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 1)
    monkeypatch.setattr(bulk_load, "write_files", lambda *given: writing.write_files(*given)[:-1])
    with pytest.raises(Corrupt, match="lack 4 rows"):
        filled.bulk("docs").write(str(tmp_path / "files"), uncounted_loosely)
