"""What every store does with generations and with whole sources; subclassed as `contract.py` is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from m3.errors import AlreadyExists, GenerationChanged, InvalidInput, NotFound, SnapshotGone
from scoring.fusion import Method, Weights
from store.contract import Collection, Store
from store.filters import parse
from store.generations.erasing import erase
from store.reports import Defaults
from tests.store.examples import FIELDS, SPEC, document_rows, key, query

OTHER = dataclasses.replace(SPEC, model="other", fingerprint="f1")


class GenerationsContract:
    """Subclasses provide the fixture `store`."""

    @pytest.fixture
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(11)

    @pytest.fixture
    def name(self, request: pytest.FixtureRequest) -> str:
        return request.node.name[:50]

    @pytest.fixture
    def collection(self, store: Store, name: str) -> Collection:
        return store.create(name, SPEC)

    def test_keys_are_those_of_one_source(self, collection, rng):
        collection.replace(
            [
                document_rows(rng, "a", chunks=2),
                document_rows(rng, "b'); --", source="it's"),
                document_rows(rng, "c", source="it's", tenant="t"),
            ]
        )
        assert collection.keys("default", "default") == [key("a")]
        assert collection.keys("default", "it's") == [key("b'); --", source="it's")]
        assert collection.keys("t", "default") == []

    def test_hashes_name_every_document_once(self, collection, rng):
        written = [document_rows(rng, f"d{i}", chunks=1 + i % 3) for i in range(7)]
        collection.replace(written)
        collection.replace([document_rows(rng, "d0", word="changed")])
        collection.delete([key("d1")])
        found = {k: h for some in collection.hashes() for k, h in some.items()}
        expected = {rows.document.key: rows.content_hash for rows in written[2:]}
        assert found == expected | {
            key("d0"): document_rows(rng, "d0", word="changed").content_hash
        }

    def test_what_changed_since_a_snapshot(self, store, name, collection, rng):
        collection.replace([document_rows(rng, f"d{i}", chunks=1 + i % 3) for i in range(5)])
        since = collection.snapshot()
        assert collection.changed(since) == []
        collection.replace([document_rows(rng, "d0", word="changed"), document_rows(rng, "new")])
        collection.replace([document_rows(rng, "brief")])
        collection.delete([key("d1"), key("brief")])
        assert sorted(k.id for k in collection.changed(since)) in (
            ["d0", "d1", "new"],
            ["brief", "d0", "d1", "new"],
        )
        number = store.begin(name, OTHER)
        with store.closing(name, number):
            store.serve(name, number)
        with pytest.raises(SnapshotGone):
            collection.changed(since)

    def test_documents_are_found_by_filter(self, collection, rng):
        for i, tenant in enumerate(["default", "default", "t"]):
            rows = document_rows(rng, f"d{i}", chunks=2, metadata={"year": i}, tenant=tenant)
            collection.replace([rows])
        later = parse({"field": "year", "op": "gte", "value": 1}, FIELDS)
        assert collection.find(later, "default") == [key("d1")]
        assert collection.find(later, "t") == [key("d2", tenant="t")]

    def test_a_generation_is_made_beside_the_one_that_serves(self, store, name, collection, rng):
        collection.replace([document_rows(rng, "a")])
        number = store.begin(name, OTHER)
        building = store.open(name, number)
        building.replace([document_rows(rng, "a"), document_rows(rng, "b")])
        assert (collection.spec, building.spec) == (SPEC, OTHER)
        assert collection.document(key("b")) is None
        found = building.candidates(query(rng), legs=["dense"], depth=9, tenant="default")
        assert sorted(chunk.document_id for chunk in found.rows.chunks) == ["a", "b"]
        generations = store.generations(name)
        assert (generations.current, generations.building) == (1, number)
        with pytest.raises(AlreadyExists):
            store.begin(name, OTHER)

    def test_serving_another_generation_and_going_back(self, store, name, collection, rng):
        collection.replace([document_rows(rng, "a")])
        number = store.begin(name, OTHER)
        with store.closing(name, number):
            store.serve(name, number)
        assert collection.spec == OTHER
        assert collection.document(key("a")) is None
        generations = store.generations(name)
        assert (generations.current, generations.building, generations.previous) == (2, None, 1)
        with store.closing(name, 1):
            store.serve(name, 1)
        assert collection.document(key("a")) is not None
        assert store.generations(name).previous == number

    def test_what_is_saved_for_searches_is_of_a_model(self, store, name, collection):
        tuned = Defaults({Method.FUSION: Weights(0.2, 0.3, 0.5)}, rerank_depth=50)
        assert collection.defaults(SPEC) == Defaults()
        collection.save_defaults(tuned, SPEC)
        assert store.open(name).defaults(SPEC) == tuned
        assert collection.status().defaults == tuned
        assert collection.defaults(OTHER) == Defaults()
        collection.save_defaults(Defaults(tuned.weights), SPEC)
        assert store.open(name).defaults(SPEC) == Defaults(tuned.weights)
        with pytest.raises(InvalidInput, match=r"rerank_depth must be at least 1, got 0"):
            collection.save_defaults(Defaults(rerank_depth=0), SPEC)
        with pytest.raises(InvalidInput, match=r"colbert has no weights"):
            collection.save_defaults(Defaults({Method.COLBERT: Weights(0, 0, 1)}), SPEC)
        with pytest.raises(InvalidInput, match=r"dense\+sparse has no ColBERT"):
            collection.save_defaults(Defaults({Method.DENSE_SPARSE: Weights(1, 0.3, 1)}), SPEC)

    def test_what_is_saved_waits_while_another_model_serves(self, store, name, collection):
        tuned = Defaults({Method.DENSE_SPARSE: Weights(1, 2, 0)}, rerank_depth=20)
        collection.save_defaults(tuned, SPEC)
        recut = dataclasses.replace(SPEC, chunking=dataclasses.replace(SPEC.chunking, overlap=3))
        for spec, expected in ((recut, tuned), (OTHER, Defaults()), (SPEC, tuned)):
            number = store.begin(name, spec)
            with store.closing(name, number):
                store.serve(name, number)
            assert collection.status().defaults == expected
        before = store.generations(name).previous
        with store.closing(name, before):
            store.serve(name, before)
        assert collection.spec == OTHER
        assert collection.status().defaults == Defaults()

    def test_only_the_last_generation_is_kept_to_go_back_to(self, store, name, collection):
        for _ in range(2):
            number = store.begin(name, OTHER)
            with store.closing(name, number):
                store.serve(name, number)
        assert sorted(store.generations(name).specs) == [2, 3]
        with pytest.raises(NotFound):
            store.open(name, 1)

    def test_what_serves_is_not_discarded(self, store, name, collection):
        number = store.begin(name, OTHER)
        with pytest.raises(InvalidInput, match="serves"):
            store.discard(name, 1)
        store.discard(name, number)
        assert store.generations(name).building is None
        with pytest.raises(NotFound):
            store.discard(name, number)

    def test_a_query_for_another_generation_is_refused(self, store, name, collection, rng):
        asked = {"legs": ["dense"], "depth": 9, "tenant": "default"}
        assert not collection.candidates(query(rng), spec=SPEC, **asked).rows.chunks
        number = store.begin(name, OTHER)
        with store.closing(name, number):
            store.serve(name, number)
        with pytest.raises(GenerationChanged):
            collection.candidates(query(rng), spec=SPEC, **asked)
        assert not collection.candidates(query(rng), spec=OTHER, **asked).rows.chunks

    def test_a_write_for_another_generation_is_refused(self, store, name, collection, rng):
        number = store.begin(name, OTHER)
        collection.replace([document_rows(rng, "a")], SPEC)
        with store.closing(name, number):
            store.serve(name, number)
        with pytest.raises(GenerationChanged):
            collection.replace([document_rows(rng, "a", word="late")], SPEC)
        assert collection.document(key("a")) is None
        collection.replace([document_rows(rng, "a", word="late")], collection.spec)
        assert collection.document(key("a")) is not None

    @pytest.mark.usefixtures("clock")
    def test_what_is_erased_is_in_no_generation(self, store, name, collection, rng):
        number = store.begin(name, OTHER)
        there = [document_rows(rng, each) for each in ("kept", "deleted", "replaced")]
        for each in (collection, store.open(name, number)):
            each.replace(there)
        collection.delete([key("deleted")])
        collection.replace([document_rows(rng, "replaced", word="changed")])
        erase(store, name)
        assert store.open(name, number).keys("default", "default") == [key("kept")]
        assert sorted(k.id for k in collection.keys("default", "default")) == ["kept", "replaced"]
