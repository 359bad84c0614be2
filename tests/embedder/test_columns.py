"""Lexical terms and codecs, against the plainest definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.encoders.columns import assemble, convert, lexical_columns, select
from embedder.model.tokens import SpecialTokens
from m3.codec import decode_tokens
from m3.types import OUTPUTS, Codec, ModelInfo

SPECIAL = SpecialTokens(cls=0, eos=2, pad=1, unk=3)
INFO = ModelInfo("fake", "f" * 32, "fp32", 3, 512)
weights = st.floats(-1, 1, width=32)
texts = st.lists(st.lists(st.tuples(st.integers(0, 12), weights), min_size=1), min_size=1)


def by_definition(text: list[tuple[int, float]]) -> dict[int, float]:
    """FlagEmbedding's loop."""
    result: dict[int, float] = {}
    for token, weight in text:
        if token not in SPECIAL.as_tuple() and weight > result.get(token, 0):
            result[token] = weight
    return result


@given(texts)
def test_lexical_terms_are_those_of_the_definition(given_texts):
    token_ids = [[token for token, _ in text] for text in given_texts]
    flat = np.array([weight for text in given_texts for _, weight in text], np.float32)
    offsets, ids, values = lexical_columns(flat, token_ids, SPECIAL)
    assert len(offsets) == len(given_texts) + 1
    for i, text in enumerate(given_texts):
        span = slice(offsets[i], offsets[i + 1])
        found = dict(zip(ids[span].tolist(), values[span].tolist(), strict=True))
        assert found == by_definition(text)
        assert list(found) == sorted(found)


@given(arrays(np.float32, (4, 3), elements=weights), st.sampled_from(list(Codec)))
def test_converting_keeps_values_within_the_codec(vectors, codec):
    batch = assemble([[0, 5, 6, 2], [0, 2]], INFO, dense=vectors[:2], colbert=vectors)
    converted = convert(batch, codec)
    assert converted.codec is codec
    assert converted.dense.dtype == codec.dense_dtype
    back = decode_tokens(converted.codes, codec)
    np.testing.assert_allclose(back, vectors, atol=1 / 127, rtol=1 / 127)


@given(st.sets(st.sampled_from(OUTPUTS)))
def test_selecting_empties_the_others(outputs):
    token_ids = [[0, 5, 2]]
    lexical = lexical_columns(np.ones(3, np.float32), token_ids, SPECIAL)
    batch = assemble(
        token_ids,
        INFO,
        dense=np.ones((1, 3), np.float32),
        lexical=lexical,
        colbert=np.ones((2, 3), np.float32),
    )
    chosen = select(batch, outputs)
    assert chosen.dense.shape == (1, 3 if "dense" in outputs else 0)
    assert len(chosen.sparse_ids) == (1 if "sparse" in outputs else 0)
    assert len(chosen.token_ids) == len(chosen.codes) == (2 if "colbert" in outputs else 0)
    for codec in Codec:
        assert len(convert(chosen, codec)) == 1
