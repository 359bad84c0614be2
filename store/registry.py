"""Collections by name: their generations, their settings, and which version readers see.

One JSON record a collection, beside its tables, replaced as a whole: a reader gets generation
and published version from one read, so that publishing and promoting are atomic for it.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import orjson
from pydantic import TypeAdapter

from m3.errors import AlreadyExists, Corrupt, InvalidInput, NewerFormat
from scoring.fusion import Method, Weights
from store.checks import check_name, unknown_collection
from store.places.place import Place, Stored
from store.reports import Defaults
from store.spec import CollectionSpec

FORMAT = 3
"""1 had tables without the documents' own texts, 2 none with pooled tokens."""

NOWHERE = "none"
"""The engine of a generation that has a table and no index, as in a backup."""

_RETRY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Publication:
    """A version that readers may still be reading, and since when it is published (Unix time)."""

    version: int
    at: float


@dataclass(frozen=True, slots=True)
class Generation:
    """One table and the Milvus collection over it.

    Attributes:
        table: the table's name at the collection's place.
        index: the Milvus collection's name.
        published: the version readers see: all of it is in the index.
        swept: the rows that commits up to this version replaced have left the index.
        recent: publications after `swept`, oldest first.
        engine: the Milvus that holds the index, `NOWHERE` for none yet; None was not remembered.
        published_at: when readers were last given a version (Unix time), if that was noted.
    """

    number: int
    spec: CollectionSpec
    table: str
    index: str
    published: int
    swept: int
    recent: tuple[Publication, ...] = ()
    engine: str | None = None
    published_at: float | None = None

    def publish(self, version: int, at: float) -> Generation:
        """Readers see `version` from now on; it never goes backwards."""
        if version <= self.published:
            return self
        recent = (*self.recent, Publication(version, at))
        return replace(self, published=version, recent=recent, published_at=at)

    def sweep(self, version: int) -> Generation:
        """The index has lost what was replaced up to `version`."""
        recent = tuple(p for p in self.recent if p.version > version)
        return replace(self, swept=max(self.swept, version), recent=recent)


@dataclass(frozen=True, slots=True)
class Closing:
    """The serving generation takes no more writes: `to` is about to serve instead.

    Attributes:
        owner: who is about to switch; nobody else may.
        until: Unix time after which it was given up.
    """

    to: int
    owner: str
    until: float


@dataclass(frozen=True, slots=True)
class Record:
    """What the registry knows of a collection.

    Attributes:
        current: the generation that serves.
        building: the one that is being made, if any.
        previous: the one that served before, if it is kept.
        weights: what searches use that give none, by the fingerprint of the model they are for.
        rerank_depths: likewise, how many candidates get a ColBERT score, where not all do.
    """

    name: str
    current: int
    generations: Mapping[int, Generation]
    building: int | None = None
    previous: int | None = None
    closing: Closing | None = None
    weights: Mapping[str, Mapping[Method, Weights]] = field(
        default_factory=dict[str, Mapping[Method, Weights]]
    )
    rerank_depths: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def generation(self) -> Generation:
        """The one that serves."""
        return self.generations[self.current]

    @property
    def leaving(self) -> list[Generation]:
        """Those of no use any more, whose tables and indexes are not all gone yet."""
        used = (self.current, self.building, self.previous)
        return [each for number, each in self.generations.items() if number not in used]

    def released(self, number: int) -> Record:
        """This with a generation of no use that does not serve."""
        return replace(
            self,
            building=None if self.building == number else self.building,
            previous=None if self.previous == number else self.previous,
        )

    def without(self, number: int) -> Record:
        """This without a generation that does not serve."""
        kept = {n: generation for n, generation in self.generations.items() if n != number}
        return replace(self.released(number), generations=kept)

    def defaults(self, fingerprint: str) -> Defaults:
        """What is saved for a model."""
        return Defaults(self.weights.get(fingerprint, {}), self.rerank_depths.get(fingerprint))

    def with_defaults(self, fingerprint: str, defaults: Defaults) -> Record:
        """This with these in place of all that the model had."""
        depths = {of: depth for of, depth in self.rerank_depths.items() if of != fingerprint}
        if defaults.rerank_depth is not None:
            depths[fingerprint] = defaults.rerank_depth
        weights = {**self.weights, fingerprint: defaults.weights}
        return replace(self, weights=weights, rerank_depths=depths)

    def with_generation(self, generation: Generation) -> Record:
        return replace(self, generations={**self.generations, generation.number: generation})


_RECORD_TYPE = TypeAdapter(Record)


class Registry:
    """The records at one place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._known: dict[str, tuple[str, Record]] = {}

    def names(self) -> list[str]:
        return self.place.names()

    def read(self, name: str) -> Record:
        """Raises NotFound, Corrupt, NewerFormat."""
        return self._stored(name)[0]

    def _stored(self, name: str) -> tuple[Record, str]:
        check_name(name)
        stored = self.place.read(name)
        if stored is None:
            raise unknown_collection(name, self.names())
        return self._parsed(name, stored), stored.tag

    def _parsed(self, name: str, stored: Stored) -> Record:
        """A search looks at the record several times, which rarely is another one."""
        tag, record = self._known.get(name, (None, None))
        if record is None or tag != stored.tag:
            record = _parse(name, stored.data)
            self._known[name] = stored.tag, record
        return record

    def create(
        self,
        name: str,
        generation: Generation,
        defaults: Defaults | None = None,
    ) -> None:
        """Register a collection whose first generation is made, with defaults for its model.

        Raises:
            AlreadyExists: the name is taken.
        """
        record = Record(name, generation.number, {generation.number: generation})
        if defaults is not None:
            record = record.with_defaults(generation.spec.fingerprint, defaults)
        if not self.place.swap(name, None, _serialise(record)):
            raise AlreadyExists(f"collection {name!r} exists already")

    def begin(self, name: str, generation: Generation) -> int:
        """Register a generation that is made beside the one that serves; returns its number.

        Raises:
            AlreadyExists: one is being made already.
            NotFound: no such collection.
        """

        def begun(record: Record) -> Record:
            if record.building is not None:
                raise AlreadyExists(f"generation {record.building} of {name!r} is being made")
            number = max(record.generations) + 1
            return replace(
                record.with_generation(replace(generation, number=number)), building=number
            )

        building = self.update(name, begun).building
        assert building is not None  # noqa: S101 - set a moment ago
        return building

    def update(self, name: str, change: Callable[[Record], Record]) -> Record:
        """Replace the record by what `change` makes of it, alone. Raises NotFound.

        Where another was quicker, `change` is asked again, for the record as it is then.
        """
        while True:
            record, tag = self._stored(name)
            changed = change(record)
            if self.place.swap(name, tag, _serialise(changed)):
                return changed
            time.sleep(random.random() * _RETRY_SECONDS)  # noqa: S311 - no secret

    def remove(self, name: str) -> Record:
        """Take the collection away, the record first. Raises NotFound."""
        record = self.read(name)
        self.place.remove(name)
        self._known.pop(name, None)
        return record


def new_generation(name: str, spec: CollectionSpec) -> Generation:
    """The first generation of a collection, or the next one's beginning: nothing is made yet."""
    unique = uuid.uuid4().hex[:12]
    return Generation(
        number=1,
        spec=spec,
        table=f"{unique}.lance",
        index=f"{re.sub('-', '_', name)}_{unique}",
        published=0,
        swept=0,
    )


def _serialise(record: Record) -> bytes:
    body = {"format": FORMAT, **_RECORD_TYPE.dump_python(record, mode="json")}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2)


def _parse(name: str, data: bytes) -> Record:
    try:
        body = orjson.loads(data)
        written_by = int(body["format"])
        if written_by > FORMAT:
            raise NewerFormat(
                f"collection {name!r} was written by a newer version "
                f"(format {written_by}, this reads up to {FORMAT}): upgrade"
            )
        return _RECORD_TYPE.validate_python(body)
    except (InvalidInput, KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"the record of collection {name!r} cannot be read: {error}") from error
