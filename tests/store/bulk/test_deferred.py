"""Runs that leave the index alone."""

from __future__ import annotations

from typing import Any

from m3.settings import Settings
from store.generations import publication
from store.opening import open_store
from tests.store.bulk.loads import store_over
from tests.store.examples import SPEC, document_rows, key, query
from tests.store.fake_milvus import FakeClient


def test_runs_that_defer_do_not_call_milvus(tmp_path, rng):
    made = store_over(FakeClient(), tmp_path)
    made.create("docs", SPEC)
    made.close()
    nobody: Any = object()
    collection = store_over(nobody, tmp_path, publisher=publication.Deferred).open("docs")
    rows = document_rows(rng, "a")
    collection.replace([rows, document_rows(rng, "b")])
    collection.delete([key("b")])
    collection.settle()
    assert collection.content_hashes([key("a"), key("b")]) == {key("a"): rows.content_hash}
    assert collection.status().unpublished == 2


def test_deferred_writes_are_seen_once_they_are_published(settings: Settings, store, rng):
    deferred = open_store(settings, defer_index=True)
    try:
        collection = deferred.create("docs", SPEC)
        readers = store.open("docs")
        before = readers.status().version
        rows = [document_rows(rng, f"d{i}", chunks=2) for i in range(3)]
        for each in rows:
            collection.replace([each])
        assert collection.delete([key("d2")]) == 1
        collection.settle()
        assert collection.content_hashes([key("d0"), key("d2")]) == {
            key("d0"): rows[0].content_hash
        }
        assert sorted(each.id for each in collection.keys("default", "default")) == ["d0", "d1"]
        found = readers.candidates(query(rng), legs=["dense"], depth=9, tenant="default")
        assert len(found.rows.chunks) == 0
        assert readers.document(key("d0")) is None
        assert readers.status().version == before
        assert readers.status().unpublished > 0
    finally:
        deferred.close()
    assert readers.verify(repair=True).consistent
    found = readers.candidates(query(rng), legs=["dense"], depth=9, tenant="default")
    assert len(found.rows.chunks) == 4
    assert readers.status().unpublished == 0
