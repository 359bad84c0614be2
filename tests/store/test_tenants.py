"""Tenants of one collection may use the same ids; nothing of one is seen or touched by another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from pymilvus import MilvusClient

from m3.settings import Settings
from store.contract import Collection, Store
from store.filters import parse
from store.index.index import index_schema
from store.memory import MemoryStore
from store.spec import CollectionSpec
from tests.store.examples import FIELDS, SPEC, chunks_of, document_rows, key, query

OWN = dataclasses.replace(SPEC, owner="one")


@pytest.fixture(params=["stored", "memory"])
def collection(request: pytest.FixtureRequest, store: Store) -> Collection:
    """The documents `a` and `b`, of two tenants each."""
    of = store if request.param == "stored" else MemoryStore()
    collection = of.create("tenants", SPEC)
    rng = np.random.default_rng(5)
    collection.replace(
        [
            document_rows(rng, id_, chunks=2, word=tenant, metadata={"year": 1}, tenant=tenant)
            for tenant in ("one", "two")
            for id_ in ("a", "b")
        ]
    )
    return collection


def partition_key(spec: CollectionSpec, *, embedded: bool) -> str | None:
    """The column by which Milvus keeps the rows of an index apart."""
    schema = index_schema(spec, embedded=embedded).to_dict()
    keys = [field["name"] for field in schema["fields"] if field.get("is_partition_key")]
    return keys[0] if keys else None


def test_tenants_that_share_a_collection_are_partitions_on_a_server():
    assert partition_key(SPEC, embedded=False) == "tenant"
    assert partition_key(OWN, embedded=False) is None
    assert partition_key(SPEC, embedded=True) is None, "the embedded engine refuses every filter"


def test_an_index_of_ones_own_is_asked_for_no_tenant(store: Store, monkeypatch):
    """There is nothing to tell apart, and a condition costs."""
    asked: list[str] = []
    search = MilvusClient.search

    def noted(*args: Any, filter: str = "", **options: Any) -> Any:
        asked.append(filter)
        return search(*args, filter=filter, **options)

    monkeypatch.setattr(MilvusClient, "search", noted)
    for name, spec in (("shared", SPEC), ("own", OWN)):
        collection = store.create(name, spec)
        collection.replace([document_rows(np.random.default_rng(1), "a", tenant="one")])
        found = collection.candidates(
            query(np.random.default_rng(2)), legs=["dense"], depth=9, tenant="one"
        )
        assert len(found.rows.chunks) == 1
    assert asked == ['tenant == "one"', ""]


def test_a_record_from_before_there_were_owners_is_of_a_shared_collection(
    store: Store, settings: Settings
):
    store.create("earlier", SPEC)
    record = Path(settings.tables_path) / "earlier/collection.json"
    body = orjson.loads(record.read_bytes())
    del body["generations"]["1"]["spec"]["owner"]
    record.write_bytes(orjson.dumps(body))
    rng = np.random.default_rng(5)
    earlier = store.open("earlier")
    for tenant in ("one", "two"):
        earlier.replace([document_rows(rng, "a", tenant=tenant, word=tenant)], SPEC)
        found = earlier.candidates(query(rng), legs=["dense"], depth=9, tenant=tenant)
        assert [chunk.text for chunk in chunks_of(earlier, found, tenant)] == [f"{tenant}-0"]
    assert (earlier.spec.tenancy, earlier.verify().consistent) == ("shared", True)


@pytest.mark.parametrize("tenant", ["one", "two"])
def test_nothing_of_another_tenant_is_read(collection, tenant):
    a, b = key("a", tenant=tenant), key("b", tenant=tenant)
    asked = query(np.random.default_rng(6), terms=50)
    found = collection.candidates(asked, legs=["dense", "sparse"], depth=99, tenant=tenant)
    assert {chunk.tenant for chunk in found.rows.chunks} == {tenant}
    assert len(found.legs["dense"]) == 4
    assert [chunk.text for chunk in collection.document(a).chunks] == [f"{tenant}-0", f"{tenant}-1"]
    assert [each.key for each in collection.originals([a])] == [a]
    assert sorted(collection.keys(tenant, "default")) == [a, b]
    wanted = parse({"field": "year", "op": "eq", "value": 1}, FIELDS)
    assert sorted(collection.find(wanted, tenant)) == [a, b]


def test_a_write_and_a_deletion_leave_another_tenant_alone(collection):
    collection.delete([key("a", tenant="one")])
    changed = document_rows(np.random.default_rng(8), "b", word="changed", tenant="one")
    collection.replace([changed])
    assert sorted(collection.keys("one", "default")) == [key("b", tenant="one")]
    for id_ in ("a", "b"):
        chunks = collection.document(key(id_, tenant="two")).chunks
        assert [chunk.text for chunk in chunks] == ["two-0", "two-1"]


def test_a_tenant_that_has_nothing_finds_nothing(collection):
    asked = query(np.random.default_rng(6), terms=50)
    found = collection.candidates(asked, legs=["dense", "sparse"], depth=99, tenant="three")
    assert found.rows.chunks == []
    assert collection.document(key("a", tenant="three")) is None
    assert collection.delete([key("a", tenant="three")]) == 0
