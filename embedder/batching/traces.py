"""What a request's trace is told of its batches: when they began, and what they took."""

from __future__ import annotations

import time

from embedder.batching.jobs import Batch, Request
from embedder.batching.runner import Took
from m3 import tracing


def trace_wait(request: Request, began: float) -> None:
    """Its first text left the queue, at a time of the monotonic clock."""
    if request.parent is not None:
        tracing.past(
            "node.queue", request.submitted, began, {"m3.lane": request.lane}, request.parent
        )


def trace_batch(batch: Batch, took: Took) -> None:
    """It is done: told to all who waited for one of its texts.

    A worker says how long it took, not when: its seconds are counted back from now.
    """
    if not tracing.on():
        return
    now = time.monotonic()
    finishing = max(batch.began, now - took.finishing)
    computing = max(batch.began, finishing - took.computing)
    attributes = {
        "m3.lane": batch.lane,
        "m3.batch": batch.number,
        "m3.batch_texts": len(batch.jobs),
        "m3.batch_tokens": batch.tokens,
    }
    for request in {waiter for job in batch.jobs for waiter, _ in job.waiters}:
        if request.parent is not None:
            parent = tracing.past("node.batch", batch.began, now, attributes, request.parent)
            tracing.past("node.compute", computing, finishing, {}, parent)
            tracing.past("node.finish", finishing, now, {}, parent)
