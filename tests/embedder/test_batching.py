"""The queue: budgets, lanes, deadlines, cancellation, refusals, failures; with a fake encoder."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from embedder.batching.queue import Batcher
from embedder.encoders.columns import assemble
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TokenizedText
from m3.codec import decode_tokens
from m3.errors import DeadlineExceeded, NotReady, Overloaded, PayloadTooLarge
from m3.types import OUTPUTS, EmbeddingBatch, ModelInfo, Output, offsets_of

pytestmark = pytest.mark.anyio
INFO = ModelInfo("fake", "f" * 32, "fp32", 2, 8192)
POISON = 666


class FakeEncoder:
    """Tells what it read: a text's vectors hold its first id. Waits where told to."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.outputs: list[frozenset[Output]] = []
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Event()
        self.seconds_per_token = 0.0

    def __call__(
        self, token_ids: Sequence[Sequence[int]], outputs: Collection[Output]
    ) -> EmbeddingBatch:
        self.begun.set()
        self.open.wait(10)
        self.batches.append([list(ids) for ids in token_ids])
        self.outputs.append(frozenset(outputs))
        time.sleep(self.seconds_per_token * sum(map(len, token_ids)))
        if any(ids[0] == POISON for ids in token_ids):
            raise RuntimeError("out of memory")
        first = np.array([ids[0] for ids in token_ids], np.float32)
        rest = np.concatenate([np.array(ids[1:], np.float32) for ids in token_ids])
        return assemble(
            token_ids,
            INFO,
            dense=np.stack([first, first], axis=1) if "dense" in outputs else None,
            lexical=(
                offsets_of([1] * len(first)),
                first.astype(np.int32),
                np.ones(len(first), np.float32),
            )
            if "sparse" in outputs
            else None,
            colbert=np.stack([rest, rest], axis=1) if "colbert" in outputs else None,
        )

    @property
    def sizes(self) -> list[int]:
        return [sum(map(len, batch)) for batch in self.batches]


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@asynccontextmanager
async def batcher_of(
    encoder: FakeEncoder, batch: int = 1000, queue: int = 8000
) -> AsyncIterator[Batcher]:
    metrics = NodeMetrics(CollectorRegistry())
    async with Batcher(
        encoder, max_batch_tokens=batch, max_queue_tokens=queue, metrics=metrics
    ) as batcher:
        yield batcher


def text(first: int, tokens: int = 2) -> TokenizedText:
    return TokenizedText([first, *range(tokens - 1)], truncated=False)


async def blocked(encoder: FakeEncoder, batcher: Batcher) -> asyncio.Task[EmbeddingBatch]:
    """A request that occupies the compute thread until `encoder.open` is set."""
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
    encoder = FakeEncoder()
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
        many = [text(7, 500)] * 20
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
            await batcher.submit([text(7, 400) for _ in range(4)], "passage", OUTPUTS)
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


async def test_a_failing_batch_fails_its_own_requests_and_no_other(encoder):
    async with batcher_of(encoder, batch=512) as batcher:
        first = await blocked(encoder, batcher)
        failing = asyncio.create_task(
            batcher.submit([text(POISON, 500), text(3, 500)], "passage", OUTPUTS)
        )
        await until(lambda: batcher.queued_tokens == 1000)
        sound = asyncio.create_task(batcher.submit([text(6, 500)], "passage", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 1500)
        encoder.open.set()
        with pytest.raises(RuntimeError, match="out of memory"):
            await failing
        await asyncio.gather(first, sound)
        assert batcher.queued_tokens == 0
    # What was left of the failing request was not computed.
    assert [[ids[0] for ids in batch] for batch in encoder.batches] == [[1], [POISON], [6]]


async def test_batches_shrink_to_what_half_a_second_computes(encoder):
    encoder.seconds_per_token = 0.0005
    async with batcher_of(encoder, batch=4096, queue=100_000) as batcher:
        await batcher.submit([text(3, 200) for _ in range(30)], "passage", OUTPUTS)
    assert max(encoder.sizes) <= 1000


async def test_closing_tells_those_who_still_wait(encoder):
    async with batcher_of(encoder) as batcher:
        first = await blocked(encoder, batcher)
        waiting = asyncio.create_task(batcher.submit([text(4)], "query", OUTPUTS))
        await until(lambda: batcher.queued_tokens == 2)
        closing = asyncio.create_task(batcher.__aexit__())
        await asyncio.sleep(0.05)
        encoder.open.set()
        await closing
        assert len(await first) == 1
        with pytest.raises(NotReady):
            await waiting
        with pytest.raises(NotReady):
            await batcher.submit([text(5)], "query", OUTPUTS)
