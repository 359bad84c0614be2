"""Fewer ColBERT vectors: like tokens of a passage share one, their mean.

As Clavié, Chaffin and Adams do it (arXiv:2409.14683): Ward's clustering, until one vector is left
for every `by` tokens. Queries keep a vector for each token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from m3.codec import decode_tokens, encode_tokens
from m3.types import F32, I32, Representation

STRETCH = 1024
"""Tokens that are clustered together; of a longer text, each stretch of so many by itself.

Distances take 8 bytes a pair: 4 MB, where a text of 8,192 tokens would take 268.
"""


def pooled(row: Representation, by: int) -> Representation:
    """The row with one vector for every `by` tokens, in its codec; with 1, the row as it is.

    Args:
        row: not pooled; its vectors are of length 1, within what its codec keeps.
    """
    if by == 1:
        return row
    vectors = decode_tokens(row.codes, row.codec)
    groups = grouped(vectors, by)
    return replace(row, codes=encode_tokens(means(vectors, groups), row.codec), groups=groups)


def all_pooled(rows: Mapping[str, Representation], by: int) -> Mapping[str, Representation]:
    """Each of these rows pooled, by the same names."""
    return {name: pooled(row, by) for name, row in rows.items()}


def grouped(vectors: F32, by: int) -> I32:
    """[t] int32: for each of the vectors [t, d] its group, one for every `by`, rounded up.

    In each step those two groups become one that add least to the squared distances of vectors
    from the mean of their group. Groups are counted in the order of their first vectors.
    """
    groups, first = list[I32](), 0
    for start in range(0, len(vectors), STRETCH):
        part = vectors[start : start + STRETCH]
        found = _numbered(_merges(part)[: len(part) - -(-len(part) // by)], len(part))
        groups.append(found + np.int32(first))
        first += int(found.max()) + 1
    return np.concatenate(groups) if groups else np.empty(0, np.int32)


def means(vectors: F32, groups: I32) -> F32:
    """[v, d] fp32: each group's mean, of length 1; zero where its vectors are opposites."""
    if not len(vectors):
        return vectors
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sums = np.add.reduceat(vectors[order], starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)


def _merges(vectors: F32) -> Sequence[tuple[int, int]]:
    """Which two become one in each step: n + i is what step i made."""
    if len(vectors) == 1:
        return []
    from scipy.cluster import hierarchy  # noqa: PLC0415 - only pooled collections need it

    clustering: Any = hierarchy
    found: Any = clustering.linkage(_distances(vectors), "ward")
    return [(int(a), int(b)) for a, b in found[:, :2].tolist()]


def _distances(vectors: F32) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of each vector from all after it, one row after the other."""
    products = (vectors @ vectors.T).astype(np.float64)
    squares = np.diagonal(products)
    upper = np.triu_indices(len(vectors), 1)
    apart = squares[upper[0]] + squares[upper[1]] - 2 * products[upper]
    return np.sqrt(np.maximum(apart, 0))


def _numbered(merges: Iterable[tuple[int, int]], n: int) -> I32:
    """[n] int32: the groups that are left after these steps, counted from the first vector on."""
    whole = list(range(n))
    for made, (a, b) in enumerate(merges, start=n):
        whole.append(made)
        whole[a] = whole[b] = made
    for each in reversed(range(len(whole))):
        whole[each] = whole[whole[each]]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(whole[i], len(numbers)) for i in range(n)], np.int32)
