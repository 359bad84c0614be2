"""A query log through the service: analysed, or written down for people to judge."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from commands.counting import counted
from commands.opened import store_and_nodes
from evaluation.judged import sheets
from evaluation.scores.ranking import Run, rankings
from evaluation.scores.raw import OnLook, RawScores, collect
from evaluation.unjudged import query_log
from evaluation.unjudged.analysis import Analysis, analyse
from evaluation.unjudged.drift import Drift, drift
from evaluation.unjudged.duplicates import Duplicates
from m3.errors import NotFound
from m3.settings import Settings
from scoring.fusion import Method, Weights
from search.service import SearchService
from store.contract import Store

_SHEET_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a query log is asked for; see `m3-search analyse --help`."""

    collection: str
    against: str | None
    generation: int | None
    good: float | None
    count: int
    depth: int

    @property
    def drifts(self) -> bool:
        return self.against is not None or self.generation is not None

    def check(self, store: Store) -> None:
        """Raises NotFound where there is nothing to drift to."""
        name = self.against or self.collection
        there = store.generations(name).specs
        if self.generation is not None and self.generation not in there:
            raise NotFound(
                f"collection {name!r} has no generation {self.generation}; there are: "
                f"{', '.join(map(str, sorted(there)))}"
            )


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    collection: str
    analysis: Analysis
    duplicates: Duplicates
    drift: Drift | None


async def analyse_log(path: Path, settings: Settings, asked: Asked) -> Report:
    """Raises InvalidInput for a file without queries, and as `evaluation.scores.raw.collect`."""
    queries = query_log.sample(await asyncio.to_thread(query_log.read, path), asked.count)
    async with store_and_nodes(settings) as (store, client):
        await asyncio.to_thread(asked.check, store)
        service = SearchService(store, client)
        weights = await _weights(service, asked.collection)
        duplicates, compared = Duplicates(), None
        raw = await _collected(service, queries, asked.collection, asked.depth, duplicates.see)
        found = await asyncio.to_thread(analyse, raw, queries, weights=weights, good=asked.good)
        if asked.drifts:
            other = SearchService(store, client, asked.generation)
            name = asked.against or asked.collection
            there = await _collected(other, queries, name, asked.depth, None)
            after = _fused(there, await _weights(other, name))
            compared = drift(_fused(raw, weights), after)
    return Report(asked.collection, found, duplicates, compared)


async def write_sheet(
    path: Path, settings: Settings, collection: str, out: Path, *, count: int, top: int
) -> int:
    """Lines written. Raises InvalidInput as `analyse_log`, and where `out` is no place for them."""
    await asyncio.to_thread(sheets.check, out)
    queries = query_log.sample(await asyncio.to_thread(query_log.read, path), count)
    passages = sheets.Passages()
    async with store_and_nodes(settings) as (store, client):
        service = SearchService(store, client)
        raw = await _collected(service, queries, collection, _SHEET_DEPTH, passages.see)
    return sheets.write(out, queries, sheets.pool(raw, top), passages)


async def _collected(
    service: SearchService,
    queries: Mapping[str, str],
    collection: str,
    depth: int,
    on_look: OnLook | None,
) -> RawScores:
    with counted("searching", len(queries)) as advance:
        return await collect(
            service, queries, collection, depth=depth, advance=advance, on_look=on_look
        )


async def _weights(service: SearchService, collection: str) -> Weights | None:
    """Those that a fusion without weights uses there; None are the method's own."""
    opened = await asyncio.to_thread(service.collections.open, collection)
    saved = await asyncio.to_thread(lambda: opened.defaults(opened.spec))
    return saved.weights.get(Method.FUSION)


def _fused(raw: RawScores, weights: Weights | None) -> Run:
    return rankings(raw, Method.FUSION, weights)
