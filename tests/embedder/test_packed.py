"""The packed encoder is FlagEmbedding's model, whatever the batch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.encoders.encoder import Encoder
from embedder.encoders.encoder import encode as encode_ids
from embedder.encoders.packed import PackedEncoder
from embedder.encoders.reference import ReferenceEncoder
from embedder.model.checkpoint import Checkpoint, open_checkpoint
from m3.codec import decode_tokens
from m3.errors import InvalidCheckpoint, InvalidConfiguration
from m3.types import OUTPUTS, EmbeddingBatch, Representation
from scoring.definition import scores
from tests.embedder.checkpoints import WORDS, write_xlm_roberta
from tests.embedder.texts import real_texts

TOLERANCE = 1e-5
ABOUT_M3 = (
    "BGE M3 is an embedding model supporting dense retrieval, lexical matching and "
    "multi-vector interaction."
)
ABOUT_BM25 = (
    "BM25 is a bag-of-words retrieval function that ranks a set of documents based on the "
    "query terms appearing in each document"
)
TEXTS = 14
"""Two from each collection: every length and language."""


@pytest.fixture(scope="module")
def checkpoint(stand_in: Path) -> Checkpoint:
    return open_checkpoint(stand_in)


@pytest.fixture(scope="module")
def packed(checkpoint: Checkpoint) -> PackedEncoder:
    return PackedEncoder(checkpoint, "fp32")


@pytest.fixture(scope="module")
def xlm_roberta(tmp_path_factory) -> Checkpoint:
    return open_checkpoint(write_xlm_roberta(tmp_path_factory.mktemp("xlm-roberta")))


def encode(encoder: Encoder, texts: Sequence[str]) -> EmbeddingBatch:
    tokenized = encoder.tokenizer.tokenize(texts, encoder.info.max_tokens)
    return encode_ids(encoder, [text.ids for text in tokenized], OUTPUTS)


def lexical(row: Representation) -> dict[int, float]:
    """Terms that weigh more than rounding does."""
    weights = zip(row.sparse_ids.tolist(), row.sparse_weights.tolist(), strict=True)
    return {term: weight for term, weight in weights if weight >= 1e-6}


def assert_same(ours: Representation, theirs: Representation) -> None:
    np.testing.assert_allclose(ours.dense, theirs.dense, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(
        decode_tokens(ours.codes, ours.codec),
        decode_tokens(theirs.codes, theirs.codec),
        atol=TOLERANCE,
        rtol=0,
    )
    assert ours.token_ids.tolist() == theirs.token_ids.tolist()
    assert lexical(ours) == pytest.approx(lexical(theirs), abs=TOLERANCE)


def test_real_texts_come_out_as_from_flag_embedding(stand_in, packed, data):
    from FlagEmbedding import BGEM3FlagModel

    texts = real_texts(data, TEXTS)
    flag = BGEM3FlagModel(str(stand_in), use_fp16=False, pooling_method="mean", devices="cpu")
    for text, row in zip(texts, encode(packed, texts), strict=True):
        theirs: Mapping[str, Any] = flag.encode(
            [text],
            batch_size=2,
            max_length=512,
            return_dense=True,
            return_sparse=True,
            return_colbert_vecs=True,
        )
        np.testing.assert_allclose(row.dense, theirs["dense_vecs"][0], atol=TOLERANCE, rtol=0)
        vectors = decode_tokens(row.codes, row.codec)
        np.testing.assert_allclose(vectors, theirs["colbert_vecs"][0], atol=TOLERANCE, rtol=0)
        weights = theirs["lexical_weights"][0]
        expected = {int(term): float(w) for term, w in weights.items() if w >= 1e-6}
        assert lexical(row) == pytest.approx(expected, abs=TOLERANCE)


def test_a_text_alone_is_the_text_in_any_batch(packed, data):
    texts = real_texts(data, TEXTS)
    together = encode(packed, texts)
    backwards = encode(packed, texts[::-1])
    for i in range(0, len(texts), 2):
        alone = encode(packed, [texts[i]]).row(0)
        assert_same(together.row(i), alone)
        assert_same(backwards.row(len(texts) - 1 - i), alone)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_a_text_has_the_same_bits_in_any_batch(packed):
    lengths = [2, 3, 4, 5, 7, 12, 17, 31, 40, 65, 120]
    ids = [[101, *range(2000, 2000 + length - 2), 102] for length in lengths]
    for text, together in zip(ids, encode_ids(packed, ids, OUTPUTS), strict=True):
        alone = encode_ids(packed, [text], OUTPUTS).row(0)
        assert np.array_equal(together.dense, alone.dense)
        assert np.array_equal(together.sparse_weights, alone.sparse_weights)
        assert np.array_equal(together.codes, alone.codes)


@settings(max_examples=12)
@given(
    texts=st.lists(
        st.lists(st.sampled_from([*WORDS, "<pad>", "<unk>", "</s>", "other"]), max_size=70).map(
            " ".join
        ),
        min_size=1,
        max_size=6,
    )
)
def test_xlm_roberta_positions_are_those_of_transformers(xlm_roberta, reference_xlm, texts):
    ours = encode(PackedEncoder(xlm_roberta, "fp32"), texts)
    theirs = encode(reference_xlm, texts)
    for mine, other in zip(ours, theirs, strict=True):
        assert_same(mine, other)


@pytest.fixture(scope="module")
def reference_xlm(xlm_roberta: Checkpoint) -> ReferenceEncoder:
    return ReferenceEncoder(xlm_roberta)


def test_columns_say_what_was_read(packed):
    batch = encode(packed, ["", "one two two three", "word " * 600])
    assert batch.tokens.tolist() == [2, 6, 512]
    assert np.diff(batch.token_offsets).tolist() == [1, 5, 511]
    # Nothing but special tokens: no lexical term, and the closing token's vector.
    empty = batch.row(0)
    assert len(empty.sparse_ids) == 0
    assert empty.token_ids.tolist() == [packed.tokenizer.special.eos]
    np.testing.assert_allclose(np.linalg.norm(batch.dense, axis=1), 1, atol=1e-5)


def test_outputs_that_are_not_asked_for_are_empty(packed):
    ids = [[101, 7592, 102], [101, 2088, 7592, 102]]
    dense = encode_ids(packed, ids, {"dense"})
    assert dense.dense.shape == (2, 384)
    assert (len(dense.sparse_ids), len(dense.token_ids), dense.codes.size) == (0, 0, 0)
    sparse = encode_ids(packed, ids, {"sparse"})
    assert sparse.dense.shape == (2, 0)
    assert np.diff(sparse.sparse_offsets).tolist() == [1, 2]


def test_another_precision_is_refused(checkpoint):
    with pytest.raises(InvalidConfiguration, match="fp32"):
        PackedEncoder(checkpoint, "int8")


def test_a_text_may_have_all_the_8192_tokens_of_the_model(tmp_path):
    checkpoint = open_checkpoint(write_xlm_roberta(tmp_path / "long", positions=8194))
    words = np.random.default_rng(3).choice(WORDS, 9000).tolist()
    texts = [" ".join(words), "w1 w2"]
    ours = encode(PackedEncoder(checkpoint, "fp32"), texts)
    assert ours.tokens.tolist() == [8192, 4]
    for mine, other in zip(ours, encode(ReferenceEncoder(checkpoint), texts), strict=True):
        assert_same(mine, other)


def test_values_that_are_not_finite_are_an_error(checkpoint, packed):
    broken = PackedEncoder(checkpoint, "fp32")
    broken._transformer._words[7592] = float("nan")
    assert len(encode_ids(broken, [[101, 2088, 102]], OUTPUTS)) == 1
    with pytest.raises(InvalidCheckpoint, match="not finite"):
        encode_ids(broken, [[101, 7592, 102]], OUTPUTS)


@pytest.mark.weights
@pytest.mark.skipif(
    "M3_TEST_WEIGHTS" not in os.environ, reason="M3_TEST_WEIGHTS names no folder of BAAI/bge-m3"
)
def test_the_real_weights_give_the_published_values():
    """The values that vLLM's test of BGE-M3 asserts."""
    encoder = PackedEncoder(open_checkpoint(Path(os.environ["M3_TEST_WEIGHTS"])), "fp32")
    assert lexical(encode(encoder, ["Hi"]).row(0)) == pytest.approx({2673: 0.2671}, abs=1e-3)
    first = encode(encoder, ["What is BGE M3?", "Definition of BM25"])
    second = encode(encoder, [ABOUT_M3, ABOUT_BM25])
    _, sparse, colbert = scores(first.row(0), second.row(0))
    assert sparse == pytest.approx(0.19555, abs=1e-3)
    assert scores(first.row(0), first.row(1))[1] == 0
    assert colbert == pytest.approx(0.7797, abs=1e-3)
    assert scores(first.row(0), second.row(1))[2] == pytest.approx(0.4620, abs=1e-3)
