"""A Milvus that hangs: searches fail in bounded time, all else goes on, and it is found again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from m3.errors import MilvusUnreachable, Unreachable
from m3.settings import load_settings
from m3.types import Codec, DocumentKey
from search import degrade, looking
from search.request import SearchRequest
from search.service import SearchService
from store.candidates import Candidates
from store.collection import StoredCollection
from store.index.engine import Engine
from store.opening import StoredStore, open_store
from tests.search.library import COLLECTION, KnownQueries, books, example, spec

REQUEST = SearchRequest(query="q", collection=COLLECTION)
THREADS = 6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoredStore]:
    settings = load_settings(home=tmp_path, milvus_timeout=120.0)
    store = open_store(settings)
    chapters = {f"d{i}": [example(10 + i)] for i in range(9)}
    store.create(COLLECTION, spec()).replace(books(chapters))
    yield store
    store.close()
    Engine.of(settings).stop()


@pytest.fixture
def engine(store: StoredStore, tmp_path: Path) -> Iterator[int]:
    """The process of the engine; it goes on in the end."""
    pid = Engine.of(load_settings(home=tmp_path)).status().pid
    assert pid is not None
    yield pid
    os.kill(pid, signal.SIGCONT)


@pytest.mark.anyio
async def test_a_stopped_engine(
    store: StoredStore, engine: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(degrade, "_REST_SECONDS", 600.0)
    monkeypatch.setattr(looking, "_THREADS", THREADS)
    service = SearchService(store, KnownQueries({"q": example(1, Codec.FP32)}))
    before = await service.search(REQUEST)
    assert len(before.hits) == 9

    asked, no_thread_is_left = list[object](), threading.Event()
    candidates = StoredCollection.candidates

    def counted(self: StoredCollection, *args: Any, **options: Any) -> Candidates:
        asked.append(options["legs"])
        if len(asked) == THREADS:
            no_thread_is_left.set()
        return candidates(self, *args, **options)

    monkeypatch.setattr(StoredCollection, "candidates", counted)

    async def hopeless() -> None:
        with pytest.raises(Unreachable):
            await service.search(REQUEST)

    os.kill(engine, signal.SIGSTOP)
    # What answers has all the time that it needs; what cannot answer is given up soon.
    monkeypatch.setattr(store._milvus, "_timeout", 1.0)
    searches = [asyncio.create_task(hopeless()) for _ in range(40)]
    assert await asyncio.to_thread(no_thread_is_left.wait, 60)
    collection = service.collections.open(COLLECTION, "default")
    key = DocumentKey("default", "default", "d3")
    document = await asyncio.wait_for(asyncio.to_thread(collection.document, key), 60)
    assert document is not None
    await asyncio.wait_for(asyncio.gather(*searches), 120)
    assert len(asked) < 20, "those that come later are not to wait as well"
    before_the_next = len(asked)
    with pytest.raises(MilvusUnreachable, match="in a row"):
        await service.search(REQUEST)
    assert len(asked) == before_the_next, "nobody is asked, so nobody is waited for"

    os.kill(engine, signal.SIGCONT)
    monkeypatch.setattr(store._milvus, "_timeout", 120.0)
    service.breakers._clock = lambda: time.monotonic() + 601
    after = await service.search(REQUEST)
    assert after.hits == before.hits
    assert not after.degraded
    assert not service.breakers.open("dense")
