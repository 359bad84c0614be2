"""Names by content: equal for equal things, different for everything that differs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3.codec import to_bytes, width
from m3.types import (
    Chunk,
    Codec,
    Document,
    DocumentKey,
    Representation,
    batch_of,
    offsets_of,
    text_hash,
)
from tests.m3.strategies import representations

names = st.text(max_size=6)
keys = st.builds(DocumentKey, names, names, names)
documents = st.builds(
    Document,
    id=names,
    text=names,
    title=names,
    metadata=st.dictionaries(names, st.none() | st.integers(-9, 9) | names, max_size=3),
)


@given(keys, keys)
def test_a_digest_names_one_key(one: DocumentKey, other: DocumentKey) -> None:
    assert (one.digest() == other.digest()) == (one == other)


def test_the_parts_of_a_key_do_not_run_together() -> None:
    assert DocumentKey("a", "bc", "d").digest() != DocumentKey("ab", "c", "d").digest()


@given(documents, documents)
def test_a_content_hash_names_title_text_and_metadata(one: Document, other: Document) -> None:
    same = (one.title, one.text, one.metadata) == (other.title, other.text, other.metadata)
    assert (one.content_hash() == other.content_hash()) == same


@given(documents)
def test_a_content_hash_knows_the_form_of_the_text_and_no_name(document: Document) -> None:
    hashes = {
        dataclasses.replace(document, markdown=markdown, pages=pages).content_hash()
        for markdown in (False, True)
        for pages in ((), (0,), (0, 5))
    }
    assert len(hashes) == 6
    renamed = dataclasses.replace(document, id=document.id + "x", source="elsewhere")
    assert renamed.content_hash() == document.content_hash()


def test_hashes_are_the_same_on_every_machine() -> None:
    assert text_hash("") == "625af97a964125a29a65dc9491160b2d"
    document = Document(id="1", text="body", title="title", metadata={"b": 1, "a": [True]})
    assert document.content_hash() == "80d2f789da9fbb414afb137ef7b7565d"


def test_the_model_reads_the_title_first() -> None:
    chunk = Chunk(position=0, text="body", start=0, end=4)
    assert chunk.model_text("title") == "title\nbody"
    assert chunk.model_text("") == "body"


def test_the_model_reads_what_context_says() -> None:
    chunk = Chunk(0, "body", 0, 4, heading=("Title", "Install", "Linux"))
    assert chunk.model_text("Title", "none") == "body"
    assert chunk.model_text("Title", "title") == "Title\nbody"
    assert chunk.model_text("Title", "headings") == "Title > Install > Linux\nbody"
    assert chunk.model_text("", "headings") == "Title > Install > Linux\nbody"
    assert Chunk(0, "body", 0, 4).model_text("", "headings") == "body"


@given(st.lists(st.integers(0, 9)))
def test_offsets_are_running_sums(lengths: list[int]) -> None:
    offsets = offsets_of(lengths)
    assert offsets.dtype == np.int64
    assert offsets[0] == 0
    assert np.diff(offsets).tolist() == lengths


_some_rows = st.booleans().flatmap(
    lambda pooled: st.lists(representations(64, Codec.INT8, pooled=pooled), min_size=1, max_size=4)
)


@given(_some_rows)
def test_a_batch_gives_its_rows_back(rows: list[Representation]) -> None:
    batch = batch_of(rows)
    assert len(batch) == len(rows)
    for before, after in zip(rows, batch, strict=True):
        for field in dataclasses.fields(before):
            expected, got = getattr(before, field.name), getattr(after, field.name)
            assert np.array_equal(expected, got), field.name


def test_a_batch_needs_rows_of_one_codec() -> None:
    with pytest.raises(ValueError, match="at least one"):
        batch_of([])
    with pytest.raises(ValueError, match="one codec"):
        batch_of([_row(Codec.INT8), _row(Codec.FP32)])
    pooled = dataclasses.replace(_row(Codec.INT8), groups=np.zeros(0, np.int32))
    with pytest.raises(ValueError, match="all or none"):
        batch_of([_row(Codec.INT8), pooled])
    with pytest.raises(ValueError, match="does not travel"):
        to_bytes(batch_of([pooled]))


def _row(codec: Codec) -> Representation:
    return Representation(
        dense=np.zeros(64, codec.dense_dtype),
        sparse_ids=np.zeros(0, np.int32),
        sparse_weights=np.zeros(0, np.float32),
        token_ids=np.zeros(0, np.int32),
        codes=np.zeros((0, width(64, codec)), np.uint8),
        codec=codec,
    )
