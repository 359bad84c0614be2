"""How good rankings are on judged queries: methods, all weights at once, tuned against default."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from admin.table import Table
from commands.search.parts import open_service
from evaluation.judged.beir import load
from evaluation.measuring.metrics import metric_named
from evaluation.measuring.quality import Measured, measure_methods
from evaluation.scores import files as score_files
from evaluation.scores.collecting import raw_scores
from evaluation.scores.raw import RawScores
from evaluation.tuning.fitting import Tuned, tune
from evaluation.tuning.places import Places
from evaluation.tuning.simplex import grid
from m3.settings import Settings
from scoring.fusion import F64, Method

_STEPS = 25
"""Of the grid over all weights: 351 of them."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Raw scores of judged queries in one collection: any method and weights come from them."""

    name: str
    collection: str
    stand_in: bool
    qrels: Mapping[str, Mapping[str, int]]
    raw: RawScores

    def methods(self) -> list[Measured]:
        """All of them, with the metrics of `m3-search eval`."""
        return measure_methods(self.raw, self.qrels, list(Method))

    def tuned(self, metric: str) -> Tuned:
        """Weights of the fusion, fitted to these queries. Raises InvalidInput for too few."""
        return tune(self.raw, self.qrels, metric_named(metric))

    def landscape(self, metric: str) -> Landscape:
        """The metric for a grid over all weights of the fusion."""
        weights = grid(Method.FUSION, _STEPS)
        places = Places(self.raw, self.qrels, metric_named(metric), Method.FUSION)
        return Landscape(metric, weights, places.values(weights).mean(axis=1))


@dataclass(frozen=True, slots=True)
class Landscape:
    """A metric's mean over all weights: weights [w, 3], which sum to 1, and means [w]."""

    metric: str
    weights: F64
    means: F64


async def judged(settings: Settings, folder: Path, collection: str, *, queries: int) -> Judged:
    """The first judged queries of a folder in BEIR layout, searched 200 deep in both legs.

    Scores are kept in the state directory: the same again of an unchanged collection costs nothing.

    Raises:
        InvalidInput: not such a folder; NotFound: no such collection.
        M3Error: as a search does.
    """
    read = load(folder)
    qrels = dict(islice(read.qrels.items(), queries))
    asked = {id_: read.queries[id_] for id_ in qrels}
    async with open_service(settings) as (service, client):
        kept = score_files.folder(settings.home)
        raw = await raw_scores(service, client, asked, collection, folder=kept)
        opened = service.collections.open(collection)
        spec = await asyncio.to_thread(lambda: opened.spec)
    return Judged(read.name, collection, spec.stand_in, qrels, raw)


def methods_table(found: Judged, measured: Sequence[Measured]) -> Table:
    """A row a method; intervals are 95 %."""
    metrics = list(measured[0].means)
    rows = [(each.method.value, *(_told(each, metric) for metric in metrics)) for each in measured]
    stand_in = ", English-only stand-in" if found.stand_in else ""
    caption = f"{found.name} in {found.collection}: {len(found.qrels):,} queries{stand_in}"
    return Table(("method", *metrics), rows, caption)


def _told(measured: Measured, metric: str) -> str:
    interval = measured.intervals[metric]
    mean = f"{measured.means[metric]:.4f}"
    return mean if interval is None else f"{mean} [{interval[0]:.3f}, {interval[1]:.3f}]"


def tuned_table(tuned: Tuned) -> Table:
    """Default and fitted weights, and what held-out queries say of them."""
    held_out = tuned.held_out
    low, high = held_out.interval
    verdict = "better" if tuned.gain else "noise" if held_out.noise else "worse"
    rows: list[Sequence[object]] = [
        ("default", *tuned.default.normalised(), held_out.a),
        ("tuned, on queries unseen", *tuned.weights.normalised(), held_out.b),
    ]
    caption = f"difference {held_out.difference:+.4f} [{low:+.4f}, {high:+.4f}]: {verdict}"
    return Table(("weights", "dense", "sparse", "ColBERT", tuned.metric), rows, caption)
