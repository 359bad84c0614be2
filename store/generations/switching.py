"""From one serving generation to another, so that no acknowledged write is lost.

A switch marks the collection's record, has what is left copied, and then moves the pointer. A
writer reads the record after its commit (`generation.acknowledge`): without a mark, the commit came
in time to be copied; with one, it waits and writes again. So neither takes a lock that the other
could leave behind, and a mark that was left behind runs out.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from m3.errors import AlreadyExists, DeadlineExceeded, InvalidInput, NotFound
from store.generations.making import drop_index
from store.index.milvus import Milvus
from store.registry import Closing, Generation, Record, Registry

CLOSING_SECONDS = 60.0
"""How long a switch may keep writers waiting."""


@contextmanager
def closing(registry: Registry, name: str, to: int) -> Generator[None]:
    """See `store.contract.Store.closing`."""
    mark = Closing(to, uuid.uuid4().hex, time.time() + CLOSING_SECONDS)

    def marked(record: Record) -> Record:
        _known(record, to)
        if record.closing is not None and time.time() < record.closing.until:
            raise AlreadyExists(f"{name!r} is being switched already: try again in a minute")
        return replace(record, closing=mark)

    def cleared(record: Record) -> Record:
        return replace(record, closing=None) if record.closing == mark else record

    registry.update(name, marked)
    try:
        yield
    finally:
        registry.update(name, cleared)


def serve(registry: Registry, name: str, number: int) -> Sequence[Generation]:
    """See `store.contract.Store.serve`. Returns the generations that are to be taken out."""

    def served(record: Record) -> Record:
        generation = _known(record, number)
        if generation in record.leaving:
            raise NotFound(f"generation {number} of {name!r} is being taken out")
        mark = record.closing
        if mark is None or mark.to != number or time.time() >= mark.until:
            raise DeadlineExceeded(
                f"the last writes of {name!r} took over {CLOSING_SECONDS:g} s to copy: try again"
            )
        return replace(
            record,
            current=generation.number,
            previous=record.current,
            building=None if record.building == number else record.building,
            closing=None,
        )

    return registry.update(name, served).leaving


def discard(registry: Registry, name: str, number: int) -> Generation:
    """See `store.contract.Store.discard`. Returns what is to be taken out."""

    def released(record: Record) -> Record:
        _known(record, number)
        if number == record.current:
            raise InvalidInput(f"generation {number} of {name!r} serves: promote another first")
        return record.released(number)

    return registry.update(name, released).generations[number]


def take_out(registry: Registry, milvus: Milvus, name: str, generation: Generation) -> None:
    """Table, index, and the record last: what breaks off can be done again, texts being first."""
    registry.place.remove_table(name, generation.table)
    drop_index(milvus, generation)
    registry.update(name, lambda record: record.without(generation.number))


def _known(record: Record, number: int) -> Generation:
    if number not in record.generations:
        raise NotFound(f"collection {record.name!r} has no generation {number}")
    return record.generations[number]
