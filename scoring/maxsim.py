"""ColBERT's MaxSim of one query over many passages, from their codes as stored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from m3.codec import decode_tokens, dimension, split_int8
from m3.types import F32, I64, U8, Codec

_BLOCK = 384
"""Tokens multiplied at once: at 1024 dimensions a block is 1.5 MB and stays in the core's cache.

A multiple of what BLAS kernels take at once: a token in a remainder would be summed in another
order than the same token elsewhere.
"""


def maxsim(query: F32, codes: U8, offsets: I64, codec: Codec) -> F32:
    """Mean over query tokens of the maximum inner product with a passage's tokens.

    With one BLAS thread, as the services have, a passage's score has the same bits whatever it
    is scored with: see `_similarities`. Not with OpenBLAS's kernels for AVX2 alone, which sum
    neighbouring tokens differently: there it may differ in the last bit.

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
    for begin, similarity in _similarities(query, codes, codec):
        first, last = np.searchsorted(starts, [begin + 1, begin + len(similarity)])
        here = best[first - 1 : last]
        borders = np.maximum(starts[first - 1 : last] - begin, 0)
        np.maximum(here, np.maximum.reduceat(similarity, borders, axis=0), out=here)
    result[present] = best.mean(axis=1, dtype=np.float64)
    return result


def _similarities(query: F32, codes: U8, codec: Codec) -> Iterator[tuple[int, F32]]:
    """Blocks of at most `_BLOCK` tokens: their first token and [t, m] inner products.

    Every product has the shape of a full block, though the last may be filled in part: BLAS
    picks its kernels, and with them the rounding, by the shape, and a passage must score the
    same among other candidates.
    """
    columns = np.ascontiguousarray(query.T)
    vectors = np.zeros((_BLOCK, dimension(codes.shape[1], codec)), np.float32)
    values, scales = split_int8(codes) if codec is Codec.INT8 else (None, None)
    for begin in range(0, len(codes), _BLOCK):
        end = min(begin + _BLOCK, len(codes))
        filled = vectors[: end - begin]
        filled[:] = decode_tokens(codes[begin:end], codec) if values is None else values[begin:end]
        similarity = (vectors @ columns)[: end - begin]
        if scales is not None:
            # m products a token instead of d: the scale leaves the inner product.
            similarity *= scales[begin:end, None]
        yield begin, similarity
