"""Raw scores drawn at random, with documents of one or of several chunks."""

from __future__ import annotations

import numpy as np

from evaluation.scores.raw import RawScores
from m3.types import offsets_of


def drawn(
    rng: np.random.Generator, *, queries: int, candidates: int, chunks: int = 1, levels: int = 0
) -> RawScores:
    """Each query has other documents among four times as many.

    Args:
        chunks: of each document.
        levels: scores have so many different values, so that many tie; 0 is any number.
    """
    documents = tuple(sorted(f"d{i}" for i in range(4 * candidates)))
    ids = sorted(
        (f"default/{name}#{i}", n) for n, name in enumerate(documents) for i in range(chunks)
    )
    n = queries * candidates
    scores = rng.random((n, 3), np.float32)
    if levels:
        scores = np.floor(scores * levels).astype(np.float32) / np.float32(levels)
    ranks = [rng.permuted(np.tile(np.arange(candidates), (2, 1)), axis=1).T for _ in range(queries)]
    found = [np.sort(rng.choice(len(ids), candidates, replace=False)) for _ in range(queries)]
    return RawScores(
        queries=tuple(f"q{i}" for i in range(queries)),
        offsets=offsets_of([candidates] * queries),
        scores=scores,
        # The first of one leg may be found by the other alone.
        ranks=np.concatenate(ranks).astype(np.int32),
        chunks=np.concatenate(found).astype(np.int32),
        ids=tuple(id_ for id_, _ in ids),
        owners=np.array([owner for _, owner in ids], np.int32),
        documents=documents,
        depth=candidates - 1,
    )


def judgments(
    rng: np.random.Generator, raw: RawScores, relevant: int, grades: int = 3
) -> dict[str, dict[str, int]]:
    """Of documents that were found and others, some of them judged as 0, or as worse than that."""
    return {
        query: {
            raw.documents[i]: int(rng.integers(-1, grades + 1))
            for i in rng.choice(len(raw.documents), relevant, replace=False)
        }
        for query in raw.queries
    }
