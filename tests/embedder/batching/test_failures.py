"""A text that fails, a runner that dies, hangs or retires: no other request is harmed."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from structlog.contextvars import bound_contextvars
from structlog.testing import capture_logs

from embedder.metrics import NodeMetrics
from m3.errors import (
    NotComputed,
    NotFinite,
    WorkerLost,
)
from m3.types import OUTPUTS, EmbeddingBatch
from tests.embedder.batching.fake_runner import (
    DEADLY,
    POISON,
    UNFIT,
    FakeRunner,
    HandRunner,
    batcher_of,
    blocked,
    text,
)
from tests.pace import eventually

pytestmark = pytest.mark.anyio


async def test_a_failing_text_fails_its_request_by_name_and_no_other(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        failing = asyncio.create_task(
            batcher.submit([text(3, 200), text(POISON, 200)], "passage", OUTPUTS)
        )
        sound = asyncio.create_task(batcher.submit([text(6, 200)], "passage", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 600)
        encoder.open.set()
        with pytest.raises(NotComputed, match=r"input\[1\]: out of memory"):
            await failing
        await asyncio.gather(first, sound)
        assert batcher.queued_tokens == 0
    # All of the batch once, then each alone, once.
    assert encoder.firsts == [[1], [3, POISON, 6], [3], [POISON], [6]]


async def test_a_failing_batch_is_logged_with_the_requests_it_held(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        failing: list[asyncio.Task[EmbeddingBatch]] = []
        for name in ("b", "a"):
            with bound_contextvars(request_id=name):
                # The same text, which is one job for both.
                submitted = batcher.submit([text(POISON, 200)], "passage", OUTPUTS)
                failing.append(asyncio.create_task(submitted))
        await eventually(lambda: batcher.queued_tokens == 200)
        with capture_logs() as lines:
            encoder.open.set()
            outcomes = await asyncio.gather(*failing, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NotComputed, NotComputed]
        await first
    told = [line["requests"] for line in lines if line["event"] == "a batch failed"]
    assert told[0] == ["a", "b"]


async def test_what_is_left_of_a_failed_request_is_not_computed(encoder):
    async with batcher_of(encoder, batch=512) as batcher:
        first = await blocked(encoder, batcher)
        failing = asyncio.create_task(
            batcher.submit([text(POISON, 500), text(3, 500)], "passage", OUTPUTS)
        )
        await eventually(lambda: batcher.queued_tokens == 1000)
        encoder.open.set()
        with pytest.raises(NotComputed):
            await failing
        await first
        await eventually(lambda: batcher.queued_tokens == 0)
        assert len(await batcher.submit([text(6, 500)], "passage", OUTPUTS)) == 1
    assert [3] not in encoder.firsts[3:]


async def test_values_that_are_not_finite_are_an_error_of_their_item(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        unfit = asyncio.create_task(batcher.submit([text(3), text(UNFIT)], "query", OUTPUTS))
        sound = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 6)
        encoder.open.set()
        with pytest.raises(NotFinite, match=r"input\[1\]: the model computed values"):
            await unfit
        await asyncio.gather(first, sound)
    # Its batch mates need no second time.
    assert len(encoder.batches) == 2


async def test_a_lost_runner_costs_a_retry(encoder):
    successor = FakeRunner()
    async with batcher_of(encoder) as batcher:
        running = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 2)
        encoder.kill()
        assert batcher.workers == 0
        successor.attach(batcher.listener)
        answers = await asyncio.gather(running, waiting)
        successor.end()
    assert [answer.dense[0, 0] for answer in answers] == [1, 4]
    assert successor.firsts == [[1], [4]]


async def test_a_text_that_ends_runners_fails_alone(encoder):
    successors = [FakeRunner(), FakeRunner()]
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        deadly = asyncio.create_task(batcher.submit([text(5), text(DEADLY)], "query", OUTPUTS))
        sound = asyncio.create_task(batcher.submit([text(6)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 6)
        encoder.open.set()
        await first
        for successor in successors:
            await eventually(lambda: batcher.workers == 0)
            successor.attach(batcher.listener)
        with pytest.raises(WorkerLost, match=r"input\[1\]: .* died, twice"):
            await deadly
        assert (await sound).dense[0, 0] == 6
        for successor in successors:
            successor.end()
    assert encoder.firsts == [[1], [5, DEADLY, 6]]
    assert successors[0].firsts == [[5], [DEADLY]]
    assert successors[1].firsts == [[6]]


async def test_a_runner_that_hangs_is_killed_and_not_waited_for():
    hung, successor = HandRunner(), HandRunner()
    killed = asyncio.Event()
    # It does not end, as a process does not while a driver keeps it.
    hung.kill = killed.set
    async with batcher_of(hung) as batcher:
        batcher._dispatcher._hung_seconds = 0.1
        asked = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS))
        async with asyncio.timeout(60):
            await killed.wait()
        assert batcher.workers == 0
        successor.attach(batcher.listener)
        (again,) = successor.given
        # What it still tells is heard by nobody.
        hung.finish(hung.given[0])
        assert not asked.done()
        successor.finish(again)
        assert (await asked).dense[0, 0] == 4


async def test_a_text_that_hangs_two_runners_fails():
    async with batcher_of(HandRunner()) as batcher:
        batcher._dispatcher._hung_seconds = 0.05
        HandRunner().attach(batcher.listener)
        with pytest.raises(WorkerLost, match=r"input\[0\]: .* hung, twice"):
            await batcher.submit([text(4)], "query", OUTPUTS, timeout=60)


async def test_runners_retire_one_at_a_time():
    first, second, successor = HandRunner(), HandRunner(), HandRunner()
    async with batcher_of(first) as batcher:
        second.attach(batcher.listener)
        batcher.listener.retire(first)
        batcher.listener.retire(second)
        assert (first.closed, second.closed) == (True, False)
        # Its successor is yet to load the model.
        batcher.listener.lost(first, "ended")
        batcher.listener.retire(second)
        assert not second.closed
        successor.attach(batcher.listener)
        batcher.listener.retire(second)
        assert second.closed


async def test_a_runner_retires_once():
    """It tells that it is worn out with each result; others come up meanwhile."""
    first, other = HandRunner(), HandRunner()
    registry = CollectorRegistry()
    async with batcher_of(first, metrics=NodeMetrics(registry)) as batcher:
        asked = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS))
        await asyncio.sleep(0)
        batcher.listener.retire(first)
        other.attach(batcher.listener)
        batcher.listener.retire(first)
        assert registry.get_sample_value("m3_workers_retired_total") == 1
        first.finish(first.given[0])
        assert (await asked).dense[0, 0] == 4
        assert first.closed
