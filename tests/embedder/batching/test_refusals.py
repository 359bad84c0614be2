"""Whom the queue refuses, and when: full in tokens or in seconds, too late, at its end."""

from __future__ import annotations

import asyncio

import pytest

from m3.errors import (
    NotReady,
    Overloaded,
    PayloadTooLarge,
)
from m3.types import OUTPUTS
from tests.embedder.batching.fake_runner import batcher_of, blocked, text
from tests.pace import eventually

pytestmark = pytest.mark.anyio


async def test_a_full_queue_refuses_with_when_to_come_back_and_recovers(encoder):
    async with batcher_of(encoder, queue=8192) as batcher:
        first = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(3, 6000)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 6000)
        with pytest.raises(Overloaded) as refused:
            await batcher.submit([text(4, 3000)], "query", OUTPUTS)
        assert refused.value.retry_after > 0
        encoder.open.set()
        await asyncio.gather(first, waiting)
        assert len(await batcher.submit([text(4, 3000)], "query", OUTPUTS)) == 1


async def test_a_flood_of_passages_leaves_room_for_queries(encoder):
    async with batcher_of(encoder, queue=8000) as batcher:
        first = await blocked(encoder, batcher)
        flood = asyncio.create_task(batcher.submit([text(3, 7000)], "passage", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 7000)
        with pytest.raises(Overloaded):
            await batcher.submit([text(4, 100)], "passage", OUTPUTS)
        query = asyncio.create_task(batcher.submit([text(4, 100)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 7100)
        encoder.open.set()
        await asyncio.gather(first, flood, query)


async def test_what_can_never_fit_is_not_told_to_come_back(encoder):
    async with batcher_of(encoder, queue=8192) as batcher:
        with pytest.raises(PayloadTooLarge, match="split"):
            await batcher.submit([text(4, 9000)], "query", OUTPUTS)


async def test_a_queue_is_full_by_seconds_too(encoder):
    async with batcher_of(encoder, rate=10) as batcher:
        # More than the queue should hold, but it is empty.
        first = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(3, 1000)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 1000)
        with pytest.raises(Overloaded, match="100 s of work") as refused:
            await batcher.submit([text(4)], "query", OUTPUTS)
        assert refused.value.retry_after == 60
        with pytest.raises(Overloaded):
            batcher.refuse_if_full("passage", 3)
        encoder.open.set()
        await asyncio.gather(first, waiting)
        batcher.refuse_if_full("passage", 3)


async def test_a_deadline_shorter_than_the_wait_is_refused_at_once(encoder):
    async with batcher_of(encoder, rate=60) as batcher:
        first = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(3, 3000)], "passage", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 3000)
        assert batcher.queued_seconds == pytest.approx(50)
        with pytest.raises(Overloaded, match=r"50\.\d s") as refused:
            await batcher.submit([text(4)], "passage", OUTPUTS, timeout=30)
        assert refused.value.retry_after == pytest.approx(50, rel=0.01)
        # A wait that nearly fills the time is too long too: what is measured may err.
        with pytest.raises(Overloaded):
            await batcher.submit([text(4)], "passage", OUTPUTS, timeout=60)
        # A query passes the passages by.
        query = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS, timeout=30))
        await eventually(lambda: batcher.queued_tokens == 3002)
        encoder.open.set()
        await asyncio.gather(first, waiting, query)


async def test_the_wait_includes_what_is_being_computed(encoder):
    async with batcher_of(encoder, rate=20) as batcher:
        encoder.open.clear()
        long = asyncio.create_task(batcher.submit([text(1, 2000)], "passage", OUTPUTS))
        await eventually(encoder.begun.is_set)
        waiting = asyncio.create_task(batcher.submit([text(3, 100)], "passage", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 100)
        with pytest.raises(Overloaded, match=r"the wait is (10|9)\d\.\d s"):
            await batcher.submit([text(4)], "passage", OUTPUTS, timeout=30)
        # A query is computed in between.
        query = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS, timeout=30))
        await asyncio.sleep(0)
        encoder.open.set()
        await asyncio.gather(long, waiting, query)


async def test_closing_tells_those_who_still_wait(encoder):
    async with batcher_of(encoder) as batcher:
        computed = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 2)
        batcher.close()
        for task in (computed, waiting):
            with pytest.raises(NotReady):
                await task
        with pytest.raises(NotReady):
            await batcher.submit([text(5)], "query", OUTPUTS)
