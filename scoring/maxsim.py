"""ColBERT's MaxSim of one query over many passages, from their codes as stored."""

from __future__ import annotations

import numpy as np

from m3.types import F32, I64, U8, Codec
from scoring import blas
from scoring.native import binding
from scoring.native.cores import CORES


def maxsim(query: F32, codes: U8, offsets: I64, codec: Codec) -> F32:
    """Mean over query tokens of the maximum inner product with a passage's tokens.

    A passage's score has the same bits whatever it is scored with.

    Args:
        query: [m, d] fp32.
        codes: [T, width] uint8, the token vectors of n passages one after the other.
        offsets: [n+1] int64, where each passage begins and ends.

    Returns:
        [n] fp32; 0 for a passage without tokens, and for a query without tokens.

    Raises:
        Corrupt: offsets or codes that do not fit each other or the query.
    """
    if not len(query) or not len(codes):
        return np.zeros(len(offsets) - 1, np.float32)
    if codec is Codec.INT8 and _kernel_takes(query):
        with CORES.lent(query.size * len(codes)) as threads:
            return binding.maxsim(query, codes, offsets, threads=threads)
    return blas.maxsim(query, codes, offsets, codec)


def _kernel_takes(query: F32) -> bool:
    return (
        binding.library() is not None
        and 0 < query.shape[1] <= binding.MAX_DIMENSION
        and bool(np.isfinite(query).all())
    )
