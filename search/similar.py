"""A stored document as a query: what its own vectors, stored with it, are together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m3.errors import NotFound
from m3.types import F32, I32, DocumentKey, Representation
from store.candidates import CandidateRows, Leg
from store.contract import Collection

MOST_TOKENS = 512
"""Token vectors that are compared: a long document's are spread evenly over it."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A document as a query.

    Attributes:
        chunks: how many it has, which must be left out of what is found.
    """

    query: Representation
    chunks: int


def likeness(collection: Collection, key: DocumentKey) -> Likeness:
    """Mean of the dense vectors, normalised; mean of the sparse ones; up to 512 token vectors.

    Raises:
        NotFound: no such document.
    """
    document = collection.document(key)
    stored = collection.embeddings_by_text([key]) if document else {}
    if document is None or not stored:
        raise NotFound(f"no document {key.id!r} from source {key.source!r}")
    # In an order of their own, so that sums have the same bits every time.
    return Likeness(_together([stored[text] for text in sorted(stored)]), len(document.chunks))


def _together(chunks: Sequence[Representation]) -> Representation:
    dense = np.stack([chunk.dense.astype(np.float32) for chunk in chunks]).mean(axis=0)
    ids, weights = _mean_terms(chunks)
    codes = np.concatenate([chunk.codes_by_token() for chunk in chunks])
    tokens = np.concatenate([chunk.token_ids for chunk in chunks])
    spread = np.linspace(0, len(codes) - 1, min(len(codes), MOST_TOKENS)).round().astype(np.int64)
    return Representation(
        dense=dense / (float(np.linalg.norm(dense)) or 1.0),
        sparse_ids=ids,
        sparse_weights=weights,
        token_ids=tokens[spread],
        codes=codes[spread],
        codec=chunks[0].codec,
    )


def _mean_terms(chunks: Sequence[Representation]) -> tuple[I32, F32]:
    """Not the sum: a long document's sparse score would drown the others."""
    ids, places = np.unique(
        np.concatenate([chunk.sparse_ids for chunk in chunks]), return_inverse=True
    )
    sums = np.bincount(places, np.concatenate([chunk.sparse_weights for chunk in chunks]))
    return ids.astype(np.int32), (sums / len(chunks)).astype(np.float32)


def without(
    key: DocumentKey, rows: CandidateRows, legs: Mapping[Leg, Sequence[int]], depth: int
) -> dict[Leg, list[int]]:
    """What the legs found without a document's own chunks, `depth` deep again."""
    own = {chunk.row for chunk in rows.chunks if chunk.key == key}
    return {leg: [row for row in found if row not in own][:depth] for leg, found in legs.items()}
