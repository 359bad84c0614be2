"""What a search of a store finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from m3.errors import M3Error
from m3.types import Passages, Representation
from store.chunks import ChunkKey

Leg = Literal["dense", "sparse"]

MAX_DEPTH = 16_384
"""Results one search may ask of Milvus; the server's limit, held on the embedded engine too."""


def looking(legs: Iterable[Leg], query: Representation) -> list[Leg]:
    """Those of the legs that have something to look for: without terms, sparse has not."""
    return [leg for leg in legs if leg != "sparse" or len(query.sparse_ids)]


@dataclass(frozen=True, slots=True)
class CandidateRows:
    """What candidates are scored and ranked by; `Collection.chunks` has their texts.

    Attributes:
        chunks: which they are, in no particular order.
        batches: their representations in that order, as they were read: columns, and rows that
            lie apart. They are views where they can be, so nobody writes to them.
    """

    chunks: Sequence[ChunkKey]
    batches: Sequence[Passages]

    @property
    def embeddings(self) -> Iterator[Representation]:
        """Of each chunk."""
        return chain.from_iterable(self.batches)

    def by_row(self) -> dict[int, Representation]:
        """Each chunk's own, by its row."""
        return {c.row: own for c, own in zip(self.chunks, self.embeddings, strict=True)}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a search read: a published version of a table, whose name no other table ever has."""

    table: str
    version: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """What both legs found, from one snapshot.

    Attributes:
        rows: the union, each row once.
        legs: for each leg asked, its row ids, best first, at most `depth`.
        snapshot: what it was read from.
        failed: legs that were asked and did not answer, and why; they are not among `legs`.
    """

    rows: CandidateRows
    legs: Mapping[Leg, Sequence[int]]
    snapshot: Snapshot
    failed: Mapping[Leg, M3Error] = field(default_factory=dict[Leg, M3Error])
