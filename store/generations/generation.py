"""One generation of a collection, and the handles on its table and its index."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from m3.errors import GenerationChanged, IndexMissing, NotFound
from store.index.index import Index
from store.index.milvus import Milvus
from store.places.place import Lease
from store.registry import NOWHERE, Generation, Record, Registry
from store.reports import Defaults
from store.spec import CollectionSpec
from store.table.table import Table

_POLL_SECONDS = 0.05


class Generations:
    """What writer, reader and verifier of a collection have in common.

    Args:
        number: the generation to stay with; None is whichever serves at the time.
    """

    def __init__(
        self, name: str, registry: Registry, milvus: Milvus, number: int | None = None
    ) -> None:
        self.name = name
        self._registry = registry
        self._milvus = milvus
        self._number = number
        self._indexes: dict[str, Index] = {}

    def current(self) -> Generation:
        """The generation that serves, or the one to stay with, as the registry has it now.

        Raises:
            NotFound: it was taken out.
        """
        return self._chosen(self._registry.read(self.name))

    def update(self, generation: Generation, change: Callable[[Generation], Generation]) -> None:
        """Replace a generation, as the registry has it by then, by what `change` makes of it.

        It need not serve any more; one that was taken out stays out.
        """

        def changed(record: Record) -> Record:
            there = record.generations.get(generation.number)
            return record if there is None else record.with_generation(change(there))

        self._registry.update(self.name, changed)

    def defaults(self, fingerprint: str) -> Defaults:
        """What is saved for a model."""
        return self._registry.read(self.name).defaults(fingerprint)

    def save_defaults(self, fingerprint: str, defaults: Defaults) -> None:
        """In place of all that is saved for a model."""
        self._registry.update(self.name, lambda record: record.with_defaults(fingerprint, defaults))

    def refuse_other(self, generation: Generation, spec: CollectionSpec | None) -> None:
        """Raises GenerationChanged for a caller's spec that is not the generation's."""
        if spec is not None and spec != generation.spec:
            raise GenerationChanged(
                f"generation {generation.number} of {self.name!r} serves now, of another spec: "
                "embed for that one"
            )

    def acknowledge(self, generation: Generation) -> None:
        """Return if what was just committed to a generation counts.

        A switch to another generation first marks the record, then copies what the serving one
        has. A commit whose writer reads the record afterwards and finds no mark was there in
        time to be copied; for any other, the writer waits for the switch and writes again.

        Raises:
            GenerationChanged: another generation serves, or is about to.
        """
        if self._number is not None:
            return
        record = self._registry.read(self.name)
        while record.closing is not None and time.time() < record.closing.until:
            time.sleep(_POLL_SECONDS)
            record = self._registry.read(self.name)
        if record.current != generation.number:
            raise GenerationChanged(
                f"generation {record.current} of {self.name!r} serves now: write again"
            )

    def publishing(self) -> AbstractContextManager[Lease]:
        """Held by the one process that brings the index up to the table."""
        return self._registry.place.publishing(self.name)

    def table(self, generation: Generation) -> Table:
        return Table(self._registry.place.table_uri(self.name, generation.table))

    @property
    def engine(self) -> str:
        """The Milvus of this process, as records remember it."""
        return self._milvus.identity

    def refuse_elsewhere(self, generation: Generation) -> None:
        """Raises IndexMissing where the index is in another Milvus than ours.

        A machine that trusted an embedded Milvus of its own would search an index that lacks what
        others wrote, and publish to it what others then lack.
        """
        if generation.engine in (None, self.engine):
            return
        which = f"the index of {self.name!r}"
        way = f"`m3-ingest verify {self.name} --repair` builds it here"
        if generation.number != self._registry.read(self.name).current:
            which = f"the index of generation {generation.number} of {self.name!r}"
            way = (
                f"take it out, `m3-ingest generations {self.name} --discard {generation.number}`, "
                "and rebuild it"
            )
        if generation.engine == NOWHERE:
            raise IndexMissing(f"{which} is not built yet: {way}")
        raise IndexMissing(
            f"{which} is in another Milvus than M3_HOME's or M3_MILVUS_URI's: use that one, or "
            f"move it: {way}"
        )

    def index(self, generation: Generation) -> Index:
        """Raises IndexMissing where it is in another Milvus than ours."""
        self.refuse_elsewhere(generation)
        return self.index_here(generation)

    def index_here(self, generation: Generation) -> Index:
        """The one in our Milvus, wherever the record says that it is."""
        if generation.index not in self._indexes:
            self._indexes[generation.index] = Index(self._milvus, generation.index, generation.spec)
        return self._indexes[generation.index]

    def _chosen(self, record: Record) -> Generation:
        if self._number is None:
            return record.generation
        if self._number not in record.generations:
            raise NotFound(f"collection {self.name!r} has no generation {self._number}")
        return record.generations[self._number]
