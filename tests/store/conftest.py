from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from m3.settings import Settings, load_settings
from store.contract import Store
from store.index.engine import Engine
from store.opening import open_store
from tests.pace import Clock

_numbers = itertools.count()


@pytest.fixture(scope="session")
def engine_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory whose embedded Milvus all store tests share."""
    home = tmp_path_factory.mktemp("home")
    yield home
    Engine.of(load_settings(home=home)).stop()


@pytest.fixture
def settings(engine_home: Path) -> Settings:
    """Shared engine, or the server that `M3_TEST_MILVUS_URI` names; tables of the test's own."""
    return load_settings(
        home=engine_home,
        tables=str(engine_home / f"tables-{next(_numbers)}"),
        milvus_uri=os.environ.get("M3_TEST_MILVUS_URI"),
        milvus_token=os.environ.get("M3_TEST_MILVUS_TOKEN"),
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = open_store(settings)
    yield store
    for name in store.names():
        store.drop(name)
    store.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of readers, and of what waits for them, so that nothing is swept before it moves.

    For tests that nobody reads beside: who waits for readers goes on at once.
    """
    clock = Clock()
    for module in ("generations.publication", "generations.compaction", "reading.reader"):
        monkeypatch.setattr(f"store.{module}.time", clock)
    return clock
