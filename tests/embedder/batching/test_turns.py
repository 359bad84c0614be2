"""Which lane a worker's next batch is of, where both wait without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import pytest

from embedder.batching.computing import Task
from embedder.batching.queue import Batcher
from m3.types import OUTPUTS, EmbeddingBatch, Kind
from tests.embedder.batching.fake_runner import HandRunner, batcher_of, text

pytestmark = pytest.mark.anyio

TOKENS = 100
BOTH: Sequence[Kind] = ("query", "passage")


class Askers:
    """Keeps lanes filled, each text one of its own."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._firsts = count(1)
        self.asked: list[asyncio.Task[EmbeddingBatch]] = []

    async def ask(self, lane: Kind, texts: int = 1) -> None:
        many = [text(next(self._firsts), TOKENS) for _ in range(texts)]
        self.asked.append(asyncio.create_task(self._batcher.submit(many, lane, OUTPUTS)))
        # It is in the queue once it has run.
        await asyncio.sleep(0)


@asynccontextmanager
async def asked(runner: HandRunner) -> AsyncIterator[Askers]:
    """A queue whose batches are one text each."""
    async with batcher_of(runner, batch=TOKENS, queue=10**6) as batcher:
        askers = Askers(batcher)
        yield askers
        for task in askers.asked:
            task.cancel()
        await asyncio.gather(*askers.asked, return_exceptions=True)


def lanes(given: Sequence[Task]) -> list[Kind]:
    return [batch.lane for batch in given]


async def one_after_the_other(runner: HandRunner, askers: Askers, batches: int) -> list[Task]:
    """So many from the last one given, each computed and answered before the next is."""
    begin = len(runner.given) - 1
    for index in range(begin, begin + batches):
        await askers.ask("passage")
        runner.launch(runner.given[index])
        runner.finish(runner.given[index])
    return runner.given[begin:]


async def test_a_failed_query_is_not_kept_waiting_by_passages_without_end():
    runner = HandRunner()
    async with asked(runner) as askers:
        await askers.ask("passage", 4)
        await askers.ask("query")
        passage, query = runner.given
        assert lanes(runner.given) == ["passage", "query"]
        runner.fail(query)
        runner.launch(passage)
        # Nothing beside it, so nothing before it either.
        assert len(runner.given) == 2
        runner.finish(passage)
        assert runner.given[2].token_ids == query.token_ids
        assert len(runner.given) == 3


async def test_queries_of_a_lost_worker_are_not_kept_waiting_by_passages_without_end():
    lost, successor = HandRunner(), HandRunner()
    async with batcher_of(lost, queue=10**6) as batcher:
        askers = Askers(batcher)
        for _ in range(8):
            await askers.ask("query")
        await askers.ask("passage", 10)
        lost.launch(lost.given[0])
        lost.finish(lost.given[0])
        together = lost.given[1]
        assert (together.lane, len(together.token_ids)) == ("query", 7)
        lost.listener.lost(lost, "died")
        successor.attach(batcher.listener)
        given = await one_after_the_other(successor, askers, 12)
        assert lanes(given).count("query") == 7
        batcher.close()
        await asyncio.gather(*askers.asked, return_exceptions=True)


async def test_only_the_worker_with_the_least_to_do_waits_for_what_goes_alone():
    busy, idle = HandRunner(), HandRunner()
    async with asked(busy) as askers:
        idle.attach(busy.listener)
        await askers.ask("passage", 20)
        await askers.ask("query")
        (query,) = (batch for batch in busy.given + idle.given if batch.lane == "query")
        failing, other = (busy, idle) if query in busy.given else (idle, busy)
        failing.fail(query)
        before = len(failing.given) + len(other.given)
        for runner in (failing, other):
            runner.launch(runner.given[0])
        # One of them has its next passage, the other none.
        assert len(failing.given) + len(other.given) == before + 1
        for runner in (failing, other):
            runner.finish(runner.given[0])
        assert [batch.token_ids for batch in failing.given + other.given].count(
            query.token_ids
        ) == 2


async def test_passages_get_every_fifth_batch_of_a_worker_that_launches_ahead():
    runner = HandRunner()
    async with asked(runner) as askers:
        for lane in BOTH:
            await askers.ask(lane, 50)
        launched = 0
        for finished in range(50):
            while launched < len(runner.given):
                runner.launch(runner.given[launched])
                launched += 1
            runner.finish(runner.given[finished])
        for begin in range(len(runner.given) - 5):
            assert "passage" in lanes(runner.given[begin : begin + 5])
        assert lanes(runner.given).count("passage") <= len(runner.given) / 5 + 1
