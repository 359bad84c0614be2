"""What a search read can be read again, as it was, while the collection goes on; in both stores."""

from __future__ import annotations

import numpy as np
import pytest

from m3.errors import SnapshotGone
from store.candidates import Candidates, Snapshot
from store.contract import Collection, Store
from store.memory import MemoryStore
from tests.store.examples import SPEC, chunks_of, document_rows, key, query


@pytest.fixture(params=["memory", "stored"])
def any_store(request: pytest.FixtureRequest) -> Store:
    return MemoryStore() if request.param == "memory" else request.getfixturevalue("store")


@pytest.fixture
def collection(any_store: Store) -> Collection:
    rng = np.random.default_rng(2)
    made = any_store.create("docs", SPEC)
    made.replace(
        [document_rows(rng, f"d{i}", chunks=5, tenant=["one", "two"][i % 2]) for i in range(6)]
    )
    return made


def searched(collection: Collection, tenant: str = "one") -> Candidates:
    asked = query(np.random.default_rng(1))
    return collection.candidates(asked, legs=["dense"], depth=50, tenant=tenant)


def test_rows_are_read_again_as_they_were(collection):
    found = searched(collection)
    ids = found.legs["dense"][:7]
    rng = np.random.default_rng(9)
    collection.replace([document_rows(rng, "d0", chunks=1, tenant="one", word="new")])
    collection.delete([key("d2", tenant="one")])
    again = collection.rows(ids, tenant="one", snapshot=found.snapshot)
    before = {chunk.row: chunk for chunk in found.rows.chunks}
    assert {chunk.row: chunk for chunk in again.chunks} == {row: before[row] for row in ids}
    texts = collection.chunks(ids, tenant="one", snapshot=found.snapshot)
    assert {row: chunk.text.split("-")[0] for row, chunk in texts.items()} == dict.fromkeys(
        ids, "text"
    )
    vectors = {
        chunk.row: row for chunk, row in zip(found.rows.chunks, found.rows.embeddings, strict=True)
    }
    for chunk, embedding in zip(again.chunks, again.embeddings, strict=True):
        np.testing.assert_array_equal(embedding.codes, vectors[chunk.row].codes)
    now = searched(collection)
    assert now.snapshot != found.snapshot
    assert collection.rows(ids, tenant="one", snapshot=now.snapshot).chunks != again.chunks


def test_rows_of_another_tenant_are_not_read(collection):
    one, two = searched(collection, "one"), searched(collection, "two")
    mixed = [*one.legs["dense"][:3], *two.legs["dense"][:2]]
    read = collection.rows(mixed, tenant="two", snapshot=one.snapshot)
    assert {chunk.tenant for chunk in read.chunks} == {"two"}
    assert len(read.chunks) == len(list(read.embeddings)) == 2
    assert collection.chunks(mixed, tenant="two", snapshot=one.snapshot).keys() == set(mixed[3:])
    assert not collection.rows(mixed[:3], tenant="two", snapshot=one.snapshot).batches


@pytest.mark.parametrize("reach", [0, 1, 2, 9])
def test_neighbours_are_those_of_the_document_in_order(collection, reach):
    found = searched(collection)
    chunks = chunks_of(collection, found, "one")
    around = collection.around(chunks, reach, found.snapshot)
    assert len(around) == len(chunks) == 15
    for chunk in chunks:
        near = around[chunk.row]
        assert {each.key for each in near} <= {chunk.key}
        expected = [
            place
            for place in range(5)
            if place != chunk.position and abs(place - chunk.position) <= reach
        ]
        assert [each.position for each in near] == expected


def test_neighbours_are_of_the_same_version(collection):
    found = searched(collection)
    chunks = chunks_of(collection, found, "one")
    rng = np.random.default_rng(9)
    collection.replace([document_rows(rng, "d0", chunks=2, tenant="one", word="new")])
    around = collection.around(chunks, 1, found.snapshot)
    assert {each.text.split("-")[0] for near in around.values() for each in near} == {"text"}


@pytest.mark.usefixtures("clock")
def test_a_snapshot_that_was_cleaned_away_is_gone(collection):
    found = searched(collection)
    chunks = chunks_of(collection, found, "one")
    collection.delete([key("d2", tenant="one")])
    collection.purge()
    with pytest.raises(SnapshotGone, match="docs"):
        collection.rows(found.legs["dense"], tenant="one", snapshot=found.snapshot)
    with pytest.raises(SnapshotGone):
        collection.chunks(found.legs["dense"], tenant="one", snapshot=found.snapshot)
    with pytest.raises(SnapshotGone):
        collection.around(chunks, 1, found.snapshot)


def test_a_snapshot_of_another_generation_is_gone(collection):
    found = searched(collection)
    other = Snapshot("another", found.snapshot.version)
    with pytest.raises(SnapshotGone):
        collection.rows(found.legs["dense"], tenant="one", snapshot=other)
