"""A fleet watched for a while: what nodes, search API and Milvus say of themselves, over time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, ProcessCollector, parser

from admin.table import Table
from m3.calling import bearer
from m3.errors import InvalidInput, Unreachable
from m3.settings import Settings
from search.client import AsyncSearchClient
from store.index.engine import Engine

Labels = frozenset[tuple[str, str]]
Values = Mapping[tuple[str, Labels], float]
"""By name and labels."""
Source = Callable[[], Awaitable[Values]]
_SECONDS = 5.0
_MILVUS_METRICS_PORT = 9091
"""Where a Milvus server has them unless told otherwise; this has not been tried on one."""
_parser: Any = parser
"""It is untyped."""


@dataclass(frozen=True, slots=True)
class Sample:
    """All values of one `/metrics` at one time.

    Attributes:
        at: seconds since watching began.
    """

    at: float
    values: Values

    def sum(self, name: str, **labels: str) -> float:
        """Over all series of that name with these labels; 0 where there is none."""
        asked = set(labels.items())
        return sum(
            value for (found, has), value in self.values.items() if found == name and asked <= has
        )

    def buckets(self, name: str, **labels: str) -> list[tuple[float, float]]:
        """Upper ends and cumulative counts of a histogram, ascending."""
        asked = set(labels.items())
        counts: dict[float, float] = {}
        for (found, has), value in self.values.items():
            if found == f"{name}_bucket" and asked <= has:
                end = float(dict(has)["le"])
                counts[end] = counts.get(end, 0.0) + value
        return sorted(counts.items())


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a figure; NaN where nothing happened."""

    at: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Watched:
    """What one address said over time, oldest first; two samples at least."""

    name: str
    samples: Sequence[Sample]

    def rate(self, name: str, **labels: str) -> Series:
        """Of a counter, a second. One that began anew with its process counts from 0."""
        return self._between(
            lambda before, after: (
                _grown(before.sum(name, **labels), after.sum(name, **labels))
                / (after.at - before.at)
            )
        )

    def gauge(self, name: str, **labels: str) -> Series:
        return Series(
            [sample.at for sample in self.samples],
            [sample.sum(name, **labels) for sample in self.samples],
        )

    def quantile(self, q: float, name: str, **labels: str) -> Series:
        """Of a histogram, between a sample and the next; within a bucket, evenly spread."""
        return self._between(
            lambda before, after: _quantile(
                q, before.buckets(name, **labels), after.buckets(name, **labels)
            )
        )

    def _between(self, value: Callable[[Sample, Sample], float]) -> Series:
        pairs = list(zip(self.samples, self.samples[1:], strict=False))
        return Series([after.at for _, after in pairs], [value(*pair) for pair in pairs])


async def watch(
    settings: Settings,
    *,
    search_url: str,
    seconds: float,
    every: float = 1.0,
    ask: Sequence[str] = (),
    collection: str = "",
) -> dict[str, Watched]:
    """Look at all nodes of the settings, a search API and Milvus, by name.

    Args:
        ask: queries to search for meanwhile, one after the other, so that there is something to
            see; none only watches.

    Raises:
        InvalidInput: times that leave less than two looks.
        Unreachable: an address does not answer, or not with metrics.
        M3Error: what a search that was asked for fails with.
    """
    if not 0 < every <= seconds:
        raise InvalidInput("seconds must be at least `every`, and that above 0")
    asking = asyncio.create_task(_ask(settings, search_url, ask, collection))
    try:
        async with httpx.AsyncClient(**_http(settings)) as http:
            sources: dict[str, Source] = {
                f"node {url}": partial(_scraped, http, url) for url in settings.embedder_url
            }
            sources["search API"] = partial(_scraped, http, search_url)
            sources["Milvus"] = _milvus(http, settings)
            samples = await _samples(sources, seconds, every)
        if asking.done():
            # Nothing to ask, or what stopped the questions.
            asking.result()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return {name: Watched(name, found) for name, found in samples.items()}


async def _samples(
    sources: Mapping[str, Source], seconds: float, every: float
) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {name: [] for name in sources}
    began = time.monotonic()
    for look in range(1 + int(seconds / every)):
        await asyncio.sleep(max(0.0, began + look * every - time.monotonic()))
        for name, source in sources.items():
            values = await source()
            found[name].append(Sample(time.monotonic() - began, values))
    return found


def _http(settings: Settings) -> dict[str, Any]:
    return {"trust_env": False, "headers": bearer(settings.client_key), "timeout": _SECONDS}


async def _scraped(http: httpx.AsyncClient, url: str) -> Values:
    try:
        answer = await http.get(f"{url}/metrics")
        answer.raise_for_status()
        return _values(_parser.text_string_to_metric_families(answer.text))
    except (httpx.HTTPError, ValueError) as error:
        raise Unreachable(f"no metrics at {url}: {error}") from error


def _milvus(http: httpx.AsyncClient, settings: Settings) -> Source:
    """A server's own metrics; of the embedded engine what the system says of its process."""
    if settings.milvus_uri is not None:
        host = httpx.URL(settings.milvus_uri).host
        return partial(_scraped, http, f"http://{host}:{_MILVUS_METRICS_PORT}")
    engine, registry = Engine.of(settings), CollectorRegistry()
    ProcessCollector(pid=lambda: engine.status().pid or 0, registry=registry)

    async def process() -> Values:
        return _values(await asyncio.to_thread(lambda: list(registry.collect())))

    return process


def _values(families: Iterable[Any]) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


async def _ask(settings: Settings, url: str, queries: Sequence[str], collection: str) -> None:
    async with AsyncSearchClient.from_settings(url, settings) as client:
        while queries:
            for query in queries:
                await client.search(query, collection)


def now(watched: Mapping[str, Watched]) -> Table:
    """The last look at every address, a row each."""
    rows: list[Sequence[object]] = []
    for each in watched.values():
        last, requests = each.samples[-1], each.rate("m3_http_requests_total")
        rows.append(
            (
                each.name,
                round(requests.values[-1], 1),
                int(last.sum("m3_queue_tokens")),
                int(last.sum("m3_requests_refused_total")),
                int(last.sum("m3_worker_restarts_total")),
                round(last.sum("process_resident_memory_bytes") / 1e6),
            )
        )
    columns = ("where", "requests a second", "tokens waiting", "refused", "restarts", "MB")
    return Table(columns, rows, "refused and restarts: since the process began")


def _grown(before: float, after: float) -> float:
    return after - before if after >= before else after


def _quantile(
    q: float, before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]
) -> float:
    earlier = dict(before)
    counts = [(end, _grown(earlier.get(end, 0.0), count)) for end, count in after]
    total = counts[-1][1] if counts else 0.0
    if not total:
        return float("nan")
    low, below = 0.0, 0.0
    for end, count in counts:
        if count >= q * total:
            # What is beyond the last bucket is at least its end.
            inside = (q * total - below) / (count - below)
            return low if end == float("inf") else low + inside * (end - low)
        low, below = end, count
    return low
