"""A copy is what searches saw of its original: whole, checked, and never in need of a model."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import lance
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from m3.errors import InvalidInput
from m3.settings import Settings
from m3.types import Codec
from scoring.fusion import Method, Weights
from store.contract import Collection, Store
from store.copying import Copied, Published
from store.memory import MemoryStore
from store.opening import collections_at, copying_to
from store.reports import Defaults
from tests.store.copying.copies import answers, copied, numbers, silent
from tests.store.examples import SPEC, document_rows, embedding, key


def test_a_copy_answers_as_its_original_and_is_a_collection_of_its_own(
    store: Store, settings: Settings, docs: Collection, rng: np.random.Generator
):
    told: list[int] = []
    saved = Defaults({Method.FUSION: Weights(1, 2, 3)}, rerank_depth=50)
    docs.save_defaults(saved, docs.spec)
    made = copied(settings, "again", told.append)
    again, status = store.open("again"), docs.status()
    assert again.defaults(docs.spec) == saved
    assert (made.documents, made.chunks) == (29, status.chunks)
    assert made.bytes == again.status().bytes > 0
    assert sum(told) == 2 * made.chunks
    assert again.spec == docs.spec
    assert answers(again) == answers(docs)
    assert again.verify().consistent
    keys = docs.keys("t0", "default")
    assert again.originals(keys) == docs.originals(keys)
    assert again.content_hashes(keys) == docs.content_hashes(keys)
    again.replace([document_rows(rng, "d02", word="changed", tenant="t0")])
    store.drop("docs")
    assert again.verify().consistent
    assert again.status().documents == 29


def test_a_copy_is_one_commit_in_files_that_compacting_leaves(
    settings: Settings, docs: Collection, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("store.table.table.FRAGMENT_ROWS", 10)
    copied(settings, "again")
    generations = store.open("again")._generations  # pyright: ignore[reportAttributeAccessIssue]
    table = generations.table(generations.current())
    assert table.latest_number() == generations.current().published == 1
    assert table.fragments() == -(-docs.status().chunks // 10)


def test_what_is_not_published_is_not_copied(
    settings: Settings, docs: Collection, store: Store, rng: np.random.Generator
):
    generations = docs._generations  # pyright: ignore[reportAttributeAccessIssue]
    from store.table.rows import to_arrow

    late = document_rows(rng, "late")
    table = generations.table(generations.current())
    table.replace(to_arrow([late], docs.spec), [late.document.key.digest()])
    assert copied(settings, "again").documents == 29
    assert store.open("again").document(late.document.key) is None


def test_writers_go_on_meanwhile(
    settings: Settings,
    docs: Collection,
    store: Store,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
):
    before = answers(docs)
    monkeypatch.setattr("store.table.version.READ_BYTES", 4_000)
    writes = itertools.count()

    def write(_: int) -> None:
        docs.replace([document_rows(rng, f"d{next(writes) % 8:02}", word="late", tenant="t0")])

    copied(settings, "again", write)
    assert next(writes) > 4
    assert answers(store.open("again")) == before != answers(docs)


def test_an_empty_collection_is_copied(settings: Settings, store: Store, rng: np.random.Generator):
    store.create("docs", SPEC)
    assert copied(settings, "again") == Copied("again", 0, 0, 0)
    again = store.open("again")
    again.replace([document_rows(rng, "a")])
    assert again.verify().consistent


@pytest.mark.parametrize("codec", list(Codec))
def test_every_codec_is_copied(
    settings: Settings, store: Store, rng: np.random.Generator, codec: Codec
):
    docs = store.create("docs", dataclasses.replace(SPEC, codec=codec))
    rows = document_rows(rng, "a", tenant="t0")
    docs.replace([dataclasses.replace(rows, embeddings=[embedding(rng, codec=codec)])])
    copied(settings, "again")
    assert answers(store.open("again")) == answers(docs)


def test_a_table_of_format_1_is_copied_as_it_is(
    settings: Settings, docs: Collection, store: Store, rng: np.random.Generator
):
    place = collections_at(settings.tables_path).place
    generations = docs._generations  # pyright: ignore[reportAttributeAccessIssue]
    table = lance.dataset(place.table_uri("docs", generations.current().table))
    table.drop_columns(["original", "markdown", "pages"])
    docs.replace([])
    generations.update(
        generations.current(), lambda g: dataclasses.replace(g, published=table.version)
    )
    copied(settings, "again")
    again = store.open("again")
    assert answers(again) == answers(docs)
    with pytest.raises(InvalidInput, match="ingest it again"):
        again.originals([key("d02", tenant="t0")])
    again.replace([document_rows(rng, "d02", tenant="t0")])
    assert len(again.originals([key("d02", tenant="t0")])) == 1


@examples(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_history_is_copied_as_the_oracle_has_it(store: Store, settings: Settings, data: Any):
    """Writes and deletes at random, on a real store and in memory; then a copy of the real one."""
    oracle, name = MemoryStore().create("docs", SPEC), f"docs-{next(numbers)}"
    real = store.create(name, SPEC)
    ids = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)
    for step in range(data.draw(st.integers(1, 5))):
        some, gone = data.draw(ids), data.draw(st.booleans())
        rows = [
            document_rows(np.random.default_rng([step, i]), id_, chunks=1 + i, tenant="t0")
            for i, id_ in enumerate(some)
        ]
        for collection in (oracle, real):
            if gone:
                collection.delete([each.document.key for each in rows])
            else:
                collection.replace(rows)
    with copying_to(settings) as target:
        published = Published.of(collections_at(settings.tables_path), name)
        made = target.write(published, f"{name}-again", silent)
    again = store.open(made.name)
    assert made.documents == oracle.status().documents
    assert made.chunks == oracle.status().chunks
    assert sorted(again.keys("t0", "default"), key=str) == sorted(
        oracle.keys("t0", "default"), key=str
    )
    for each in oracle.keys("t0", "default"):
        there, expected = again.document(each), oracle.document(each)
        assert there is not None
        assert expected is not None
        assert [c.text for c in there.chunks] == [c.text for c in expected.chunks]
