"""An ingest beside the node alone: the same requests once by the pipeline, and once replayed."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import anyio
import orjson
import typer

from bench.checkpoints import checkpoint, described
from bench.connections import Connections
from bench.ingest import corpus
from bench.measure import Result
from bench.node import Node, cores, node, pinned
from embedder.client import EmbedderClient
from ingest.cutting.chunkers import Chunkers
from ingest.running.pipeline import ingest
from ingest.running.report import Report
from ingest.sources import Fields, Reject, discover, read
from m3.settings import load_settings
from m3.types import OUTPUTS, Codec, EmbeddingBatch
from store.contract import Collection
from store.index.engine import Engine
from store.opening import open_store
from store.spec import Chunking, CollectionSpec

_AT_ONCE = 4
_FULL = 429


def run(
    *,
    model: Annotated[str, typer.Option(help="full, layers, stand-in or DIR.")] = "stand-in",
    precision: Annotated[str, typer.Option(help="fp32, bf16, int8, …")] = "auto",
    chunks: Annotated[int, typer.Option(help="About as many.", min=100)] = 6_000,
    tokens: Annotated[int, typer.Option(help="A chunk.", min=16)] = 120,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> Result:
    """Documents of four chunks. The node has one core; reading, cutting, writing and the embedded
    Milvus have another, and in its turn the replay has it."""
    available = cores()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        documents = corpus(place, chunks // 4, tokens, 4)
        with (
            node(checkpoint(model), precision=precision, cores=available[:1]) as served,
            pinned(available[-1:]),
        ):
            rows = anyio.run(_rounds, served, place, documents, tokens, rounds)
    middle = statistics.median(row["efficiency %"] for row in rows)
    notes = {
        "model": f"{described(model)}, {precision}",
        "cores": f"node {available[:1]}, all else {available[-1:]}",
        "tokens a chunk": tokens,
        "efficiency %, median": round(middle, 1),
    }
    return Result("ingest-efficiency", rows, notes)


@dataclass(slots=True)
class _Recording:
    """A client that remembers the bodies of its requests."""

    client: EmbedderClient
    bodies: list[bytes] = field(default_factory=list[bytes])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def encode(self, texts: Sequence[str], kind: str, **more: Any) -> EmbeddingBatch:
        body = {"input": texts, "kind": kind, "outputs": OUTPUTS, "max_length": None}
        self.bodies.append(orjson.dumps(body))
        return await self.client.encode(texts, "passage", **more)


async def _rounds(
    served: Node, place: Path, documents: Path, tokens: int, rounds: int
) -> list[dict[str, Any]]:
    settings = load_settings(home=place / "home", embedder_url=served.url)
    store = open_store(settings)
    rows: list[dict[str, Any]] = []
    try:
        async with EmbedderClient([served.url]) as client:
            spec = CollectionSpec.of(
                await client.model(), codec=Codec.INT8, chunking=Chunking(tokens, 0)
            )
            await _replay(served.url, [orjson.dumps({"input": ["warm"], "kind": "passage"})])
            for number in range(rounds):
                recording = _Recording(client)
                report = await _ingest(store.create(f"r{number}", spec), recording, documents)
                alone = await _replay(served.url, recording.bodies)
                texts = sum(len(orjson.loads(body)["input"]) for body in recording.bodies)
                rows.append(
                    {
                        "what": f"round {number + 1}",
                        "chunks": report.chunks,
                        "requests": len(recording.bodies),
                        "tokens a request": report.tokens / len(recording.bodies),
                        "ingest, chunks/s": report.chunks / report.seconds,
                        "node alone, chunks/s": texts / alone,
                        "efficiency %": 100 * report.chunks / report.seconds / (texts / alone),
                    }
                )
                store.drop(f"r{number}")
    finally:
        store.close()
        Engine.of(settings).stop()
    return rows


async def _ingest(collection: Collection, recording: Any, documents: Path) -> Report:
    """Whole, but for the wait until readers have moved on, in which nothing is done."""
    chunkers = Chunkers(recording)
    await chunkers.of(collection.spec)
    report = await ingest(
        read(discover([str(documents)]).files, Fields()),
        collection,
        recording,
        chunkers=chunkers,
        on_reject=_bug,
        settle=False,
    )
    await anyio.to_thread.run_sync(collection.settle)
    return report


def _bug(reject: Reject) -> None:
    raise AssertionError(reject)


async def _replay(url: str, bodies: Sequence[bytes]) -> float:
    """Seconds that the node takes for them, a few at once."""
    connections = Connections(url)
    left = iter(bodies)

    async def one_after_another() -> None:
        for body in left:
            while (  # noqa: ASYNC110 - a full node has no event to wait for
                status := await connections.post("/v1/encode", body)
            ) == _FULL:
                await asyncio.sleep(0.05)
            assert status == 200, status

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))
    return time.perf_counter() - began
