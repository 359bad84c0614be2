"""A generation's table and index: both are there once a record names them, or neither stays."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress

from m3.errors import M3Error
from store.index.index import Index
from store.index.milvus import Milvus
from store.places.place import Place
from store.registry import Generation


def drop_index(milvus: Milvus | None, generation: Generation) -> None:
    """Take its index out; None has none."""
    if milvus is not None:
        Index(milvus, generation.index, generation.spec).drop()


@contextmanager
def undone_on_failure(
    name: str, generation: Generation, place: Place, milvus: Milvus | None
) -> Generator[None]:
    """While its table and its index are made and registered: where that fails, neither stays."""
    try:
        yield
    except BaseException:
        with suppress(M3Error):
            place.remove_table(name, generation.table)
        with suppress(M3Error):
            drop_index(milvus, generation)
        raise
