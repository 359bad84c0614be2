"""How the paper ranks, and how we do: both from the same raw scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from evaluation.scores.ranking import Run, rankings
from evaluation.scores.raw import RawScores
from scoring.fusion import METHOD_WEIGHTS, Method, Weights

Candidates = Literal["paper", "union"]
"""Which of a query's candidates are ranked, and by what scores."""
Ranker = tuple[str, Candidates]

DEPTH = 1_000
"""Candidates of each leg."""
RERANKED = 200
"""Of the dense leg, that the paper ranks by ColBERT and by all three scores."""
METHODS = ("dense", "sparse", "colbert", "dense+sparse", "all")


@dataclass(frozen=True, slots=True)
class Fusing:
    """The weights of a recipe: of dense and sparse together, and of all three."""

    dense_sparse: Weights
    all: Weights


def ranked(raw: RawScores, fusing: Fusing) -> Mapping[Ranker, Run]:
    """Rankings by method.

    The paper's: a leg by itself; dense and sparse as the union of both legs, where a leg that did
    not find a document counts 0; ColBERT and all three over the best `RERANKED` of the dense leg.
    `union`: every candidate of both legs by its exact scores.
    """
    colbert = METHOD_WEIGHTS[Method.COLBERT]
    return {
        ("dense", "paper"): rankings(raw, Method.DENSE),
        ("sparse", "paper"): rankings(raw, Method.SPARSE),
        ("colbert", "paper"): rankings(raw, Method.DENSE, colbert, depth=RERANKED),
        ("dense+sparse", "paper"): rankings(
            _as_found(raw), Method.DENSE_SPARSE, fusing.dense_sparse
        ),
        ("all", "paper"): rankings(raw, Method.DENSE, fusing.all, depth=RERANKED),
        ("colbert", "union"): rankings(raw, Method.COLBERT),
        ("dense+sparse", "union"): rankings(raw, Method.DENSE_SPARSE, fusing.dense_sparse),
        ("all", "union"): rankings(raw, Method.FUSION, fusing.all),
    }


def _as_found(raw: RawScores) -> RawScores:
    """With 0 for the dense or sparse score of what that leg did not find."""
    scores = raw.scores.copy()
    scores[:, :2] *= raw.ranks > 0
    return replace(raw, scores=scores)
