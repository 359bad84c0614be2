"""Copying: one published version of a collection, streamed from its table into a new one elsewhere.

Nothing is embedded, and nothing held but some rows at a time. Writers go on: the copy is of the
version that readers saw when it began. Every row is held against its checksum on the way. The
copy is registered once it is complete, table and index; what breaks off leaves no record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from m3.errors import AlreadyExists, Corrupt
from store.checks import check_name
from store.generations.making import undone_on_failure
from store.index.index import Index
from store.index.milvus import Milvus
from store.registry import NOWHERE, Generation, Registry, new_generation
from store.reports import Defaults
from store.spec import CollectionSpec
from store.table.rows import INDEX_COLUMNS, KEY_COLUMNS, corrupt, document_key, schema
from store.table.table import Table
from store.table.version import Version

OnRows = Callable[[int], None]
"""Told of so many rows more that a step is done with."""


@dataclass(frozen=True, slots=True)
class Published:
    """The published version of a collection's serving generation, and its model's defaults."""

    name: str
    spec: CollectionSpec
    version: Version
    defaults: Defaults

    @classmethod
    def of(cls, registry: Registry, name: str) -> Published:
        """Raises NotFound, and what reading a record raises."""
        record = registry.read(name)
        generation = record.generation
        table = Table(registry.place.table_uri(name, generation.table))
        defaults = record.defaults(generation.spec.fingerprint)
        return cls(name, generation.spec, table.at(generation.published), defaults)

    @property
    def chunks(self) -> int:
        return self.version.count()


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy came to; `bytes` of its table on disk."""

    name: str
    documents: int
    chunks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where collections are copied to: records and tables, and the Milvus of their indexes.

    Attributes:
        milvus: None for copies without an index, which a backup is.
    """

    registry: Registry
    milvus: Milvus | None

    @property
    def steps(self) -> int:
        """How often `write` tells of each row."""
        return 1 if self.milvus is None else 2

    def taken(self, names: Sequence[str]) -> list[str]:
        """Those of these names that have a record here. Raises InvalidInput for one not allowed."""
        for name in names:
            check_name(name)
        return [name for name in names if self.registry.place.read(name) is not None]

    def write(self, published: Published, name: str, on_rows: OnRows) -> Copied:
        """Make a collection of this name of what is published.

        Raises:
            AlreadyExists: the name is taken.
            Corrupt: a row does not match its checksum; the message names its document.
            StorageFull: there is no room.
        """
        if self.taken([name]):
            raise AlreadyExists(f"collection {name!r} exists already")
        generation = new_generation(name, published.spec)
        with undone_on_failure(name, generation, self.registry.place, self.milvus):
            table = self._table(name, generation)
            copied = table.at(_copy_rows(published, table, on_rows))
            if self.milvus is not None:
                _fill(Index(self.milvus, generation.index, published.spec), copied, on_rows)
            self.registry.create(
                name,
                replace(
                    generation,
                    published=copied.number,
                    swept=copied.number,
                    engine=NOWHERE if self.milvus is None else self.milvus.identity,
                ),
                published.defaults,
            )
        return Copied(name, copied.count("position = 0"), copied.count(), copied.bytes())

    def _table(self, name: str, generation: Generation) -> Table:
        return Table(self.registry.place.table_uri(name, generation.table))


def _copy_rows(published: Published, table: Table, on_rows: OnRows) -> int:
    """All of its rows into a new table, in one commit; returns its version."""
    whole: Any = schema(published.spec)
    columns = published.version.having(whole.names)
    kept = pa.schema([whole.field(name) for name in columns])
    failures: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for rows in published.version.scan(columns, at_once=published.version.at_once):
                _check(rows, published.spec)
                yield from rows.select(columns).cast(kept).to_batches()
                on_rows(len(rows))
        except BaseException as failure:
            failures.append(failure)
            raise

    try:
        version = table.create_of(pa.RecordBatchReader.from_batches(kept, batches()))
    except Exception:
        if failures:
            # Lance says only that its input broke off.
            raise failures[0] from None
        raise
    if table.at(version).count() != published.chunks:
        raise Corrupt(f"the copy of {published.name!r} lacks rows: copy it again")
    return version


def _check(rows: pa.Table, spec: CollectionSpec) -> None:
    """Raises Corrupt for the first row whose representations do not match its checksum."""
    for i in corrupt(rows, spec):
        key = document_key(rows.select(KEY_COLUMNS).slice(i, 1).to_pylist()[0])
        raise Corrupt(
            f"document {key.id!r} of source {key.source!r} and tenant {key.tenant!r} does not "
            "match its checksum, so nothing was copied: delete it there, or ingest it again"
        )


def _fill(index: Index, version: Version, on_rows: OnRows) -> None:
    index.create()
    for rows in version.scan(INDEX_COLUMNS):
        index.upsert(rows)
        on_rows(len(rows))
