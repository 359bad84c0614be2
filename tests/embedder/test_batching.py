"""The queue: budgets, lanes, deadlines, cancellation, refusals, failures; with a fake runner."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.contextvars import bound_contextvars
from structlog.testing import capture_logs

from embedder.batching.queue import Batcher
from embedder.batching.runner import Listener, Took
from embedder.encoders.columns import convert
from embedder.encoders.encoder import Encoded
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TokenizedText
from m3.codec import decode_tokens, encode_tokens
from m3.errors import (
    DeadlineExceeded,
    NotComputed,
    NotFinite,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    WorkerLost,
)
from m3.types import OUTPUTS, Codec, EmbeddingBatch, Kind, ModelInfo, Output, offsets_of

pytestmark = pytest.mark.anyio
INFO = ModelInfo("fake", "f" * 32, "fp32", 2, 8192)
POISON, UNFIT, DEADLY = 666, 667, 668


class Died(Exception):
    """As a process would."""


class FakeRunner:
    """A thread that tells what it read: a text's vectors hold its first id. Waits where told to."""

    capacity = 1 << 20

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.outputs: list[frozenset[Output]] = []
        self.codecs: list[Codec] = []
        self.dropped: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Event()
        self.seconds_per_token = 0.0
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def attach(self, listener: Listener, rate: float = 1e9) -> None:
        self._listener, self._loop = listener, asyncio.get_running_loop()
        threading.Thread(target=self._work, daemon=True).start()
        listener.attach(self, rate)

    def run(
        self,
        number: int,
        lane: Kind,
        ids: Sequence[bytes],
        outputs: Collection[Output],
        codec: Codec,
    ) -> None:
        self._tasks.put((number, [array("i", text).tolist() for text in ids], outputs, codec))

    def drop(self, number: int) -> None:
        self.dropped.append(number)

    def kill(self) -> None:
        self._listener.lost(self, "was killed")

    def end(self) -> None:
        self.open.set()
        self._tasks.put(None)

    def _tell(self, what: Callable[..., None], *details: Any) -> None:
        self._loop.call_soon_threadsafe(what, self, *details)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            number, ids, outputs, codec = task
            began = time.perf_counter()
            self.begun.set()
            self.open.wait(10)
            if number in self.dropped:
                self._tell(self._listener.dropped, number)
                continue
            try:
                batch = self._encode(ids, outputs)
            except Died:
                self._tell(self._listener.lost, "died")
                return
            except RuntimeError as error:
                self._tell(self._listener.failed, number, NotComputed(str(error)))
            else:
                seconds = time.perf_counter() - began
                self._tell(self._listener.free, number, 0)
                unfit = frozenset(i for i, text in enumerate(ids) if text[0] == UNFIT)
                self.codecs.append(codec)
                encoded = Encoded(convert(batch, codec), unfit)
                self._tell(self._listener.done, number, encoded, Took(seconds, 0.0))

    def _encode(
        self, token_ids: Sequence[Sequence[int]], outputs: Collection[Output]
    ) -> EmbeddingBatch:
        self.batches.append([list(ids) for ids in token_ids])
        self.outputs.append(frozenset(outputs))
        time.sleep(self.seconds_per_token * sum(map(len, token_ids)))
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


@pytest.fixture
def encoder() -> FakeRunner:
    return FakeRunner()


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
    await asyncio.to_thread(encoder.begun.wait, 10)
    return task


async def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(
        st.tuples(
            st.sampled_from(["query", "passage"]),
            st.sets(st.sampled_from(OUTPUTS), min_size=1),
            st.lists(st.tuples(st.integers(1, 600), st.integers(2, 700)), min_size=1, max_size=9),
        ),
        min_size=1,
        max_size=8,
    )
)
async def test_every_request_gets_its_own_rows_in_its_own_order(requests):
    encoder = FakeRunner()
    async with batcher_of(encoder, batch=1000, queue=10**6) as batcher:
        asked = [
            batcher.submit([text(first, size) for first, size in texts], kind, outputs)
            for kind, outputs, texts in requests
        ]
        answers = await asyncio.gather(*asked)
        assert batcher.queued_tokens == 0
    for (_, outputs, texts), answer in zip(requests, answers, strict=True):
        firsts, sizes = [f for f, _ in texts], [s for _, s in texts]
        assert answer.tokens.tolist() == sizes
        assert (answer.fingerprint, answer.model) == (INFO.fingerprint, INFO.id)
        if "dense" in outputs:
            assert answer.dense[:, 0].tolist() == firsts
        else:
            assert answer.dense.shape == (len(texts), 0)
        assert answer.sparse_ids.tolist() == (firsts if "sparse" in outputs else [])
        if "colbert" in outputs:
            assert np.diff(answer.token_offsets).tolist() == [size - 1 for size in sizes]
            vectors = decode_tokens(answer.codes, answer.codec)
            assert vectors[:, 0].tolist() == answer.token_ids.tolist()
        else:
            assert answer.codes.size == 0


async def test_batches_stay_within_the_budget_and_hold_at_least_one_text(encoder):
    async with batcher_of(encoder, batch=1000, queue=20000) as batcher:
        first = await blocked(encoder, batcher)
        long = asyncio.create_task(
            batcher.submit(
                [text(i, 200) for i in range(1, 21)] + [text(9, 5000)], "passage", OUTPUTS
            )
        )
        await until(lambda: batcher.queued_tokens == 9000)
        encoder.open.set()
        answer = await long
        await first
    assert len(answer) == 21
    assert encoder.sizes[-1] == 5000
    assert all(size <= 1000 for size in encoder.sizes[:-1])
    # Packed, not one by one.
    assert max(len(batch) for batch in encoder.batches) == 5


async def test_texts_of_several_requests_share_a_batch(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        others = [
            asyncio.create_task(batcher.submit([text(i)], "query", OUTPUTS)) for i in range(2, 12)
        ]
        await until(lambda: batcher.queued_tokens == 20)
        encoder.open.set()
        answers = await asyncio.gather(first, *others)
    assert [answer.dense[0, 0] for answer in answers] == list(range(1, 12))
    assert len(encoder.batches) == 2


async def test_queries_go_before_passages_that_came_first(encoder):
    async with batcher_of(encoder, queue=100_000) as batcher:
        first = await blocked(encoder, batcher)
        many = [text(10 + i, 500) for i in range(20)]
        passages = asyncio.create_task(batcher.submit(many, "passage", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 10_000)
        query = asyncio.create_task(batcher.submit([text(5)], "query", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 10_002)
        encoder.open.set()
        await asyncio.gather(first, query, passages)
    assert encoder.batches[1] == [[5, 0]]


async def test_passages_do_not_starve_under_queries(encoder):
    encoder.seconds_per_token = 0.00005
    async with batcher_of(encoder, batch=512) as batcher:
        stop = asyncio.Event()

        async def ask() -> None:
            while not stop.is_set():
                await batcher.submit([text(5, 300)], "query", OUTPUTS)

        askers = [asyncio.create_task(ask()) for _ in range(8)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await batcher.submit([text(7 + i, 400) for i in range(4)], "passage", OUTPUTS)
        stop.set()
        await asyncio.gather(*askers)


async def test_a_full_queue_refuses_with_when_to_come_back_and_recovers(encoder):
    async with batcher_of(encoder, queue=8192) as batcher:
        first = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(3, 6000)], "query", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 6000)
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
        await until(lambda: batcher.queued_tokens == 7000)
        with pytest.raises(Overloaded):
            await batcher.submit([text(4, 100)], "passage", OUTPUTS)
        query = asyncio.create_task(batcher.submit([text(4, 100)], "query", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 7100)
        encoder.open.set()
        await asyncio.gather(first, flood, query)


async def test_what_can_never_fit_is_not_told_to_come_back(encoder):
    async with batcher_of(encoder, queue=8192) as batcher:
        with pytest.raises(PayloadTooLarge, match="split"):
            await batcher.submit([text(4, 9000)], "query", OUTPUTS)


async def test_a_deadline_ends_the_wait_and_frees_the_queue(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await batcher.submit([text(4, 500)], "passage", OUTPUTS, timeout=0.1)
        assert time.monotonic() - began < 2
        assert batcher.queued_tokens == 0
        encoder.open.set()
        await first
    assert all(ids[0] != 4 for batch in encoder.batches for ids in batch)


async def test_a_cancelled_request_is_not_computed(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        gone = asyncio.create_task(batcher.submit([text(4, 500)], "query", OUTPUTS))
        kept = asyncio.create_task(batcher.submit([text(5, 500)], "query", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 1000)
        gone.cancel()
        await until(lambda: batcher.queued_tokens == 500)
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


async def test_a_failing_text_fails_its_request_by_name_and_no_other(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        failing = asyncio.create_task(
            batcher.submit([text(3, 200), text(POISON, 200)], "passage", OUTPUTS)
        )
        sound = asyncio.create_task(batcher.submit([text(6, 200)], "passage", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 600)
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
        await until(lambda: batcher.queued_tokens == 200)
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
        await until(lambda: batcher.queued_tokens == 1000)
        encoder.open.set()
        with pytest.raises(NotComputed):
            await failing
        await first
        await until(lambda: batcher.queued_tokens == 0)
        assert len(await batcher.submit([text(6, 500)], "passage", OUTPUTS)) == 1
    assert [3] not in encoder.firsts[3:]


async def test_values_that_are_not_finite_are_an_error_of_their_item(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        unfit = asyncio.create_task(batcher.submit([text(3), text(UNFIT)], "query", OUTPUTS))
        sound = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 6)
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
        await until(lambda: batcher.queued_tokens == 2)
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
        await until(lambda: batcher.queued_tokens == 6)
        encoder.open.set()
        await first
        for successor in successors:
            await until(lambda: batcher.workers == 0)
            successor.attach(batcher.listener)
        with pytest.raises(WorkerLost, match=r"input\[1\]: .* died, twice"):
            await deadly
        assert (await sound).dense[0, 0] == 6
        for successor in successors:
            successor.end()
    assert encoder.firsts == [[1], [5, DEADLY, 6]]
    assert successors[0].firsts == [[5], [DEADLY]]
    assert successors[1].firsts == [[6]]


async def test_a_runner_that_hangs_is_killed(encoder):
    killed = asyncio.Event()
    encoder.kill = killed.set
    async with batcher_of(encoder) as batcher:
        batcher._dispatcher._hung_seconds = 0.1
        hung = await blocked(encoder, batcher)
        async with asyncio.timeout(2):
            await killed.wait()
        encoder.open.set()
        await hung


async def test_batches_shrink_to_what_a_quarter_of_a_second_computes(encoder):
    encoder.seconds_per_token = 0.0005
    async with batcher_of(encoder, batch=4096, queue=100_000, rate=2000) as batcher:
        await batcher.submit([text(i, 100) for i in range(20)], "passage", OUTPUTS)
    assert max(encoder.sizes) <= 500
    assert max(len(batch) for batch in encoder.batches) > 1


async def test_identical_texts_are_computed_once(encoder):
    metrics = NodeMetrics(CollectorRegistry())
    async with batcher_of(encoder, metrics=metrics) as batcher:
        first = await blocked(encoder, batcher)
        asked = [
            asyncio.create_task(batcher.submit([text(8, 50), text(9, 50)], "passage", [output]))
            for output in OUTPUTS
        ]
        twice = asyncio.create_task(batcher.submit([text(9, 50)] * 2, "passage", ["dense"]))
        await asyncio.sleep(0.02)
        assert batcher.queued_tokens == 100
        encoder.open.set()
        answers = await asyncio.gather(*asked)
        await first
        assert (await twice).dense[:, 0].tolist() == [9, 9]
    assert encoder.firsts == [[1], [8, 9]]
    assert encoder.outputs[1] == frozenset(OUTPUTS)
    assert [answer.dense.size > 0 for answer in answers] == [True, False, False]
    assert [answer.codes.size > 0 for answer in answers] == [False, False, True]
    assert metrics.shared.labels("passage")._value.get() == 6


async def test_those_who_share_a_text_each_get_their_codec(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        asked = [
            asyncio.create_task(batcher.submit([text(8, 50)], "passage", OUTPUTS, codec))
            for codec in Codec
        ]
        await asyncio.sleep(0.02)
        encoder.open.set()
        answers = await asyncio.gather(*asked)
        await first
        alone = await batcher.submit([text(8, 50)], "passage", OUTPUTS, Codec.INT8)
    assert [answer.codec for answer in answers] == list(Codec)
    assert encoder.codecs == [Codec.FP32, Codec.FP32, Codec.INT8]
    np.testing.assert_array_equal(answers[0].codes, alone.codes)
    np.testing.assert_array_equal(answers[0].dense, alone.dense)


async def test_one_who_leaves_takes_a_shared_text_from_nobody(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        gone, kept = (
            asyncio.create_task(batcher.submit([text(8, 50)], "passage", OUTPUTS)) for _ in range(2)
        )
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.sleep(0.02)
        assert batcher.queued_tokens == 50
        encoder.open.set()
        assert (await kept).dense[0, 0] == 8
        await first


async def test_a_text_being_computed_serves_those_who_want_no_more(encoder):
    async with batcher_of(encoder) as batcher:
        encoder.open.clear()
        asked = [asyncio.create_task(batcher.submit([text(8)], "query", ["dense"]))]
        await asyncio.to_thread(encoder.begun.wait, 10)
        asked += [
            asyncio.create_task(batcher.submit([text(8)], "query", outputs, codec))
            for outputs, codec in (
                (["dense"], Codec.FP32),
                (["sparse"], Codec.FP32),
                (["dense"], Codec.BF16),
            )
        ]
        await asyncio.sleep(0.02)
        encoder.open.set()
        answers = await asyncio.gather(*asked)
    assert len(encoder.batches) == 2
    assert encoder.outputs[1] == {"dense", "sparse"}
    assert [answer.dense.size > 0 for answer in answers] == [True, True, False, True]
    assert answers[2].sparse_ids.tolist() == [8]


async def test_a_batch_nobody_waits_for_is_given_up(encoder):
    async with batcher_of(encoder) as batcher:
        gone = await blocked(encoder, batcher)
        gone.cancel()
        await until(lambda: encoder.dropped)
        # One like it is not taken for the one that was given up.
        again = asyncio.create_task(batcher.submit([text(1)], "query", OUTPUTS))
        await asyncio.sleep(0.02)
        encoder.open.set()
        assert (await again).dense[0, 0] == 1
    assert encoder.firsts == [[1]]


async def test_nothing_expired_is_computed_though_the_loop_is_late(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        late = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS, timeout=0.05))
        await until(lambda: batcher.queued_tokens == 2)
        encoder.open.set()
        # The loop learns of the runner and of the deadline at once.
        time.sleep(0.2)  # noqa: ASYNC251 - what a busy loop does
        with pytest.raises(DeadlineExceeded):
            await late
        await first
    assert encoder.firsts == [[1]]


async def test_a_deadline_shorter_than_the_wait_is_refused_at_once(encoder):
    async with batcher_of(encoder, rate=1000) as batcher:
        first = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(3, 3000)], "passage", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 3000)
        assert batcher.queued_seconds == pytest.approx(3)
        with pytest.raises(Overloaded, match=r"3\.0 s") as refused:
            await batcher.submit([text(4)], "passage", OUTPUTS, timeout=1)
        assert refused.value.retry_after == pytest.approx(3, rel=0.01)
        # A wait that nearly fills the time is too long too: what is measured may err.
        with pytest.raises(Overloaded):
            await batcher.submit([text(4)], "passage", OUTPUTS, timeout=3.5)
        # A query passes the passages by.
        query = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS, timeout=1))
        await until(lambda: batcher.queued_tokens == 3002)
        encoder.open.set()
        await asyncio.gather(first, waiting, query)


async def test_the_wait_includes_what_is_being_computed(encoder):
    async with batcher_of(encoder, rate=1000) as batcher:
        encoder.open.clear()
        long = asyncio.create_task(batcher.submit([text(1, 2000)], "passage", OUTPUTS))
        await asyncio.to_thread(encoder.begun.wait, 10)
        waiting = asyncio.create_task(batcher.submit([text(3, 100)], "passage", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 100)
        with pytest.raises(Overloaded, match=r"2\.\d s"):
            await batcher.submit([text(4)], "passage", OUTPUTS, timeout=1.5)
        # A query is computed in between.
        query = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS, timeout=1.5))
        await asyncio.sleep(0.02)
        encoder.open.set()
        await asyncio.gather(long, waiting, query)


async def test_a_queue_is_full_by_seconds_too(encoder):
    async with batcher_of(encoder, rate=10) as batcher:
        # More than the queue should hold, but it is empty.
        first = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(3, 1000)], "query", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 1000)
        with pytest.raises(Overloaded, match="100 s of work") as refused:
            await batcher.submit([text(4)], "query", OUTPUTS)
        assert refused.value.retry_after == 60
        with pytest.raises(Overloaded):
            batcher.refuse_if_full("passage", 3)
        encoder.open.set()
        await asyncio.gather(first, waiting)
        batcher.refuse_if_full("passage", 3)


async def test_closing_tells_those_who_still_wait(encoder):
    async with batcher_of(encoder) as batcher:
        computed = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 2)
        batcher.close()
        for task in (computed, waiting):
            with pytest.raises(NotReady):
                await task
        with pytest.raises(NotReady):
            await batcher.submit([text(5)], "query", OUTPUTS)
