"""MaxSim by matrix products: for bf16 and fp32 codes, and int8 where no kernel was built."""

from __future__ import annotations

import numpy as np

from m3.codec import decode_tokens, split_int8
from m3.types import F32, U8, Codec
from scoring.codes import Codes

_BLOCK = 384
"""Tokens multiplied at once: at 1024 dimensions a block is 1.5 MB and stays in the core's cache."""


def maxsim(query: F32, passages: Codes, codec: Codec) -> F32:
    """See `scoring.maxsim.maxsim`; with one BLAS thread, as the services have.

    Every product is of one passage's tokens, beginning with its first: BLAS rounds by the shape
    of a product and by a row's place in it, and a passage must score the same among others.
    """
    columns = np.ascontiguousarray(query.T)
    vectors = np.empty((_BLOCK, query.shape[1]), np.float32)
    scores = np.zeros(len(passages), np.float32)
    for row, codes in enumerate(passages):
        if len(codes):
            best = np.full(len(query), -np.inf, np.float32)
            for start in range(0, len(codes), _BLOCK):
                block = codes[start : start + _BLOCK]
                np.maximum(best, _maxima(columns, block, codec, vectors), out=best)
            scores[row] = best.mean(dtype=np.float64)
    return scores


def _maxima(columns: F32, codes: U8, codec: Codec, vectors: F32) -> F32:
    """[m]: of each query token with at most `_BLOCK` tokens, decoded into `vectors`."""
    filled = vectors[: len(codes)]
    if codec is not Codec.INT8:
        filled[:] = decode_tokens(codes, codec)
        return (filled @ columns).max(axis=0)
    # m products a token instead of d: the scale leaves the inner product.
    filled[:], scales = split_int8(codes)
    return (filled @ columns * scales[:, None]).max(axis=0)
