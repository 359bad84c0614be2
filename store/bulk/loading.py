"""Files into an empty index by the server's import jobs, and the published version after them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m3.errors import (
    AlreadyExists,
    InvalidInput,
    MilvusRefused,
    MilvusUnreachable,
    StoredDataError,
)
from store.bulk.jobs import MOST_FILES, ImportJobs, Job
from store.bulk.manifest import File, Manifest
from store.generations.generation import Generations
from store.generations.publication import Publisher
from store.index.index import Index
from store.places.place import Lease
from store.registry import Generation
from store.table.table import Table
from store.table.version import Version, missing

_POLL_SECONDS = 1.0
_PATIENCE = 120.0
"""Seconds that a server may not answer while it imports."""


@dataclass(frozen=True, slots=True)
class Part:
    """Files with their manifest, and the folder of Milvus's storage that they are in."""

    manifest: Manifest
    path: str

    def of(self, file: File) -> str:
        return f"{self.path}/{file.name}" if self.path else file.name


def _check_parts(parts: Sequence[Part], name: str, table: str) -> None:
    """Raises InvalidInput where they are not all of one version of this table."""
    manifests = [part.manifest for part in parts]
    if any(manifest.table != table for manifest in manifests):
        raise InvalidInput(
            f"the files are not of collection {name!r} as it serves: write them anew"
        )
    if len({manifest.version for manifest in manifests}) > 1:
        raise InvalidInput("the parts are of different versions: write them anew, all of one table")
    found = sorted(manifest.part for manifest in manifests)
    if found != list(range(manifests[0].parts)):
        said = ", ".join(map(str, found))
        raise InvalidInput(f"name all {manifests[0].parts} parts, each once; these are {said}")


def load(
    generations: Generations,
    publisher: Publisher,
    parts: Sequence[Part],
    jobs: ImportJobs,
    advance: Callable[[int], None],
) -> list[str]:
    """Import the files of all parts and publish their version.

    Args:
        advance: told how many rows came in.

    Returns:
        The ids of the jobs; none where an earlier run had imported all.

    Raises:
        InvalidInput: the files are not all of one version of this generation, or the table has
            gone on.
        AlreadyExists: the index has rows, or a job is under way.
        MilvusRefused: a job failed.
        StoredDataError: the index has other rows than the version afterwards.
    """
    done: list[str] = []
    name, version = generations.name, parts[0].manifest.version

    def fill(generation: Generation, lease: Lease) -> None:
        _check_parts(parts, name, generation.table)
        index, table = generations.index_here(generation), generations.table(generation)
        wanted = table.at(version)
        _refuse_gone_on(table, wanted, name)
        index.create()
        there = index.row_ids()
        if np.array_equal(there, wanted.row_ids):
            return
        if len(there):
            raise AlreadyExists(
                f"the index has {len(there):,} rows already, and an import replaces none: "
                f"`m3-ingest verify {name} --repair` writes what it lacks, row by row"
            )
        _refuse_running(jobs, index.name)
        files = [(part.of(file), file.rows) for part in parts for file in part.manifest.files]
        for first in range(0, len(files), MOST_FILES):
            some = files[first : first + MOST_FILES]
            done.append(jobs.start(index.name, [path for path, _ in some]))
            _wait(jobs, done[-1], sum(rows for _, rows in some), lease, advance)
        index.reload()
        _compare(index, wanted, name)

    publisher.publish_filled(version, fill)
    return done


def _refuse_gone_on(table: Table, wanted: Version, name: str) -> None:
    """Other versions are fine where their rows are the same, as after compacting."""
    latest = table.latest()
    if len(latest.over(wanted)) or len(wanted.over(latest)):
        raise InvalidInput(
            f"collection {name!r} has been written to since its files were: write them anew, or "
            f"leave them, and `m3-ingest verify {name} --repair` writes the index row by row"
        )


def _refuse_running(jobs: ImportJobs, index: str) -> None:
    for job in jobs.running(index):
        raise AlreadyExists(
            f"import job {job.id} is under way in Milvus, at {job.percent} %: wait until it has "
            "ended, then run this again, which will not import twice"
        )


def _wait(
    jobs: ImportJobs, id: str, rows: int, lease: Lease, advance: Callable[[int], None]
) -> None:
    shown = 0
    while True:
        job = _asked(jobs, id)
        if job.failed:
            raise MilvusRefused(
                f"import job {id} failed: {job.reason or 'no reason given'}; check that Milvus "
                "finds the files in its storage, where --at says"
            )
        now = rows * min(job.percent, 100) // 100 if not job.ended else rows
        advance(now - shown)
        shown = now
        if job.ended:
            return
        lease.check()
        time.sleep(_POLL_SECONDS)


def _asked(jobs: ImportJobs, id: str) -> Job:
    """How far a job is; a server that is away for a moment is asked again."""
    given_up = time.monotonic() + _PATIENCE
    while True:
        try:
            return jobs.job(id)
        except MilvusUnreachable as error:
            if time.monotonic() > given_up:
                raise MilvusUnreachable(
                    f"{error}; import job {id} may go on there: when it has ended, run this again"
                ) from error
            time.sleep(_POLL_SECONDS)


def _compare(index: Index, wanted: Version, name: str) -> None:
    there = index.row_ids()
    lacking, stale = missing(wanted.row_ids, there), missing(there, wanted.row_ids)
    if len(lacking) or len(stale):
        raise StoredDataError(
            f"after the import the index lacks {len(lacking):,} rows and has {len(stale):,} too "
            f"many, nothing was published: `m3-ingest verify {name} --repair` makes it equal"
        )
