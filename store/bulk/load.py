"""The bulk path of one generation: its rows into files, then the files into Milvus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from m3.errors import AlreadyExists, InvalidInput, NotFound
from store.bulk import manifest as manifests
from store.bulk.checking import check_files
from store.bulk.extra import bulk_writer
from store.bulk.files import files_at
from store.bulk.jobs import ImportJobs
from store.bulk.loading import Part, load
from store.bulk.manifest import Manifest
from store.bulk.writing import write_files
from store.generations.generation import Generations
from store.generations.publication import Publisher, consistent_latest
from store.table.rows import INDEX_COLUMNS

Counted = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Of what is done and of how many rows: what to tell of each few that are."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was published: a version of so many rows, by these jobs of the server."""

    version: int
    rows: int
    jobs: Sequence[str]


class Bulk:
    """Of one generation, whose number stays: another may come to serve meanwhile."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._publisher = Publisher(generations)

    def write(self, address: str, counted: Counted, *, part: int = 0, parts: int = 1) -> Manifest:
        """Write the newest version's rows as files under an address, and read all of them back.

        Args:
            part: of `parts`, by the table's own files: what this call writes.

        Raises:
            AlreadyExists: there are files with a manifest already, or the index has rows.
            InvalidInput: there is nothing to write.
            Corrupt: a file does not hold what the table does.
            StorageFull: a file could not be written.
        """
        bulk_writer()
        files = files_at(address)
        if files.read(manifests.NAME) is not None:
            raise AlreadyExists(f"{address} has the files of a bulk load already: name another")
        generation = self._generations.current()
        self._refuse_filled()
        version = consistent_latest(self._generations.table(generation))
        if not version.count():
            raise InvalidInput(f"collection {self._generations.name!r} has no rows to write")
        rows = version.count_part(part, parts)
        with counted("writing", rows) as advance:
            source = version.scan(INDEX_COLUMNS, part=(part, parts))
            written = write_files(source, generation.spec, files, advance)
        with counted("reading back", rows) as advance:
            source = version.scan(INDEX_COLUMNS, part=(part, parts))
            check_files(written, files, source, generation.spec, advance)
        manifest = Manifest(
            self._generations.name, generation.table, version.number, part, parts, written
        )
        files.write(manifests.NAME, manifests.serialise(manifest))
        return manifest

    def _refuse_filled(self) -> None:
        """An import replaces no rows: days of writing would be for nothing."""
        name = self._generations.name
        index = self._generations.index_here(self._generations.current())
        if index.exists() and (there := len(index.row_ids())):
            raise AlreadyExists(
                f"the index of {name!r} has {there:,} rows already, and an import replaces none: "
                f"`m3-ingest verify {name} --repair` writes what it lacks, row by row"
            )

    def load(
        self, addresses: Sequence[str], at: Sequence[str], jobs: ImportJobs, counted: Counted
    ) -> Loaded:
        """Have Milvus import all parts of a version, and publish it. See `loading.load`.

        Args:
            addresses: where the parts were written.
            at: where Milvus finds them in its own storage; of buckets, unset, under their prefix.

        Raises:
            NotFound: no manifest at an address.
            InvalidInput: nothing says where Milvus finds a folder.
        """
        if at and len(at) != len(addresses):
            raise InvalidInput("say --at as often as there are folders, in their order, or not")
        parts = [_part(address, at[i] if at else None) for i, address in enumerate(addresses)]
        rows = sum(part.manifest.rows for part in parts)
        with counted("importing", rows) as advance:
            done = load(self._generations, self._publisher, parts, jobs, advance)
        return Loaded(parts[0].manifest.version, rows, done)


def _part(address: str, at: str | None) -> Part:
    files = files_at(address)
    data = files.read(manifests.NAME)
    if data is None:
        raise NotFound(
            f"no {manifests.NAME} at {address}: `m3-ingest bulk write` leaves it there once all "
            "files were read back"
        )
    path = files.path if at is None else at.strip("/")
    if path is None:
        raise InvalidInput(
            f"{address} is a folder of this machine, and Milvus reads its own storage: copy the "
            "files there and say where, --at PREFIX"
        )
    return Part(manifests.parse(address, data), path)
