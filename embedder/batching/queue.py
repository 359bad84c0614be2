"""The queue between requests and the model: counted in tokens, two lanes, early refusals.

Requests live on an event loop; one thread computes. A request's texts wait in the lane of
its kind and leave it in batches of up to a token budget, so that a request may span batches
and a batch requests. Whoever stops waiting (deadline, cancellation) frees its place at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import structlog

from embedder.encoders.columns import select
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TokenizedText
from m3.errors import DeadlineExceeded, NotReady, Overloaded, PayloadTooLarge
from m3.types import EmbeddingBatch, Kind, Output, Representation, batch_of

Encode: TypeAlias = Callable[[Sequence[Sequence[int]], Collection[Output]], EmbeddingBatch]

_PASSAGE_SHARE = 0.875
"""Of the queue that passages may fill, so that a flood of them leaves room for queries."""
_QUERY_BATCHES = 4
"""Query batches in a row before waiting passages get one."""
_BATCH_SECONDS = 0.5
"""What a batch should take at most: a query that comes meanwhile waits that long."""
_SMALLEST_BUDGET = 512
_MAX_RETRY_AFTER = 60.0
_log = structlog.stdlib.get_logger("m3.embedder")


@dataclass(slots=True, eq=False)
class _Request:
    """What one caller waits for; only its event loop touches `done`."""

    kind: Kind
    texts: Sequence[TokenizedText]
    outputs: frozenset[Output]
    done: asyncio.Future[EmbeddingBatch]
    submitted: float
    rows: dict[int, Representation] = field(default_factory=dict[int, Representation])
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class _Item:
    """One text of a request."""

    request: _Request
    index: int

    @property
    def ids(self) -> list[int]:
        return self.request.texts[self.index].ids


class Batcher:
    """Runs an encoder for many callers. Use as an async context manager."""

    def __init__(
        self,
        encode: Encode,
        *,
        max_batch_tokens: int,
        max_queue_tokens: int,
        metrics: NodeMetrics,
    ) -> None:
        self._encode = encode
        self._max_batch_tokens = max_batch_tokens
        self._limits: Mapping[Kind, int] = {
            "query": max_queue_tokens,
            "passage": int(max_queue_tokens * _PASSAGE_SHARE),
        }
        self._metrics = metrics
        self._changed = threading.Condition()
        self._lanes: Mapping[Kind, deque[_Item]] = {"query": deque(), "passage": deque()}
        self._queued: dict[Kind, int] = {"query": 0, "passage": 0}
        self._query_batches = 0
        self._recent = (0.0, 0.0)
        self._closed = False
        self._thread = threading.Thread(target=self._compute, name="m3-compute", daemon=True)

    async def __aenter__(self) -> Batcher:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait, those being computed not among them."""
        return sum(self._queued.values())

    async def submit(
        self,
        texts: Sequence[TokenizedText],
        kind: Kind,
        outputs: Collection[Output],
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds the wait in the queue too
    ) -> EmbeddingBatch:
        """The representations of n ≥ 1 texts, in `Codec.FP32`.

        Raises:
            Overloaded: the queue is full; when to come back.
            PayloadTooLarge: more tokens than the queue ever holds.
            DeadlineExceeded: no result within `timeout` seconds.
            NotReady: the node is closing.
        """
        done: asyncio.Future[EmbeddingBatch] = asyncio.get_running_loop().create_future()
        request = _Request(kind, texts, frozenset(outputs), done, time.monotonic())
        self._enqueue(request)
        try:
            async with asyncio.timeout(timeout):
                return await done
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no result within {timeout:.3g} s: send less at once or allow more time"
            ) from error
        finally:
            if done.cancelled() or not done.done():
                self._abandon(request)

    def _enqueue(self, request: _Request) -> None:
        kind, tokens = request.kind, sum(len(text.ids) for text in request.texts)
        if tokens > self._limits[kind]:
            raise PayloadTooLarge(
                f"{tokens} tokens at once; this node takes at most {self._limits[kind]}: split it"
            )
        with self._changed:
            if self._closed:
                raise NotReady("the node is closing")
            if self.queued_tokens + tokens > self._limits[kind]:
                raise Overloaded(
                    f"{self.queued_tokens} tokens are waiting: come back later",
                    retry_after=self._seconds_of(self.queued_tokens),
                )
            self._count(kind, tokens)
            self._lanes[kind].extend(_Item(request, i) for i in range(len(request.texts)))
            self._changed.notify()

    def _abandon(self, request: _Request) -> None:
        """Free the places of a request that nobody waits for."""
        with self._changed:
            request.abandoned = True
            lane = self._lanes[request.kind]
            kept = [item for item in lane if item.request is not request]
            dropped = sum(len(item.ids) for item in lane if item.request is request)
            lane.clear()
            lane.extend(kept)
            self._count(request.kind, -dropped)

    def _count(self, kind: Kind, tokens: int) -> None:
        self._queued[kind] += tokens
        self._metrics.queue_tokens.labels(kind).set(self._queued[kind])

    def _seconds_of(self, tokens: int) -> float:
        """How long the model takes for so many tokens, by what it took of late."""
        return min(tokens / self._rate, _MAX_RETRY_AFTER) if self._rate else 1.0

    @property
    def _rate(self) -> float:
        """Tokens a second of late; 0 before the first batch."""
        tokens, seconds = self._recent
        return tokens / max(seconds, 1e-6)

    def _compute(self) -> None:
        """The thread's whole life: batch after batch until closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self.queued_tokens)
                if self._closed:
                    break
                batch = self._next_batch()
            self._run(batch)
        for item in (item for lane in self._lanes.values() for item in lane):
            self._finish(item.request, NotReady("the node is closing"))

    def _next_batch(self) -> list[_Item]:
        """Texts of one lane up to the budget, and at least one."""
        kind = self._next_lane()
        lane, budget = self._lanes[kind], self._budget()
        batch = [lane.popleft()]
        tokens = len(batch[0].ids)
        while lane and tokens + len(lane[0].ids) <= budget:
            batch.append(lane.popleft())
            tokens += len(batch[-1].ids)
        self._count(kind, -tokens)
        return batch

    def _next_lane(self) -> Kind:
        """Queries first, but passages that wait get every fifth batch.

        The lanes are never mixed: a query would wait for the passages beside it.
        """
        queries, passages = self._lanes["query"], self._lanes["passage"]
        if queries and not (passages and self._query_batches >= _QUERY_BATCHES):
            self._query_batches += 1
            return "query"
        self._query_batches = 0
        return "passage"

    def _budget(self) -> int:
        wanted = int(self._rate * _BATCH_SECONDS)
        return min(max(wanted, _SMALLEST_BUDGET), self._max_batch_tokens)

    def _run(self, batch: Sequence[_Item]) -> None:
        """Compute a batch and hand its rows out; what goes wrong is told to its requests."""
        began = time.monotonic()
        wanted = {item.request.outputs for item in batch}
        try:
            result = self._encode([item.ids for item in batch], frozenset[Output]().union(*wanted))
            self._observe(batch, began)
            columns = {outputs: select(result, outputs) for outputs in wanted}
            for row, item in enumerate(batch):
                self._deliver(item, columns[item.request.outputs], row)
        except Exception as error:  # noqa: BLE001 - the thread must outlive any batch
            _log.warning("a batch failed", texts=len(batch), error=repr(error))
            for request in {item.request for item in batch}:
                self._abandon(request)
                self._finish(request, error)

    def _deliver(self, item: _Item, columns: EmbeddingBatch, row: int) -> None:
        request = item.request
        request.rows[item.index] = columns.row(row)
        if len(request.rows) == len(request.texts) and not request.abandoned:
            self._finish(request, _reassembled(request, columns))

    def _finish(self, request: _Request, outcome: EmbeddingBatch | Exception) -> None:
        def settle() -> None:
            if request.done.done():
                return
            if isinstance(outcome, Exception):
                request.done.set_exception(outcome)
            else:
                request.done.set_result(outcome)

        request.done.get_loop().call_soon_threadsafe(settle)

    def _observe(self, batch: Sequence[_Item], began: float) -> None:
        took = time.monotonic() - began
        tokens = sum(len(item.ids) for item in batch)
        # Sums that fade, so that a batch counts by its tokens.
        self._recent = (0.8 * self._recent[0] + tokens, 0.8 * self._recent[1] + took)
        self._metrics.batch_tokens.observe(tokens)
        self._metrics.tokens.labels(batch[0].request.kind).inc(tokens)
        self._metrics.seconds.labels("compute").observe(took)
        for item in batch:
            if item.index == 0:
                self._metrics.seconds.labels("queue").observe(began - item.request.submitted)


def _reassembled(request: _Request, columns: EmbeddingBatch) -> EmbeddingBatch:
    """The request's rows in its own order."""
    return batch_of(
        [request.rows[i] for i in range(len(request.texts))],
        tokens=np.array([len(text.ids) for text in request.texts], np.int32),
        truncated=np.array([text.truncated for text in request.texts], np.bool_),
        model=columns.model,
        fingerprint=columns.fingerprint,
    )
