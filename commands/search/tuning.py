"""`m3-search tune`: judgments, a collection's raw scores and its registry put together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from commands.counting import counted
from commands.search.parts import open_service
from evaluation.judged import judgments
from evaluation.judged.beir import named
from evaluation.measuring.comparing import Comparison
from evaluation.measuring.metrics import metric_named
from evaluation.scores import files as score_files
from evaluation.scores.collecting import raw_scores
from evaluation.tuning.fitting import Tuned, check, tune
from evaluation.tuning.staging import cost
from m3.errors import InvalidInput
from m3.settings import Settings
from scoring.fusion import Method
from search.request import MAX_RERANKED, method_named


@dataclass(frozen=True, slots=True)
class Outcome:
    """What tuning came to.

    Attributes:
        unknown: judged documents that the collection does not have.
        rerank_depth: that was asked about; 0 is all candidates.
        staged: all candidates (a) against so many (b), by the weights that searches use now.
        asked: whether they were to be saved.
        saved: whether the weights were; saved_depth: whether the depth was.
    """

    collection: str
    judgments: str
    unknown: Sequence[str]
    tuned: Tuned
    rerank_depth: int | None
    staged: Comparison | None
    asked: bool
    saved: bool
    saved_depth: bool


async def tune_collection(
    path: Path,
    split: str,
    settings: Settings,
    collection: str,
    *,
    method: str,
    metric: str,
    depth: int,
    rerank_depth: int | None,
    allow_unknown: bool,
    save: bool,
    force: bool,
) -> Outcome:
    """Fit weights, and save them where that is asked for and they gain.

    A depth is saved, too, where what it costs is noise.

    Raises:
        InvalidInput: judgments that are none, or of documents that are not in the collection; a
            depth out of its range, or for a method that ColBERT does not rank.
        M3Error: as `evaluation.scores.collecting.raw_scores`.
    """
    chosen, by = method_named(method), metric_named(metric)
    _check_depth(rerank_depth, chosen)
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
        saved = await asyncio.to_thread(opened.defaults, spec)
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
            tune, raw, judged.qrels, by, chosen, default=saved.weights.get(chosen)
        )
        keep = save and (tuned.gain or force)
        if keep:
            saved = replace(saved, weights={**saved.weights, chosen: tuned.weights})
        used = tuned.weights if keep else tuned.default
        staged = None
        if rerank_depth:
            staged = await asyncio.to_thread(cost, raw, judged.qrels, by, used, rerank_depth)
        loses = staged is not None and not staged.noise and staged.difference < 0
        keep_depth = save and rerank_depth is not None and (force or not loses)
        if keep_depth:
            saved = replace(saved, rerank_depth=rerank_depth or None)
        if keep or keep_depth:
            await asyncio.to_thread(opened.save_defaults, saved, spec)
    return Outcome(
        collection, judged.name, unknown, tuned, rerank_depth, staged, save, keep, keep_depth
    )


def _check_depth(depth: int | None, method: Method) -> None:
    if depth is None:
        return
    if method is not Method.FUSION:
        raise InvalidInput(f"--rerank-depth is for fusion: ColBERT ranks nothing in {method}")
    if not 0 <= depth <= MAX_RERANKED:
        raise InvalidInput(f"--rerank-depth must be from 0 to {MAX_RERANKED}, got {depth}")
