"""Outputs from hidden states: against their definition, and whole or told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from embedder.encoders.columns import Raw, finish
from embedder.encoders.encoder import Encoded
from embedder.encoders.heads import OutputHeads
from embedder.encoders.transfer import Bus
from embedder.model.checkpoint import Checkpoint, open_checkpoint
from m3.codec import decode_tokens, encode_tokens
from m3.types import F32, OUTPUTS, Codec, Output
from tests.embedder.checkpoints import write_xlm_roberta

IDS = [[0, 5, 6, 2], [0, 7, 2], [0, 8, 9, 8, 2]]
LENGTHS = [len(ids) for ids in IDS]
BUS = Bus(torch.device("cpu"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(write_xlm_roberta(tmp_path_factory.mktemp("heads")))


def states() -> torch.Tensor:
    return torch.randn(sum(LENGTHS), 32, generator=torch.Generator().manual_seed(4))


def run(
    checkpoint: Checkpoint,
    hidden: torch.Tensor,
    codec: Codec = Codec.FP32,
    outputs: tuple[Output, ...] = OUTPUTS,
) -> Encoded:
    heads = OutputHeads(checkpoint, hidden.dtype, BUS)
    with torch.inference_mode():
        raw: Raw = heads.launch(hidden, LENGTHS, outputs, codec)()
    return finish(raw, IDS, checkpoint.info("fp32"), checkpoint.tokenizer.special, codec)


def unit(vectors: F32) -> F32:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_outputs_are_those_of_the_definition(checkpoint, pooling):
    checkpoint = replace(checkpoint, pooling=pooling)
    hidden, heads = states(), checkpoint.heads
    encoded = run(checkpoint, hidden)
    assert encoded.unfit == frozenset()
    for i, text in enumerate(hidden.split(LENGTHS)):
        row = encoded.batch.row(i)
        dense = text[0] if pooling == "cls" else text.mean(0)
        np.testing.assert_allclose(row.dense, unit(dense.numpy()), atol=1e-6)
        vectors = text[1:] @ heads.colbert_weight.t() + heads.colbert_bias
        np.testing.assert_allclose(
            decode_tokens(row.codes, Codec.FP32), unit(vectors.numpy()), atol=1e-6
        )
        weights = (text @ heads.sparse_weight[0] + heads.sparse_bias).tolist()
        terms: dict[int, float] = {}
        for token, weight in zip(IDS[i], weights, strict=True):
            if token > 4 and weight > 0:
                terms[token] = max(weight, terms.get(token, 0))
        found = dict(zip(row.sparse_ids.tolist(), row.sparse_weights.tolist(), strict=True))
        assert found == pytest.approx(terms, abs=1e-5)


@pytest.mark.parametrize("codec", Codec)
def test_a_codec_writes_the_vectors_of_fp32(checkpoint, codec):
    exact = run(checkpoint, states()).batch
    batch = run(checkpoint, states(), codec).batch
    assert batch.codec is codec
    assert batch.dense.dtype == codec.dense_dtype
    assert np.array_equal(batch.dense, exact.dense.astype(codec.dense_dtype))
    vectors = decode_tokens(exact.codes, Codec.FP32)
    assert np.array_equal(batch.codes, encode_tokens(vectors, codec))
    assert batch.sparse_weights.tolist() == exact.sparse_weights.tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_state_that_is_not_finite_makes_its_text_unfit(checkpoint, value, output):
    hidden = states()
    hidden[5, 3] = value
    assert run(checkpoint, hidden, outputs=(output,)).unfit == {1}


def test_a_dense_vector_whose_norm_overflows_is_told(checkpoint):
    hidden = states()
    hidden[4] = 1e30
    assert run(checkpoint, hidden, outputs=("dense",)).unfit == {1}


def test_a_colbert_vector_whose_norm_overflows_is_told(checkpoint):
    hidden = states()
    hidden[6] = 1e30
    assert run(checkpoint, hidden, outputs=("colbert",)).unfit == {1}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_token_weight_that_overflows_is_told_even_below_zero(checkpoint, sign):
    heads = replace(checkpoint.heads, sparse_weight=sign * torch.full((1, 32), 3e38))
    hidden = states()
    hidden[5] = 1.0
    hidden[:4] = hidden[7:] = 1e-9
    hidden[4] = hidden[6] = 1e-9
    checkpoint = replace(checkpoint, heads=heads)
    assert run(checkpoint, hidden, outputs=("sparse",)).unfit == {1}


def test_half_precision_states_are_pooled_and_weighed_in_fp32(checkpoint):
    hidden = states().half()
    exact, half = run(checkpoint, hidden.float()).batch, run(checkpoint, hidden).batch
    np.testing.assert_allclose(half.dense, exact.dense, atol=1e-6)
    np.testing.assert_allclose(half.sparse_weights, exact.sparse_weights, atol=1e-5)
    np.testing.assert_allclose(
        decode_tokens(half.codes, Codec.FP32), decode_tokens(exact.codes, Codec.FP32), atol=1e-6
    )
