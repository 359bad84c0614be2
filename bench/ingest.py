"""`m3-ingest run` beside a node that answers at once: the rest's own rate, memory and disk."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import orjson
import psutil
import typer

from bench.instant import DIMENSION, VOCABULARY
from bench.load import p
from bench.measure import Result
from bench.texts import sample_texts
from commands.stack import Stack, command, stack
from embedder.stand_in import build
from m3.codec import encode_tokens
from m3.settings import load_settings
from m3.types import DEFAULT_TENANT, Codec, Representation
from store.index.engine import Engine
from store.opening import open_store

_COLLECTION = "bench"
_RUN = [command("m3-ingest"), "run", "--collection", _COLLECTION, "--overlap", "0", "--json"]
_CHUNKS_A_DOCUMENT = 4
_SAMPLE_SECONDS = 0.5
_WINDOWS = 10
_QUERIES = 50
_MB = 2**20


def run(
    *,
    chunks: Annotated[int, typer.Option(help="About as many.", min=100)] = 20_000,
    tokens: Annotated[int, typer.Option(help="A chunk.", min=16)] = 120,
    rerun: Annotated[bool, typer.Option(help="Run again over what is then unchanged.")] = True,
    name: Annotated[str, typer.Option(help="Of the file under bench/results.")] = "ingest",
) -> Result:
    """Documents of four chunks, made of the sample's words, on the embedded engine."""
    return measured(name, chunks, tokens, _CHUNKS_A_DOCUMENT, rerun=rerun)


def measured(
    name: str, chunks: int, tokens: int, chunks_a_document: int, *, rerun: bool = True
) -> Result:
    """One collection, written and searched and, if asked for, read again unchanged."""
    with tempfile.TemporaryDirectory() as folder, _Site(Path(folder), tokens) as site:
        documents = corpus(Path(folder), chunks // chunks_a_document, tokens, chunks_a_document)
        before = os.getloadavg()[0]
        first = site.ingest(documents, tokens)
        figures = [first.figure("documents never seen"), *first.windows()]
        found = site.search_ms()
        if rerun:
            figures.append(site.ingest(documents, tokens).figure("the same again"))
        notes = {
            "tokens a chunk": tokens,
            "searches": f"{_QUERIES} each; ms p50 {found}",
            "bytes on disk": site.bytes(),
            "load before": before,
        }
        return Result(name, figures, notes)


@dataclass(slots=True)
class _Sampled:
    """One run as seen from outside, every half second.

    Attributes:
        report: what the command printed at its end.
        calls: requests that the encoder answered for it.
        at: seconds since the start; beside it CPU seconds of the command and chunks asked of
            the encoder by then, and resident MB of the command and of Milvus.
    """

    report: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0
    calls: int = 0
    at: list[float] = field(default_factory=list[float])
    cpu_at: list[float] = field(default_factory=list[float])
    chunks: list[int] = field(default_factory=list[int])
    command_mb: list[float] = field(default_factory=list[float])
    milvus_mb: list[float] = field(default_factory=list[float])

    def figure(self, what: str) -> dict[str, Any]:
        return {
            "what": what,
            "documents": self.report["documents"],
            "chunks": self.report["chunks"],
            "seconds": self.seconds,
            "chunks/s": self.report["chunks"] / self.report["seconds"],
            "cpu seconds": self.cpu_at[-1],
            "encoder calls": self.calls,
            "command MB, most": max(self.command_mb, default=0.0),
            "Milvus MB, most": max(self.milvus_mb, default=0.0),
        }

    def windows(self) -> Iterator[dict[str, Any]]:
        """The run in equal parts of time: its rate and memory as the collection grows."""
        edges = np.linspace(0, len(self.at) - 1, _WINDOWS + 1).astype(int)
        for first, last in itertools.pairwise(edges.tolist()):
            chunks = self.chunks[last] - self.chunks[first]
            if chunks:
                yield {
                    "what": f"to {self.at[last]:.0f} s",
                    "chunks": self.chunks[last],
                    "chunks/s": chunks / (self.at[last] - self.at[first]),
                    "cpu ms a chunk": 1e3 * (self.cpu_at[last] - self.cpu_at[first]) / chunks,
                    "command MB, most": max(self.command_mb[first : last + 1]),
                    "Milvus MB, most": max(self.milvus_mb[first : last + 1]),
                }


class _Site:
    """A state directory, its engine and an instant encoder; used in a `with` block."""

    def __init__(self, folder: Path, tokens: int) -> None:
        self._home = folder / "home"
        self._tokenizer = build(folder / "stand-in") / "tokenizer.json"
        self._settings = load_settings(home=self._home)
        self._engine = Engine.of(self._settings)
        self._tokens = tokens

    def __enter__(self) -> _Site:
        self._running = stack({"M3_HOME": str(self._home)}, self._home / "logs")
        self._servers: Stack = self._running.__enter__()
        arguments = [command("python"), "-m", "bench.instant", str(self._tokenizer)]
        with importable(self._servers):
            self._encoder = self._servers.start("instant", [*arguments, str(self._tokens)])
        self._servers.environment["M3_EMBEDDER_URL"] = self._encoder
        return self

    def __exit__(self, *failed: Any) -> None:
        self._running.__exit__(*failed)
        self._engine.stop()

    def ingest(self, corpus: Path, tokens: int) -> _Sampled:
        sampled, before = _Sampled(), self._calls()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            started = time.perf_counter()
            process = psutil.Popen(
                [*_RUN, str(corpus), "--max-tokens", str(tokens)],
                stdout=output,
                stderr=errors,
                env=self._servers.environment,
            )
            while process.poll() is None:
                with process.oneshot():
                    self._sample(sampled, process, time.perf_counter() - started)
                time.sleep(_SAMPLE_SECONDS)
            sampled.seconds = time.perf_counter() - started
            output.seek(0)
            errors.seek(0)
            assert process.returncode == 0, errors.read().decode()
            sampled.report = orjson.loads(output.read())
        after = self._calls()
        sampled.calls = after["requests"] - before["requests"]
        sampled.chunks = [chunks - before["texts"] for chunks in sampled.chunks]
        return sampled

    def _sample(self, sampled: _Sampled, process: psutil.Process, at: float) -> None:
        try:
            times = process.cpu_times()
            resident = process.memory_info().rss
        except psutil.NoSuchProcess:
            return
        sampled.at.append(at)
        sampled.cpu_at.append(times.user + times.system)
        sampled.command_mb.append(resident / _MB)
        sampled.chunks.append(self._calls()["texts"])
        sampled.milvus_mb.append(self._milvus_mb())

    def _milvus_mb(self) -> float:
        try:
            pid = self._engine.status().pid
            return psutil.Process(pid).memory_info().rss / _MB if pid else 0.0
        except psutil.NoSuchProcess:
            return 0.0

    def _calls(self) -> dict[str, int]:
        return httpx.get(f"{self._encoder}/calls", trust_env=False, timeout=30).json()

    def search_ms(self) -> dict[str, float]:
        """Milliseconds, p50, of a search for 100 candidates a leg, their rows included."""
        store = open_store(self._settings)
        try:
            collection = store.open(_COLLECTION)
            took: list[float] = []
            for query in _queries():
                started = time.perf_counter()
                collection.candidates(
                    query, legs=("dense", "sparse"), depth=100, tenant=DEFAULT_TENANT
                )
                took.append((time.perf_counter() - started) * 1e3)
            # The first loads the collection.
            return {"dense and sparse": round(p(took[1:], 50), 1)}
        finally:
            store.close()

    def bytes(self) -> dict[str, int]:
        folders = {"table": self._settings.home / "tables", "Milvus": self._engine.directory}
        return {
            name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            for name, folder in folders.items()
        }


@contextmanager
def importable(servers: Stack) -> Generator[None]:
    """A process of `servers` finds this package, wherever it is started from."""
    servers.environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    yield
    del servers.environment["PYTHONPATH"]


def _queries() -> Iterator[Representation]:
    rng = np.random.default_rng(1)
    for _ in range(_QUERIES + 1):
        vectors = rng.standard_normal((9, DIMENSION)).astype(np.float32)
        terms = np.unique(rng.zipf(1.2, 8) % VOCABULARY).astype(np.int32)
        yield Representation(
            dense=vectors[0],
            sparse_ids=terms,
            sparse_weights=np.ones(len(terms), np.float32),
            token_ids=np.arange(8, dtype=np.int32),
            codes=encode_tokens(vectors[1:], Codec.FP32),
            codec=Codec.FP32,
        )


def corpus(folder: Path, documents: int, tokens: int, chunks: int) -> Path:
    """JSON lines whose texts are runs of the sample's sentences, each beginning elsewhere."""
    words = " ".join(sample_texts("corpus.jsonl")).split()
    # The stand-in's tokenizer makes 1.35 tokens of a word of the sample, and spans end at words.
    length = int(chunks * tokens / 1.5)
    rng = np.random.default_rng(0)
    path = folder / "corpus.jsonl"
    with path.open("wb") as file:
        for number, start in enumerate(rng.integers(0, len(words) - length, documents).tolist()):
            text = f"{number} " + " ".join(words[start : start + length])
            record = {"id": f"d{number}", "text": text, "lang": "en", "number": number}
            file.write(orjson.dumps(record) + b"\n")
    return path
