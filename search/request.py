"""What is asked of a search, checked once for every face: HTTP, command line, evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from m3.errors import InvalidInput
from m3.types import DEFAULT_TENANT, DocumentKey
from scoring.fusion import FUSING, METHOD_WEIGHTS, Method, Weights
from search.paging import Page, digest
from search.ranking import GroupBy, Rank
from store.candidates import Leg
from store.words import Words

MAX_CANDIDATES = 1_000
"""Candidates one leg may bring; an exact score is computed for each."""
DEFAULT_CANDIDATES = 100
MAX_RERANKED = 2 * MAX_CANDIDATES
"""All that two legs may bring."""
MAX_QUERY_CHARACTERS = 20_000
MAX_NEIGHBOURS = 5
MAX_TIMEOUT_MS = 600_000

_LEGS: Mapping[Method, tuple[Leg, ...]] = {
    Method.DENSE: ("dense",),
    Method.SPARSE: ("sparse",),
}


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One question to one collection.

    Attributes:
        query: a text, or a stored document whose own vectors are the query.
        weights: None: those saved for the method with the collection, or the method's. Given ones
            change the scoring, not the legs: `dense` with the weights of `fusion` ranks the
            candidates of the dense leg by all scores.
        candidates: how deep each leg is searched. None: enough for the first page; a page
            beyond it needs a depth, the same on every page, or the pages would not fit together.
        rerank_depth: only so many candidates, the best by dense and sparse scores alone, get a
            ColBERT score and may be hits; 0: all of them. None: what is saved with the collection.
        rank: `rrf` fuses the ranks in the legs that are asked, in place of weighted scores.
        min_score: hits below it are left out.
        group_by: `document`: hits are documents, by their best chunk; top_k and offset count them.
        neighbours: chunks before and after each hit to show with it.
        page: the search to go on with: its depth and its snapshot.
        timeout_ms: the search goes without what is not there by then, or fails.
        filter: the JSON form that `store.filters` defines.
        must, must_not: words or phrases that a passage has all of, and none of, as `store.words`
            defines it.

    Raises:
        InvalidInput: a value out of its range; the message says what would do.
    """

    query: str | DocumentKey
    collection: str
    method: Method = Method.FUSION
    weights: Weights | None = None
    top_k: int = 10
    candidates: int | None = None
    rerank_depth: int | None = None
    offset: int = 0
    filter: Mapping[str, Any] | None = None
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    rank: Rank = Rank.WEIGHTED
    min_score: float | None = None
    group_by: GroupBy | None = None
    neighbours: int = 0
    explain: bool = False
    page: Page | None = None
    timeout_ms: int | None = None
    tenant: str = DEFAULT_TENANT

    def __post_init__(self) -> None:
        if isinstance(self.query, str):
            _check_query(self.query)
        Words(self.must, self.must_not)
        if self.rank is Rank.RRF and self.weights is not None:
            raise InvalidInput("weights count where rank is weighted: leave one of the two out")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise InvalidInput(f"min_score must be a finite number, got {self.min_score}")
        _check_range("neighbours", self.neighbours, 0, MAX_NEIGHBOURS)
        if self.timeout_ms is not None:
            _check_range("timeout_ms", self.timeout_ms, 1, MAX_TIMEOUT_MS)
        self._check_depth()
        self._check_rerank_depth()
        if self.page is not None and self.page.search != self.digest():
            raise InvalidInput(
                "page is of another search: send all that the search before had, and change "
                "top_k, offset, explain and neighbours alone"
            )

    def _check_depth(self) -> None:
        _check_range("top_k", self.top_k, 1, MAX_CANDIDATES)
        _check_range("offset", self.offset, 0, MAX_CANDIDATES - 1)
        _check_range("candidates", self.depth, 1, MAX_CANDIDATES)
        if self.offset + self.top_k > MAX_CANDIDATES:
            raise InvalidInput(
                f"offset + top_k is {self.offset + self.top_k}: at most {MAX_CANDIDATES} hits of a "
                "search are shown; ask for less, or for something more precise"
            )
        if self.offset + self.top_k > self.depth:
            raise InvalidInput(
                f"offset + top_k is {self.offset + self.top_k}, but only {self.depth} candidates "
                f"are looked at: set candidates (at most {MAX_CANDIDATES}), the same on every page"
            )

    def _check_rerank_depth(self) -> None:
        if not self.rerank_depth:
            return
        _check_range("rerank_depth", self.rerank_depth, 0, MAX_RERANKED)
        if self.rank is Rank.RRF or not (self.weights or METHOD_WEIGHTS[self.method]).colbert:
            raise InvalidInput(
                "rerank_depth is for searches that ColBERT scores rank: fusion, colbert, or "
                "weights with colbert; leave it out"
            )
        self._check_ranked(self.rerank_depth)

    def _check_ranked(self, depth: int) -> None:
        if self.offset + self.top_k > depth:
            raise InvalidInput(
                f"offset + top_k is {self.offset + self.top_k}, but only {depth} candidates are "
                "ranked: set rerank_depth higher, or to 0 for all, the same on every page"
            )

    @property
    def depth(self) -> int:
        """Candidates of each leg."""
        if self.page is not None:
            return self.page.depth
        if self.candidates is not None:
            return self.candidates
        return max(DEFAULT_CANDIDATES, self.top_k)

    def digest(self) -> bytes:
        """[12] bytes: the same for all pages of a search, and for nothing else."""
        return digest(
            self.tenant,
            self.collection,
            self.query,
            self.method.value,
            self.weights,
            self.rank.value,
            self.candidates,
            self.rerank_depth,
            json.dumps(self.filter, sort_keys=True),
            sorted(self.must),
            sorted(self.must_not),
            self.min_score,
            self.group_by,
        )

    @property
    def words(self) -> Words | None:
        """None where none are asked for."""
        return Words(self.must, self.must_not) or None

    @property
    def legs(self) -> Sequence[Leg]:
        """Where candidates come from."""
        return legs_of(self.method)

    @property
    def takes_defaults(self) -> bool:
        """Whether what is saved with the collection makes a difference to it."""
        own = self.weights is not None or self.method not in FUSING
        return not own or (self.page is None and self.rerank_depth is None)

    def stage(self, saved: int | None, weights: Weights) -> int | None:
        """How many candidates get a ColBERT score, of a search by these weights; None: all.

        A page has what its search began with. What is saved is no limit to top_k, and nothing to a
        search that ColBERT does not rank.

        Raises:
            InvalidInput: offset + top_k are more: pages of other depths would not fit together.
        """
        if self.page is not None:
            return self.page.stage or None
        if self.rerank_depth is not None:
            return self.rerank_depth or None
        if saved is None or self.rank is Rank.RRF or not weights.colbert:
            return None
        depth = min(max(saved, self.top_k), MAX_RERANKED)
        self._check_ranked(depth)
        return depth

    def scoring_weights(self, saved: Mapping[Method, Weights]) -> Weights:
        """Its own, or those saved for its method, or the method's."""
        return self.weights or saved.get(self.method) or METHOD_WEIGHTS[self.method]


def legs_of(method: Method) -> Sequence[Leg]:
    """Where a method's candidates come from."""
    return _LEGS.get(method, ("dense", "sparse"))


def _check_query(query: str) -> None:
    if not query.strip():
        raise InvalidInput("query is empty: send some words")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidInput(
            f"query has {len(query)} characters: send at most {MAX_QUERY_CHARACTERS}"
        )


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInput(f"{name} must be from {least} to {most}, got {value}")


def method_named(name: str) -> Method:
    """Raises InvalidInput, with the methods there are."""
    try:
        return Method(name)
    except ValueError:
        raise InvalidInput(f"unknown method {name!r}; there are: {', '.join(Method)}") from None
