"""Rankings of documents from raw scores: what the service answers, for any method and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.scores.raw import LEGS, RawScores
from m3.errors import InvalidInput
from m3.types import offsets_of
from scoring.fusion import F64, METHOD_WEIGHTS, Method, Weights, fuse
from search.ranking import RRF_K, Rank
from search.request import legs_of


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents of one query, best first, each at the place of its best passage.

    Attributes:
        scores: [n] of the documents, not ascending.
    """

    documents: Sequence[str]
    scores: Sequence[float]


Run = Mapping[str, Ranking]
"""A ranking for each query, by its id."""


def rankings(
    raw: RawScores,
    method: Method = Method.FUSION,
    weights: Weights | None = None,
    *,
    depth: int | None = None,
    rank: Rank = Rank.WEIGHTED,
) -> Run:
    """What `/v1/search` answers, `group_by` document, top_k = candidates = depth.

    Documents of different sources with the same id count as one.

    Args:
        weights: None are the method's own.
        depth: of each leg, and of the rankings; None is that of the scores.

    Raises:
        InvalidInput: a depth beyond that of the scores.
    """
    limited = within(raw, method, depth)
    if rank is Rank.RRF:
        fused = _reciprocal_ranks(limited, method)
    else:
        fused = fuse(limited.scores, weights or METHOD_WEIGHTS[method])
    order = np.lexsort((limited.chunks, -fused, limited.query_numbers()))
    owners = limited.owners[limited.chunks[order]].tolist()
    scores = fused[order].tolist()
    return {
        id_: _ranking(limited, owners[begin:end], scores[begin:end])
        for id_, begin, end in zip(
            limited.queries,
            limited.offsets[:-1].tolist(),
            limited.offsets[1:].tolist(),
            strict=True,
        )
    }


def within(raw: RawScores, method: Method, depth: int | None = None) -> RawScores:
    """The candidates that a method's own legs find this deep.

    Raises:
        InvalidInput: a depth beyond that of the scores.
    """
    deep = raw.depth if depth is None else depth
    if not 1 <= deep <= raw.depth:
        raise InvalidInput(f"depth {deep}: these scores are of depth 1 to {raw.depth}")
    legs = [LEGS.index(leg) for leg in legs_of(method)]
    ranks = raw.ranks[:, legs]
    kept: NDArray[np.bool_] = np.any((ranks > 0) & (ranks <= deep), axis=1)
    return replace(
        raw,
        offsets=offsets_of(_counts(raw, kept)),
        scores=raw.scores[kept],
        ranks=np.where(raw.ranks <= deep, raw.ranks, 0)[kept],
        chunks=raw.chunks[kept],
        depth=deep,
    )


def _counts(raw: RawScores, kept: NDArray[np.bool_]) -> list[int]:
    """[q]: how many candidates of each query are kept."""
    sums = np.concatenate([[0], np.cumsum(kept)])
    return np.diff(sums[raw.offsets]).tolist()


def _ranking(raw: RawScores, owners: Sequence[int], scores: Sequence[float]) -> Ranking:
    best: dict[int, float] = {}
    for owner, score in zip(owners, scores, strict=True):
        best.setdefault(owner, score)
    chosen = list(best.items())[: raw.depth]
    return Ranking([raw.documents[owner] for owner, _ in chosen], [score for _, score in chosen])


def _reciprocal_ranks(raw: RawScores, method: Method) -> F64:
    """[n]: Σ 1 / (60 + place by exact score) over the method's legs that found a row."""
    query = raw.query_numbers()
    fused = np.zeros(len(raw.chunks), np.float64)
    for column in (LEGS.index(leg) for leg in legs_of(method)):
        found = np.flatnonzero(raw.ranks[:, column])
        order = found[
            np.lexsort(
                (raw.chunks[found], -raw.scores[found, column].astype(np.float64), query[found])
            )
        ]
        first = np.searchsorted(query[order], query[order])
        fused[order] += 1 / (RRF_K + 1 + np.arange(len(order)) - first)
    return fused
