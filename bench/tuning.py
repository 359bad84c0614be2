"""Weights from cached scores: how long a thousand triples take, and a whole tuning."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.measure import Result
from evaluation.measuring.metrics import Metric
from evaluation.scores.raw import RawScores
from evaluation.tuning.fitting import tune
from evaluation.tuning.places import Places
from m3.types import offsets_of
from scoring.fusion import Method


def run(
    *, queries: int = 1_000, candidates: int = 200, triples: int = 1_000, relevant: int = 5
) -> Result:
    """Seconds on scores drawn at random; candidates are of a query's union, all in both legs."""
    raw, qrels = drawn(queries, candidates, relevant)
    weights = np.random.default_rng(2).dirichlet(np.ones(3), triples)
    figures: list[dict[str, Any]] = []
    for metric in (Metric("nDCG", 10), Metric("MAP")):
        began = time.perf_counter()
        Places(raw, qrels, metric).values(weights)
        took = time.perf_counter() - began
        figures.append({"what": f"{triples:,} triples by {metric}", "seconds": took})
    began = time.perf_counter()
    tune(raw, qrels, Metric("nDCG", 10), Method.FUSION)
    figures.append(
        {"what": "a tuning: grid, 5 folds, bootstrap", "seconds": time.perf_counter() - began}
    )
    notes = {"queries": queries, "candidates": candidates, "relevant": relevant}
    return Result("tuning", figures, notes)


def drawn(
    queries: int, candidates: int, relevant: int
) -> tuple[RawScores, dict[str, dict[str, int]]]:
    """Scores and judgments without a pattern; documents are of one chunk each."""
    rng = np.random.default_rng(1)
    documents = tuple(f"d{i:06}" for i in range(20 * candidates))
    chunks = np.concatenate(
        [np.sort(rng.choice(len(documents), candidates, replace=False)) for _ in range(queries)]
    ).astype(np.int32)
    ranks = np.concatenate(
        [
            rng.permuted(np.tile(np.arange(1, candidates + 1), (2, 1)), axis=1).T
            for _ in range(queries)
        ]
    ).astype(np.int32)
    raw = RawScores(
        queries=tuple(f"q{i}" for i in range(queries)),
        offsets=offsets_of([candidates] * queries),
        scores=rng.random((queries * candidates, 3), np.float32),
        ranks=ranks,
        chunks=chunks,
        ids=tuple(f"default/{document}#0" for document in documents),
        owners=np.arange(len(documents), dtype=np.int32),
        documents=documents,
        depth=candidates,
    )
    qrels = {
        query: {
            documents[i]: 1 + int(rng.integers(3))
            for i in rng.choice(chunks[begin : begin + candidates], relevant, replace=False)
        }
        for query, begin in zip(raw.queries, raw.offsets.tolist(), strict=False)
    }
    return raw, qrels
