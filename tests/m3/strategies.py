"""Representations to test with: hypothesis varies shapes and content, numpy fills the vectors."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from m3.codec import encode_tokens
from m3.types import F32, Codec, EmbeddingBatch, Representation, batch_of

VOCABULARY = 40
"""Small, so that texts share terms."""

codecs = st.sampled_from(Codec)
dimensions = st.sampled_from((64, 128, 384, 1024))


def unit_vectors(rng: np.random.Generator, count: int, dimension: int) -> F32:
    """[count, dimension] fp32, L2-normalised."""
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@st.composite
def representations(
    draw: st.DrawFn, dimension: int, codec: Codec, max_tokens: int = 20, *, pooled: bool = False
) -> Representation:
    """One text's row; without sparse terms and without token vectors too.

    Args:
        pooled: tokens share vectors, up to all of them one.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens = draw(st.integers(0, max_tokens))
    vectors = draw(st.integers(min(1, tokens), tokens)) if pooled else tokens
    terms = draw(st.sets(st.integers(0, VOCABULARY - 1), max_size=8))
    return Representation(
        dense=unit_vectors(rng, 1, dimension)[0].astype(codec.dense_dtype),
        sparse_ids=np.array(sorted(terms), np.int32),
        sparse_weights=rng.uniform(0.01, 1, len(terms)).astype(np.float32),
        token_ids=rng.integers(0, VOCABULARY, tokens, np.int32),
        codes=encode_tokens(unit_vectors(rng, vectors, dimension), codec),
        codec=codec,
        groups=rng.permutation(np.arange(tokens, dtype=np.int32) % max(1, vectors))
        if pooled
        else None,
    )


@st.composite
def batches(
    draw: st.DrawFn,
    dimension: int,
    codec: Codec,
    max_size: int = 6,
    max_tokens: int = 20,
    *,
    pooled: bool = False,
) -> EmbeddingBatch:
    """One to `max_size` rows as columns."""
    row = representations(dimension, codec, max_tokens, pooled=pooled)
    return batch_of(draw(st.lists(row, min_size=1, max_size=max_size)))
