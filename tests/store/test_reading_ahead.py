"""Vectors are read as soon as a leg names their rows, and of no rows in vain."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3.errors import Corrupt
from m3.settings import Settings
from store import opening
from store.candidates import Leg
from store.contract import Collection
from store.filters import parse
from store.index.index import Index
from store.opening import StoredStore, open_store
from store.reading.vectors import selected
from store.table.version import Version
from store.words import Words
from tests.store.examples import FIELDS, SPEC, document_rows, query

LEGS: tuple[Leg, ...] = ("dense", "sparse")
_DEPTH = 5
METADATA = {"lang": "de"}
WORDS = Words(must=("text-0",))
FILTER = parse({"field": "lang", "op": "eq", "value": "de"}, FIELDS)


@pytest.fixture(scope="module")
def store(engine_home: Path) -> Iterator[StoredStore]:
    tables = str(engine_home / "ahead")
    opened = open_store(Settings(home=engine_home, tables=tables, row_cache_bytes=0))
    yield opened
    opened.drop("docs")
    opened.close()


@pytest.fixture(scope="module")
def docs(store: StoredStore) -> Collection:
    made, rng = store.create("docs", SPEC), np.random.default_rng(6)
    rare = [document_rows(rng, f"r{i}", word="rare") for i in range(3)]
    made.replace([*(document_rows(rng, f"d{i:02}", metadata=METADATA) for i in range(30)), *rare])
    made.replace([document_rows(rng, "foreign", tenant="other", metadata=METADATA)])
    return made


def noted(monkeypatch: pytest.MonkeyPatch, then: Any = lambda: None) -> list[set[int]]:
    """The rows of every reading of codes, as they come."""
    taken, take = list[set[int]](), Version.take

    def noting(self: Version, ids: Sequence[int], columns: Sequence[str]) -> Any:
        if "codes" in columns:
            taken.append(set(ids))
            then()
        return take(self, ids, columns)

    monkeypatch.setattr(Version, "take", noting)
    return taken


def candidates(docs: Collection, **options: Any) -> Any:
    asked = query(np.random.default_rng(7))
    return docs.candidates(asked, legs=LEGS, depth=_DEPTH, tenant="default", **options)


def test_rows_of_the_leg_that_answers_first_are_read_meanwhile(
    docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = threading.Event()
    taken, search = noted(monkeypatch, reading.set), Index.search

    def slow(self: Index, leg: Leg, *args: Any, **options: Any) -> Any:
        assert leg == "sparse" or reading.wait(60)
        return search(self, leg, *args, **options)

    monkeypatch.setattr(Index, "search", slow)
    found = candidates(docs)
    dense, sparse = (set(found.legs[leg]) for leg in LEGS)
    assert taken == [sparse, dense - sparse]


def test_words_are_looked_for_before_vectors_are_read(
    docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = noted(monkeypatch)
    found = candidates(docs, words=Words(must=("rare",)))
    assert taken == [{chunk.row for chunk in found.rows.chunks}]
    assert {chunk.document_id for chunk in found.rows.chunks} == {"r0", "r1", "r2"}


@pytest.mark.parametrize("options", [{}, {"words": WORDS}, {"filter": FILTER}])
def test_a_row_that_an_index_has_for_the_wrong_tenant_is_not_found(
    docs: Collection, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, search = np.random.default_rng(8), Index.search
    other: Any = {"legs": ["dense"], "depth": 9, "tenant": "other", **options}
    (foreign,) = docs.candidates(query(rng), **other).legs["dense"]

    def wrong(*args: Any, **of: Any) -> list[tuple[int, float]]:
        return [(foreign, 9.0), *search(*args, **of)]

    monkeypatch.setattr(Index, "search", wrong)
    found = candidates(docs, **options)
    assert foreign not in {row for ids in found.legs.values() for row in ids}
    assert {chunk.tenant for chunk in found.rows.chunks} <= {"default"}
    monkeypatch.undo()
    assert docs.candidates(query(rng), **other).legs["dense"] == [foreign]


def test_texts_are_not_read_with_candidates(
    docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns, take = set[str](), Version.take

    def noting(self: Version, ids: Sequence[int], names: Sequence[str]) -> Any:
        columns.update(names)
        return take(self, ids, names)

    monkeypatch.setattr(Version, "take", noting)
    assert candidates(docs).rows.chunks
    assert not columns & {"title", "text", "metadata", "heading"}


def test_codes_are_read_of_those_rows_alone_that_are_wanted_whole(
    docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = noted(monkeypatch)
    found = candidates(docs, codes=False)
    assert not taken
    chosen = found.legs["dense"][:3]
    docs.rows(chosen, tenant="default", snapshot=found.snapshot)
    assert taken == [set(chosen)]


def test_columns_that_come_in_two_orders_are_not_put_together(
    docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Version.take

    def turned(self: Version, ids: Sequence[int], columns: Sequence[str]) -> Any:
        found = take(self, ids, columns)
        return found[::-1] if "codes" in columns else found

    monkeypatch.setattr(Version, "take", turned)
    with pytest.raises(Corrupt, match="the same rows in two orders"):
        candidates(docs)


def test_choosing_rows_copies_none(docs: Collection) -> None:
    rows = candidates(docs).rows
    left = selected(rows, lambda chunk: chunk.row % 2 == 0)
    before = rows.by_row()
    assert 0 < len(left.chunks) < len(rows.chunks)
    for row, own in left.by_row().items():
        assert np.shares_memory(own.codes, before[row].codes)
        assert np.shares_memory(own.dense, before[row].dense)


@pytest.mark.parametrize(("given", "budget"), [(None, 1_000), (0, 0), (77, 77)])
def test_hot_rows_have_an_eighth_of_what_is_left(
    given: int | None, budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "available_memory", lambda: 8_000)
    store = open_store(Settings(home=tmp_path, row_cache_bytes=given))
    assert store._hot.vectors._budget + store._hot.texts._budget == budget
    store.close()
