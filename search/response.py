"""What a search answers: hits with all their scores, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from m3.types import Metadata


@dataclass(frozen=True, slots=True)
class Scores:
    """Dense, sparse and ColBERT: raw scores, or what each contributes to a fused one."""

    dense: float
    sparse: float
    colbert: float


@dataclass(frozen=True, slots=True)
class MatchedTerm:
    """A token that query and passage share; `product` is what it adds to the sparse score."""

    term: str
    query_weight: float
    passage_weight: float
    product: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit scores what it scores.

    Attributes:
        contributions: wᵢsᵢ / Σwᵢ; their sum is the hit's score.
        terms: the largest product first.
    """

    contributions: Scores
    terms: Sequence[MatchedTerm]


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage. `id` is `source/document#position`; `start` and `end` count characters."""

    id: str
    document_id: str
    source: str
    position: int
    score: float
    scores: Scores
    title: str
    text: str
    metadata: Metadata
    heading: Sequence[str]
    page: int | None
    start: int
    end: int
    explain: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds of each phase; `total` holds what is between them, too."""

    embed: float
    retrieve: float
    rerank: float
    total: float


@dataclass(frozen=True, slots=True)
class SearchResponse:
    """Hits, best first. `degraded` names the parts that dropped out."""

    hits: Sequence[Hit]
    timings_ms: Timings
    degraded: Sequence[str] = ()


def as_json(response: SearchResponse) -> dict[str, Any]:
    """The answer as HTTP and the command line give it; `explain` only where it was asked for."""
    body = asdict(response)
    for hit in body["hits"]:
        if hit["explain"] is None:
            del hit["explain"]
    return body
