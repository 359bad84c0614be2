"""The serving generation of one collection, and the handles on its table and its index."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from store.index import Index
from store.milvus import Milvus
from store.registry import Generation, Registry
from store.table import Table


class Generations:
    """What writer, reader and verifier of a collection have in common."""

    def __init__(self, name: str, registry: Registry, milvus: Milvus) -> None:
        self.name = name
        self._registry = registry
        self._milvus = milvus
        self._indexes: dict[str, Index] = {}

    def current(self) -> Generation:
        """The generation that serves, as the registry has it now."""
        return self._registry.read(self.name).generation

    def update(self, change: Callable[[Generation], Generation]) -> Generation:
        """Replace the serving generation by what `change` makes of it."""
        record = self._registry.update(
            self.name, lambda record: record.with_generation(change(record.generation))
        )
        return record.generation

    def publishing(self) -> AbstractContextManager[None]:
        """Held by the one process that brings the index up to the table."""
        return self._registry.publishing(self.name)

    def table(self, generation: Generation) -> Table:
        return Table(self._registry.table_uri(self.name, generation))

    def index(self, generation: Generation) -> Index:
        if generation.index not in self._indexes:
            self._indexes[generation.index] = Index(self._milvus, generation.index, generation.spec)
        return self._indexes[generation.index]
