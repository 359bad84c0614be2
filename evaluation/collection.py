"""The collection that a judged one is ingested into."""

from __future__ import annotations

import asyncio
import re

from embedder.client import EmbedderClient
from evaluation.judged.beir import TestCollection
from ingest.running.pipeline import OnReject, ingest
from ingest.running.report import Progress
from m3.errors import InvalidInput, NotFound
from m3.types import Codec, ModelInfo
from search.collections import Collections
from store.contract import Collection
from store.spec import Chunking, CollectionSpec

_NAME_CHARACTERS = 40
_FINGERPRINT_CHARACTERS = 8


def own_name(judged: TestCollection, model: ModelInfo, codec: Codec) -> str:
    """One collection for each model and codec, so that measuring one leaves the others alone."""
    folder = re.sub(r"[^A-Za-z0-9_-]+", "-", judged.name)[:_NAME_CHARACTERS]
    return f"eval-{folder}-{model.fingerprint[:_FINGERPRINT_CHARACTERS]}-{codec}"


async def prepare(
    judged: TestCollection,
    collections: Collections,
    client: EmbedderClient,
    *,
    name: str | None,
    codec: Codec,
    on_reject: OnReject,
    on_progress: Progress,
) -> Collection:
    """The collection with the corpus in it; documents that are there already cost nothing.

    Args:
        name: None is one of its own: one chunk per document, up to the model's limit.
        codec: of a collection that is made now.

    Raises:
        InvalidInput: a corpus that cannot be read, or documents of another one in its own
            collection, which would be found too.
        M3Error: as `ingest.running.pipeline.ingest`.
    """
    model = await client.model()
    chosen = name or own_name(judged, model, codec)
    collection = await asyncio.to_thread(_opened, collections, chosen, model, codec)
    report = await ingest(
        judged.documents(), collection, client, on_reject=on_reject, on_progress=on_progress
    )
    there = (await asyncio.to_thread(collection.status)).documents
    if name is None and there != report.documents - report.failed:
        raise InvalidInput(
            f"collection {chosen!r} holds {there} documents, {judged.corpus} has "
            f"{report.documents - report.failed}: drop it (`m3-ingest drop {chosen}`), "
            "or name another one with --collection"
        )
    return collection


def _opened(collections: Collections, name: str, model: ModelInfo, codec: Codec) -> Collection:
    try:
        return collections.open(name)
    except NotFound:
        spec = CollectionSpec.of(model, codec=codec, chunking=Chunking(whole=True))
        return collections.create(name, spec)
