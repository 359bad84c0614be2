"""`/v1/search` over HTTP on the sample: each method alone, and fusion while documents come in."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import orjson

from bench.measure import Result
from commands.stack import Stack, command, stack
from embedder.stand_in import build
from m3.settings import load_settings
from store.index.engine import Engine

_SAMPLE = Path(__file__).parents[1] / "samples/xquad-en"
_METHODS = ("dense", "sparse", "colbert", "dense+sparse", "fusion")
_QUERIES = 60
_COLLECTION = "sample"


def run() -> Result:
    """Milliseconds as a client sees them, and the phases that the answer reports."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        model = str(build(Path(folder) / "stand-in"))
        try:
            with stack({"M3_HOME": str(home), "M3_MODEL": model}, home / "logs") as servers:
                return Result("search", _measure(servers, Path(folder)), {"collection": "sample"})
        finally:
            Engine.of(load_settings(home=home)).stop()


def _measure(servers: Stack, folder: Path) -> list[dict[str, Any]]:
    node = servers.start("m3-embedder", [command("m3-embedder"), "serve", "--port", "0"])
    servers.environment["M3_EMBEDDER_URL"] = node
    ingest = [command("m3-ingest"), "run", "--collection", _COLLECTION]
    servers.run([*ingest, str(_SAMPLE / "corpus.jsonl")])
    api = servers.start("m3-search", [command("m3-search"), "serve", "--port", "0"])
    queries = [
        orjson.loads(line)["text"]
        for line in (_SAMPLE / "queries.jsonl").read_text("utf-8").splitlines()
    ]
    with httpx.Client(base_url=api, trust_env=False, timeout=60) as client:
        figures = [
            _figure(method, [_ask(client, query, method) for query in queries[:_QUERIES]])
            for method in _METHODS
        ]
        busy = subprocess.Popen(
            [*ingest, str(_sentences(folder)), "--source", "sentences"],
            env=servers.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        fresh = itertools.cycle(queries[_QUERIES:])
        during: list[dict[str, float]] = []
        while busy.poll() is None:
            during.append(_ask(client, next(fresh), "fusion"))
        figures.append(_figure("fusion, while sentences are ingested", during))
    return figures


def _ask(client: httpx.Client, query: str, method: str) -> dict[str, float]:
    body = {"query": query, "collection": _COLLECTION, "method": method}
    started = time.perf_counter()
    answer = client.post("/v1/search", json=body).raise_for_status()
    seconds = time.perf_counter() - started
    return {"client": seconds * 1e3, **answer.json()["timings_ms"]}


def _figure(what: str, asked: list[dict[str, float]]) -> dict[str, Any]:
    client = [one["client"] for one in asked]
    phases = {
        f"{phase} p50": statistics.median(one[phase] for one in asked)
        for phase in ("embed", "retrieve", "rerank")
    }
    p95 = statistics.quantiles(client, n=20)[-1]
    return {
        "what": what,
        "searches": len(asked),
        "p50 ms": statistics.median(client),
        "p95 ms": p95,
        **phases,
    }


def _sentences(folder: Path) -> Path:
    """The sample's sentences as documents of their own."""
    texts = [
        sentence
        for line in (_SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()
        for sentence in orjson.loads(line)["text"].split(". ")
    ]
    path = folder / "sentences.jsonl"
    path.write_bytes(
        b"\n".join(orjson.dumps({"id": str(i), "text": t}) for i, t in enumerate(texts))
    )
    return path
