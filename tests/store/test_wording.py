"""Searches for words in the real store are what an exact search in memory finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from store.contract import Collection, Store
from store.filters import parse
from store.memory import MemoryStore
from store.reading import naming
from store.words import Words
from tests.store.examples import FIELDS, SPEC, document_rows, query
from tests.store.filter_strategies import filters
from tests.store.word_strategies import texts, wordings

LEGS = ("dense", "sparse")


def reworded(rows, bodies: Sequence[str]):
    """The same document with other passages."""
    pieces = [
        dataclasses.replace(chunk, text=body)
        for chunk, body in zip(rows.chunks, bodies, strict=True)
    ]
    return dataclasses.replace(rows, chunks=pieces)


def examples(count: int):
    """Documents of two tenants whose passages have words in many forms."""
    rng = np.random.default_rng(5)
    drawn = iter(draws(3 * count))
    for i in range(count):
        chunks = 1 + i % 3
        rows = document_rows(
            rng,
            f"d{i:03}",
            chunks=chunks,
            tenant=["one", "two"][i % 2],
            metadata={"year": i % 4, "tags": ["x"] if i % 3 else []},
            terms=i % 12,
        )
        yield reworded(rows, [next(drawn) for _ in range(chunks)])


def draws(count: int) -> list[str]:
    """Texts of the strategy, the same each time."""
    found: list[str] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
    )
    @given(texts)
    def note(text: str) -> None:
        found.append(text)

    note()
    return (found * count)[:count]


@pytest.fixture
def pair(store: Store) -> list[Collection]:
    """The same documents in the real store and in memory, some of them written twice."""
    documents = list(examples(90))
    collections = [store.create("pair", SPEC), MemoryStore().create("pair", SPEC)]
    for collection in collections:
        collection.replace(documents)
        collection.replace(documents[::7])
    return collections


@pytest.fixture(params=["named", "part by part"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Few rows are named to Milvus; many are looked at as they come, and in parts at the end."""
    if request.param == "part by part":
        monkeypatch.setattr("store.reading.naming.MOST_NAMED", 3)
        monkeypatch.setattr("store.reading.legs.MAX_DEPTH", 24)
    return request.param


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    wanted=wordings(),
    conditions=filters() | strategies.none(),
    seed=strategies.integers(0, 2**16),
    depth=strategies.sampled_from([1, 5, 20]),
)
@pytest.mark.usefixtures("way")
def test_candidates_equal_the_oracle(pair, wanted, conditions, seed, depth):
    asked = query(np.random.default_rng(seed))
    tenant = ["one", "two"][seed % 2]
    answers = [
        collection.candidates(
            asked,
            legs=LEGS,
            depth=depth,
            tenant=tenant,
            filter=parse(conditions, FIELDS) if conditions else None,
            words=wanted,
        )
        for collection in pair
    ]
    for leg in LEGS:
        found, expected = (ids(answer, leg) for answer in answers)
        assert found == expected


def ids(answer, leg) -> list[str]:
    by_row = {chunk.row: chunk.id for chunk in answer.rows.chunks}
    return sorted(by_row[row] for row in answer.legs[leg])


def test_rare_words_are_named_and_frequent_ones_are_not(store, monkeypatch):
    """The one passage with the word is the last that the query would find."""
    asked: list[str | None] = []
    monkeypatch.setattr(
        "store.reading.legs.named", lambda *given: asked.append(naming.named(*given)) or asked[-1]
    )
    rng = np.random.default_rng(1)
    collection = store.create("rare", SPEC)
    rows = [document_rows(rng, f"d{i:03}", word="often") for i in range(120)]
    question = query(rng)
    last = min(rows, key=lambda row: float(row.embeddings[0].dense @ question.dense))
    rare = [reworded(row, ["only here"]) if row is last else row for row in rows]
    collection.replace(rare)

    def found(words: Words) -> list[str]:
        answer = collection.candidates(
            question, legs=["dense"], depth=10, tenant="default", words=words
        )
        return [chunk.document_id for chunk in answer.rows.chunks]

    assert len(found(Words(must=("often-0",)))) == 10
    assert not asked
    assert found(Words(must=("only HERE",))) == [last.document.id]
    assert len(asked) == 1
    assert asked[0].startswith("row in [")
    assert found(Words(must=("nowhere",))) == []
    assert found(Words(must_not=("often-0",))) == [last.document.id]
    assert asked[-1].startswith("row not in [")
