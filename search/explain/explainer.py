"""One query's hits explained: each score's share, matched terms, aligned tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from m3.codec import decode_tokens
from m3.types import I32, Context, Representation, context_of, model_text
from scoring.fusion import Weights
from search.explain.alignment import best_vectors, tokens_met
from search.explain.tokens import Tokens, merged
from search.ranking import Place, ranks
from search.response import AlignedToken, Explanation, MatchedTerm, PassageToken, Scores, Span
from store.chunks import StoredChunk


class Explainer:
    """Explains hits of one query, in any thread."""

    def __init__(
        self, query: Representation, tokens: Tokens, context: Context, weights: Weights | None
    ) -> None:
        """`weights`: of the scores; None where ranks are fused."""
        self._query = query
        self._vectors = decode_tokens(query.codes, query.codec)
        self._tokens = tokens
        self._context: Context = context
        self._weights = weights

    def explain(self, place: Place, chunk: StoredChunk, passage: Representation) -> Explanation:
        """Why a passage has its place."""
        best, scores = best_vectors(self._vectors, passage.codes, passage.codec)
        met = tokens_met(self._query, passage, best)
        shared = np.intersect1d(self._query.sparse_ids, passage.sparse_ids, assume_unique=True)
        matched = np.flatnonzero(np.isin(passage.token_ids, shared))
        wanted = sorted({*matched.tolist(), *(at for tokens in met for at in tokens)})
        spans = self._spans(chunk, passage, wanted)
        terms = self._terms(passage, shared, matched.tolist(), spans)
        weights = self._weights
        return Explanation(
            contributions=place.shares,
            weights=Scores(*weights.normalised()) if weights else None,
            ranks=None if weights else ranks(place.shares),
            terms=terms,
            alignment=self._aligned(passage, met, scores.tolist(), spans),
            spans=merged(span for term in terms for span in term.spans),
        )

    def _spans(
        self, chunk: StoredChunk, passage: Representation, at: Sequence[int]
    ) -> dict[int, Span]:
        before = model_text(context_of(chunk.title, chunk.heading, self._context), "")
        return self._tokens.spans(before, chunk.text, passage.token_ids.tolist(), at)

    def _terms(
        self,
        passage: Representation,
        shared: I32,
        matched: Sequence[int],
        spans: Mapping[int, Span],
    ) -> Sequence[MatchedTerm]:
        places: dict[int, list[Span]] = {id_: [] for id_ in shared.tolist()}
        for at in matched:
            if at in spans:
                places[int(passage.token_ids[at])].append(spans[at])
        terms = [
            MatchedTerm(self._tokens.name(id_), id_, q, p, q * p, places[id_])
            for id_, q, p in zip(
                shared.tolist(),
                _weights(self._query, shared),
                _weights(passage, shared),
                strict=True,
            )
        ]
        return sorted(terms, key=lambda term: (-term.product, term.term))

    def _aligned(
        self,
        passage: Representation,
        met: Sequence[Sequence[int]],
        scores: Sequence[float],
        spans: Mapping[int, Span],
    ) -> Sequence[AlignedToken]:
        asked, ids = self._query.token_ids.tolist(), passage.token_ids.tolist()
        name = self._tokens.name

        def token(at: int) -> PassageToken:
            return PassageToken(name(ids[at]), ids[at], spans.get(at))

        # Either side without tokens aligns none.
        return [
            AlignedToken(
                name(asked[i]),
                asked[i],
                name(ids[at]),
                ids[at],
                score,
                spans.get(at),
                also=[token(other) for other in others],
            )
            for i, ((at, *others), score) in enumerate(zip(met, scores, strict=True))
        ]


def _weights(of: Representation, terms: I32) -> list[float]:
    """Of terms that it has."""
    return of.sparse_weights[np.searchsorted(of.sparse_ids, terms)].tolist()
