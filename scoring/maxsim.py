"""ColBERT's MaxSim of one query over many passages, from their codes as stored."""

from __future__ import annotations

import numpy as np

from m3.codec import decode_tokens
from m3.types import F32, I64, U8, Codec

_BLOCK_TOKENS = 4096
"""Tokens decoded at once: their fp32 vectors stay in the last-level cache."""


def maxsim(query: F32, codes: U8, offsets: I64, codec: Codec) -> F32:
    """Mean over query tokens of the maximum inner product with a passage's tokens.

    Args:
        query: [m, d] fp32.
        codes: [T, width] uint8, the token vectors of n passages one after the other.
        offsets: [n+1] int64, where each passage begins and ends.

    Returns:
        [n] fp32; 0 for a passage without tokens, and for a query without tokens.
    """
    lengths = np.diff(offsets)
    result = np.zeros(len(lengths), np.float32)
    present = np.flatnonzero(lengths)
    if not len(present) or not len(query):
        return result
    for first, last in _blocks(lengths[present]):
        rows = present[first:last]
        start, end = offsets[rows[0]], offsets[rows[-1] + 1]
        similarity = query @ decode_tokens(codes[start:end], codec).T
        best = np.maximum.reduceat(similarity, offsets[rows] - start, axis=1)
        result[rows] = best.mean(axis=0)
    return result


def _blocks(lengths: I64) -> list[tuple[int, int]]:
    """Runs of passages of at most `_BLOCK_TOKENS` tokens each, or of one longer passage."""
    blocks: list[tuple[int, int]] = []
    first, tokens = 0, 0
    for i, length in enumerate(lengths.tolist()):
        if tokens and tokens + length > _BLOCK_TOKENS:
            blocks.append((first, i))
            first, tokens = i, 0
        tokens += length
    blocks.append((first, len(lengths)))
    return blocks
