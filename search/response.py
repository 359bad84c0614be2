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
class ChunkScore:
    """Another chunk of a document that is a hit."""

    id: str
    position: int
    score: float
    scores: Scores


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A passage before or after a hit in its document."""

    id: str
    position: int
    text: str
    heading: Sequence[str]
    page: int | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage. `id` is `source/document#position`; `start` and `end` count characters.

    Attributes:
        chunks: where hits are documents, the other chunks among the candidates, best first.
        neighbours: in the order of the document, where they were asked for.
    """

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
    chunks: Sequence[ChunkScore] | None = None
    neighbours: Sequence[Neighbour] | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds of each phase; `total` holds what is between them, too."""

    embed: float
    retrieve: float
    rerank: float
    total: float


@dataclass(frozen=True, slots=True)
class SearchResponse:
    """Hits, best first.

    Attributes:
        degraded: the parts that dropped out.
        page: to be sent with the same search for the hits after these; null after the last.
    """

    hits: Sequence[Hit]
    timings_ms: Timings
    degraded: Sequence[str] = ()
    page: str | None = None


def as_json(response: SearchResponse) -> dict[str, Any]:
    """The answer as HTTP and the command line give it; hits have what was asked for alone."""
    body = asdict(response)
    for hit in body["hits"]:
        for name in ("explain", "chunks", "neighbours"):
            if hit[name] is None:
                del hit[name]
    return body
