"""Worker processes: lost, hung, interrupted, ended; with a model that does as it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from embedder.batching import pool, process
from embedder.batching.pool import Pool
from embedder.batching.process import Order
from embedder.batching.queue import Batcher
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TokenizedText
from m3.errors import InvalidCheckpoint, M3Error, NotComputed, NotFinite, WorkerLost
from m3.settings import load_settings
from m3.types import OUTPUTS, Codec, EmbeddingBatch, Kind
from tests.embedder.fake_worker import BREAKS, DEADLY, FAILS, FINISHES_LATE, UNFIT, WAITS
from tests.pace import eventually

pytestmark = pytest.mark.anyio
COMMAND = (sys.executable, "-m", "tests.embedder.fake_worker")


@dataclass(frozen=True, slots=True)
class Workers:
    """A queue with worker processes behind it, as a node has them."""

    pool: Pool
    batcher: Batcher
    metrics: NodeMetrics
    registry: CollectorRegistry
    home: Path
    failures: list[M3Error]

    async def ask(
        self, *marks: int, size: int = 4, kind: Kind = "passage", codec: Codec = Codec.FP32
    ) -> EmbeddingBatch:
        """The texts of those second tokens, each of `size` tokens."""
        texts = [TokenizedText([0, mark, *[5] * (size - 3), 2], truncated=False) for mark in marks]
        return await self.batcher.submit(texts, kind, OUTPUTS, codec)

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def unstarted(home: Path, **settings: int) -> AsyncIterator[Workers]:
    registry = CollectorRegistry()
    metrics = NodeMetrics(registry)
    failures: list[M3Error] = []
    batcher = Batcher(
        max_batch_tokens=8192,
        max_queue_tokens=100_000,
        max_queue_seconds=600,
        metrics=metrics,
    )
    pool = Pool(
        Order(load_settings(home=home, **settings), command=COMMAND),
        listener=batcher.listener,
        metrics=metrics,
        on_failure=failures.append,
    )
    try:
        yield Workers(pool, batcher, metrics, registry, home, failures)
    finally:
        batcher.close()
        await pool.stop()


@asynccontextmanager
async def started(home: Path, **settings: int) -> AsyncIterator[Workers]:
    async with unstarted(home, **settings) as workers:
        await workers.pool.start()
        yield workers


async def given(workers: Workers, lane: Kind) -> None:
    """A worker was given a batch of the lane."""
    await eventually(lambda: workers.count("m3_batch_tokens_count", lane=lane) > 0)


async def begun(workers: Workers) -> None:
    """A worker is in the midst of a text that waits."""
    await eventually((workers.home / "begun").exists)


def go_on(workers: Workers) -> None:
    """Let the texts be computed that wait."""
    (workers.home / "go").touch()


async def test_a_worker_says_what_it_serves_and_computes(tmp_path):
    async with unstarted(tmp_path) as workers:
        hello = await workers.pool.start()
        assert (hello.info.id, hello.engine, hello.device, hello.devices) == (
            "fake",
            "fake",
            "cpu",
            1,
        )
        assert hello.rate == pytest.approx(1000)
        answer = await workers.ask(5, 6, size=9, codec=Codec.INT8)
        assert answer.tokens.tolist() == [9, 9]
        assert (answer.codec, answer.fingerprint) == (Codec.INT8, "f" * 32)
        assert answer.token_ids.tolist() == [5, *[5] * 6, 2, 6, *[5] * 6, 2]
        assert workers.count("m3_device_memory_used_bytes", device="cpu") > 10e6
        pids = workers.pool.pids
    assert not any(map(psutil.pid_exists, pids))


async def test_a_worker_that_is_killed_costs_a_retry(tmp_path):
    async with started(tmp_path) as workers:
        (pid,) = workers.pool.pids
        # It has all that it is given still to do when it is killed.
        os.kill(pid, signal.SIGSTOP)
        asked: list[asyncio.Task[EmbeddingBatch]] = []
        for kind in ("passage", "query"):
            asked += [
                asyncio.create_task(workers.ask(mark, mark + 1, size=200, kind=kind))
                for mark in (20, 40, 60)
            ]
            await given(workers, kind)
        os.kill(pid, signal.SIGKILL)
        answers = await asyncio.gather(*asked)
        assert all(answer.dense[:, 0].tolist() == [200, 200] for answer in answers)
        assert all(pid not in answer.dense[:, 1] for answer in answers)
        assert workers.count("m3_worker_restarts_total") == 1


async def test_a_worker_that_hangs_is_replaced(tmp_path):
    async with started(tmp_path) as workers:
        (pid,) = workers.pool.pids
        os.kill(pid, signal.SIGSTOP)
        workers.batcher._dispatcher._hung_seconds = 0.1
        asked = asyncio.create_task(workers.ask(20))
        await given(workers, "passage")
        # Its successor has as long as any.
        workers.batcher._dispatcher._hung_seconds = 60
        assert (await asked).dense[0, 1] != pid
        assert not psutil.pid_exists(pid)


async def test_a_worker_that_cannot_be_ended_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_ENDS_WITHIN", 0.05)
    async with started(tmp_path) as workers:
        (pid,) = workers.pool.pids
        # As with one that waits for a driver: nothing reaches it.
        for name in ("close", "kill"):
            monkeypatch.setattr(process.WorkerProcess, name, lambda _: None)
        with capture_logs() as lines:
            async with asyncio.timeout(60):
                await workers.pool.stop()
        assert [line["pid"] for line in lines if line["event"] == "a worker does not end"] == [pid]
        os.kill(pid, signal.SIGKILL)


async def test_a_text_that_kills_its_worker_fails_and_its_batch_mates_do_not(tmp_path):
    async with started(tmp_path) as workers:
        deadly = asyncio.create_task(workers.ask(20, DEADLY))
        sound = asyncio.create_task(workers.ask(30))
        with pytest.raises(WorkerLost, match=r"input\[1\]: .* was ended by SIGSEGV, twice"):
            await deadly
        assert len(await sound) == 1


async def test_a_text_that_fails_is_named_and_its_worker_goes_on(tmp_path):
    async with started(tmp_path) as workers:
        (pid,) = workers.pool.pids
        failing = asyncio.create_task(workers.ask(20, FAILS))
        unfit = asyncio.create_task(workers.ask(20, 21, UNFIT))
        sound = asyncio.create_task(workers.ask(30))
        with pytest.raises(NotComputed, match=r"input\[1\]: the model failed: .*out of memory"):
            await failing
        with pytest.raises(NotFinite, match=r"input\[2\]: the model computed values"):
            await unfit
        assert (await sound).dense[0, 1] == pid


async def test_a_worker_whose_device_breaks_is_replaced(tmp_path):
    async with started(tmp_path) as workers:
        (pid,) = workers.pool.pids
        # It breaks the successor's too.
        with pytest.raises(WorkerLost, match=r"input\[0\]: .* ended with status 1, twice"):
            await workers.ask(BREAKS)
        assert (await workers.ask(20)).dense[0, 1] != pid


async def test_what_cannot_be_loaded_is_told_at_once(tmp_path):
    (tmp_path / "broken").touch()
    async with unstarted(tmp_path) as workers:
        with pytest.raises(InvalidCheckpoint, match="the checkpoint is broken"):
            await workers.pool.start()
    assert len((tmp_path / "attempts").read_text().split()) == 1


async def test_a_worker_that_dies_loading_gets_three_attempts(tmp_path):
    (tmp_path / "deadly").touch()
    async with unstarted(tmp_path) as workers:
        with pytest.raises(WorkerLost, match="ended with status 9 while it loaded"):
            await workers.pool.start()
    assert len((tmp_path / "attempts").read_text().split()) == 3


async def test_a_worker_that_cannot_be_replaced_is_the_end(tmp_path):
    async with started(tmp_path) as workers:
        (tmp_path / "broken").touch()
        workers.batcher.listener.lost(None, "")  # what is not known harms nobody
        os.kill(workers.pool.pids[0], signal.SIGKILL)
        await eventually(lambda: workers.failures)
        assert isinstance(workers.failures[0], InvalidCheckpoint)
    assert len((tmp_path / "attempts").read_text().split()) == 1 + 3


async def test_a_query_is_computed_between_a_passages_layers(tmp_path):
    async with started(tmp_path) as workers:
        passage = asyncio.create_task(workers.ask(WAITS, size=2000))
        # Not both at once, or the worker would take the query first.
        await begun(workers)
        async with asyncio.timeout(60):
            query = await workers.ask(30, size=400, kind="query")
        assert not passage.done()
        assert query.dense[0, 0] == 400
        go_on(workers)
        assert (await passage).dense[0, 0] == 2000
        await eventually(lambda: workers.count("m3_batches_interrupted_total") == 1)
        # The query's 0.4 s are not taken for the passage's two.
        assert workers.count("m3_tokens_per_second", lane="passage") == pytest.approx(1000)


async def test_queries_leave_a_passage_its_share(tmp_path):
    size, askers = 200, 4
    async with started(tmp_path) as workers:
        answered = 0

        async def ask(mark: int) -> None:
            nonlocal answered
            while not passage.done():
                await workers.ask(mark, size=size, kind="query")
                answered += 1

        async def answered_before() -> int:
            await workers.ask(WAITS, size=size)
            return answered

        passage = asyncio.create_task(answered_before())
        await begun(workers)
        asking = [asyncio.create_task(ask(30 + i)) for i in range(askers)]
        # None of them is computed any more, though the passage waits, and would for ever.
        await eventually(lambda: workers.batcher.queued_tokens == askers * size)
        go_on(workers)
        # As long as the passage itself each, they may hold it up for four times that; another
        # is begun while what one took is not yet told.
        assert 2 <= await passage <= 8
        await asyncio.gather(*asking)


async def test_a_batch_that_nobody_waits_for_is_given_up(tmp_path):
    async with started(tmp_path) as workers:
        gone = asyncio.create_task(workers.ask(WAITS))
        await begun(workers)
        gone.cancel()
        # It would wait for ever.
        async with asyncio.timeout(60):
            await workers.ask(21)


async def test_the_next_batch_begins_while_results_are_written(tmp_path):
    async with started(tmp_path) as workers:
        late = asyncio.create_task(workers.ask(FINISHES_LATE))
        await given(workers, "passage")
        next_one = asyncio.create_task(workers.ask(WAITS))
        await begun(workers)
        assert not late.done()
        go_on(workers)
        await asyncio.gather(late, next_one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_leaves_signals_to_the_server(tmp_path, number):
    async with started(tmp_path) as workers:
        (pid,) = workers.pool.pids
        os.kill(pid, number)
        assert (await workers.ask(20)).dense[0, 1] == pid


async def test_there_is_a_worker_for_every_device(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_DEVICES", "2")
    async with started(tmp_path) as workers:
        await eventually(lambda: workers.batcher.workers == 2)
        asked = [asyncio.create_task(workers.ask(mark, size=300)) for mark in (20, 21)]
        answers = await asyncio.gather(*asked)
        assert {answer.dense[0, 1] for answer in answers} == set(workers.pool.pids)


async def test_a_device_that_cannot_be_used_ends_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_UNUSABLE_DEVICES", "1")
    monkeypatch.setattr(pool, "_ATTEMPTS", 1)
    async with started(tmp_path) as workers:
        # It failed as often as would be the end, were it the only one.
        await eventually(lambda: workers.count("m3_worker_restarts_total") == 1)
        assert not workers.failures
        assert len(await workers.ask(20)) == 1


async def test_a_worn_out_worker_is_replaced_between_batches(tmp_path):
    """Nobody's texts are lost, or computed twice."""
    async with started(tmp_path, recycle_texts=4) as workers:
        (first,) = workers.pool.pids
        answers = await asyncio.gather(*(workers.ask(20 + i, size=20 + i) for i in range(8)))
        assert [answer.tokens.tolist() for answer in answers] == [[20 + i] for i in range(8)]
        assert first in {int(answer.dense[0, 1]) for answer in answers}
        later = await workers.ask(5, size=90)
        assert int(later.dense[0, 1]) != first
        assert not workers.failures
        # None retires before the one before it has a successor.
        retired = workers.count("m3_workers_retired_total")
        assert 1 <= retired <= workers.count("m3_worker_restarts_total") + 1
        assert workers.count("m3_tokens_total", lane="passage") == sum(range(20, 28)) + 90


async def test_a_worker_that_takes_much_memory_is_worth_its_load_first(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_LOADS", 1000)
    async with started(tmp_path, recycle_mib=1) as workers:
        (pid,) = workers.pool.pids
        for mark in (20, 21):
            assert (await workers.ask(mark)).dense[0, 1] == pid
        monkeypatch.setattr(process, "_LOADS", 0)
        assert (await workers.ask(22)).dense[0, 1] == pid
        assert (await workers.ask(23)).dense[0, 1] != pid


def test_what_wears_a_worker_out():
    endless, limited = Order(load_settings()), Order(load_settings(recycle_texts=5, recycle_mib=2))
    assert not endless.wears_out(10**9, 2**40)
    assert not limited.wears_out(4, 2 * 2**20 - 1)
    assert limited.wears_out(5, 0)
    assert limited.wears_out(0, 2 * 2**20)
