"""Bodies of searches. Unknown fields are refused, so that a misspelt one is told."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from m3.errors import InvalidInput
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT, DocumentKey
from scoring.fusion import PRESETS, Method, Weights, preset_named
from search.paging import Page
from search.ranking import GroupBy, Rank
from search.request import (
    MAX_CANDIDATES,
    MAX_NEIGHBOURS,
    MAX_QUERY_CHARACTERS,
    MAX_RERANKED,
    MAX_TIMEOUT_MS,
    SearchRequest,
)
from serving.bodies import Body, whole_number
from store.words import MAX_CHARACTERS, MAX_WORDS


def _bounds(least: int, most: int) -> dict[str, Any]:
    """For the reader of the API's description; `SearchRequest` is what holds them."""
    return {"minimum": least, "maximum": most}


Whole = Annotated[int, Field(strict=True), BeforeValidator(whole_number)]
Number = Annotated[float, Field(strict=True)]
Weight = Annotated[float, Field(strict=True, json_schema_extra={"minimum": 0})]
"""`Weights` is what holds it."""
Phrases = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]],
    Field(max_length=MAX_WORDS),
]


class WeightsBody(Body):
    """How much each score counts; one that is left out counts as 0. Only ratios matter."""

    dense: Weight = 0.0
    sparse: Weight = 0.0
    colbert: Weight = 0.0


def _kind_of_weights(value: Any) -> str | None:
    if isinstance(value, str):
        return "preset"
    return "object" if isinstance(value, dict | WeightsBody) else None


AnyWeights = Annotated[
    Annotated[WeightsBody, Tag("object")] | Annotated[str, Tag("preset")],
    Discriminator(
        _kind_of_weights,
        custom_error_type="weights",
        custom_error_message="Input should be an object of dense, sparse and colbert, "
        "or a preset's name",
    ),
]


class SearchOptions(Body):
    """What a search may say beside its query."""

    collection: str
    method: Method = Method.FUSION
    weights: AnyWeights | None = Field(
        default=None,
        description=f"In place of the method's: an object, or a preset: {', '.join(PRESETS)}.",
    )
    top_k: Whole = Field(default=10, json_schema_extra=_bounds(1, MAX_CANDIDATES))
    candidates: Whole | None = Field(
        default=None,
        description="How deep each leg is searched, at least offset + top_k; the same on every "
        "page. Default: 100, or top_k where that is more.",
        json_schema_extra=_bounds(1, MAX_CANDIDATES),
    )
    rerank_depth: Whole | None = Field(
        default=None,
        description="Only so many candidates, the best by their dense and sparse scores alone, get "
        "a ColBERT score and may be hits, at least offset + top_k; the same on every page. "
        "`staged` of the answer says so. 0: all. Default: the collection's own, or all.",
        json_schema_extra=_bounds(0, MAX_RERANKED),
    )
    offset: Whole = Field(default=0, json_schema_extra=_bounds(0, MAX_CANDIDATES - 1))
    filter: dict[str, Any] | None = Field(
        default=None,
        description="Over the collection's declared fields: "
        '`{"field": "lang", "op": "eq", "value": "en"}` with eq, ne, lt, lte, gt, gte, in, '
        'contains, exists; `{"and": […]}`, `{"or": […]}`, `{"not": …}`.',
    )
    must: Phrases = Field(
        default_factory=list[str],
        description="Words or phrases that a hit's title or text has, as whole words, whatever "
        "their case.",
    )
    must_not: Phrases = Field(
        default_factory=list[str],
        description="Words or phrases that neither title nor text of a hit has.",
    )
    rank: Rank = Field(
        default=Rank.WEIGHTED,
        description="How scores become one: `weighted`, or `rrf`: reciprocal rank fusion (k = 60) "
        "of the ranks in the method's legs, dense and sparse.",
    )
    min_score: Number | None = Field(default=None, description="Hits below it are left out.")
    group_by: GroupBy | None = Field(
        default=None,
        description="`document`: hits are documents, by their best chunk, with their other chunks "
        "under it. top_k and offset count documents then.",
    )
    neighbours: Whole = Field(
        default=0,
        description="Chunks before and after each hit to show with it.",
        json_schema_extra=_bounds(0, MAX_NEIGHBOURS),
    )
    page: str | None = Field(
        default=None,
        description="Of the answer before, to go on from it: with the same search, and without "
        "offset for the hits that come next. All pages show the collection as it was at first.",
    )
    explain: bool = Field(
        default=False, strict=True, description="Each score's share, and the terms that matched."
    )

    timeout_ms: Whole | None = Field(
        default=None,
        description="Milliseconds. A leg or ColBERT that is late by then is left out, and "
        "`degraded` names it; 504 where nothing was found.",
        json_schema_extra=_bounds(1, MAX_TIMEOUT_MS),
    )

    def asking(self, query: str | DocumentKey, tenant: str) -> SearchRequest:
        """Raises InvalidInput for values out of their range."""
        page = None if self.page is None else Page.read(self.page)
        offset, top_k = self.offset, self.top_k
        if page is not None and "offset" not in self.model_fields_set:
            most = min(page.depth, page.stage or page.depth)
            offset, top_k = page.offset, max(1, min(top_k, most - page.offset))
        return SearchRequest(
            query=query,
            collection=self.collection,
            method=self.method,
            weights=self._weights(),
            top_k=top_k,
            candidates=self.candidates,
            rerank_depth=self.rerank_depth,
            offset=offset,
            filter=self.filter,
            must=tuple(self.must),
            must_not=tuple(self.must_not),
            rank=self.rank,
            min_score=self.min_score,
            group_by=self.group_by,
            neighbours=self.neighbours,
            explain=self.explain,
            page=page,
            timeout_ms=self.timeout_ms,
            tenant=tenant,
        )

    def _weights(self) -> Weights | None:
        match self.weights:
            case None:
                return None
            case str(name):
                return preset_named(name)
            case WeightsBody(dense=dense, sparse=sparse, colbert=colbert):
                return Weights(dense, sparse, colbert)


class SearchBody(SearchOptions):
    """A search as JSON."""

    query: str = Field(
        description="At most 20,000 characters, and what the model reads at once.",
        json_schema_extra={"pattern": r"\S", "maxLength": MAX_QUERY_CHARACTERS},
    )

    def request(self, tenant: str = DEFAULT_TENANT) -> SearchRequest:
        """Raises InvalidInput for values out of their range."""
        return self.asking(self.query, tenant)


class SimilarBody(SearchOptions):
    """A search for what is similar to a document of the collection, which is not among the hits."""

    document_id: str
    source: str = Field(default=DEFAULT_SOURCE, description="Where the document is from.")

    def request(self, tenant: str = DEFAULT_TENANT) -> SearchRequest:
        """Raises InvalidInput for values out of their range."""
        return self.asking(DocumentKey(tenant, self.source, self.document_id), tenant)


AnyBody = TypeVar("AnyBody", bound=Body)


def read(kind: type[AnyBody], value: Any) -> AnyBody:
    """A body from its JSON form, where no HTTP face reads it.

    Raises:
        InvalidInput: in the words that the HTTP face uses.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{place}: {first['msg']}") from error


def search_request(body: Any) -> SearchRequest:
    """A search from its JSON form. Raises InvalidInput."""
    return read(SearchBody, body).request()
