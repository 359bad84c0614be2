"""Rows kept in memory: the same answers as from the table, whatever is written; bounded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3.settings import Settings
from m3.types import batch_of
from store.candidates import CandidateRows, Leg
from store.chunks import ChunkKey, StoredChunk
from store.contract import Collection
from store.index.milvus import Milvus
from store.opening import StoredStore, open_store, place_of
from store.reading.kept import Row, Text
from store.reading.row_cache import RowCache
from store.registry import Registry
from store.table.version import Version
from tests.pace import until
from tests.store.examples import SPEC, document_rows, embedding, key, query

LEGS: tuple[Leg, ...] = ("dense", "sparse")
_TINY = 3 * 5_000
"""Three or four rows of the examples."""
_numbers = itertools.count()

writes = st.lists(
    st.tuples(
        st.sampled_from(("write", "write", "delete", "compact", "search")),
        st.integers(0, 7),
        st.sampled_from(("one", "two")),
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def milvus(engine_home: Path) -> Iterator[Milvus]:
    shared = Milvus.of(Settings(home=engine_home))
    yield shared
    shared.close()


def opened(tables: Path, milvus: Milvus, budget: int) -> StoredStore:
    return StoredStore(Registry(place_of(str(tables))), milvus, row_cache_bytes=budget)


@pytest.fixture
def keeping(milvus: Milvus, tmp_path: Path) -> Iterator[StoredStore]:
    """A store with one collection, `docs`, and room for all of its rows."""
    store = opened(tmp_path, milvus, 10**8)
    store.create("docs", SPEC)
    yield store
    store.drop("docs")
    store._threads.shutdown()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Sequence[str]]]:
    """The ids of rows that are read from the table, each with the columns."""
    noted, take = list[tuple[int, Sequence[str]]](), Version.take

    def noting(self: Version, ids: Sequence[int], columns: Sequence[str]) -> Any:
        noted.extend((id_, columns) for id_ in ids)
        return take(self, ids, columns)

    monkeypatch.setattr(Version, "take", noting)
    return noted


def rows_of(rows: CandidateRows) -> list[Row]:
    return [Row(*each) for each in zip(rows.chunks, rows.embeddings, strict=True)]


def facts(rows: CandidateRows) -> dict[int, tuple[ChunkKey, list[bytes]]]:
    """All that is known of each row; halves in memory are the same numbers in fp32."""
    return {
        chunk.row: (
            chunk,
            [
                np.ascontiguousarray(column).tobytes()
                for column in (
                    own.dense.astype(np.float32),
                    own.sparse_ids,
                    own.sparse_weights,
                    own.token_ids,
                    own.codes,
                )
            ],
        )
        for chunk, own in zip(rows.chunks, rows.embeddings, strict=True)
    }


def without_tokens(rows: CandidateRows) -> CandidateRows:
    own = list(rows.embeddings)
    return CandidateRows(rows.chunks, [batch_of(own, colbert=False)] if own else [])


def compared(plain: Collection, cached: Collection, rng: np.random.Generator, tenant: str) -> None:
    asked = query(rng)
    for depth in (3, 50):
        options: Any = {"legs": LEGS, "depth": depth, "tenant": tenant}
        expected = plain.candidates(asked, **options)
        found = cached.candidates(asked, **options)
        assert found.legs == expected.legs
        assert facts(found.rows) == facts(expected.rows)
        first = cached.candidates(asked, **options, codes=False)
        assert facts(first.rows) == facts(without_tokens(expected.rows))
        ids = [chunk.row for chunk in expected.rows.chunks]
        for other in ("one", "two"):
            again = cached.rows(ids, tenant=other, snapshot=found.snapshot)
            assert facts(again) == (facts(expected.rows) if other == tenant else {})
            texts = cached.chunks(ids, tenant=other, snapshot=found.snapshot)
            assert texts == plain.chunks(ids, tenant=other, snapshot=expected.snapshot)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("budget", [_TINY, 10**8])
@given(steps=writes, seed=st.integers(0, 99))
@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_answers_are_those_of_the_table(
    budget: int, steps: Sequence[Any], seed: int, milvus: Milvus, tmp_path: Path
) -> None:
    tables = tmp_path / str(next(_numbers))
    rng = np.random.default_rng(seed)
    bare, keeping = opened(tables, milvus, 0), opened(tables, milvus, budget)
    plain = bare.create("docs", SPEC)
    cached = keeping.open("docs")
    try:
        for number in range(6):
            tenant = ("one", "two")[number % 2]
            plain.replace([document_rows(rng, f"d{number}", chunks=2, tenant=tenant)])
        for action, number, tenant in [*steps, ("search", 0, "one"), ("search", 0, "two")]:
            match action:
                case "write":
                    rows = document_rows(rng, f"d{number}", chunks=1 + number % 3, tenant=tenant)
                    plain.replace([rows])
                case "delete":
                    plain.delete([key(f"d{number}", tenant=tenant)])
                case "compact":
                    plain.settle()
                case _:
                    pass
            compared(plain, cached, rng, tenant)
            assert keeping._hot.vectors.bytes + keeping._hot.texts.bytes <= budget
    finally:
        bare.drop("docs")
        for store in (bare, keeping):
            store._threads.shutdown()


def test_rows_that_are_kept_are_not_read_again(
    keeping: StoredStore, taken: list[tuple[int, Sequence[str]]]
) -> None:
    collection, rng = keeping.open("docs"), np.random.default_rng(1)
    collection.replace([document_rows(rng, f"d{i}") for i in range(9)])
    asked = query(rng)
    options: Any = {"legs": LEGS, "depth": 9, "tenant": "default"}
    before = collection.candidates(asked, **options)
    # Rows are kept after the answer.
    until(lambda: keeping._hot.vectors.bytes == sum(map(Row.bytes, rows_of(before.rows))))
    taken.clear()
    again = collection.candidates(asked, **options)
    assert facts(again.rows) == facts(before.rows)
    assert not taken
    collection.replace([document_rows(rng, "d3")])
    taken.clear()
    after = collection.candidates(asked, **options)
    read = {id_ for id_, columns in taken if "codes" in columns}
    there = {chunk.row for chunk in before.rows.chunks if chunk.document_id != "d3"}
    assert read >= {chunk.row for chunk in after.rows.chunks if chunk.document_id == "d3"}
    assert not read & there


def test_rows_without_their_tokens_are_not_kept_and_those_kept_are_not_read(
    keeping: StoredStore, taken: list[tuple[int, Sequence[str]]]
) -> None:
    collection, rng = keeping.open("docs"), np.random.default_rng(1)
    collection.replace([document_rows(rng, f"d{i}") for i in range(9)])
    asked = query(rng)
    options: Any = {"legs": LEGS, "depth": 9, "tenant": "default", "codes": False}
    first = collection.candidates(asked, **options)
    chosen = sorted(chunk.row for chunk in first.rows.chunks)[:4]
    collection.rows(chosen, tenant="default", snapshot=first.snapshot)
    until(lambda: keeping._hot.vectors.bytes > 0)
    version: Any = collection._reader._snapshot().version
    every = keeping._hot.vectors.get(first.snapshot.table, version, range(99))
    assert ids(every) == chosen
    assert all(len(kept.embedding.codes) for kept in every)
    taken.clear()
    again = collection.candidates(asked, **options)
    assert facts(again.rows) == facts(first.rows)
    assert {id_ for id_, _ in taken} == {chunk.row for chunk in first.rows.chunks} - set(chosen)


def test_texts_that_were_shown_are_not_read_again(
    keeping: StoredStore, taken: list[tuple[int, Sequence[str]]]
) -> None:
    collection, rng = keeping.open("docs"), np.random.default_rng(1)
    collection.replace([document_rows(rng, f"d{i}") for i in range(4)])
    found = collection.candidates(query(rng), legs=LEGS, depth=9, tenant="default")
    rows = sorted(chunk.row for chunk in found.rows.chunks)
    options: Any = {"tenant": "default", "snapshot": found.snapshot}
    shown = collection.chunks(rows[:3], **options)
    until(lambda: keeping._hot.texts.bytes == sum(Text(each).bytes() for each in shown.values()))
    taken.clear()
    assert collection.chunks(rows[:3], **options) == shown
    assert collection.chunks(rows[:3], tenant="another", snapshot=found.snapshot) == {}
    assert not taken
    assert collection.chunks(rows, **options).keys() == set(rows)
    assert [id_ for id_, _ in taken] == rows[3:]


def test_a_texts_size_is_near_what_its_strings_take() -> None:
    chunk = StoredChunk(0, "t", "s", "d", 0, 1, 0, 9, (), None, "", "", {})
    long = replace(chunk, text="ü" * 10_000)
    assert Text(long).bytes() - Text(chunk).bytes() == pytest.approx(10_000, rel=0.01)
    told = replace(chunk, metadata={"words": ["word"] * 1_000})
    assert Text(told).bytes() - Text(chunk).bytes() >= 8_000


class Numbered:
    """A version of the rows that it is given."""

    def __init__(self, number: int, ids: set[int]) -> None:
        self.number = number
        self.ids = ids

    def over(self, other: Numbered) -> Any:
        return np.array(sorted(self.ids - other.ids), np.int64)


def row(id_: int) -> Row:
    own = embedding(np.random.default_rng(1))
    return Row(ChunkKey(id_, "t", "s", "d", 0), own)


def ids(rows: Sequence[Row]) -> list[int]:
    return sorted(each.chunk.row for each in rows)


def test_a_version_has_what_is_alive_in_it_alone() -> None:
    cache = RowCache[Row](10**6)
    first: Any = Numbered(1, {1, 2, 3})
    second: Any = Numbered(2, {2, 3, 4})
    assert cache.get("t", first, [1, 2]) == []
    cache.put("t", first, [row(1), row(2)])
    assert ids(cache.get("t", first, [1, 2, 3])) == [1, 2]
    assert cache.get("other", first, [1, 2]) == []
    assert ids(cache.get("t", second, [1, 2, 3])) == [2]
    # A reader of the version before, still at work, neither takes nor leaves anything.
    cache.put("t", first, [row(1)])
    assert cache.get("t", first, [2]) == []
    assert ids(cache.get("t", second, [1, 2])) == [2]


class Watched(RowCache[Row]):
    """Never holds more than its budget, not even for the moment in which another thread looks."""

    def __setattr__(self, name: str, value: Any) -> None:
        assert name != "_bytes" or value <= self._budget
        super().__setattr__(name, value)


def test_the_rows_used_last_stay_within_the_budget() -> None:
    size = row(1).bytes()
    cache = Watched(3 * size + size // 2)
    only: Any = Numbered(1, set(range(9)))
    cache.get("t", only, [])
    cache.put("t", only, [row(i) for i in range(3)])
    cache.get("t", only, [0])
    for _ in range(2):
        cache.put("t", only, [row(3)])
    assert ids(cache.get("t", only, range(9))) == [0, 2, 3]
    assert cache.bytes == 3 * size


def test_a_full_cache_makes_room_for_what_is_read_again() -> None:
    cache = RowCache[Row](3 * row(1).bytes())
    only: Any = Numbered(1, set(range(99)))
    cache.get("t", only, [])
    cache.put("t", only, [row(i) for i in range(9)])
    assert ids(cache.get("t", only, range(9))) == [0, 1, 2]
    cache.put("t", only, [row(7), row(8), row(50)])
    assert ids(cache.get("t", only, range(99))) == [2, 7, 8]


def test_a_row_larger_than_the_budget_drives_out_nothing() -> None:
    cache = RowCache[Row](3 * row(1).bytes())
    only: Any = Numbered(1, set(range(9)))
    cache.get("t", only, [])
    own = row(5).embedding
    large = Row(row(5).chunk, replace(own, codes=np.tile(own.codes, (2_000, 1))))
    for _ in range(2):
        cache.put("t", only, [row(1), large])
    assert ids(cache.get("t", only, range(9))) == [1]


def test_what_is_kept_holds_nothing_else() -> None:
    whole = np.zeros((1000, 20), np.uint8)
    kept = Row(row(1).chunk, replace(row(1).embedding, codes=whole[:2])).owned()
    assert kept.embedding.codes.base is None


def test_both_can_be_turned_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put = list[Row | Text]()
    monkeypatch.setattr(RowCache, "put", lambda _self, _table, _version, rows: put.extend(rows))
    store = open_store(settings.model_copy(update={"row_cache_bytes": 0}))
    collection = store.create("off", SPEC)
    try:
        collection.replace([document_rows(np.random.default_rng(1), "d")])
        asked = query(np.random.default_rng(2))
        found = collection.candidates(asked, legs=LEGS, depth=5, tenant="default")
        (chunk,) = found.rows.chunks
        assert collection.chunks([chunk.row], tenant="default", snapshot=found.snapshot)
        store._threads.rows.shutdown()
        assert not put
    finally:
        store.drop("off")
        store.close()
