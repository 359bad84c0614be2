"""The real pair, Lance and the embedded Milvus, against the contract and the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from pymilvus import DataType

from store.contract import Store
from store.filters import parse
from store.index.index import index_schema
from store.memory import MemoryStore
from tests.store.contract import StoreContract
from tests.store.examples import FIELDS, SPEC, document_rows, query
from tests.store.filter_strategies import filters
from tests.store.tenancy_contract import TenancyContract


class TestStoredCollection(StoreContract, TenancyContract):
    """`store` comes from conftest: a real table and a real engine."""


@pytest.fixture
def pair(store: Store):
    """The same documents in the real store and in memory."""
    rng = np.random.default_rng(3)
    collections = [store.create("pair", SPEC), MemoryStore().create("pair", SPEC)]
    documents = [
        document_rows(
            rng,
            f"d{i:03}",
            chunks=1 + i % 3,
            metadata=metadata_example(rng),
            tenant=["one", "two"][i % 2],
            terms=int(rng.integers(0, 12)),
        )
        for i in range(150)
    ]
    for collection in collections:
        collection.replace(documents)
        collection.replace(documents[::7])
    return collections


def metadata_example(rng: np.random.Generator):
    """A random subset of the fields with values that collide often."""
    whole = {
        "lang": str(rng.choice(["en", "de", "", 'q"\\x', "中", "a\nb"])),
        "year": int(rng.integers(-3, 4)),
        "price": float(rng.choice([0.0, 0.1, 1.5, -2.0, 1e300])),
        "open": bool(rng.integers(0, 2)),
        "tags": [str(tag) for tag in rng.choice(["x", "y", "z"], rng.integers(0, 3))],
    }
    return {name: value for name, value in whole.items() if rng.random() < 0.7}


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    wanted=filters(),
    seed=strategies.integers(0, 2**16),
    tenant=strategies.sampled_from(["one", "two"]),
)
def test_candidates_equal_the_oracle(pair, wanted, seed, tenant):
    """Any filter, any query: the same rows on each leg as an exact search in memory."""
    real, oracle = pair
    asked = query(np.random.default_rng(seed))
    filter_ = parse(wanted, FIELDS)
    answers = [
        collection.candidates(
            asked, legs=["dense", "sparse"], depth=20, tenant=tenant, filter=filter_
        )
        for collection in (real, oracle)
    ]
    for leg in ("dense", "sparse"):
        found, expected = (ids(answer, leg) for answer in answers)
        assert found == expected


def test_an_index_with_fp16_vectors_is_written_and_searched_as_it_is(store, monkeypatch):
    """Embedded indexes had those once."""
    with monkeypatch.context() as before:
        made = index_schema(SPEC, embedded=True)
        for field in made.fields:
            if field.name == "dense":
                field._dtype = DataType.FLOAT16_VECTOR
        before.setattr("store.index.index.index_schema", lambda *_, **__: made)
        collection = store.create("before", SPEC)
    rng = np.random.default_rng(5)
    collection.replace([document_rows(rng, f"d{i}", tenant="one") for i in range(30)])
    found = collection.candidates(query(rng), legs=["dense"], depth=30, tenant="one")
    assert len(found.legs["dense"]) == len(found.rows.chunks) > 0


def ids(answer, leg):
    """Chunk ids of a leg; as a set, for rows of equal score may come in any order."""
    by_row = {chunk.row: chunk.id for chunk in answer.rows.chunks}
    return {by_row[row] for row in answer.legs[leg]}
