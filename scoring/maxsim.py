"""ColBERT's MaxSim of one query over many passages, from their codes as stored."""

from __future__ import annotations

import numpy as np

from m3.types import F32, Codec
from scoring import blas
from scoring.codes import Codes
from scoring.native import binding
from scoring.native.cores import CORES


def maxsim(query: F32, passages: Codes, codec: Codec) -> F32:
    """Mean over query tokens of the maximum inner product with a passage's tokens.

    A passage's score has the same bits whatever it is scored with.

    Args:
        query: [m, d] fp32.
        passages: the token vectors of n passages as `codec` writes them.

    Returns:
        [n] fp32; 0 for a passage without tokens, and for a query without tokens.

    Raises:
        Corrupt: codes whose width is not the query's.
    """
    tokens = passages.tokens
    if not len(query) or not tokens:
        return np.zeros(len(passages), np.float32)
    if codec is Codec.INT8 and _kernel_takes(query):
        with CORES.lent(query.size * tokens) as threads:
            return binding.maxsim(query, passages, threads=threads)
    return blas.maxsim(query, passages, codec)


def _kernel_takes(query: F32) -> bool:
    return (
        binding.library() is not None
        and 0 < query.shape[1] <= binding.MAX_DIMENSION
        and bool(np.isfinite(query).all())
    )
