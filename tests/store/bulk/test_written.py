"""The files equal the documents, each row once, the last of two inserts."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import Any

import lance
import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.types import Codec
from store.bulk import writing
from store.generations import publication
from store.opening import StoredStore
from store.table.rows import to_arrow
from tests.store.bulk.loads import commit, store_over, uncounted
from tests.store.examples import SPEC, document_rows, embedding
from tests.store.fake_milvus import FakeClient

_METADATA = st.fixed_dictionaries(
    {},
    optional={
        "lang": st.text(max_size=20) | st.none(),
        "year": st.integers(-(2**63), 2**63 - 1),
        "price": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
        "open": st.booleans(),
        "tags": st.lists(st.text(max_size=5), max_size=4),
        "other": st.text(max_size=5),
    },
)


@given(
    codec=st.sampled_from(list(Codec)),
    documents=st.lists(
        st.tuples(_METADATA, st.integers(1, 3), st.integers(0, 5), st.text(min_size=1, max_size=9)),
        min_size=1,
        max_size=5,
    ),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=30)
def test_files_equal_the_documents(tmp_path_factory, codec, documents, seed):
    tmp_path = tmp_path_factory.mktemp("bulk")
    store, rng = store_over(FakeClient(), tmp_path / "tables"), np.random.default_rng(seed)
    store.create("docs", dataclasses.replace(SPEC, codec=codec))
    written = [
        dataclasses.replace(
            document_rows(rng, f"d{i}", metadata=metadata, chunks=chunks, tenant=tenant),
            embeddings=[embedding(rng, codec=codec, terms=terms) for _ in range(chunks)],
        )
        for i, (metadata, chunks, terms, tenant) in enumerate(documents)
    ]
    commit(store, "docs", *written)
    manifest = store.bulk("docs").write(str(tmp_path / "files"), uncounted)
    table = store.open("docs")._generations
    latest = table.table(table.current()).latest()
    names = {
        row["_rowid"]: (row["document_id"], row["position"])
        for rows in latest.scan(["document_id", "position"])
        for row in rows.to_pylist()
    }
    found = {
        names.pop(row["row"]): row
        for file in manifest.files
        for row in pq.read_table(tmp_path / "files" / file.name).to_pylist()
    }
    assert not names
    for rows in written:
        for chunk, expected in zip(rows.chunks, rows.embeddings, strict=True):
            row = found[rows.document.id, chunk.position]
            assert_equal(row, rows.document, expected)
    store.close()
    shutil.rmtree(tmp_path)


def assert_equal(row: dict[str, Any], document: Any, expected: Any) -> None:
    """A row of a file, field by field, as the server's documentation has them."""
    assert bytes(row["dense"]) == expected.dense.astype(np.float16).tobytes()
    terms = dict(zip(expected.sparse_ids, expected.sparse_weights, strict=True))
    sparse = {int(term): np.float32(weight) for term, weight in json.loads(row["sparse"]).items()}
    assert sparse == (terms or {0: np.float32(1e-6)})
    assert row["tenant"] == document.tenant
    nothing = {"lang": "", "year": 0, "price": 0.0, "open": False, "tags": []}
    for name, default in nothing.items():
        value = document.metadata.get(name)
        assert row[f"has_{name}"] == (value is not None)
        assert row[f"f_{name}"] == (default if value is None else value)


def test_a_large_table_is_several_files(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 1)
    manifest = filled.bulk("docs").write(str(tmp_path / "files"), uncounted)
    assert [file.rows for file in manifest.files] == [4, 4, 4]
    assert {path.name for path in (tmp_path / "files").iterdir()} == {
        "manifest.json",
        *(file.name for file in manifest.files),
    }
    assert manifest.bytes == sum(
        (tmp_path / "files" / f.name).stat().st_size for f in manifest.files
    )


def test_parts_have_every_row_once(filled, tmp_path):
    parts = [
        filled.bulk("docs").write(str(tmp_path / str(i)), uncounted, part=i, parts=2)
        for i in range(2)
    ]
    ids = [
        row
        for i, part in enumerate(parts)
        for file in part.files
        for row in pq.read_table(tmp_path / str(i) / file.name)["row"].to_pylist()
    ]
    assert len(ids) == len(set(ids)) == 12
    assert [part.rows for part in parts] == [8, 4]


def insert_twice(store: StoredStore, rng: np.random.Generator) -> str:
    """As two writers do that insert one document at the same time; where the table is."""
    generations = store.create("docs", SPEC)._generations
    commit(store, "docs", document_rows(rng, "other", word="other"))
    table = generations.table(generations.current())
    base = lance.dataset(table.uri)
    for word in ("first", "second"):
        rows = to_arrow([document_rows(rng, "same", word=word, chunks=2)], SPEC)
        operation = lance.LanceOperation.Append(lance.fragment.write_fragments(rows, table.uri))
        lance.LanceDataset.commit(table.uri, operation, read_version=base.version)
    return table.uri


def texts(uri: str) -> list[str]:
    return sorted(row["text"] for row in lance.dataset(uri).to_table().to_pylist())


def test_of_two_inserts_of_a_document_the_last_is_written(server_store, rng, tmp_path):
    table = insert_twice(server_store, rng)
    assert server_store.bulk("docs").write(str(tmp_path / "files"), uncounted).rows == 3
    assert texts(table) == ["other-0", "second-0", "second-1"]


def test_of_two_among_many_new_rows_the_last_is_published(server_store, rng, monkeypatch):
    table = insert_twice(server_store, rng)
    monkeypatch.setattr(publication, "_MANY_ROWS", 2)
    assert server_store.open("docs").verify(repair=True).consistent
    assert texts(table) == ["other-0", "second-0", "second-1"]


def test_a_part_may_be_empty(server_store, fake, jobs, rng, tmp_path):
    server_store.create("docs", SPEC)
    commit(server_store, "docs", document_rows(rng, "a", chunks=3))
    at = [str(tmp_path / "storage" / str(i)) for i in range(2)]
    rows = [
        server_store.bulk("docs").write(address, uncounted, part=i, parts=2).rows
        for i, address in enumerate(at)
    ]
    assert rows == [3, 0]
    assert server_store.bulk("docs").load(at, ["0", "1"], jobs, uncounted).rows == 3
