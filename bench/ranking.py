"""A judged collection searched exactly, from representations in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from m3.types import F32, EmbeddingBatch, Representation, batch_of
from scoring.exact import all_scores
from scoring.fusion import METHOD_WEIGHTS, Method, fuse, ranked

DEPTH = 200
"""Candidates of each leg, as `m3-search eval` takes them."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Texts by id, and their representations in the same order."""

    ids: Sequence[str]
    rows: Sequence[Representation]

    @property
    def dense(self) -> F32:
        """[n, d]."""
        return np.stack([row.dense for row in self.rows]).astype(np.float32)


def rankings(
    documents: Embedded, queries: Embedded
) -> Mapping[Method, Mapping[str, Sequence[str]]]:
    """Document ids by method and query, best first, as the search service ranks them.

    The dense and the sparse leg are exact; the union of their candidates gets all three scores.
    """
    found: dict[Method, dict[str, Sequence[str]]] = {method: {} for method in Method}
    dense_hits = best_rows(queries.dense @ documents.dense.T)
    sparse_hits = best_rows(terms_of(queries, documents))
    for id_, query, dense, sparse in zip(
        queries.ids, queries.rows, dense_hits, sparse_hits, strict=True
    ):
        union = np.union1d(dense, sparse)
        scores = all_scores(query, _batch(documents, union))
        for method, weights in METHOD_WEIGHTS.items():
            leg = {Method.DENSE: dense, Method.SPARSE: sparse}.get(method, union)
            kept = np.flatnonzero(np.isin(union, leg))
            ids = [documents.ids[int(union[row])] for row in kept]
            order = ranked(fuse(scores[kept], weights), ids)
            found[method][id_] = [ids[row] for row in order]
    return found


def best_rows(scores: F32) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Rows of the highest scores above 0 of each query."""
    depth = min(DEPTH, scores.shape[1])
    best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    return [rows[scores[i, rows] > 0] for i, rows in enumerate(best)]


def terms_of(queries: Embedded, documents: Embedded) -> F32:
    """[queries, documents]: the sparse scores."""
    size = 1 + max(int(row.sparse_ids.max(initial=0)) for row in (*queries.rows, *documents.rows))
    return (_matrix(queries, size) @ _matrix(documents, size).T).toarray()


def _matrix(texts: Embedded, size: int) -> Any:
    """[n, size] in rows."""
    batch = batch_of(texts.rows)
    return csr_array(
        (batch.sparse_weights, batch.sparse_ids, batch.sparse_offsets), (len(batch), size)
    )


def _batch(documents: Embedded, rows: Sequence[int] | np.ndarray) -> EmbeddingBatch:
    return batch_of([documents.rows[row] for row in rows])
