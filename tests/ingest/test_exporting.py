"""What an export holds is read back as the same documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.exporting import Format, format_of, write_documents, write_vectors
from ingest.sources import Parsed
from ingest.sources.fields import Fields
from m3.errors import InvalidConfiguration, StorageFull
from m3.types import Codec, Document
from store.memory import MemoryCollection
from tests.disks import small_disk
from tests.ingest.reading import everything
from tests.store.examples import POOLED, SPEC, document_rows, pooled_rows

_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_names = _words | st.sampled_from(["metadata", "title", "text", "_id", "markdown", "pages"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)
_texts = _words.filter(str.strip)
_documents = _texts.flatmap(
    lambda text: st.builds(
        Document,
        id=_words.filter(lambda name: 0 < len(name.encode()) <= 64),
        text=st.just(text),
        title=_words,
        metadata=st.dictionaries(_names, _values, max_size=4),
        markdown=st.booleans(),
        pages=st.lists(st.integers(0, len(text)), max_size=3).map(sorted).map(tuple),
    )
)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@given(documents=st.lists(_documents, max_size=4, unique_by=lambda document: document.id))
def test_what_was_exported_is_read_with_equal_hashes(
    tmp_path_factory: pytest.TempPathFactory, form: Format, documents: list[Document]
) -> None:
    file = tmp_path_factory.mktemp("export") / f"docs.{form}"
    assert write_documents(file, [documents[:3], documents[3:]], form) == len(documents)
    read = [item.document for item in everything(file) if isinstance(item, Parsed)]
    assert [(d.id, d.content_hash()) for d in read] == [(d.id, d.content_hash()) for d in documents]


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.jsonl", "jsonl"), ("a.parquet", "parquet"), ("a.PQ", "parquet"), ("a", "jsonl")],
)
def test_a_file_is_what_it_is_called(name: str, form: Format) -> None:
    assert format_of(Path(name)) == form


@pytest.mark.parametrize("codec", Codec)
def test_vectors_are_those_that_are_stored(tmp_path: Path, codec: Codec) -> None:
    rng = np.random.default_rng(2)
    spec = replace(SPEC, codec=codec)
    written = [
        document_rows(rng, f"d{i}", chunks=1 + i, metadata={"i": [i, None]}, codec=codec)
        for i in range(3)
    ]
    collection = MemoryCollection.alone(spec)
    collection.replace(written)
    file = tmp_path / "chunks.parquet"
    assert write_vectors(file, collection.scan("default", "default"), spec) == 6
    table = pq.read_table(file)
    by_id = {row["chunk_id"]: row for row in table.to_pylist()}
    for rows in written:
        for chunk, embedding in zip(rows.chunks, rows.embeddings, strict=True):
            row = by_id[f"default/{rows.document.id}#{chunk.position}"]
            assert (row["text"], row["start"], row["end"]) == (chunk.text, chunk.start, chunk.end)
            assert (row["heading"], row["page"]) == (list(chunk.heading), chunk.page)
            assert orjson.loads(row["metadata"]) == rows.document.metadata
            assert np.array_equal(np.asarray(row["dense"], embedding.dense.dtype), embedding.dense)
            for name in ("sparse_ids", "sparse_weights", "token_ids"):
                assert np.array_equal(row[name], getattr(embedding, name))
            codes = np.frombuffer(row["codes"], np.uint8).reshape(len(row["token_ids"]), -1)
            assert np.array_equal(codes, embedding.codes)
    assert table.schema.metadata[b"m3.codec"].decode() == codec
    assert table.schema.metadata[b"m3.fingerprint"].decode() == spec.fingerprint
    assert [item for item in everything(file) if isinstance(item, Parsed)] == []


def test_pooled_vectors_say_which_tokens_are_in_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    written = pooled_rows(rng, "a", chunks=3)
    collection = MemoryCollection.alone(POOLED)
    collection.replace([written])
    file = tmp_path / "chunks.parquet"
    assert write_vectors(file, collection.scan("default", "default"), POOLED) == 3
    table = pq.read_table(file)
    rows = sorted(table.to_pylist(), key=lambda row: row["position"])
    for row, expected in zip(rows, written.embeddings, strict=True):
        assert np.array_equal(row["groups"], expected.groups)
        assert row["codes"] == expected.codes.tobytes()
    assert table.schema.metadata[b"m3.pooling"] == b"2"


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[list[Document]]:
        yield [Document(id="a", text="a text")]
        raise RuntimeError

    for form in ("jsonl", "parquet"):
        with pytest.raises(RuntimeError):
            write_documents(tmp_path / "docs", failing(), form)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_and_left_as_it_was(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(33, 0x7000, 20_000)
    document = Document(id="a", text="".join(map(chr, noise)))
    collection = MemoryCollection.alone(SPEC)
    rng = np.random.default_rng(4)
    collection.replace([document_rows(rng, f"d{i}", chunks=40) for i in range(10)])
    with small_disk(tmp_path / "disk", "16k") as disk:
        for form in ("jsonl", "parquet"):
            with pytest.raises(StorageFull, match="no room left"):
                write_documents(disk / "file", [[document]] * 2, form)
        with pytest.raises(StorageFull, match="no room left"):
            write_vectors(disk / "file", collection.scan("default", "default"), SPEC)
        assert list(disk.iterdir()) == []


def test_a_file_that_cannot_be_written_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfiguration, match="cannot write"):
        write_documents(tmp_path / "file/docs.jsonl", [], "jsonl")


@pytest.mark.parametrize("pages", [[0, 7], [2**64 - 1], [-1], [3, 2], [True], ["0"]])
def test_pages_that_do_not_begin_in_the_text_are_metadata(pages: list[object]) -> None:
    document = Fields().of_record({"id": "a", "text": "a text", "markdown": True, "pages": pages})
    assert (document.markdown, document.pages) == (True, ())
    assert document.metadata == {"pages": pages}


def test_pages_may_end_a_text() -> None:
    document = Fields().of_record({"id": "a", "text": "a text", "markdown": True, "pages": [0, 6]})
    assert document.pages == (0, 6)


@pytest.mark.parametrize(
    "extra", [{"markdown": "yes"}, {"pages": [0, 5]}, {"pages": 12}, {"markdown": None}]
)
def test_fields_of_these_names_that_no_export_wrote_are_metadata(extra: dict[str, object]) -> None:
    document = Fields().of_record({"id": "a", "text": "a text", **extra})
    assert document.metadata == extra
    assert not document.markdown
    assert not document.pages
