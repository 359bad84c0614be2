"""Equal texts are computed once, for all who ask."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from embedder.metrics import NodeMetrics
from m3.types import OUTPUTS, Codec
from tests.embedder.batching.fake_runner import batcher_of, blocked, text
from tests.pace import eventually

pytestmark = pytest.mark.anyio


async def test_identical_texts_are_computed_once(encoder):
    metrics = NodeMetrics(CollectorRegistry())
    async with batcher_of(encoder, metrics=metrics) as batcher:
        first = await blocked(encoder, batcher)
        asked = [
            asyncio.create_task(batcher.submit([text(8, 50), text(9, 50)], "passage", [output]))
            for output in OUTPUTS
        ]
        twice = asyncio.create_task(batcher.submit([text(9, 50)] * 2, "passage", ["dense"]))
        await asyncio.sleep(0)
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
        await asyncio.sleep(0)
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
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert batcher.queued_tokens == 50
        encoder.open.set()
        assert (await kept).dense[0, 0] == 8
        await first


async def test_a_text_being_computed_serves_those_who_want_no_more(encoder):
    async with batcher_of(encoder) as batcher:
        encoder.open.clear()
        asked = [asyncio.create_task(batcher.submit([text(8)], "query", ["dense"]))]
        await eventually(encoder.begun.is_set)
        asked += [
            asyncio.create_task(batcher.submit([text(8)], "query", outputs, codec))
            for outputs, codec in (
                (["dense"], Codec.FP32),
                (["sparse"], Codec.FP32),
                (["dense"], Codec.BF16),
            )
        ]
        await asyncio.sleep(0)
        encoder.open.set()
        answers = await asyncio.gather(*asked)
    assert len(encoder.batches) == 2
    assert encoder.outputs[1] == {"dense", "sparse"}
    assert [answer.dense.size > 0 for answer in answers] == [True, True, False, True]
    assert answers[2].sparse_ids.tolist() == [8]
