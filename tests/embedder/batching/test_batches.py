"""What the queue puts into a batch, in which order, and whose rows come back."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.codec import decode_tokens
from m3.types import OUTPUTS
from tests.embedder.batching.fake_runner import (
    INFO,
    FakeRunner,
    HandRunner,
    batcher_of,
    blocked,
    text,
)
from tests.pace import eventually

pytestmark = pytest.mark.anyio


@settings(max_examples=25)
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
        await eventually(lambda: batcher.queued_tokens == 9000)
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
        await eventually(lambda: batcher.queued_tokens == 20)
        encoder.open.set()
        answers = await asyncio.gather(first, *others)
    assert [answer.dense[0, 0] for answer in answers] == list(range(1, 12))
    assert len(encoder.batches) == 2


async def test_queries_go_before_passages_that_came_first(encoder):
    async with batcher_of(encoder, queue=100_000) as batcher:
        first = await blocked(encoder, batcher)
        many = [text(10 + i, 500) for i in range(20)]
        passages = asyncio.create_task(batcher.submit(many, "passage", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 10_000)
        query = asyncio.create_task(batcher.submit([text(5)], "query", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 10_002)
        encoder.open.set()
        await asyncio.gather(first, query, passages)
    assert encoder.batches[1] == [[5, 0]]


async def test_passages_do_not_starve_under_queries(encoder):
    async with batcher_of(encoder, batch=200) as batcher:

        async def ask(first: int) -> None:
            for _ in range(25):
                await batcher.submit([text(first, 200)], "query", OUTPUTS)

        # Texts of their own: equal ones would be one that waits, and then none.
        first = await blocked(encoder, batcher)
        askers = [asyncio.create_task(ask(2 + i)) for i in range(8)]
        many = [text(10 + i, 200) for i in range(4)]
        passages = asyncio.create_task(batcher.submit(many, "passage", OUTPUTS))
        await eventually(lambda: batcher.queued_tokens == 12 * 200)
        encoder.open.set()
        await asyncio.gather(first, passages, *askers)
    turns = [index for index, (first,) in enumerate(encoder.firsts) if first >= 10]
    assert len(turns) == 4
    assert all(later - earlier <= 5 for earlier, later in pairwise([0, *turns]))


async def test_batches_shrink_to_what_a_quarter_of_a_second_computes():
    runner = HandRunner()
    async with batcher_of(runner, batch=4096, queue=100_000, rate=1e9) as batcher:
        many = [text(i, 100) for i in range(50)]
        asked = asyncio.create_task(batcher.submit(many, "passage", OUTPUTS))
        for index in range(3):
            # It is given once the request is in the queue, and the others at the last one's end.
            await asyncio.sleep(0)
            given = runner.given[index]
            runner.finish(given, seconds=0.0005 * sum(map(len, given.token_ids)))
        assert len(await asked) == 50
    assert runner.sizes == [4000, 500, 500]
