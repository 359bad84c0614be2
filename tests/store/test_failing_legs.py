"""A leg that fails or hangs drops out if the other one answers, and takes no thread with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3.errors import DeadlineExceeded, MilvusUnreachable, TablesUnreachable, Unreachable
from m3.settings import load_settings
from m3.types import Representation
from store.candidates import Candidates, Leg
from store.contract import Collection, Store
from store.filters import Comparison, Not
from store.index.engine import Engine
from store.index.index import Index
from store.opening import open_store
from store.reading import legs
from store.table.table import Table
from tests.store.examples import SPEC, document_rows, query

LEGS: tuple[Leg, ...] = ("dense", "sparse")
ASKED: Any = {"depth": 5, "tenant": "default"}


@pytest.fixture(scope="module")
def opened(engine_home: Path) -> Iterator[Store]:
    store = open_store(load_settings(home=engine_home, tables=str(engine_home / "failing")))
    yield store
    store.drop("docs")
    store.close()


@pytest.fixture(scope="module")
def collection(opened: Store) -> Collection:
    return filled(opened)


def filled(store: Store) -> Collection:
    collection = store.create("docs", SPEC)
    rng = np.random.default_rng(3)
    collection.replace([document_rows(rng, f"d{i:02}") for i in range(20)])
    return collection


@pytest.fixture
def asked() -> Representation:
    return query(np.random.default_rng(4))


def always(**_: Any) -> bool:
    return True


@contextmanager
def failing(
    *legs: Leg, until: threading.Event | None = None, where: Callable[..., bool] = always
) -> Iterator[None]:
    """These legs fail; given an event, only when it comes, as if they hung till then.

    Args:
        where: of the searches of an index that do, by their options.
    """
    search = Index.search

    def broken(self: Index, leg: Leg, *args: Any, **options: Any) -> list[int]:
        if leg not in legs or not where(**options):
            return search(self, leg, *args, **options)
        if until is not None:
            until.wait(120)
        raise MilvusUnreachable("it is broken")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "search", broken)
        yield


@pytest.mark.parametrize(("broken", "left"), [("dense", "sparse"), ("sparse", "dense")])
def test_the_other_leg_answers(
    broken: Leg, left: Leg, collection: Collection, asked: Representation
) -> None:
    alone = collection.candidates(asked, legs=[left], **ASKED)
    with failing(broken):
        found = collection.candidates(asked, legs=LEGS, **ASKED)
    assert found.legs == alone.legs
    assert {chunk.row for chunk in found.rows.chunks} == set(alone.legs[left])
    assert list(found.failed) == [broken]
    assert isinstance(found.failed[broken], MilvusUnreachable)


def test_without_another_answer_it_is_an_error(
    collection: Collection, asked: Representation
) -> None:
    with failing("dense", "sparse"), pytest.raises(MilvusUnreachable):
        collection.candidates(asked, legs=LEGS, **ASKED)
    with failing("dense"), pytest.raises(MilvusUnreachable):
        collection.candidates(asked, legs=["dense"], **ASKED)


def test_a_leg_that_has_nothing_to_look_for_is_no_answer(
    collection: Collection, asked: Representation
) -> None:
    none = np.empty(0)
    dumb = replace(asked, sparse_ids=none.astype(np.int32), sparse_weights=none.astype(np.float32))
    assert not collection.candidates(dumb, legs=LEGS, **ASKED).failed
    with failing("dense"), pytest.raises(MilvusUnreachable):
        collection.candidates(dumb, legs=LEGS, **ASKED)


def in_time(collection: Collection, asked: Representation) -> Candidates:
    """What is found in as little time as this machine needs for one leg, busy as it may be."""
    for within in (0.25, 2.5):
        with suppress(DeadlineExceeded):
            return collection.candidates(asked, legs=LEGS, within=within, **ASKED)
    return collection.candidates(asked, legs=LEGS, within=25, **ASKED)


def test_a_leg_that_hangs_is_waited_for_as_long_as_it_was_given(
    collection: Collection, asked: Representation
) -> None:
    over = threading.Event()
    try:
        with failing("sparse", until=over):
            found = in_time(collection, asked)
            assert isinstance(found.failed["sparse"], DeadlineExceeded)
            assert found.legs["dense"]
            with pytest.raises(DeadlineExceeded):
                collection.candidates(asked, legs=["sparse"], within=0.2, **ASKED)
    finally:
        over.set()


@pytest.fixture(scope="module")
def shelf(opened: Store) -> Iterator[Collection]:
    """Most of it is tagged, and the embedded engine cannot be told to leave that out."""
    collection = opened.create("shelf", SPEC)
    rng = np.random.default_rng(5)
    tags = [[] if i % 8 == 0 else ["no"] for i in range(80)]
    collection.replace(
        [document_rows(rng, f"d{i:02}", metadata={"tags": own}) for i, own in enumerate(tags)]
    )
    yield collection
    opened.drop("shelf")


UNTAGGED: Any = {**ASKED, "filter": Not(Comparison("tags", "contains", "no"))}


def beyond(depth: int) -> Callable[..., bool]:
    return lambda **options: options["depth"] > depth


def test_a_leg_that_fails_deeper_leaves_what_the_other_has(
    shelf: Collection, asked: Representation
) -> None:
    """Sparse has all that there is at once: term 45 is in four passages, two of them untagged."""
    rare = replace(
        asked, sparse_ids=np.array([45], np.int32), sparse_weights=np.ones(1, np.float32)
    )
    alone = shelf.candidates(rare, legs=["sparse"], **UNTAGGED)
    assert len(alone.legs["sparse"]) == 2
    with failing("dense", "sparse", where=beyond(5)):
        found = shelf.candidates(rare, legs=LEGS, **UNTAGGED)
    assert found.legs == alone.legs
    assert {chunk.row for chunk in found.rows.chunks} == set(alone.legs["sparse"])
    assert isinstance(found.failed["dense"], MilvusUnreachable)


@pytest.mark.parametrize(("broken", "left"), [("dense", "sparse"), ("sparse", "dense")])
def test_what_a_leg_found_before_it_failed_is_none_of_the_answer(
    broken: Leg, left: Leg, shelf: Collection, asked: Representation
) -> None:
    alone = shelf.candidates(asked, legs=[left], **UNTAGGED)
    with failing(broken, where=beyond(10)):
        found = shelf.candidates(asked, legs=LEGS, **UNTAGGED)
    assert found.legs == alone.legs
    assert list(found.failed) == [broken]


def test_a_leg_may_fail_at_the_last_resort(
    shelf: Collection, asked: Representation, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = shelf.candidates(asked, legs=["sparse"], **UNTAGGED)
    monkeypatch.setattr(legs, "MAX_DEPTH", 10)
    with failing("dense", where=lambda **options: options["expression"] is not None):
        found = shelf.candidates(asked, legs=LEGS, **UNTAGGED)
    assert found.legs == alone.legs
    assert isinstance(found.failed["dense"], MilvusUnreachable)
    with failing("dense", "sparse", where=beyond(5)), pytest.raises(MilvusUnreachable):
        shelf.candidates(asked, legs=LEGS, **UNTAGGED)


def test_a_stopped_engine_takes_no_thread_for_longer_than_it_was_given(
    tmp_path: Path, asked: Representation
) -> None:
    settings = load_settings(home=tmp_path)
    store = open_store(settings)
    engine = Engine.of(settings)
    try:
        collection = filled(store)
        before = collection.candidates(asked, legs=LEGS, **ASKED)
        pid = engine.status().pid
        assert pid is not None

        def hopeless(_: int) -> None:
            with pytest.raises(Unreachable):
                collection.candidates(asked, legs=LEGS, within=0.5, **ASKED)

        os.kill(pid, signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(10) as callers:
                began = time.monotonic()
                list(callers.map(hopeless, range(40)))
                assert time.monotonic() - began < 60
            assert store._threads.legs.submit(len, "free").result(timeout=60) == 4
        finally:
            os.kill(pid, signal.SIGCONT)
        after = collection.candidates(asked, legs=LEGS, **ASKED)
        assert after.legs == before.legs
        assert not after.failed
    finally:
        store.close()
        engine.stop()


def test_a_bucket_that_does_not_answer_is_not_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TablesUnreachable) as raised:
        Table("s3://tables/docs").latest()
    assert raised.value.status == 503
    assert "\n" not in raised.value.message
