"""Tables in a bucket of a real S3 API (moto's server), candidates in the real embedded Milvus."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3.settings import Settings, load_settings
from store.contract import Store
from store.opening import open_store
from tests.buckets import s3_server
from tests.store.contract import StoreContract
from tests.store.examples import SPEC, document_rows, key
from tests.store.generations_contract import GenerationsContract
from tests.store.tenancy_contract import TenancyContract

_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as client:
        client.create_bucket(Bucket="tables")
        yield client


@pytest.fixture
def settings(s3: Any, engine_home: Path) -> Settings:
    """In place of conftest's: a prefix of the test's own."""
    del s3
    return load_settings(home=engine_home, tables=f"s3://tables/{next(_numbers)}")


class TestOnS3(StoreContract, TenancyContract):
    """`store` comes from conftest, over the settings above."""


@pytest.mark.drill
class TestGenerationsOnS3(GenerationsContract):
    """As above; half a minute."""


def test_nothing_of_a_dropped_collection_stays(store: Store, settings: Settings, s3: Any):
    collection = store.create("docs", SPEC)
    collection.replace([document_rows(np.random.default_rng(1), "a")])
    prefix = str(settings.tables).removeprefix("s3://tables/") + "/"
    assert s3.list_objects_v2(Bucket="tables", Prefix=prefix)["KeyCount"] > 3
    store.drop("docs")
    assert s3.list_objects_v2(Bucket="tables", Prefix=prefix)["KeyCount"] == 0


def test_writers_on_two_machines_are_one_collection(store: Store, settings: Settings):
    """Each with a store of its own; what they share is the bucket and the Milvus."""
    other = open_store(settings)
    store.create("docs", SPEC)

    def write(number: int) -> None:
        at = (store, other)[number % 2].open("docs")
        rng = np.random.default_rng(number)
        at.replace([document_rows(rng, f"d{number}"), document_rows(rng, "shared")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(12)))
    collection = store.open("docs")
    assert collection.status().documents == 13
    collection.settle()
    found = collection.verify()
    assert (found.missing, found.stale, found.chunks) == (0, 0, collection.status().chunks)
    assert len({other.open("docs").document(key(f"d{i}")) is None for i in range(12)}) == 1
    other.close()


@pytest.mark.usefixtures("clock")
def test_old_versions_leave_the_bucket(store: Store, settings: Settings, s3: Any):
    collection = store.create("docs", SPEC)
    for seed in range(6):
        collection.replace([document_rows(np.random.default_rng(seed), "a", word=f"w{seed}")])
    collection.settle()
    prefix = str(settings.tables).removeprefix("s3://tables/") + "/"
    before = s3.list_objects_v2(Bucket="tables", Prefix=prefix)["KeyCount"]
    done = collection.compact(timedelta(0))
    assert done.bytes_freed > 0
    assert s3.list_objects_v2(Bucket="tables", Prefix=prefix)["KeyCount"] < before
    assert collection.document(key("a")) is not None
