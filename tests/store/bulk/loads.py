"""What tests of bulk loads share: commits without a publisher, a store over a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store.bulk.jobs import ImportJobs
from store.index.milvus import Milvus, ServerPlace
from store.opening import StoredStore
from store.places.folder import FolderPlace
from store.registry import Registry
from store.table.rows import to_arrow
from tests.store.fake_milvus import FakeClient


@contextmanager
def uncounted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    seen: list[int] = []
    yield seen.append
    assert sum(seen) == total, what


@contextmanager
def uncounted_loosely(what: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


def store_over(client: FakeClient, tables: Path, **more: Any) -> StoredStore:
    milvus = Milvus(ServerPlace("http://127.0.0.1:1"))
    milvus._client = client
    return StoredStore(Registry(FolderPlace(tables)), milvus, **more)


def commit(store: StoredStore, name: str, *documents: Any) -> None:
    """A commit that nobody has published."""
    generations = store.open(name)._generations
    generation = generations.current()
    generations.table(generation).replace(
        to_arrow(documents, generation.spec), [each.document.key.digest() for each in documents]
    )


def no_jobs() -> ImportJobs:
    return ImportJobs("http://127.0.0.1:1", timeout=0.1)
