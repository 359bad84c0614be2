"""The queue between requests and workers: counted in tokens, two lanes, early refusals.

All of it happens on one event loop. A request's texts wait in the lane of its kind and leave
it in batches, so that a request may span batches and a batch requests. Whoever stops waiting
(deadline, cancellation) frees its places at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence

import structlog

from embedder.batching.dispatch import Dispatcher
from embedder.batching.gate import Gate
from embedder.batching.gather import gather
from embedder.batching.jobs import Job, Key, Request, key_of
from embedder.batching.runner import Listener
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TokenizedText
from m3 import tracing
from m3.errors import NotReady
from m3.types import Codec, EmbeddingBatch, Kind, Output

_MANY_TOKENS = 256
"""Tokens of an answer that is put together beside the event loop."""


class Batcher:
    """Has texts computed for many callers, by the runners that attach to its `listener`."""

    def __init__(
        self,
        *,
        max_batch_tokens: int,
        max_queue_tokens: int,
        max_queue_seconds: float,
        metrics: NodeMetrics,
        hung_seconds: float = 60.0,
    ) -> None:
        """Begin with an empty queue and no runner.

        Args:
            max_queue_seconds: of work, at the rate that was measured.
            hung_seconds: what any batch may take before its worker is taken for hung.
        """
        self._dispatcher = Dispatcher(
            max_batch_tokens=max_batch_tokens, hung_seconds=hung_seconds, metrics=metrics
        )
        self._gate = Gate(
            self._dispatcher,
            max_tokens=max_queue_tokens,
            max_seconds=max_queue_seconds,
            metrics=metrics,
        )
        self._metrics = metrics
        self._requests: set[Request] = set()
        self._closed: str | None = None

    @property
    def listener(self) -> Listener:
        """Whom runners tell."""
        return self._dispatcher

    @property
    def workers(self) -> int:
        """Runners that are ready."""
        return self._dispatcher.workers

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait, those being computed not among them."""
        return sum(self._dispatcher.tokens.values())

    @property
    def queued_seconds(self) -> float:
        """What the workers will take for what waits, by what they took of late."""
        return self._dispatcher.seconds(self._dispatcher.tokens)

    async def submit(
        self,
        texts: Sequence[TokenizedText],
        kind: Kind,
        outputs: Collection[Output],
        codec: Codec = Codec.FP32,
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds the wait in the queue too
    ) -> EmbeddingBatch:
        """The representations of n ≥ 1 texts.

        Raises:
            Overloaded: the queue is full, or the wait longer than `timeout`; when to come back.
            PayloadTooLarge: more tokens than the queue ever holds.
            DeadlineExceeded: no result within `timeout` seconds.
            NotComputed: the model failed at a text, or what it computed is not finite.
            WorkerLost: a text ended the process that computed it, twice.
            NotReady: the node is closing.
        """
        now = time.monotonic()
        request = Request(
            lane=kind,
            texts=texts,
            outputs=frozenset(outputs),
            codec=codec,
            done=asyncio.get_running_loop().create_future(),
            submitted=now,
            deadline=None if timeout is None else now + timeout,
            id=structlog.contextvars.get_contextvars().get("request_id", ""),
            parent=tracing.parent(),
        )
        self._enqueue(request, timeout)
        try:
            async with asyncio.timeout(timeout):
                places = await request.done
        except TimeoutError as error:
            raise request.late() from error
        finally:
            self._abandon(request)
        with self._metrics.seconds.labels("write").time(), tracing.span("node.write"):
            if request.tokens < _MANY_TOKENS:
                return gather(places, texts, request.outputs, codec)
            return await asyncio.to_thread(gather, places, texts, request.outputs, codec)

    def refuse_if_full(self, kind: Kind, tokens: int, timeout: float | None = None) -> None:
        """Raise NotReady or Overloaded as `submit` would if so many tokens came now."""
        if self._closed is not None:
            raise NotReady(self._closed)
        self._gate.refuse_if_full(kind, tokens, timeout)

    def close(self, reason: str = "the node is closing") -> None:
        """Tell those who wait, and whoever comes, that there will be nothing more.

        With NotReady, whatever the reason: another node may do what this one does not.
        """
        self._closed = reason
        for request in self._requests:
            request.fail(NotReady(reason))

    def _enqueue(self, request: Request, timeout: float | None) -> None:
        keys = [key_of(request.lane, text) for text in request.texts]
        fresh = {key for key in keys if self._joinable(key, request) is None}
        tokens = sum(len(ids) // 4 for _, ids in fresh)
        self._gate.refuse_too_large(request.lane, tokens)
        self.refuse_if_full(request.lane, tokens, timeout)
        self._requests.add(request)
        for index, key in enumerate(keys):
            self._job(key, request).join(request, index)
        self._dispatcher.dispatch()

    def _job(self, key: Key, request: Request) -> Job:
        """What computes a text: the job that somebody else waits for already, or one more."""
        known = self._joinable(key, request)
        if known is not None:
            self._metrics.shared.labels(request.lane).inc()
            return known
        job = Job(request.lane, key[1], request.outputs, request.codec)
        self._dispatcher.add(job)
        return job

    def _joinable(self, key: Key, request: Request) -> Job | None:
        job = self._dispatcher.find(key)
        return job if job is not None and job.suits(request) else None

    def _abandon(self, request: Request) -> None:
        """Free the places of a request that nobody waits for any more."""
        self._requests.discard(request)
        jobs, request.jobs = request.jobs, []
        for job in jobs:
            job.leave(request)
        self._dispatcher.leave(jobs)
