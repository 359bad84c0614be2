"""One pass over a collection's queries: from the scores that are kept, or searched for and kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from embedder.client import EmbedderClient
from evaluation.scores import files as score_files
from evaluation.scores.files import Origin
from evaluation.scores.raw import DEPTH, Advance, RawScores, collect
from search.service import SearchService


async def raw_scores(
    service: SearchService,
    client: EmbedderClient,
    queries: Mapping[str, str],
    collection: str,
    *,
    folder: Path,
    depth: int = DEPTH,
    advance: Advance = lambda _: None,
) -> RawScores:
    """Raw scores of the collection as it is now.

    Args:
        queries: texts by id.
        folder: where scores are kept.

    Raises:
        ModelMismatch: no node serves the collection's model.
        M3Error: as `evaluation.scores.raw.collect`.
    """
    opened = await asyncio.to_thread(service.collections.open, collection)
    model = await client.model((await asyncio.to_thread(lambda: opened.spec)).fingerprint)
    origin = await asyncio.to_thread(Origin.of, opened, model, queries, depth)
    kept = await asyncio.to_thread(score_files.load, origin.path(folder), origin)
    if kept is not None:
        advance(len(queries))
        return kept
    raw = await collect(service, queries, collection, depth=depth, advance=advance)
    # Scores of a version that came to serve after the first look are not of this origin.
    if await asyncio.to_thread(Origin.of, opened, model, queries, depth) == origin:
        await asyncio.to_thread(score_files.save, raw, origin, folder)
    return raw
