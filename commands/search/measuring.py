"""`m3-search eval`: ingest, search and metrics put together, with bars on stderr."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from commands.ingest.progress import Display, display
from commands.search.parts import open_service
from evaluation.beir import TestCollection, load
from evaluation.collection import prepare
from evaluation.metrics import METRICS
from evaluation.run import Quality, quality, search_all
from ingest.sources import Reject
from m3.settings import Settings
from scoring.fusion import Method
from search.request import method_named
from store.contract import Status


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found, where, and how many documents could not be looked at."""

    quality: Quality
    collection: Status
    failed: int


async def measure_folder(
    folder: Path, settings: Settings, collection: str | None, methods: Sequence[str] | None
) -> Measured:
    """Ingest a folder in BEIR layout, search for its queries, measure the answers.

    Raises:
        InvalidInput: a folder or a method that is not one.
        M3Error: what stops ingesting or searching.
    """
    chosen = [method_named(name.strip()) for name in methods] if methods else list(Method)
    judged = await asyncio.to_thread(load, folder)
    async with open_service(settings) as (service, client):
        with display(judged.corpus.stat().st_size) as screen:
            rejects = _Rejects(screen)
            opened = await prepare(
                judged,
                service.collections,
                client,
                name=collection,
                codec=settings.codec,
                on_reject=rejects.add,
                on_progress=screen.update,
            )
        status = await asyncio.to_thread(opened.status)
        with _bar(judged) as advance:
            rankings = await search_all(service, judged, status.name, chosen, advance)
    found = await asyncio.to_thread(quality, judged, status.documents, rankings)
    return Measured(found, status, rejects.count)


class _Rejects:
    """Documents that failed, told as they do."""

    def __init__(self, screen: Display) -> None:
        self._screen = screen
        self.count = 0

    def add(self, reject: Reject) -> None:
        self.count += 1
        self._screen.note(f"failed: {reject.place}: {reject.reason}")


@contextmanager
def _bar(judged: TestCollection) -> Generator[Callable[[int], None]]:
    """Queries done; on a terminal only."""
    screen = Console(stderr=True)
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(
        *columns, console=screen, transient=True, disable=not screen.is_terminal
    ) as progress:
        task = progress.add_task("searching", total=len(judged.queries))
        yield lambda done: progress.advance(task, done)


def show_quality(quality: Quality, collection: Status) -> None:
    """A table of methods and metrics, and what it was measured on."""
    table = Table(
        title=f"{quality.dataset}: {quality.documents:,} documents, {quality.queries:,} queries",
        title_justify="left",
    )
    table.add_column("method")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    for method, metrics in quality.results.items():
        table.add_row(method, *(f"{metrics[metric]:.4f}" for metric in METRICS))
    screen = Console(highlight=False)
    screen.print(table)
    model = "English-only stand-in" if collection.spec.stand_in else collection.spec.model
    screen.print(f"collection {collection.name}: {model}, {collection.spec.codec}", soft_wrap=True)
