"""`/v1/search` over HTTP on a large collection: how long searches take, and where that goes.

A server process, the embedded Milvus and a node that answers every query at once with vectors
made before, over a collection of chunks that resemble the stand-in's embeddings at 1024
dimensions. The parts of a search are noted in the server (`bench.probed`).
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from bench.asking import Asked, ask
from bench.checkpoints import checkpoint
from bench.ingest import corpus, importable
from bench.kept import COLLECTION, Kept, Made, kept
from bench.load import p
from bench.measure import Result
from bench.probed import PROBES
from commands.stack import Stack, command, stack
from m3.types import DEFAULT_TENANT

_SOURCE = "beside"
_RATE = 100
"""Chunks a second of the ingest beside."""
_WARM_ZIPF = 400
_ROWS = ("random", "zipf", "clients", "ingest", "explain", "must_not")

Body = Mapping[str, Any]
Calls = Mapping[str, Sequence[tuple[float, float]]]


def run(
    *,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps the collection, and has it next time.")
    ] = None,
    chunks: Annotated[int, typer.Option(min=1_000)] = 20_000,
    tokens: Annotated[int, typer.Option(help="Of a chunk.", min=16)] = 120,
    searches: Annotated[int, typer.Option(help="Of each kind.", min=20)] = 300,
    clients: Annotated[int, typer.Option(help="Asking at once, in one of the rows.")] = 8,
    candidates: Annotated[int, typer.Option(help="Of each leg.")] = 100,
    beside: Annotated[int, typer.Option(help="Seconds of the ingest beside.")] = 30,
    zipf: Annotated[float, typer.Option(help="Exponent of the query log.")] = 1.0,
    cache: Annotated[
        int | None, typer.Option(help="M3_ROW_CACHE_BYTES of the server; unset: its own.")
    ] = None,
    only: Annotated[str, typer.Option(help="Rows, comma-separated.")] = ",".join(_ROWS),
    name: Annotated[str, typer.Option(help="Of the file under bench/results.")] = "search-latency",
) -> Result:
    """Milliseconds as a client sees them, and the medians of a search's parts.

    `rest` is what is left of the client's time without the query's encoding, Milvus, the rows and
    the kernel. Where several clients ask at once the parts overlap, and are not shown.
    """
    asked = _Searches(candidates, searches, clients, beside, zipf)
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place,
        kept(Path(place), Made(chunks, tokens)) as here,
    ):
        figures = _measured(here, asked, only.split(","), cache)
    notes = {
        "collection": f"{chunks} chunks of {tokens} tokens, 1024 dimensions",
        "candidates": f"{candidates} of each leg",
        "zipf": f"exponent {zipf} over {len(asked.queries)} queries, after {_WARM_ZIPF} searches",
        "row cache, MiB": "by memory" if cache is None else cache / 2**20,
        "load before and after": [load, os.getloadavg()[0]],
    }
    return Result(name, figures, notes)


@dataclass(slots=True)
class _Searches:
    """The kinds of searches, and how many of each."""

    candidates: int
    count: int
    clients: int
    beside: int
    zipf: float
    queries: list[str] = field(default_factory=list[str])

    def random(self, row: int = 0) -> list[Body]:
        """Every query is another one, in each of the rows too, as long as there are others."""
        drawn = random.Random(1).sample(self.queries, len(self.queries))
        own = itertools.islice(itertools.cycle(drawn), row * self.count, (row + 1) * self.count)
        return [self.body(text) for text in own]

    def log(self, count: int, seed: int) -> list[Body]:
        """A query log: the n-th query comes as often as 1 / n to the exponent says."""
        weights = [1 / rank**self.zipf for rank in range(1, len(self.queries) + 1)]
        drawn = random.Random(seed).choices(self.queries, weights, k=count)
        return [self.body(text) for text in drawn]

    def body(self, text: str, **more: Any) -> Body:
        own = {"query": text, "collection": COLLECTION, "candidates": self.candidates}
        return {**own, **more}


def _measured(
    here: Kept, searches: _Searches, only: Sequence[str], cache: int | None
) -> list[dict[str, Any]]:
    searches.queries = list(here.queries())
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "noted.json"
        with servers(here, "probed", noted, Path(folder) / "logs", cache) as (started, url):
            ask(url, searches.log(50, seed=0))
            rows = _Rows(started, url, searches, Path(folder))
            asked = [row for name in only for row in rows.of(name)]
        calls: Calls = orjson.loads(noted.read_bytes())
    if "ingest" in only:
        _without_what_came(here)
    return [_figure(what, those, calls, parts=parts) for what, those, parts in asked]


@contextmanager
def servers(
    here: Kept, module: str, noted: Path, logs: Path, cache: int | None = None
) -> Generator[tuple[Stack, str]]:
    """A node that answers at once, and the search API as a module of ours runs it; its address."""
    tokenizer = checkpoint("stand-in") / "tokenizer.json"
    home = here.settings.home
    tokens = orjson.loads((here.folder / "made.json").read_bytes())["tokens"]
    environment = {"M3_HOME": str(home)}
    if cache is not None:
        environment["M3_ROW_CACHE_BYTES"] = str(cache)
    with stack(environment, logs) as started, importable(started):
        python = command("python")
        node = [python, "-m", "bench.instant", str(tokenizer), str(tokens), str(here.folder)]
        started.environment["M3_EMBEDDER_URL"] = started.start("instant", [*node, str(_RATE)])
        serve = [python, "-m", f"bench.{module}", str(noted), "--port", "0"]
        yield started, started.start("m3-search", serve)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What a row of the table says, what was asked for it, and whether its parts are told."""

    started: Stack
    url: str
    searches: _Searches
    folder: Path

    def of(self, name: str) -> Iterable[tuple[str, list[Asked], bool]]:
        searches, url = self.searches, self.url
        match name:
            case "random":
                yield "random queries", ask(url, searches.random()), True
            case "zipf":
                ask(url, searches.log(_WARM_ZIPF, seed=2))
                yield "a query log", ask(url, searches.log(searches.count, seed=3)), True
            case "clients":
                many = ask(url, searches.random(1), clients=searches.clients)
                yield f"random, {searches.clients} clients", many, False
            case "ingest":
                yield "random, beside an ingest", self._beside(), True
            case "explain":
                yield from self._explained()
            case "must_not":
                words = [searches.body(text, must_not=["the"]) for text in searches.queries[:20]]
                yield 'must_not "the"', ask(url, words), True
            case _:
                raise SystemExit(f"no row {name!r}; there are: {', '.join(_ROWS)}")

    def _beside(self) -> list[Asked]:
        """Searches as long as `m3-ingest run` writes what the node gives it, so many a second."""
        searches = self.searches
        documents = corpus(self.folder, _RATE * searches.beside // 4, 120, 4)
        ingest = [command("m3-ingest"), "run", "--collection", COLLECTION, "--source", _SOURCE]
        with subprocess.Popen(
            [*ingest, "--max-tokens", "120", "--overlap", "0", str(documents)],
            env=self.started.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as writing:
            bodies = itertools.cycle(searches.random(2))
            return ask(self.url, bodies, until=lambda: writing.poll() is not None)

    def _explained(self) -> Iterable[tuple[str, list[Asked], bool]]:
        """In turn, of queries that were asked just before, so that both find their rows kept."""
        texts = self.searches.queries[:10] * 5
        bodies = [
            self.searches.body(text, explain=explain) for text in texts for explain in (False, True)
        ]
        asked = ask(self.url, bodies)[20:]
        yield "again, as it is", asked[::2], True
        yield "again, explained", asked[1::2], True


def _without_what_came(here: Kept) -> None:
    with here.opened() as collection:
        collection.delete(collection.keys(DEFAULT_TENANT, _SOURCE))
        collection.settle()


def _figure(what: str, asked: Sequence[Asked], calls: Calls, *, parts: bool) -> dict[str, Any]:
    ms = [one.ms for one in asked]
    seconds = max(one.ended for one in asked) - min(one.began for one in asked)
    return {
        "what": what,
        "n": len(asked),
        **_rounded({f"p{percent}": p(ms, percent) for percent in (50, 95, 99)}),
        **_rounded({"per s": len(asked) / seconds}),
        **_rounded(_parts(asked, calls) if parts else {}),
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in figures.items()}


def _parts(asked: Sequence[Asked], calls: Calls) -> dict[str, float]:
    """Medians. One search after the other: what was noted while it ran is its own."""
    embed = [one.timings["embed"] for one in asked]
    spent = {part: _spent(calls[part], asked) for part in PROBES}
    # Rows are read while Milvus is still asked: parts overlap.
    known = _spent([call for part in PROBES for call in calls[part]], asked)
    rest = [one.ms - own - all_ for one, own, all_ in zip(asked, embed, known, strict=True)]
    shares = {"embed": embed, **spent, "rest": rest}
    return {name: statistics.median(each) for name, each in shares.items()}


def _spent(calls: Sequence[tuple[float, float]], asked: Sequence[Asked]) -> list[float]:
    """Milliseconds of each search."""
    return [1e3 * _within(calls, one.began, one.ended) for one in asked]


def _within(calls: Sequence[tuple[float, float]], began: float, ended: float) -> float:
    """Seconds of that time in which at least one of the calls was under way."""
    total, covered = 0.0, began
    for start, stop in sorted(call for call in calls if began <= call[0] <= ended):
        total += max(0.0, stop - max(start, covered))
        covered = max(covered, stop)
    return total
