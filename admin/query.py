"""One query looked at: what each score finds, which terms count, which tokens meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from admin.table import Table
from commands.search.parts import open_service
from m3.codec import decode_tokens
from m3.errors import NotFound
from m3.settings import Settings
from m3.types import F32, Representation
from scoring.fusion import F64, METHOD_WEIGHTS, Method, Weights, ranked
from search.explain.tokens import Tokens
from search.ranking import weighted
from search.request import SearchRequest
from store.chunks import StoredChunk

SCORES = ("dense", "sparse", "colbert")
_SHOWN = 60
"""Characters of a text in a table."""
_SPACE = "\u2581"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a query found, all candidates of both legs.

    Attributes:
        scores: [n, 3] fp32, dense, sparse and ColBERT of chunk i. fused: [n], by the weights.
        shares: [n, 3], what each score contributes to `fused`.
        passages: of chunk i.
    """

    text: str
    stand_in: bool
    weights: Weights
    query: Representation
    tokens: Tokens
    chunks: Sequence[StoredChunk]
    passages: Sequence[Representation]
    scores: F32
    fused: F64
    shares: F64

    def order(self, by: str) -> list[int]:
        """Numbers of chunks, best first, by one of the scores or `fused`; equal ones by id."""
        values = self.fused if by == "fused" else self.scores[:, SCORES.index(by)].astype(float)
        return ranked(values, [chunk.id for chunk in self.chunks])

    def place(self, chunk: int) -> dict[str, int]:
        """The rank of a chunk by each score and `fused`, the best 1."""
        return {by: self.order(by).index(chunk) + 1 for by in (*SCORES, "fused")}


@dataclass(frozen=True, slots=True)
class Alignment:
    """Query tokens against passage tokens: similarity [m, n] fp32, and the tokens' names."""

    query: list[str]
    passage: list[str]
    similarity: F32


async def look(
    settings: Settings,
    collection: str,
    text: str,
    *,
    weights: Weights = METHOD_WEIGHTS[Method.FUSION],
    candidates: int = 100,
) -> Seen:
    """Search as `/v1/search` does, and keep all that was scored.

    Raises:
        NotFound: no such collection, or nothing was found.
        M3Error: as a search does.
    """
    request = SearchRequest(text, collection, candidates=candidates, rerank_depth=0)
    async with open_service(settings) as (service, client):
        found = await service.look(request)
        texts = await service.texts(found)
        tokens = Tokens(await client.tokenizer(found.question.spec.fingerprint))
    rows, scores = found.candidates.rows, found.candidates.scores
    if not rows.chunks:
        raise NotFound(f"nothing in {collection!r} was found for {text!r}")
    fused, shares = weighted(scores, weights)
    return Seen(
        text=text,
        stand_in=found.question.spec.stand_in,
        weights=weights,
        query=found.query,
        tokens=tokens,
        chunks=[texts[chunk.row] for chunk in rows.chunks],
        passages=list(rows.embeddings),
        scores=scores,
        fused=fused,
        shares=shares,
    )


def side_by_side(seen: Seen, top: int = 5) -> Table:
    """The best of each score beside the best of their fusion."""
    best = [seen.order(by)[:top] for by in (*SCORES, "fused")]
    rows = [(rank + 1, *(_named(seen, chunks[rank]) for chunks in best)) for rank in range(top)]
    caption = "English-only stand-in" if seen.stand_in else ""
    return Table(("rank", "dense", "sparse", "ColBERT", "fused"), rows, caption)


def hits(seen: Seen, top: int = 5) -> Table:
    """The best of the fusion with all scores, and their texts."""
    return Table(
        ("fused", "dense", "sparse", "ColBERT", "passage", "text"),
        [
            (
                float(seen.fused[i]),
                *map(float, seen.scores[i]),
                seen.chunks[i].id,
                _cut(seen.chunks[i].text),
            )
            for i in seen.order("fused")[:top]
        ],
    )


def terms(seen: Seen, chunk: int | None = None) -> list[tuple[str, float, float]]:
    """The query's terms with their weights in it and in a passage, the heaviest first.

    Args:
        chunk: its number; None is the best of the fusion.
    """
    passage = seen.passages[seen.order("fused")[0] if chunk is None else chunk]
    there = dict(zip(passage.sparse_ids.tolist(), passage.sparse_weights.tolist(), strict=True))
    pairs = zip(seen.query.sparse_ids.tolist(), seen.query.sparse_weights.tolist(), strict=True)
    named = [(_token(seen, id_), weight, there.get(id_, 0.0)) for id_, weight in pairs]
    return sorted(named, key=lambda term: (-term[1], term[0]))


def alignment(seen: Seen, chunk: int | None = None) -> Alignment:
    """What the ColBERT score of a passage sums up; None is the best of the fusion."""
    passage = seen.passages[seen.order("fused")[0] if chunk is None else chunk]
    query_vectors = decode_tokens(seen.query.codes, seen.query.codec)
    passage_vectors = decode_tokens(passage.codes_by_token(), passage.codec)
    return Alignment(
        [_token(seen, id_) for id_ in seen.query.token_ids.tolist()],
        [_token(seen, id_) for id_ in passage.token_ids.tolist()],
        np.asarray(query_vectors @ passage_vectors.T),
    )


def _token(seen: Seen, id_: int) -> str:
    return seen.tokens.name(id_).replace(_SPACE, " ").strip() or "␣"


def _named(seen: Seen, chunk: int) -> str:
    return f"{seen.chunks[chunk].id}: {_cut(seen.chunks[chunk].text, _SHOWN // 2)}"


def _cut(text: str, characters: int = _SHOWN) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= characters else f"{flat[:characters]}…"
