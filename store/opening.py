"""The store of this machine's settings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from m3.errors import InvalidConfiguration, M3Error
from m3.settings import Settings
from store import contract
from store.collection import StoredCollection
from store.contract import Collection, CollectionSpec
from store.generations import Generations
from store.index import Index
from store.milvus import Milvus
from store.registry import Generation, Registry
from store.switching import closing, discard, serve
from store.table import Table, remove

_SEARCH_THREADS = 8


def open_store(settings: Settings) -> StoredStore:
    """Tables under `M3_TABLES`, candidates in the embedded Milvus or at `M3_MILVUS_URI`.

    Nothing is started or contacted before it is needed.

    Raises:
        InvalidConfiguration: the tables' place cannot be used.
    """
    if "://" in settings.tables_path:
        raise InvalidConfiguration(
            f"M3_TABLES={settings.tables_path}: only a folder can hold tables"
        )
    root = Path(settings.tables_path)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfiguration(f"cannot use {root}: {error.strerror}; set M3_HOME") from error
    return StoredStore(Registry(root), Milvus.of(settings))


class StoredStore:
    """Collections in Lance tables with their indexes in one Milvus."""

    def __init__(self, registry: Registry, milvus: Milvus) -> None:
        self._registry = registry
        self._milvus = milvus
        self._pool = ThreadPoolExecutor(_SEARCH_THREADS, thread_name_prefix="m3-search")

    def create(self, name: str, spec: CollectionSpec) -> Collection:
        self._registry.create(name, spec, lambda generation: self._make(name, generation))
        return self.open(name)

    def _make(self, name: str, generation: Generation) -> int:
        """Table and index of a generation; neither stays where one cannot be made."""
        uri = self._registry.table_uri(name, generation)
        try:
            version = Table(uri).create(generation.spec)
            Index(self._milvus, generation.index, generation.spec).create()
        except M3Error:
            remove(uri)
            raise
        return version

    def open(self, name: str, generation: int | None = None) -> Collection:
        generations = Generations(name, self._registry, self._milvus, generation)
        generations.current()
        return StoredCollection(generations, self._pool)

    def generations(self, name: str) -> contract.Generations:
        record = self._registry.read(name)
        return contract.Generations(
            specs={number: each.spec for number, each in record.generations.items()},
            current=record.current,
            building=record.building,
            previous=record.previous,
        )

    def begin(self, name: str, spec: CollectionSpec) -> int:
        return self._registry.begin(name, spec, lambda generation: self._make(name, generation))

    def closing(self, name: str, to: int) -> AbstractContextManager[None]:
        return closing(self._registry, name, to)

    def serve(self, name: str, number: int) -> None:
        for left in serve(self._registry, name, number):
            self._remove(name, left)

    def discard(self, name: str, number: int) -> None:
        self._remove(name, discard(self._registry, name, number))

    def _remove(self, name: str, generation: Generation) -> None:
        Index(self._milvus, generation.index, generation.spec).drop()
        remove(self._registry.table_uri(name, generation))

    def names(self) -> list[str]:
        return self._registry.names()

    def drop(self, name: str) -> None:
        record = self._registry.read(name)
        for generation in record.generations.values():
            Index(self._milvus, generation.index, generation.spec).drop()
        self._registry.remove(name)

    def close(self) -> None:
        self._pool.shutdown()
        self._milvus.close()
