"""A pooled collection on the real store: what becomes of its rows beside searches."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import orjson
import pytest

from m3.settings import Settings
from store.contract import Collection, Store
from store.copying import Published
from store.opening import collections_at, copying_to
from tests.store.examples import POOLED, SPEC, document_rows, key, pooled_rows, query


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


@pytest.fixture
def docs(store: Store, rng: np.random.Generator) -> Collection:
    collection = store.create("docs", POOLED)
    collection.replace([pooled_rows(rng, f"d{i}", chunks=2) for i in range(5)])
    return collection


def _groups(collection: Collection) -> dict[str, list[int]]:
    asked = query(np.random.default_rng(5))
    found = collection.candidates(asked, legs=["dense"], depth=99, tenant="default").rows
    read = zip(found.chunks, found.embeddings, strict=True)
    return {chunk.id: [*map(int, row.groups)] for chunk, row in read if row.groups is not None}


def test_it_is_copied_and_compacted_whole(
    docs: Collection, store: Store, settings: Settings
) -> None:
    published = Published.of(collections_at(settings.tables_path), "docs")
    with copying_to(settings) as target:
        target.write(published, "copy", lambda _: None)
    before = _groups(docs)
    assert len(before) == 10
    assert _groups(store.open("copy")) == before
    assert store.open("copy").spec == POOLED
    docs.delete([key("d0")])
    docs.compact(timedelta(0))
    left = {id_: groups for id_, groups in before.items() if not id_.startswith("default/d0#")}
    assert _groups(docs) == left
    assert docs.verify().consistent


def test_a_group_that_changed_by_itself_is_found(docs: Collection, settings: Settings) -> None:
    [path] = Path(settings.tables_path, "docs").glob("*.lance")
    table = lance.dataset(path)  # pyright: ignore[reportUnknownMemberType]
    rows = table.to_table().to_pylist()
    longest = max(rows, key=lambda row: len(row["groups"]))
    groups = ", ".join(str(group) for group in reversed(longest["groups"]))
    assert list(reversed(longest["groups"])) != longest["groups"]
    table.update({"groups": f"[{groups}]"}, f"key = '{longest['key']}'")
    assert len(docs.verify(repair=True).corrupt) == 1


def test_a_collection_of_a_version_that_could_not_pool_has_each_tokens_own_vector(
    store: Store, settings: Settings, rng: np.random.Generator
) -> None:
    store.create("old", SPEC).replace([document_rows(rng, "a")])
    record = Path(settings.tables_path) / "old" / "collection.json"
    body = orjson.loads(record.read_bytes())
    del body["generations"]["1"]["spec"]["pooling"]
    record.write_bytes(orjson.dumps({**body, "format": 2}))
    old = store.open("old")
    assert old.spec == SPEC
    old.replace([document_rows(rng, "b")])
    assert old.verify().chunks == 2
