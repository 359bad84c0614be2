"""Real tables beside a Milvus server that is not real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from store.bulk import loading
from store.bulk.jobs import ImportJobs
from store.opening import StoredStore
from tests.store.bulk.loads import commit, store_over
from tests.store.examples import SPEC, document_rows
from tests.store.fake_milvus import FakeClient, FakeServer, serving


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def server_store(client: FakeClient, tmp_path: Path) -> Iterator[StoredStore]:
    """Real tables beside a server that is not real."""
    store = store_over(client, tmp_path / "tables")
    yield store
    store.close()


@pytest.fixture
def fake(client: FakeClient, tmp_path: Path) -> Iterator[FakeServer]:
    with serving(FakeServer(client, tmp_path / "storage")) as fake:
        yield fake


@pytest.fixture
def jobs(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> ImportJobs:
    monkeypatch.setattr(loading, "_POLL_SECONDS", 0.01)
    return ImportJobs(fake.url, token=fake.token, timeout=60)


@pytest.fixture
def filled(server_store: StoredStore, rng: np.random.Generator) -> StoredStore:
    """`docs`, of 12 rows in three commits, none published."""
    server_store.create("docs", SPEC)
    for i in range(3):
        metadata = {"lang": "de", "year": i, "price": 1.5, "open": True, "tags": ["x", ""]}
        commit(server_store, "docs", document_rows(rng, f"d{i}", chunks=4, metadata=metadata))
    return server_store
