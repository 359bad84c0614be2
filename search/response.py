"""What a search answers: hits with all their scores, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from m3.types import Metadata

Span: TypeAlias = tuple[int, int]
"""Characters [start, end) of a hit's text."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Dense, sparse and ColBERT: raw scores, or what each contributes to a fused one.

    A raw score is null where its part of the search dropped out.
    """

    dense: float | None
    sparse: float | None
    colbert: float | None


@dataclass(frozen=True, slots=True)
class MatchedTerm:
    """A token that query and passage share; `product` is what it adds to the sparse score.

    Attributes:
        term: as the tokenizer has it.
        spans: where it stands in the hit's text; nowhere if only the title has it.
    """

    term: str
    id: int
    query_weight: float
    passage_weight: float
    product: float
    spans: Sequence[Span]


@dataclass(frozen=True, slots=True)
class PassageToken:
    """A token of the passage; `span` as an aligned one's."""

    token: str
    id: int
    span: Span | None


@dataclass(frozen=True, slots=True)
class AlignedToken:
    """A token of the query with the token of the passage that it meets.

    Attributes:
        score: their inner product; the mean over the query's tokens is the ColBERT score.
        span: where the passage's token stands in the hit's text; null for one of the title.
        also: other tokens of the passage, where tokens are pooled, that share the vector.
    """

    query_token: str
    query_id: int
    token: str
    id: int
    score: float
    span: Span | None
    also: Sequence[PassageToken] = ()


@dataclass(frozen=True, slots=True)
class Ranks:
    """A hit's place in each leg, from 1; null where the leg did not find it."""

    dense: int | None
    sparse: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit scores what it scores.

    Attributes:
        contributions: wᵢsᵢ / Σwᵢ, or 1 / (60 + rank) of each leg; their sum is the hit's score.
        weights: wᵢ / Σwᵢ; null where ranks are fused.
        ranks: null where scores are.
        terms: the largest product first.
        alignment: in the order of the query's tokens.
        spans: what to highlight: where matched terms stand in the text, those that touch as one.
    """

    contributions: Scores
    weights: Scores | None
    ranks: Ranks | None
    terms: Sequence[MatchedTerm]
    alignment: Sequence[AlignedToken]
    spans: Sequence[Span]


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
class Staged:
    """What was ranked, where `rerank_depth` was asked for.

    Attributes:
        found: candidates of all legs together.
        reranked: the best of them by dense and sparse scores alone, which ColBERT may rank;
            the others are no hits.
    """

    found: int
    reranked: int


@dataclass(frozen=True, slots=True)
class SearchResponse:
    """Hits, best first.

    Attributes:
        staged: null where all that was found was ranked by all scores.
        degraded: parts that dropped out: dense, sparse, colbert. Their scores are null.
        page: to be sent with the same search for the hits after these; null after the last.
    """

    hits: Sequence[Hit]
    timings_ms: Timings
    degraded: Sequence[str] = ()
    page: str | None = None
    staged: Staged | None = None


def as_json(response: SearchResponse) -> dict[str, Any]:
    """The answer as HTTP and the command line give it, with what was asked for alone."""
    body = orjson.loads(orjson.dumps(response))
    if body["staged"] is None:
        del body["staged"]
    for hit in body["hits"]:
        for name in ("explain", "chunks", "neighbours"):
            if hit[name] is None:
                del hit[name]
    return body
