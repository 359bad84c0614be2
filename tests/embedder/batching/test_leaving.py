"""What nobody waits for any more is not computed: deadlines and cancellation."""

from __future__ import annotations

import asyncio
import time

import pytest

from m3.errors import (
    DeadlineExceeded,
)
from m3.types import OUTPUTS
from tests.embedder.batching.fake_runner import HandRunner, batcher_of, blocked, text
from tests.pace import eventually

pytestmark = pytest.mark.anyio


async def test_a_deadline_ends_the_wait_and_frees_the_queue(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        # The runner is still at the first, and would be for ever.
        async with asyncio.timeout(60):
            with pytest.raises(DeadlineExceeded):
                await batcher.submit([text(4, 500)], "passage", OUTPUTS, timeout=0.1)
        assert not encoder.batches
        assert batcher.queued_tokens == 0
        encoder.open.set()
        await first
    assert all(ids[0] != 4 for batch in encoder.batches for ids in batch)


async def test_a_cancelled_request_is_not_computed(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        gone = asyncio.create_task(batcher.submit([text(4, 500)], "query", OUTPUTS))
        kept = asyncio.create_task(batcher.submit([text(5, 500)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 1000)
        gone.cancel()
        await eventually(lambda: batcher.queued_tokens == 500)
        encoder.open.set()
        await asyncio.gather(first, kept)
    assert all(ids[0] != 4 for batch in encoder.batches for ids in batch)


async def test_a_request_cancelled_while_computed_harms_no_other(encoder):
    async with batcher_of(encoder) as batcher:
        gone = await blocked(encoder, batcher)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        encoder.open.set()
        assert len(await batcher.submit([text(5)], "query", OUTPUTS)) == 1


async def test_a_batch_nobody_waits_for_is_given_up(encoder):
    async with batcher_of(encoder) as batcher:
        gone = await blocked(encoder, batcher)
        gone.cancel()
        await eventually(lambda: encoder.dropped)
        # One like it is not taken for the one that was given up.
        again = asyncio.create_task(batcher.submit([text(1)], "query", OUTPUTS))
        await asyncio.sleep(0)
        encoder.open.set()
        assert (await again).dense[0, 0] == 1
    assert encoder.firsts == [[1]]


async def test_nothing_expired_is_computed_though_the_loop_is_late():
    runner = HandRunner()
    async with batcher_of(runner) as batcher:
        first = asyncio.create_task(batcher.submit([text(1)], "query", OUTPUTS))
        late = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS, timeout=0.02))
        await asyncio.sleep(0)
        assert batcher.queued_tokens == 2
        # The loop learns of the runner before it looks at the deadline.
        time.sleep(0.05)  # noqa: ASYNC251 - what a busy loop does
        runner.finish(runner.given[0])
        with pytest.raises(DeadlineExceeded):
            await late
        assert len(await first) == 1
    assert len(runner.given) == 1
