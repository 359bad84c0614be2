"""What a search costs besides Milvus, the rows and the kernel, which answer at once here."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import orjson
import typer

from bench.asking import ask
from bench.kept import COLLECTION, Made, kept
from bench.load import p
from bench.measure import Result
from bench.search_latency import servers


def run(
    *,
    folder: Annotated[Path, typer.Option(help="Of `search-latency`, whose collection it has.")],
    chunks: Annotated[int, typer.Option(min=1_000)] = 20_000,
    tokens: Annotated[int, typer.Option(help="Of a chunk.", min=16)] = 120,
    queries: Annotated[int, typer.Option(help="Asked in turn.", min=1)] = 40,
    rounds: Annotated[int, typer.Option(help="Of all queries.", min=1)] = 20,
) -> Result:
    """`/v1/search` over HTTP, 100 candidates of each leg; every query was asked twice before.

    In a search that really reads, the same takes longer: 23 MB of rows go through the processor's
    caches, and threads that waited have to wake up.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place, kept(folder, Made(chunks, tokens)) as here:
        texts = list(here.queries())[:queries]
        bodies = [{"query": text, "collection": COLLECTION, "candidates": 100} for text in texts]
        noted = Path(place) / "noted.json"
        with servers(here, "replayed", noted, Path(place) / "logs") as (_, url):
            ask(url, bodies * 2)
            asked = ask(url, bodies * rounds)
        used: list[float] = orjson.loads(noted.read_bytes())[-len(asked) :]
    ms = [one.ms for one in asked]
    row = {
        "what": "all but Milvus, rows and kernel",
        "n": len(asked),
        "p50": round(p(ms, 50), 2),
        "p95": round(p(ms, 95), 2),
        "of it in the service, p50": round(median(one.timings["total"] for one in asked), 2),
        "CPU ms of the server": round(1e3 * (used[-1] - used[0]) / (len(used) - 1), 2),
    }
    return Result("search-rest", [row], {"load before": load})
