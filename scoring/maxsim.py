"""ColBERT's MaxSim of one query over many passages, from their codes as stored."""

from __future__ import annotations

import numpy as np

from m3.codec import decode_tokens, dimension, split_int8
from m3.types import F32, I64, U8, Codec

_BLOCK = 256
"""Tokens multiplied at once: at 1024 dimensions a block is 1 MB and stays in the core's cache."""


def maxsim(query: F32, codes: U8, offsets: I64, codec: Codec) -> F32:
    """Mean over query tokens of the maximum inner product with a passage's tokens.

    A passage's score has the same bits whatever it is scored with: see `_similarity`.

    Args:
        query: [m, d] fp32.
        codes: [T, width] uint8, the token vectors of n passages one after the other.
        offsets: [n+1] int64, where each passage begins and ends.

    Returns:
        [n] fp32; 0 for a passage without tokens, and for a query without tokens.
    """
    result = np.zeros(len(offsets) - 1, np.float32)
    present = np.flatnonzero(np.diff(offsets))
    if not len(present) or not len(query):
        return result
    starts = offsets[present]
    best = np.full((len(present), len(query)), -np.inf, np.float32)
    columns = np.ascontiguousarray(query.T)
    vectors = np.zeros((_BLOCK, dimension(codes.shape[1], codec)), np.float32)
    for begin in range(0, len(codes), _BLOCK):
        block = codes[begin : begin + _BLOCK]
        similarity = _similarity(block, codec, columns, vectors)
        first = int(np.searchsorted(starts, begin, "right")) - 1
        last = int(np.searchsorted(starts, begin + len(block)))
        parts = np.maximum.reduceat(similarity, np.maximum(starts[first:last] - begin, 0), axis=0)
        np.maximum(best[first:last], parts, out=best[first:last])
    result[present] = best.mean(axis=1, dtype=np.float64)
    return result


def _similarity(block: U8, codec: Codec, columns: F32, vectors: F32) -> F32:
    """[t, m] fp32: the block's token vectors times the query's columns [d, m].

    All of `vectors` [_BLOCK, d] is multiplied though only its first t rows are filled: BLAS
    picks its kernels, and with them the rounding, by the shape, and a passage must score the
    same among other candidates.
    """
    filled = vectors[: len(block)]
    if codec is not Codec.INT8:
        filled[:] = decode_tokens(block, codec)
        return (vectors @ columns)[: len(block)]
    values, scales = split_int8(block)
    filled[:] = values
    # m products a token instead of d: the scale leaves the inner product.
    return (vectors @ columns)[: len(block)] * scales[:, None]
