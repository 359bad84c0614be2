"""Which token of a passage each token of a query meets: where its ColBERT score comes from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m3.codec import decode_tokens, split_int8
from m3.types import F32, I64, U8, Codec, Representation


def best_vectors(query: F32, codes: U8, codec: Codec) -> tuple[I64, F32]:
    """The best vector of a passage for each token of a query, and their inner product.

    The mean of the products is the ColBERT score that `scoring.maxsim` computes of the same
    codes. Of equal vectors the first is taken.

    Args:
        query: [m, d] fp32.
        codes: [v, width] uint8, as the codec writes them.

    Returns:
        [m] int64 and [m] fp32; both empty for a passage without tokens.
    """
    if not len(query) or not len(codes):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    if codec is Codec.INT8:
        vectors, scales = split_int8(codes)
        products = vectors.astype(np.float32) @ query.T * scales[:, None]
    else:
        products = decode_tokens(codes, codec) @ query.T
    best = products.argmax(axis=0)
    return best, products[best, np.arange(len(query))]


def tokens_met(
    query: Representation, passage: Representation, best: I64
) -> Sequence[Sequence[int]]:
    """For each token of a query the passage's tokens, by number, that its best vector is of.

    One of the query's own kind comes first, the others as they stand.

    Args:
        best: [m] int64, as `best_vectors` finds them.
    """
    if passage.groups is None:
        return [[at] for at in best.tolist()]
    order = np.argsort(passage.groups, kind="stable")
    starts = np.searchsorted(passage.groups[order], np.arange(len(passage.codes) + 1))
    return [
        sorted(
            order[starts[vector] : starts[vector + 1]].tolist(),
            key=lambda at, asked=asked: passage.token_ids[at] != asked,
        )
        for asked, vector in zip(query.token_ids, best.tolist(), strict=False)
    ]
