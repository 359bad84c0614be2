"""Tables as earlier versions wrote them: read as they are, and written to."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import lance
import numpy as np
import orjson
import pytest

from m3.errors import InvalidInput
from m3.settings import Settings
from store.contract import Collection, Store
from store.table.rows import to_arrow
from tests.store.examples import SPEC, document_rows, key, query

_ADDED_BY_FORMAT_2 = ["original", "markdown", "pages"]


@pytest.fixture
def old(store: Store, settings: Settings) -> Collection:
    """A collection of format 1: its table has no originals, its record says so."""
    collection = store.create("old", SPEC)
    record = Path(settings.tables_path) / "old" / "collection.json"
    body = orjson.loads(record.read_bytes())
    table = record.parent / body["generations"]["1"]["table"]
    rows = to_arrow([document_rows(np.random.default_rng(1), "a", chunks=2)], SPEC)
    shutil.rmtree(table)
    lance.write_dataset(  # pyright: ignore[reportUnknownMemberType]
        rows.drop_columns(_ADDED_BY_FORMAT_2).slice(0, 0),
        table,
        enable_stable_row_ids=True,
        data_storage_version="2.1",
    )
    lance.write_dataset(  # pyright: ignore[reportUnknownMemberType]
        rows.drop_columns(_ADDED_BY_FORMAT_2), table, mode="append"
    )
    record.write_bytes(orjson.dumps({**body, "format": 1}))
    return collection


def test_an_old_table_is_read_as_it_is(old: Collection):
    assert list(old.content_hashes([key("a")])) == [key("a")]
    asked = query(np.random.default_rng(2))
    found = old.candidates(asked, legs=["dense"], depth=9, tenant="default")
    assert [chunk.document_id for chunk in found.rows.chunks] == ["a", "a"]
    assert old.verify().consistent


def test_an_old_document_cannot_be_cut_anew_before_it_is_ingested_again(old: Collection):
    with pytest.raises(InvalidInput, match=r"'a' of source 'default' .* ingest it again"):
        old.originals([key("a")])
    rows = document_rows(np.random.default_rng(3), "b")
    old.replace([rows])
    assert old.originals([key("b")]) == [rows.document]
    with pytest.raises(InvalidInput, match="ingest it again"):
        old.originals([key("a")])
    assert old.verify().consistent
    assert old.document(key("a")) is not None


def test_several_first_writers_of_an_old_table(store: Store, old: Collection):
    writers = [
        threading.Thread(
            target=store.open("old").replace,
            args=([document_rows(np.random.default_rng(i), f"w{i}")],),
        )
        for i in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert sorted(k.id for k in old.keys("default", "default")) == ["a", "w0", "w1", "w2", "w3"]
