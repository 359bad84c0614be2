"""One generation of a collection brought to what another holds, from the texts that are kept.

It is an ingest whose source is a collection: what the target has already is unchanged, so that it
can be stopped and run again, and run once more to take in what was written meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from anyio import to_thread

from embedder.client import EmbedderClient
from ingest.running.pipeline import OnReject, ingest
from ingest.running.report import Progress, Report
from m3.types import Document, DocumentKey
from store.contract import Collection
from store.generations.differences import unlike

_DOCUMENTS = 64
"""Whose texts are read from the table at once."""


async def follow(
    source: Collection,
    target: Collection,
    client: EmbedderClient,
    *,
    on_reject: OnReject,
    on_progress: Progress | None = None,
) -> Report:
    """Make `target` hold the documents of `source`, cut and embedded its own way.

    Of what is written to `source` meanwhile, some is taken in and some is not: `documents` of the
    report is 0 once there was nothing to do.

    Raises:
        InvalidInput: documents that were stored without their texts.
        M3Error: as `ingest.running.pipeline.ingest`.
    """
    report = await ingest(
        _lacking(source, target),
        target,
        client,
        on_reject=on_reject,
        on_progress=on_progress,
        settle=False,
    )
    gone = await to_thread.run_sync(_gone, source, target)
    if gone:
        await to_thread.run_sync(target.delete, gone)
    return replace(report, documents=report.documents + len(gone))


def _lacking(source: Collection, target: Collection) -> Iterator[Document]:
    """Documents that the target has not, or not as the source has them."""
    for some in source.hashes():
        lacking = unlike(some, target)
        for first in range(0, len(lacking), _DOCUMENTS):
            yield from source.originals(lacking[first : first + _DOCUMENTS])


def _gone(source: Collection, target: Collection) -> Sequence[DocumentKey]:
    return [key for some in target.hashes() for key in _without(some, source)]


def _without(some: Mapping[DocumentKey, str], source: Collection) -> list[DocumentKey]:
    there = source.content_hashes(some)
    return [key for key in some if key not in there]
