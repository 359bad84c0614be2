"""Tenants of one collection may use the same ids; nothing of one is seen or touched by another."""

from __future__ import annotations

import numpy as np
import pytest

from store.contract import Collection, Store
from store.filters import parse
from store.memory import MemoryStore
from tests.store.examples import FIELDS, SPEC, document_rows, key, query


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
