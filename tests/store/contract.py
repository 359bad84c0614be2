"""What every store does; each implementation subclasses this."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from m3.errors import AlreadyExists, InvalidInput, NotFound
from m3.types import Codec, Document, text_hash
from scoring.definition import dense_score
from store.contract import Collection, Store
from store.filters import FieldType, parse
from store.spec import CollectionSpec
from tests.store.examples import (
    FIELDS,
    POOLED,
    SPEC,
    chunks_of,
    document_rows,
    key,
    pooled_rows,
    query,
)


class StoreContract:
    """Subclasses provide the fixture `store`."""

    @pytest.fixture
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(7)

    @pytest.fixture
    def collection(self, store: Store, request: pytest.FixtureRequest) -> Collection:
        return store.create(f"{request.node.name[:50].replace('[', '-').rstrip(']')}", SPEC)

    def test_a_written_document_comes_back_whole(self, collection, rng):
        written = document_rows(rng, "a", chunks=3, metadata={"lang": "de", "deep": {"x": [1]}})
        collection.replace([written])
        read = collection.document(key("a"))
        assert [chunk.text for chunk in read.chunks] == ["text-0", "text-1", "text-2"]
        assert [chunk.position for chunk in read.chunks] == [0, 1, 2]
        assert {chunk.chunks for chunk in read.chunks} == {3}
        assert read.chunks[1].heading == ("Part", "1")
        assert [chunk.page for chunk in read.chunks] == [None, 1, 2]
        assert read.title == "Title of a"
        assert read.metadata == {"lang": "de", "deep": {"x": [1]}}
        assert read.content_hash == written.content_hash

    def test_texts_of_candidates_are_those_of_their_documents(self, collection, rng):
        collection.replace([document_rows(rng, f"d{i}", chunks=2, tenant="two") for i in range(3)])
        found = collection.candidates(query(rng), legs=["dense"], depth=9, tenant="two")
        stored = [collection.document(key(f"d{i}", tenant="two")) for i in range(3)]
        expected = {chunk.row: chunk for document in stored for chunk in document.chunks}
        ids = found.legs["dense"]
        at = {"tenant": "two", "snapshot": found.snapshot}
        assert collection.chunks(ids, **at) == expected
        for one in found.rows.chunks:
            assert (one.id, one.key) == (expected[one.row].id, expected[one.row].key)
        assert collection.chunks([*ids[:2], max(ids) + 1], **at).keys() == set(ids[:2])
        assert collection.chunks(ids, **{**at, "tenant": "one"}) == {}

    def test_representations_come_back_bit_by_bit(self, collection, rng):
        written = [document_rows(rng, f"d{i}", chunks=2) for i in range(5)]
        collection.replace(written)
        found = collection.candidates(query(rng), legs=["dense"], depth=100, tenant="default")
        by_id = {c.id: e for c, e in zip(found.rows.chunks, found.rows.embeddings, strict=True)}
        for rows in written:
            for chunk, expected in zip(rows.chunks, rows.embeddings, strict=True):
                read = by_id[f"default/{rows.document.id}#{chunk.position}"]
                for name in ("dense", "sparse_ids", "sparse_weights", "token_ids", "codes"):
                    np.testing.assert_array_equal(getattr(read, name), getattr(expected, name))

    @pytest.mark.parametrize("kind", ["single", "pooled"])
    def test_candidates_may_come_without_their_tokens(self, store, rng, kind):
        spec, rows_of = {"single": (SPEC, document_rows), "pooled": (POOLED, pooled_rows)}[kind]
        collection = store.create(f"first-{kind}", spec)
        collection.replace([rows_of(rng, f"d{i}", chunks=2) for i in range(6)])
        asked: dict = {"legs": ["dense", "sparse"], "depth": 5, "tenant": "default"}
        question = query(rng, terms=50)
        whole = collection.candidates(question, **asked)
        first = collection.candidates(question, **asked, codes=False)
        assert (first.legs, first.snapshot) == (whole.legs, whole.snapshot)
        expected, read = whole.rows.by_row(), first.rows.by_row()
        assert {chunk.row: chunk for chunk in first.rows.chunks} == {
            chunk.row: chunk for chunk in whole.rows.chunks
        }
        for row, own in read.items():
            for name in ("dense", "sparse_ids", "sparse_weights"):
                np.testing.assert_array_equal(getattr(own, name), getattr(expected[row], name))
            assert (len(own.token_ids), own.groups) == (0, None)
            assert own.codes.shape == (0, expected[row].codes.shape[1])
        chosen = sorted(read)[1:4]
        again = collection.rows(chosen, tenant="default", snapshot=first.snapshot).by_row()
        assert sorted(again) == chosen
        for row, own in again.items():
            for name in ("dense", "token_ids", "codes", "groups"):
                np.testing.assert_array_equal(getattr(own, name), getattr(expected[row], name))

    def test_pooled_representations_come_back_bit_by_bit(self, store, rng, request):
        collection = store.create(request.node.name[:50], POOLED)
        written = [pooled_rows(rng, f"d{i}", chunks=2) for i in range(4)]
        collection.replace(written)
        found = collection.candidates(query(rng), legs=["dense"], depth=100, tenant="default")
        ids = [chunk.row for chunk in found.rows.chunks][1:]
        again = collection.rows(ids, tenant="default", snapshot=found.snapshot)
        scanned = [rows for rows in collection.scan("default", "default") if rows.chunks]
        expected = {
            f"default/{rows.document.id}#{i}": row
            for rows in written
            for i, row in enumerate(rows.embeddings)
        }
        for read in (found.rows, again, *scanned):
            for chunk, row in zip(read.chunks, read.embeddings, strict=True):
                for name in ("token_ids", "codes", "groups"):
                    np.testing.assert_array_equal(
                        getattr(row, name), getattr(expected[chunk.id], name)
                    )
        text = text_hash(written[0].chunks[0].model_text(written[0].document.title))
        stored = collection.embeddings_by_text([key("d0")])[text]
        np.testing.assert_array_equal(stored.groups, written[0].embeddings[0].groups)
        assert collection.verify().consistent

    def test_tokens_are_pooled_as_the_collection_says_or_refused(self, store, rng):
        other = pooled_rows(rng, "a")
        [row] = other.embeddings
        with pytest.raises(InvalidInput, match="'a': tokens are pooled"):
            store.create("single", SPEC).replace([other])
        collection = store.create("pooled", POOLED)
        with pytest.raises(InvalidInput, match="'a': tokens are not pooled"):
            collection.replace([document_rows(rng, "a")])
        for groups in (row.groups[1:], row.groups - 1, row.groups + 1):
            wrong = dataclasses.replace(row, groups=groups)
            with pytest.raises(InvalidInput, match=r"'a': (groups|ColBERT codes)"):
                collection.replace([dataclasses.replace(other, embeddings=[wrong])])
        for pooling in (0, 5):
            with pytest.raises(InvalidInput, match=f"from 1 to 4, got {pooling}"):
                store.create("wrong", dataclasses.replace(SPEC, pooling=pooling))

    def test_every_chunk_of_a_source_is_scanned_with_its_vectors(self, collection, rng):
        mine = [document_rows(rng, f"d{i}", chunks=i + 1, source="it's") for i in range(3)]
        collection.replace([*mine, document_rows(rng, "else"), document_rows(rng, "x", tenant="t")])
        found = {
            chunk.id: (chunk, embedding)
            for rows in collection.scan("default", "it's")
            for chunk, embedding in zip(rows.chunks, rows.embeddings, strict=True)
        }
        assert len(found) == 6
        for rows in mine:
            for piece, expected in zip(rows.chunks, rows.embeddings, strict=True):
                chunk, embedding = found[f"it's/{rows.document.id}#{piece.position}"]
                assert (chunk.text, chunk.start, chunk.end) == (piece.text, piece.start, piece.end)
                np.testing.assert_array_equal(embedding.codes, expected.codes)
        assert list(collection.scan("default", "none")) == []

    def test_a_changed_document_is_replaced_whole(self, collection, rng):
        collection.replace([document_rows(rng, "a", chunks=5), document_rows(rng, "b")])
        collection.replace([document_rows(rng, "a", chunks=2, word="changed")])
        assert [c.text for c in collection.document(key("a")).chunks] == ["changed-0", "changed-1"]
        found = collection.candidates(query(rng), legs=["dense"], depth=100, tenant="default")
        assert sorted(c.id for c in found.rows.chunks) == [
            "default/a#0",
            "default/a#1",
            "default/b#0",
        ]

    def test_documents_come_back_as_they_were_given(self, collection, rng):
        given = [
            dataclasses.replace(
                document_rows(rng, f"d{i}", chunks=3, metadata={"x": [i]}),
                document=Document(
                    f"d{i}", f"# A\n\n \tb{i}\n", "T", {"x": [i]}, markdown=bool(i), pages=pages
                ),
            )
            for i, pages in enumerate([(), (0, 4)])
        ]
        collection.replace(given)
        read = collection.originals([key("d1"), key("never"), key("d0")])
        assert sorted(read, key=lambda document: document.id) == [rows.document for rows in given]

    def test_a_document_without_chunks_is_not_there(self, collection, rng):
        collection.replace([document_rows(rng, "a")])
        collection.replace([document_rows(rng, "a", chunks=0)])
        assert collection.document(key("a")) is None
        assert collection.content_hashes([key("a")]) == {}

    def test_deleting(self, collection, rng):
        collection.replace([document_rows(rng, "a", chunks=2), document_rows(rng, "b")])
        assert collection.delete([key("a"), key("never")]) == 1
        assert collection.document(key("a")) is None
        found = collection.candidates(query(rng), legs=["dense"], depth=10, tenant="default")
        assert [c.document_id for c in found.rows.chunks] == ["b"]
        assert collection.delete([key("a")]) == 0

    def test_content_hashes_and_stored_vectors_are_found_again(self, collection, rng):
        written = document_rows(rng, "a", chunks=2)
        collection.replace([written])
        assert collection.content_hashes([key("a"), key("b")]) == {key("a"): written.content_hash}
        stored = collection.embeddings_by_text([key("a"), key("b")])
        expected = text_hash(written.chunks[1].model_text("Title of a"))
        np.testing.assert_array_equal(stored[expected].codes, written.embeddings[1].codes)
        assert collection.embeddings_by_text([key("b")]) == {}

    def test_dense_candidates_are_the_best_in_order(self, collection, rng):
        written = [document_rows(rng, f"d{i:02}") for i in range(40)]
        collection.replace(written)
        asked = query(rng)
        found = collection.candidates(asked, legs=["dense"], depth=7, tenant="default")
        by_row = {chunk.row: chunk.document_id for chunk in found.rows.chunks}
        scores = {r.document.id: dense_score(asked.dense, r.embeddings[0].dense) for r in written}
        best = sorted(scores, key=lambda name: -scores[name])[:7]
        assert [by_row[row] for row in found.legs["dense"]] == best

    def test_a_text_without_terms_is_stored_and_found_by_dense_alone(self, collection, rng):
        collection.replace([document_rows(rng, "bare", terms=0), document_rows(rng, "full")])
        found = collection.candidates(
            query(rng, terms=50), legs=["dense", "sparse"], depth=9, tenant="default"
        )
        by_row = {chunk.row: chunk.document_id for chunk in found.rows.chunks}
        assert {by_row[row] for row in found.legs["dense"]} == {"bare", "full"}
        assert {by_row[row] for row in found.legs["sparse"]} == {"full"}

    def test_a_query_without_terms_finds_nothing_on_the_sparse_leg(self, collection, rng):
        collection.replace([document_rows(rng, "a")])
        found = collection.candidates(
            query(rng, terms=0), legs=["sparse"], depth=9, tenant="default"
        )
        assert found.legs == {"sparse": []}
        assert found.rows.chunks == []
        assert not found.rows.batches

    def test_an_empty_collection_answers(self, collection, rng):
        found = collection.candidates(
            query(rng), legs=["dense", "sparse"], depth=9, tenant="default"
        )
        assert found.rows.chunks == []
        assert collection.status().chunks == 0
        assert collection.verify().consistent

    def test_a_filter_restricts_both_legs(self, collection, rng):
        collection.replace(
            [document_rows(rng, f"d{i}", metadata={"year": 2000 + i}) for i in range(9)]
        )
        wanted = parse({"field": "year", "op": "gte", "value": 2006}, FIELDS)
        found = collection.candidates(
            query(rng, terms=50), legs=["dense", "sparse"], depth=9, tenant="default", filter=wanted
        )
        assert {c.document_id for c in found.rows.chunks} == {"d6", "d7", "d8"}
        assert all(len(ids) == 3 for ids in found.legs.values())

    def test_depth_is_met_where_a_filter_hides_the_best(self, collection, rng):
        """`contains` cannot be negated in Milvus: the search has to go deeper by itself."""
        collection.replace(
            [
                document_rows(rng, f"d{i:03}", metadata={"tags": ["x"] if i % 20 else ["y"]})
                for i in range(200)
            ]
        )
        wanted = parse({"not": {"field": "tags", "op": "contains", "value": "x"}}, FIELDS)
        found = collection.candidates(
            query(rng), legs=["dense"], depth=10, tenant="default", filter=wanted
        )
        assert len(found.legs["dense"]) == 10
        texts = chunks_of(collection, found)
        assert {tuple(chunk.metadata["tags"]) for chunk in texts} == {("y",)}

    def test_status_counts(self, collection, rng):
        before = collection.status()
        collection.replace([document_rows(rng, "a", chunks=3), document_rows(rng, "b")])
        status = collection.status()
        assert (status.documents, status.chunks, status.unpublished) == (2, 4, 0)
        assert (status.lag_seconds, before.published_at) == (0.0, None)
        assert timedelta() <= datetime.now(UTC) - status.published_at < timedelta(minutes=5)
        assert status.bytes > 0
        assert status.spec == SPEC

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"metadata": {"year": "old"}}, "year"),
            ({"metadata": {"year": 2**63}}, "64 bits"),
            ({"metadata": {"price": float("nan")}}, "finite"),
            ({"metadata": {"tags": "not a list"}}, "tags"),
            ({"metadata": {"big": "x" * 70_000}}, "65536"),
            ({"tenant": ""}, "tenant"),
            ({"source": "s" * 513}, "source"),
        ],
    )
    def test_what_cannot_be_held_is_refused_by_name(self, collection, rng, change, words):
        with pytest.raises(InvalidInput, match=words):
            collection.replace([document_rows(rng, "good"), document_rows(rng, "bad", **change)])
        assert collection.status().documents == 0, "a refused write leaves nothing behind"

    def test_a_key_twice_in_one_write_is_refused(self, collection, rng):
        with pytest.raises(InvalidInput, match="twice"):
            collection.replace([document_rows(rng, "a"), document_rows(rng, "a")])

    def test_vectors_that_do_not_fit_are_refused(self, store, rng):
        narrow = dataclasses.replace(SPEC, dimension=8, fields={})
        other = store.create("other", narrow)
        with pytest.raises(InvalidInput, match="dense"):
            other.replace([document_rows(rng, "a")])
        bf16 = store.create("bf16", dataclasses.replace(SPEC, codec=Codec.BF16))
        with pytest.raises(InvalidInput, match="int8"):
            bf16.replace([document_rows(rng, "a")])

    def test_not_a_number_is_refused(self, collection, rng):
        rows = document_rows(rng, "a")
        broken = dataclasses.replace(rows.embeddings[0], dense=rows.embeddings[0].dense * np.nan)
        with pytest.raises(InvalidInput, match="NaN"):
            collection.replace([dataclasses.replace(rows, embeddings=[broken])])

    def test_names(self, store):
        store.create("b", SPEC)
        store.create("a-1_x", SPEC)
        assert store.names() == ["a-1_x", "b"]
        with pytest.raises(AlreadyExists, match="'b'"):
            store.create("b", SPEC)
        store.drop("b")
        with pytest.raises(NotFound, match="a-1_x"):
            store.open("b")
        store.create("b", SPEC)
        assert store.open("b").status().chunks == 0

    @pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", "x" * 65, "ü"])
    def test_names_that_are_not_allowed(self, store, name):
        with pytest.raises(InvalidInput, match="collection name"):
            store.create(name, SPEC)

    def test_field_names_that_are_not_allowed(self, store):
        spec: CollectionSpec = dataclasses.replace(SPEC, fields={"a b": FieldType.INT})
        with pytest.raises(InvalidInput, match="a b"):
            store.create("fields", spec)
