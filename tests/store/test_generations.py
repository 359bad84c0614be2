"""Generations of both stores, and switches while others write."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from m3.errors import (
    AlreadyExists,
    DeadlineExceeded,
    GenerationChanged,
    IndexMissing,
    MilvusUnreachable,
    NotFound,
)
from m3.settings import Settings
from store.collection import StoredCollection
from store.contract import Collection, Store
from store.generations import switching
from store.generations.erasing import erase
from store.generations.generation import Generations
from store.index.index import Index
from store.memory import MemoryStore
from store.registry import Generation
from tests.pace import Clock, until
from tests.store.examples import SPEC, document_rows, key
from tests.store.generations_contract import OTHER, GenerationsContract


class TestMemoryGenerations(GenerationsContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestStoredGenerations(GenerationsContract):
    """`store` comes from conftest: a real table and a real engine."""


def test_a_commit_during_a_switch_is_not_acknowledged(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(1)
    collection = store.create("docs", SPEC)
    number = store.begin("docs", OTHER)
    outcome: list[type[Exception] | None] = []
    waits = _waits(monkeypatch)

    def write() -> None:
        try:
            collection.replace([document_rows(rng, "late")], SPEC)
        except GenerationChanged as error:
            outcome.append(type(error))
        else:
            outcome.append(None)

    writer = threading.Thread(target=write)
    with store.closing("docs", number):
        writer.start()
        for _ in range(3):
            assert waits.acquire(timeout=60)
        assert outcome == []
        store.serve("docs", number)
    writer.join(60)
    assert outcome == [GenerationChanged]


def test_a_switch_that_is_given_up_lets_writers_go_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    waits = _waits(monkeypatch)
    collection = store.create("docs", SPEC)
    number = store.begin("docs", OTHER)
    writer = threading.Thread(
        target=collection.replace, args=([document_rows(np.random.default_rng(1), "a")], SPEC)
    )
    with store.closing("docs", number):
        writer.start()
        assert waits.acquire(timeout=60)
    writer.join(60)
    assert not writer.is_alive()
    assert collection.document(key("a")) is not None


def _waits(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """One more each time that a writer waits for a switch to be over."""
    waits, sleep = threading.Semaphore(0), time.sleep

    def waiting(seconds: float) -> None:
        waits.release()
        sleep(seconds)

    clock = SimpleNamespace(time=time.time, sleep=waiting)
    monkeypatch.setattr("store.generations.generation.time", clock)
    return waits


def test_a_switch_that_died_runs_out(store: Store, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    for module in ("switching", "generation"):
        monkeypatch.setattr(f"store.generations.{module}.time", clock)
    collection = store.create("docs", SPEC)
    number = store.begin("docs", OTHER)
    began = clock.now
    died = store.closing("docs", number)
    died.__enter__()
    with pytest.raises(AlreadyExists, match="switched already"), store.closing("docs", number):
        pass
    collection.replace([document_rows(np.random.default_rng(1), "a")], SPEC)
    assert clock.now - began == pytest.approx(switching.CLOSING_SECONDS, abs=0.1)
    # Too late: a write that was not copied has been acknowledged.
    with pytest.raises(DeadlineExceeded):
        store.serve("docs", number)
    assert store.generations("docs").current == 1


def _switched_once(monkeypatch: pytest.MonkeyPatch, method: str, store: Store, number: int) -> None:
    """Another generation comes to serve while the index is next asked for this."""
    whole = getattr(Index, method)

    def switched_meanwhile(self: Index, *args: Any) -> Any:
        monkeypatch.setattr(Index, method, whole)
        done = whole(self, *args)
        with store.closing("docs", number):
            store.serve("docs", number)
        return done

    monkeypatch.setattr(Index, method, switched_meanwhile)


def test_a_publication_that_a_switch_overtakes_leaves_what_serves_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(1)
    collection = store.create("docs", SPEC)
    number = store.begin("docs", OTHER)
    before = store.open("docs", number).snapshot()
    _switched_once(monkeypatch, "upsert", store, number)
    with pytest.raises(GenerationChanged):
        collection.replace([document_rows(rng, "late")], SPEC)
    assert collection.snapshot() == before
    late = store.open("docs", 1)
    assert late.document(key("late")) is not None
    assert late.status().unpublished == 0


@pytest.mark.usefixtures("clock")
def test_a_sweep_that_a_switch_overtakes_leaves_what_serves_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(1)
    collection = store.create("docs", SPEC)
    number = store.begin("docs", OTHER)
    swept = _generation(collection, number).swept
    for word in ("old", "new"):
        collection.replace([document_rows(rng, "a", word=word)])
    _switched_once(monkeypatch, "delete", store, number)
    collection.settle()
    assert _generation(collection, number).swept == swept
    assert _generation(collection, 1).recent == ()


def test_an_index_that_is_moved_while_a_switch_passes_is_the_one_that_moved(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    collection = store.create("docs", SPEC)
    collection.replace([document_rows(np.random.default_rng(1), "a")])
    number = store.begin("docs", OTHER)
    for each in (1, number):
        generation = _generation(collection, each)
        _generations(collection).update(generation, lambda g: replace(g, engine="another"))
    _switched_once(monkeypatch, "row_ids", store, number)
    with pytest.raises(IndexMissing):
        collection.verify(repair=True)
    assert _generation(collection, number).engine == "another"
    assert _generation(collection, 1).engine == _generations(collection).engine


def _generations(collection: Collection) -> Generations:
    assert isinstance(collection, StoredCollection)
    return collection._generations


def _generation(collection: Collection, number: int) -> Generation:
    return _generations(collection)._registry.read("docs").generations[number]


@contextmanager
def _no_drops(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    def unreachable(_: Index) -> None:
        raise MilvusUnreachable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Index, "drop", unreachable)
        yield


def test_a_discard_that_breaks_off_can_be_done_again(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    collection = store.create("docs", SPEC)
    number = store.begin("docs", OTHER)
    left = _generation(collection, number)
    with _no_drops(monkeypatch), pytest.raises(MilvusUnreachable):
        store.discard("docs", number)
    assert store.generations("docs").leaving == [number]
    assert not Path(settings.tables_path, "docs", left.table).exists(), "texts go first"
    with pytest.raises(NotFound, match="taken out"), store.closing("docs", number):
        store.serve("docs", number)
    store.discard("docs", number)
    assert sorted(store.generations("docs").specs) == [1]
    assert not _generations(collection).index(left).exists()


@pytest.mark.parametrize("later", ["switch", "purge"])
@pytest.mark.usefixtures("clock")
def test_a_generation_that_a_switch_could_not_take_out_is_later(
    store: Store, monkeypatch: pytest.MonkeyPatch, later: str
):
    collection = store.create("docs", SPEC)
    first = _generation(collection, 1)
    _switched(store)
    with _no_drops(monkeypatch):
        _switched(store)
    assert (store.generations("docs").current, store.generations("docs").leaving) == (3, [1])
    if later == "switch":
        _switched(store)
    else:
        erase(store, "docs")
    assert store.generations("docs").leaving == []
    assert not _generations(collection).index(first).exists()


def _switched(store: Store) -> None:
    number = store.begin("docs", OTHER)
    with store.closing("docs", number):
        store.serve("docs", number)


def test_no_acknowledged_write_is_lost_in_a_switch(store: Store):
    serving = store.create("docs", SPEC)
    number = store.begin("docs", SPEC)
    acknowledged: list[str] = []
    stop = threading.Event()
    writers = [
        threading.Thread(target=_write_on, args=(serving, i, stop, acknowledged)) for i in range(3)
    ]
    for writer in writers:
        writer.start()
    try:
        _some_more(acknowledged)
        for there, back in ((number, 1), (1, number)):
            source, target = store.open("docs", back), store.open("docs", there)
            _copy(source, target)
            with store.closing("docs", there):
                while _copy(source, target):
                    pass
                store.serve("docs", there)
            _some_more(acknowledged)
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    assert set(acknowledged) <= {key.id for key in serving.keys("default", "default")}


def _some_more(acknowledged: list[str]) -> None:
    """Wait for writes that were begun and acknowledged after this."""
    before = len(acknowledged)
    until(lambda: len(acknowledged) >= before + 6)


def _write_on(
    collection: Collection, number: int, stop: threading.Event, acknowledged: list[str]
) -> None:
    rng = np.random.default_rng(number)
    count = 0
    while not stop.is_set():
        written = f"{number}-{count}"
        try:
            collection.replace([document_rows(rng, written)], collection.spec)
        except GenerationChanged:
            continue
        acknowledged.append(written)
        count += 1


def _copy(source: Collection, target: Collection) -> int:
    """Copy what the target lacks now; returns how many documents that was."""
    rng = np.random.default_rng(9)
    lacking = set(source.keys("default", "default")) - set(target.keys("default", "default"))
    target.replace([document_rows(rng, key.id) for key in lacking])
    return len(lacking)
