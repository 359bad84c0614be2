"""Collections by name: their generations, their settings, and which version readers see.

One JSON file a collection, beside its tables, replaced as a whole: a reader gets generation
and published version from one read, so that publishing and promoting are atomic for it.
Writers of the file exclude each other by a lock on a file beside it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from m3.errors import AlreadyExists, Corrupt, NewerFormat, StorageFull
from store.checks import check_name, check_spec, unknown_collection
from store.contract import CollectionSpec

FORMAT = 2
"""1 had tables without the documents' own texts."""

_RECORD = "collection.json"
_RECORD_LOCK = "collection.lock"
_PUBLISH_LOCK = "publish.lock"


@dataclass(frozen=True, slots=True)
class Publication:
    """A version that readers may still be reading, and since when it is published (Unix time)."""

    version: int
    at: float


@dataclass(frozen=True, slots=True)
class Generation:
    """One table and the Milvus collection over it.

    Attributes:
        table: the table's folder, relative to the collection's.
        index: the Milvus collection's name.
        published: the version readers see: all of it is in the index.
        swept: the rows that commits up to this version replaced have left the index.
        recent: publications after `swept`, oldest first.
    """

    number: int
    spec: CollectionSpec
    table: str
    index: str
    published: int
    swept: int
    recent: tuple[Publication, ...] = ()

    def publish(self, version: int, at: float) -> Generation:
        """Readers see `version` from now on; it never goes backwards."""
        if version <= self.published:
            return self
        return replace(self, published=version, recent=(*self.recent, Publication(version, at)))

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
    """

    name: str
    current: int
    generations: Mapping[int, Generation]
    building: int | None = None
    previous: int | None = None
    closing: Closing | None = None

    @property
    def generation(self) -> Generation:
        """The one that serves."""
        return self.generations[self.current]

    def without(self, number: int) -> Record:
        """This without a generation that does not serve."""
        kept = {n: generation for n, generation in self.generations.items() if n != number}
        return replace(
            self,
            generations=kept,
            building=None if self.building == number else self.building,
            previous=None if self.previous == number else self.previous,
        )

    def with_generation(self, generation: Generation) -> Record:
        return replace(self, generations={**self.generations, generation.number: generation})


_RECORD_TYPE = TypeAdapter(Record)


class Registry:
    """The records under one root folder, one subfolder a collection."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob(f"*/{_RECORD}"))

    def table_uri(self, name: str, generation: Generation) -> str:
        return str(self.root / name / generation.table)

    def read(self, name: str) -> Record:
        """Raises NotFound, Corrupt, NewerFormat."""
        check_name(name)
        try:
            data = (self.root / name / _RECORD).read_bytes()
        except FileNotFoundError:
            raise unknown_collection(name, self.names()) from None
        return _parse(name, data)

    def create(self, name: str, spec: CollectionSpec, make: Callable[[Generation], int]) -> Record:
        """Register a collection; `make` builds its first generation and returns its version.

        Raises:
            AlreadyExists: the name is taken.
        """
        check_name(name)
        check_spec(spec)
        with self._locked(name, _RECORD_LOCK):
            if (self.root / name / _RECORD).exists():
                raise AlreadyExists(f"collection {name!r} exists already")
            generation = _made(name, 1, spec, make)
            record = Record(name=name, current=1, generations={1: generation})
            self._write(record)
            return record

    def begin(self, name: str, spec: CollectionSpec, make: Callable[[Generation], int]) -> int:
        """Register a generation beside the one that serves, see `create`; returns its number.

        Raises:
            AlreadyExists: one is being made already.
            NotFound: no such collection.
        """
        check_spec(spec)

        def begun(record: Record) -> Record:
            if record.building is not None:
                raise AlreadyExists(f"generation {record.building} of {name!r} is being made")
            generation = _made(name, max(record.generations) + 1, spec, make)
            return replace(record.with_generation(generation), building=generation.number)

        building = self.update(name, begun).building
        assert building is not None  # noqa: S101 - set a moment ago
        return building

    def update(self, name: str, change: Callable[[Record], Record]) -> Record:
        """Replace the record by what `change` makes of it, alone. Raises NotFound."""
        self.read(name)
        with self._locked(name, _RECORD_LOCK):
            record = change(self.read(name))
            self._write(record)
            return record

    def remove(self, name: str) -> Record:
        """Take the collection's folder away, the record first. Raises NotFound."""
        record = self.read(name)
        with self._locked(name, _RECORD_LOCK):
            (self.root / name / _RECORD).unlink()
        shutil.rmtree(self.root / name, ignore_errors=True)
        return record

    @contextmanager
    def publishing(self, name: str) -> Generator[None]:
        """Held by the one process that brings the index up to the table."""
        with self._locked(name, _PUBLISH_LOCK):
            yield

    @contextmanager
    def _locked(self, name: str, lock: str) -> Generator[None]:
        path = self.root / name / lock
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, record: Record) -> None:
        path = self.root / record.name / _RECORD
        draft = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            with draft.open("wb") as file:
                file.write(_serialise(record))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageFull(
                f"cannot write {path}: {error.strerror}; what was published is safe"
            ) from error


def _made(
    name: str, number: int, spec: CollectionSpec, make: Callable[[Generation], int]
) -> Generation:
    unique = uuid.uuid4().hex[:12]
    generation = Generation(
        number=number,
        spec=spec,
        table=f"{number}-{unique}.lance",
        index=f"{re.sub('-', '_', name)}_{unique}",
        published=0,
        swept=0,
    )
    version = make(generation)
    return replace(generation, published=version, swept=version)


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
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"the record of collection {name!r} cannot be read: {error}") from error
