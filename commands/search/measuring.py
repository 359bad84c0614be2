"""`m3-search eval`: ingest, search and metrics put together, with bars on stderr."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.counting import counted
from commands.ingest.progress import Display, display
from commands.search.parts import open_service
from evaluation.collection import prepare
from evaluation.judged.beir import TestCollection, load, named
from evaluation.measuring import floors, metrics
from evaluation.measuring.floors import Floor, Missed
from evaluation.measuring.metrics import Metric, metric_named
from evaluation.measuring.quality import Measured, measure_methods
from evaluation.scores import files as score_files
from evaluation.scores.collecting import raw_scores
from evaluation.scores.raw import DEPTH
from ingest.sources import Reject
from m3.errors import InvalidInput
from m3.settings import Settings
from scoring.fusion import Method
from search.request import method_named
from store.reports import Status


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured."""

    methods: Sequence[Method]
    metrics: Sequence[Metric]
    floors: Sequence[Floor]
    depth: int = DEPTH

    @classmethod
    def of(
        cls, methods: str | None, metrics_: str | None, floors_: Sequence[str], depth: int
    ) -> Wanted:
        """From comma-separated names; None is all methods, the usual metrics.

        Raises:
            InvalidInput: a name that is none, or a floor that would not be measured.
        """
        wanted = cls(
            [method_named(name.strip()) for name in methods.split(",")] if methods else [*Method],
            [metric_named(name) for name in metrics_.split(",")] if metrics_ else metrics.DEFAULT,
            [floors.parse(floor) for floor in floors_],
            depth,
        )
        # Told now, and not when all has been searched.
        ones = dict.fromkeys(map(str, wanted.metrics), 1.0)
        floors.missed(wanted.floors, {method.value: ones for method in wanted.methods})
        return wanted


@dataclass(frozen=True, slots=True)
class Asked:
    """Which judged queries, and where: None is a collection of their own."""

    folder: Path
    split: str
    collection: str | None
    allow_unknown: bool

    def load(self) -> tuple[TestCollection, Sequence[str]]:
        """The judged collection, and the judged documents that it lacks.

        Raises:
            InvalidInput: a folder that is none, or such documents where they are not allowed.
        """
        judged = load(self.folder, self.split)
        unknown = judged.unknown()
        if unknown and not self.allow_unknown:
            raise InvalidInput(
                f"{self.folder} judges {named(unknown)} not in {judged.corpus.name}: "
                "if that is as it should be, say --allow-unknown"
            )
        return judged, unknown


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found, where, and how many documents could not be looked at.

    Attributes:
        unknown: judged documents that are not in the corpus: they count as not found.
    """

    judged: TestCollection
    split: str
    unknown: Sequence[str]
    collection: Status
    depth: int
    methods: Sequence[Measured]
    missed: Sequence[Missed]
    failed: int


async def measure_folder(asked: Asked, settings: Settings, wanted: Wanted) -> Evaluation:
    """Ingest a folder in BEIR layout, search for its queries, measure the answers.

    Raises:
        InvalidInput: as `Asked.load`.
        M3Error: what stops ingesting or searching.
    """
    judged, unknown = await asyncio.to_thread(asked.load)
    async with open_service(settings) as (service, client):
        with display(judged.size) as screen:
            rejects = _Rejects(screen)
            opened = await prepare(
                judged,
                service.collections,
                client,
                name=asked.collection,
                codec=settings.codec,
                on_reject=rejects.add,
                on_progress=screen.update,
            )
        status = await asyncio.to_thread(opened.status)
        with counted("searching", len(judged.queries)) as advance:
            raw = await raw_scores(
                service,
                client,
                judged.queries,
                status.name,
                folder=score_files.folder(settings.home),
                depth=wanted.depth,
                advance=advance,
            )
    found = await asyncio.to_thread(
        measure_methods,
        raw,
        judged.qrels,
        wanted.methods,
        weights=status.defaults.weights,
        metrics=wanted.metrics,
    )
    means = {each.method.value: each.means for each in found}
    missed = floors.missed(wanted.floors, means)
    return Evaluation(
        judged, asked.split, unknown, status, wanted.depth, found, missed, rejects.count
    )


class _Rejects:
    """Documents that failed, told as they do."""

    def __init__(self, screen: Display) -> None:
        self._screen = screen
        self.count = 0

    def add(self, reject: Reject) -> None:
        self.count += 1
        self._screen.note(f"failed: {reject.place}: {reject.reason}")
