"""A runner that computes nothing, and a queue before it."""

from __future__ import annotations

import asyncio
import queue
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from embedder.batching.computing import Task
from embedder.batching.queue import Batcher
from embedder.batching.runner import Listener, Took
from embedder.encoders.columns import convert
from embedder.encoders.encoder import Encoded
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TokenizedText
from m3.codec import encode_tokens
from m3.errors import (
    NotComputed,
)
from m3.types import OUTPUTS, Codec, EmbeddingBatch, Kind, ModelInfo, Output, offsets_of
from tests.pace import eventually

INFO = ModelInfo("fake", "f" * 32, "fp32", 2, 8192)
POISON, UNFIT, DEADLY = 666, 667, 668


class Died(Exception):
    """As a process would."""


class FakeRunner:
    """A thread that tells what it read: a text's vectors hold its first id. Waits where told to.

    What it took is a matter of its word too, so that no batch depends on the machine's pace.
    """

    capacity = 1 << 20
    seconds_per_token = 1e-9

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.outputs: list[frozenset[Output]] = []
        self.codecs: list[Codec] = []
        self.dropped: list[int] = []
        self.closed = False
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Event()
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def attach(self, listener: Listener, rate: float = 1e9) -> None:
        self.listener, self._loop = listener, asyncio.get_running_loop()
        self._thread.start()
        listener.attach(self, rate)

    def run(
        self,
        number: int,
        lane: Kind,
        ids: Sequence[bytes],
        outputs: Collection[Output],
        codec: Codec,
    ) -> None:
        texts = [array("i", text).tolist() for text in ids]
        self._begin(Task(number, lane, texts, tuple(outputs), codec))

    def drop(self, number: int) -> None:
        self.dropped.append(number)

    def close(self) -> None:
        self.closed = True

    def kill(self) -> None:
        self.listener.lost(self, "was killed")

    def end(self) -> None:
        """Read what was given, and tell no more: the loop may close after this."""
        self.open.set()
        self._tasks.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _begin(self, task: Task) -> None:
        self._tasks.put(task)

    def _tell(self, what: Callable[..., None], *details: Any) -> None:
        self._loop.call_soon_threadsafe(what, self, *details)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            number, ids = task.number, task.token_ids
            self.begun.set()
            self.open.wait()
            if number in self.dropped:
                self._tell(self.listener.dropped, number)
                continue
            try:
                batch = self._encode(ids, task.outputs)
            except Died:
                self._tell(self.listener.lost, "died")
                return
            except RuntimeError as error:
                self._tell(self.listener.failed, number, NotComputed(str(error)))
            else:
                seconds = self.seconds_per_token * sum(map(len, ids))
                self._tell(self.listener.free, number, 0)
                unfit = frozenset(i for i, text in enumerate(ids) if text[0] == UNFIT)
                self.codecs.append(task.codec)
                encoded = Encoded(convert(batch, task.codec), unfit)
                self._tell(self.listener.done, number, encoded, Took(seconds, 0.0))

    def _encode(
        self, token_ids: Sequence[Sequence[int]], outputs: Collection[Output]
    ) -> EmbeddingBatch:
        self.batches.append([list(ids) for ids in token_ids])
        self.outputs.append(frozenset(outputs))
        if any(ids[0] == POISON for ids in token_ids):
            raise RuntimeError("out of memory")
        if any(ids[0] == DEADLY for ids in token_ids):
            raise Died
        first = np.array([ids[0] for ids in token_ids], np.float32)
        rest = np.concatenate([np.array(ids[1:], np.float32) for ids in token_ids])
        n, colbert = len(token_ids), "colbert" in outputs
        read = [ids[1:] if colbert else [] for ids in token_ids]
        return EmbeddingBatch(
            dense=np.stack([first, first], axis=1)
            if "dense" in outputs
            else np.zeros((n, 0), np.float32),
            sparse_offsets=np.arange(n + 1) * int("sparse" in outputs),
            sparse_ids=first.astype(np.int32)[: n * int("sparse" in outputs)],
            sparse_weights=np.ones(n * int("sparse" in outputs), np.float32),
            token_offsets=offsets_of([len(ids) for ids in read]),
            token_ids=np.array([i for ids in read for i in ids], np.int32),
            codes=encode_tokens(np.stack([rest, rest], axis=1), Codec.FP32)
            if colbert
            else np.zeros((0, 0), np.uint8),
            tokens=np.array([len(ids) for ids in token_ids], np.int32),
            truncated=np.zeros(n, np.bool_),
            codec=Codec.FP32,
            model=INFO.id,
            fingerprint=INFO.fingerprint,
        )

    @property
    def sizes(self) -> list[int]:
        return [sum(map(len, batch)) for batch in self.batches]

    @property
    def firsts(self) -> list[list[int]]:
        return [[ids[0] for ids in batch] for batch in self.batches]


class HandRunner(FakeRunner):
    """Tells what a test has it tell: as on a GPU, launches and results are two things."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Task] = []

    def attach(self, listener: Listener, rate: float = 1e9) -> None:
        self.listener = listener
        listener.attach(self, rate)

    def _begin(self, task: Task) -> None:
        self.given.append(task)

    def launch(self, given: Task) -> None:
        self.listener.free(self, given.number, 0)

    def finish(self, given: Task, seconds: float = 0.001) -> None:
        encoded = Encoded(self._encode(given.token_ids, given.outputs))
        self.listener.done(self, given.number, encoded, Took(seconds, 0.0))

    def fail(self, given: Task) -> None:
        self.listener.failed(self, given.number, NotComputed("out of memory"))


@asynccontextmanager
async def batcher_of(
    encoder: FakeRunner,
    batch: int = 1000,
    queue: int = 8000,
    *,
    rate: float = 1e9,
    metrics: NodeMetrics | None = None,
) -> AsyncIterator[Batcher]:
    batcher = Batcher(
        max_batch_tokens=batch,
        max_queue_tokens=queue,
        max_queue_seconds=60,
        metrics=metrics or NodeMetrics(CollectorRegistry()),
    )
    encoder.attach(batcher.listener, rate)
    try:
        yield batcher
    finally:
        encoder.end()
        batcher.close()


def text(first: int, tokens: int = 2) -> TokenizedText:
    return TokenizedText([first, *range(tokens - 1)], truncated=False)


async def blocked(encoder: FakeRunner, batcher: Batcher) -> asyncio.Task[EmbeddingBatch]:
    """A request that occupies the runner until `encoder.open` is set."""
    encoder.open.clear()
    encoder.begun.clear()
    task = asyncio.create_task(batcher.submit([text(1)], "query", OUTPUTS))
    await eventually(encoder.begun.is_set)
    return task
