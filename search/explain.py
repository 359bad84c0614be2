"""Why a hit scores what it scores: each score's share, and the terms that matched."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from m3.types import Representation
from search.ranking import Place
from search.response import Explanation, MatchedTerm

TermName = Callable[[int], str]


def term_names(tokenizer: str) -> TermName:
    """Token ids to tokens, from a tokenizer's JSON as a node serves it."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - only explanations need it

    loaded = Tokenizer.from_str(tokenizer)
    return lambda id_: loaded.id_to_token(id_) or f"#{id_}"


def explain(
    query: Representation, passage: Representation, place: Place, name_of: TermName
) -> Explanation:
    """Contributions and matched terms of one hit."""
    return Explanation(place.shares, _matched_terms(query, passage, name_of))


def _matched_terms(
    query: Representation, passage: Representation, name_of: TermName
) -> Sequence[MatchedTerm]:
    shared, in_query, in_passage = np.intersect1d(
        query.sparse_ids, passage.sparse_ids, assume_unique=True, return_indices=True
    )
    terms = [
        MatchedTerm(name_of(id_), q, p, q * p)
        for id_, q, p in zip(
            shared.tolist(),
            query.sparse_weights[in_query].tolist(),
            passage.sparse_weights[in_passage].tolist(),
            strict=True,
        )
    ]
    return sorted(terms, key=lambda term: (-term.product, term.term))
