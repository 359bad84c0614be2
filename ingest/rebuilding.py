"""One generation of a collection brought to what another holds, from the texts that are kept.

It is an ingest whose source is a collection: what the target has already is unchanged, so that it
can be stopped and run again, and run once more to take in what was written meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from anyio import to_thread

from embedder.client import EmbedderClient
from ingest.running.pipeline import OnReject, ingest
from ingest.running.report import Progress, Report
from m3.types import Document, DocumentKey
from store.candidates import Snapshot
from store.contract import Collection
from store.generations.differences import absent, hashes_of, unlike

_DOCUMENTS = 64
"""Whose texts are read from the table at once."""


async def follow(
    source: Collection,
    target: Collection,
    client: EmbedderClient,
    *,
    on_reject: OnReject,
    on_progress: Progress | None = None,
    since: Snapshot | None = None,
) -> Report:
    """Make `target` hold the documents of `source`, cut and embedded its own way.

    Of what is written to `source` meanwhile, some is taken in and some is not: `documents` of the
    report is 0 once there was nothing to do.

    Args:
        since: of the source, all of which the target holds; what changed after it is looked at
            alone, which takes no longer in a large collection.

    Raises:
        InvalidInput: documents that were stored without their texts.
        SnapshotGone: nothing says any more what changed since then.
        M3Error: as `ingest.running.pipeline.ingest`.
    """
    keys = None if since is None else await to_thread.run_sync(source.changed, since)
    report = await ingest(
        _lacking(source, target, keys),
        target,
        client,
        on_reject=on_reject,
        on_progress=on_progress,
        settle=False,
    )
    gone = await to_thread.run_sync(_gone, source, target, keys)
    if gone:
        await to_thread.run_sync(target.delete, gone)
    return replace(report, documents=report.documents + len(gone))


def _lacking(
    source: Collection, target: Collection, keys: Sequence[DocumentKey] | None
) -> Iterator[Document]:
    """Documents that the target has not, or not as the source has them."""
    lacking = unlike(hashes_of(source, keys), hashes_of(target, keys))
    while some := list(islice(lacking, _DOCUMENTS)):
        yield from source.originals(some)


def _gone(
    source: Collection, target: Collection, keys: Sequence[DocumentKey] | None
) -> Sequence[DocumentKey]:
    """Looked at again, as another rebuild may have copied what came to the source meanwhile."""
    found = list(absent(hashes_of(target, keys), hashes_of(source, keys)))
    return list(absent(hashes_of(target, found), hashes_of(source, found)))
