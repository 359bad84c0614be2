"""Beside what people use with BGE-M3 today: the same documents, the same queries, in one run.

LlamaIndex's BGEM3Index, and langchain-milvus with FlagEmbedding's `compute_score` for reranking,
each as its documentation shows it, run in a Python of their own (`requirements.txt`). Their
passages are embedded once by FlagEmbedding and kept; ours are ingested. Queries take turns.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer
from rich.progress import track

from bench.checkpoints import checkpoint
from bench.load import p
from bench.measure import Result
from commands.stack import Stack, command, stack
from evaluation.judged.beir import TestCollection, load
from evaluation.measuring.metrics import Metric, measure
from m3.settings import load_settings
from store.index.engine import Engine

_PROCESS = Path(__file__).with_name("process.py")
_COLLECTION = "peers"
_OURS = "m3-retrieval"
_RERANKED = "langchain-milvus, compute_score"
_OTHERS = ("LlamaIndex BGEM3Index", "langchain-milvus, passages precomputed")
_NDCG = Metric("nDCG", 10)
_WARM = 3


def run(
    collection: Annotated[Path, typer.Argument(help="A judged one in BEIR's layout.")],
    *,
    python: Annotated[Path, typer.Option(help="Has bench/peers/requirements.txt installed.")],
    folder: Annotated[Path, typer.Option(help="Keeps what both sides made of the documents.")],
    queries: Annotated[int, typer.Option(help="Asked of each.", min=5)] = 100,
    reranked: Annotated[
        int, typer.Option(help="Of these, asked with compute_score, which takes seconds.", min=5)
    ] = 20,
) -> Result:
    """Milliseconds of a query, its encoding included and not, and nDCG@10 over the same queries.

    Everyone fuses with BGE-M3's weights 1, .3, 1 and looks at 100 candidates a leg, but for
    BGEM3Index, which scores all documents. All see the first 512 tokens of a document.
    """
    judged = load(collection)
    chosen = dict(list(judged.queries.items())[:queries])
    model = checkpoint("stand-in")
    folder.mkdir(parents=True, exist_ok=True)
    with _ours(folder, model, judged) as ours, _peers(python, folder, model, judged) as peers:
        asked = _in_turns(ours, peers, chosen, reranked)
    few = {id_: grades for id_, grades in judged.qrels.items() if id_ in asked[_RERANKED].hits}
    all_ = {id_: grades for id_, grades in judged.qrels.items() if id_ in chosen}
    figures = [
        _figure(name, found, asked[_OURS], few if name == _RERANKED else all_)
        for name, found in asked.items()
    ]
    alike = _ndcg(few, asked[_OURS])
    notes = {
        "documents": f"{judged.name}, {len(chosen)} queries, {len(few)} with compute_score",
        "nDCG@10 of ours over those few": alike,
        "peers": _PROCESS.with_name("requirements.txt").read_text().splitlines()[1:],
    }
    return Result("peers", figures, notes)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Of one contender, by query: document ids best first, and milliseconds."""

    hits: dict[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    ms: dict[str, float] = field(default_factory=dict[str, float])
    encoding_ms: dict[str, float] = field(default_factory=dict[str, float])

    def note(self, query: str, answer: Mapping[str, Any]) -> None:
        self.hits[query] = answer["ids"]
        self.ms[query] = answer["ms"]
        self.encoding_ms[query] = answer["encoding_ms"]

    def without_encoding(self) -> dict[str, float]:
        return {query: ms - self.encoding_ms[query] for query, ms in self.ms.items()}


@dataclass(frozen=True, slots=True)
class _Ours:
    client: httpx.Client

    def ask(self, text: str) -> Mapping[str, Any]:
        body = {"query": text, "collection": _COLLECTION, "top_k": 10, "candidates": 100}
        response = self.client.post("/v1/search", json=body).raise_for_status()
        answer = response.json()
        return {
            "ids": [hit["document_id"] for hit in answer["hits"]],
            "ms": 1e3 * response.elapsed.total_seconds(),
            "encoding_ms": answer["timings_ms"]["embed"],
        }


@dataclass(frozen=True, slots=True)
class _Peers:
    process: subprocess.Popen[bytes]

    def ask(self, name: str, text: str) -> Mapping[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(orjson.dumps([name, text]) + b"\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> Mapping[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise typer.BadParameter("the peers' process ended: what it said is above")
        return orjson.loads(line)


def _in_turns(
    ours: _Ours, peers: _Peers, queries: Mapping[str, str], reranked: int
) -> dict[str, _Asked]:
    """Each query to all of them, one after the other; a few are asked before it counts."""
    asked = {name: _Asked() for name in (_OURS, *_OTHERS, _RERANKED)}
    for text in list(queries.values())[-_WARM:]:
        ours.ask(text)
        for name in (*_OTHERS, _RERANKED):
            peers.ask(name, text)
    for i, (id_, text) in enumerate(track(queries.items(), "asking", total=len(queries))):
        asked[_OURS].note(id_, ours.ask(text))
        for name in _OTHERS:
            asked[name].note(id_, peers.ask(name, text))
        if i < reranked:
            asked[_RERANKED].note(id_, peers.ask(_RERANKED, text))
    return asked


def _figure(
    name: str, found: _Asked, ours: _Asked, qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    encoded = found.without_encoding()
    return {
        "what": name,
        "nDCG@10": _ndcg(qrels, found),
        "p50 ms": statistics.median(found.ms.values()),
        "p95 ms": p(list(found.ms.values()), 95),
        "p50 ms, query encoded": statistics.median(encoded.values()),
        "x ours": _times(found.ms, ours.ms),
        "x ours, query encoded": _times(encoded, ours.without_encoding()),
    }


def _times(theirs: Mapping[str, float], ours: Mapping[str, float]) -> float:
    """The median over the queries that both were asked."""
    return statistics.median(ms / ours[query] for query, ms in theirs.items())


def _ndcg(qrels: Mapping[str, Mapping[str, int]], found: _Asked) -> float:
    return float(measure(qrels, found.hits, [_NDCG])[str(_NDCG)].mean())


@contextmanager
def _ours(folder: Path, model: Path, judged: TestCollection) -> Generator[_Ours]:
    """A node, the embedded Milvus and the search API over the collection."""
    home = folder / "home"
    try:
        with stack({"M3_HOME": str(home), "M3_MODEL": str(model)}, home / "logs") as servers:
            _ingested(servers, judged)
            api = servers.start("m3-search", [command("m3-search"), "serve", "--port", "0"])
            with httpx.Client(base_url=api, trust_env=False, timeout=60) as client:
                yield _Ours(client)
    finally:
        Engine.of(load_settings(home=home)).stop()


def _ingested(servers: Stack, judged: TestCollection) -> None:
    node = servers.start("m3-embedder", [command("m3-embedder"), "serve", "--port", "0"])
    servers.environment["M3_EMBEDDER_URL"] = node
    ingest = [command("m3-ingest"), "run", "--collection", _COLLECTION, "--whole"]
    servers.run([*ingest, str(judged.corpus)])


@contextmanager
def _peers(python: Path, folder: Path, model: Path, judged: TestCollection) -> Generator[_Peers]:
    arguments = [str(python), str(_PROCESS), str(folder), str(model), str(judged.corpus)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        peers = _Peers(process)
        try:
            peers.read()
            yield peers
        finally:
            process.terminate()
