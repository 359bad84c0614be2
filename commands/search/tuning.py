"""`m3-search tune`: judgments, a collection's raw scores and its registry put together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.counting import counted
from commands.search.parts import open_service
from evaluation.judged import judgments
from evaluation.judged.beir import named
from evaluation.measuring.metrics import metric_named
from evaluation.scores import files as score_files
from evaluation.scores.collecting import raw_scores
from evaluation.tuning.fitting import Tuned, check, tune
from m3.errors import InvalidInput
from m3.settings import Settings
from search.request import method_named


@dataclass(frozen=True, slots=True)
class Outcome:
    """What tuning came to.

    Attributes:
        unknown: judged documents that the collection does not have.
        asked: whether they were to be saved.
    """

    collection: str
    judgments: str
    unknown: Sequence[str]
    tuned: Tuned
    asked: bool
    saved: bool


async def tune_collection(
    path: Path,
    split: str,
    settings: Settings,
    collection: str,
    *,
    method: str,
    metric: str,
    depth: int,
    allow_unknown: bool,
    save: bool,
    force: bool,
) -> Outcome:
    """Fit weights, and save them where that is asked for and they gain.

    Raises:
        InvalidInput: judgments that are none, or of documents that are not in the collection.
        M3Error: as `evaluation.scores.collecting.raw_scores`.
    """
    chosen, by = method_named(method), metric_named(metric)
    judged = await asyncio.to_thread(judgments.load, path, split)
    check(chosen, judged.qrels)
    async with open_service(settings) as (service, client):
        opened = await asyncio.to_thread(service.collections.open, collection)
        unknown = await asyncio.to_thread(judgments.unknown, judged, opened)
        if unknown and not allow_unknown:
            raise InvalidInput(
                f"{path} judges {named(unknown)} not in {collection!r}: "
                "if that is as it should be, say --allow-unknown"
            )
        spec = await asyncio.to_thread(lambda: opened.spec)
        saved = dict(await asyncio.to_thread(opened.weights, spec))
        with counted("searching", len(judged.queries)) as advance:
            raw = await raw_scores(
                service,
                client,
                judged.queries,
                collection,
                folder=score_files.folder(settings.home),
                depth=depth,
                advance=advance,
            )
        tuned = await asyncio.to_thread(
            tune, raw, judged.qrels, by, chosen, default=saved.get(chosen)
        )
        keep = save and (tuned.gain or force)
        if keep:
            saved[chosen] = tuned.weights
            await asyncio.to_thread(opened.save_weights, saved, spec)
    return Outcome(collection, judged.name, unknown, tuned, save, keep)
