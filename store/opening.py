"""The store of this machine's settings."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from m3.errors import AlreadyExists, InvalidConfiguration, M3Error, NotFound
from m3.settings import Settings
from serving.machine import available_memory
from store import reports
from store.bulk.load import Bulk
from store.checks import check_name, check_spec
from store.collection import StoredCollection
from store.contract import Collection
from store.copying import Target
from store.generations.generation import Generations
from store.generations.making import drop_index, undone_on_failure
from store.generations.publication import Deferred, Publisher
from store.generations.switching import closing, discard, serve, take_out
from store.index.index import Index
from store.index.milvus import Milvus
from store.places.bucket import BucketPlace
from store.places.folder import FolderPlace
from store.places.objects import SCHEME
from store.places.place import Place
from store.reading.kept import Hot
from store.reading.threads import Threads
from store.registry import Generation, Registry, new_generation
from store.spec import CollectionSpec
from store.table.table import Table

_CACHE_SHARE = 8
"""One part in so many of what is left, for rows."""

_log = logging.getLogger("m3.store")


def open_store(settings: Settings, *, defer_index: bool = False) -> StoredStore:
    """Tables under `M3_TABLES`, candidates in the embedded Milvus or at `M3_MILVUS_URI`.

    Nothing is started or contacted before it is needed.

    Args:
        defer_index: commits go to the tables alone; what readers see stays as it is.

    Raises:
        InvalidConfiguration: the tables' place cannot be used.
    """
    publisher = Deferred if defer_index else Publisher
    return StoredStore(
        Registry(place_of(settings.tables_path)),
        Milvus.of(settings),
        publisher,
        row_cache_bytes=_row_cache_bytes(settings),
    )


def _row_cache_bytes(settings: Settings) -> int:
    if settings.row_cache_bytes is None:
        return available_memory() // _CACHE_SHARE
    return settings.row_cache_bytes


def collections_at(tables: str) -> Registry:
    """What is at a place already, such as a backup.

    Raises:
        NotFound: there is no such folder.
        InvalidConfiguration: it cannot be used.
    """
    if "://" not in tables and not Path(tables).is_dir():
        raise NotFound(f"there is no folder {tables}")
    return Registry(place_of(tables))


@contextmanager
def copying_to(settings: Settings) -> Generator[Target]:
    """Copies that are collections of these settings."""
    milvus = Milvus.of(settings)
    try:
        yield Target(Registry(place_of(settings.tables_path)), milvus)
    finally:
        milvus.close()


def backing_up_to(tables: str) -> Target:
    """Copies that have no index."""
    return Target(Registry(place_of(tables)), None)


def place_of(tables: str) -> Place:
    """A folder, or `s3://bucket/prefix`.

    Raises:
        InvalidConfiguration: it cannot be used.
    """
    if tables.startswith(SCHEME):
        return BucketPlace(tables)
    if "://" in tables:
        raise InvalidConfiguration(f"{tables}: tables go into a folder, or s3://bucket/prefix")
    return FolderPlace(Path(tables))


class StoredStore:
    """Collections in Lance tables with their indexes in one Milvus."""

    def __init__(
        self,
        registry: Registry,
        milvus: Milvus,
        publisher: type[Publisher] = Publisher,
        *,
        row_cache_bytes: int = 0,
    ) -> None:
        self._registry = registry
        self._milvus = milvus
        self._publisher = publisher
        self._hot = Hot(row_cache_bytes)
        self._threads = Threads()

    def create(self, name: str, spec: CollectionSpec) -> Collection:
        check_name(name)
        if self._registry.place.read(name) is not None:
            raise AlreadyExists(f"collection {name!r} exists already")
        with self._made(name, spec) as generation:
            self._registry.create(name, generation)
        return self.open(name)

    def begin(self, name: str, spec: CollectionSpec) -> int:
        building = self._registry.read(name).building
        if building is not None:
            raise AlreadyExists(f"generation {building} of {name!r} is being made")
        with self._made(name, spec) as generation:
            return self._registry.begin(name, generation)

    @contextmanager
    def _made(self, name: str, spec: CollectionSpec) -> Generator[Generation]:
        """A generation with its table and its index, to be registered; neither stays if not."""
        check_spec(spec)
        generation = new_generation(name, spec)
        with undone_on_failure(name, generation, self._registry.place, self._milvus):
            version = Table(self._registry.place.table_uri(name, generation.table)).create(spec)
            Index(self._milvus, generation.index, spec).create()
            yield replace(
                generation, published=version, swept=version, engine=self._milvus.identity
            )

    def open(self, name: str, generation: int | None = None) -> Collection:
        generations = Generations(name, self._registry, self._milvus, generation)
        generations.current()
        publisher = self._publisher(generations)
        return StoredCollection(generations, self._threads, self._hot, publisher)

    def bulk(self, name: str) -> Bulk:
        """The bulk path of the generation that serves now. Raises NotFound."""
        number = self._registry.read(name).current
        return Bulk(Generations(name, self._registry, self._milvus, number))

    def generations(self, name: str) -> reports.Generations:
        record = self._registry.read(name)
        return reports.Generations(
            specs={number: each.spec for number, each in record.generations.items()},
            current=record.current,
            building=record.building,
            previous=record.previous,
        )

    def closing(self, name: str, to: int) -> AbstractContextManager[None]:
        return closing(self._registry, name, to)

    def serve(self, name: str, number: int) -> None:
        for left in serve(self._registry, name, number):
            try:
                take_out(self._registry, self._milvus, name, left)
            except M3Error as error:
                _log.warning("generation %d of %r is left for later: %s", left.number, name, error)

    def discard(self, name: str, number: int) -> None:
        take_out(self._registry, self._milvus, name, discard(self._registry, name, number))

    def names(self) -> list[str]:
        return self._registry.names()

    def drop(self, name: str) -> None:
        record = self._registry.read(name)
        for generation in record.generations.values():
            drop_index(self._milvus, generation)
        self._registry.remove(name)

    def close(self) -> None:
        self._threads.shutdown()
        self._milvus.close()
