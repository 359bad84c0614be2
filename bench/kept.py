"""A collection to search that is built once into a folder, and its queries.

The folder has `home`, the state directory, and beside it the queries' vectors and what the
collection was made of. One that was not finished is made anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

import orjson

from bench.instant import keep_queries, kept_queries
from bench.resembling import DIMENSION, likeness
from m3.settings import Settings, load_settings
from m3.types import Representation
from store.chunks import DocumentRows
from store.contract import Collection
from store.index.engine import Engine
from store.opening import open_store
from store.spec import CollectionSpec

COLLECTION = "bench"
_MODEL = ("instant", "1257a7", "int8")
"""What `bench.instant` says of itself."""
_QUERIES = 2_000
_DOCUMENTS_AT_ONCE = 250
_MADE = "made.json"


@dataclass(frozen=True, slots=True)
class Made:
    """What the collection is: about so many chunks, each of so many tokens."""

    chunks: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder with its collection."""

    folder: Path

    @property
    def settings(self) -> Settings:
        return load_settings(home=self.folder / "home")

    def queries(self) -> dict[str, Representation]:
        """Their vectors by their texts."""
        return kept_queries(self.folder)

    @contextmanager
    def opened(self) -> Generator[Collection]:
        store = open_store(self.settings)
        try:
            yield store.open(COLLECTION)
        finally:
            store.close()


@contextmanager
def kept(folder: Path, made: Made) -> Generator[Kept]:
    """The folder's collection, made now if it is not there; its Milvus ends with the block.

    Raises:
        SystemExit: the folder has another collection.
    """
    here = Kept(folder)
    try:
        if not (folder / _MADE).exists():
            _make(here, made)
        there = Made(**orjson.loads((folder / _MADE).read_bytes()))
        if there != made:
            raise SystemExit(f"{folder} has {there}: ask for that, or name another folder")
        yield here
    finally:
        Engine.of(here.settings).stop()


def _make(here: Kept, made: Made) -> None:
    Engine.of(here.settings).stop()
    shutil.rmtree(here.settings.home, ignore_errors=True)
    here.settings.home.mkdir(parents=True)
    like = likeness()
    queries = like.queries(_QUERIES)
    keep_queries(
        here.folder, [query.text for query in queries], [query.vectors for query in queries]
    )
    store = open_store(here.settings)
    try:
        collection = store.create(COLLECTION, CollectionSpec(*_MODEL, DIMENSION))
        for some in _some(like.documents(made.chunks, made.tokens)):
            collection.replace(some)
        collection.settle()
        collection.compact(timedelta(0))
    finally:
        store.close()
    (here.folder / _MADE).write_bytes(orjson.dumps(asdict(made)))


def _some(documents: Iterator[DocumentRows]) -> Iterator[list[DocumentRows]]:
    while some := list(islice(documents, _DOCUMENTS_AT_ONCE)):
        yield some
