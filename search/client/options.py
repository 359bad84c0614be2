"""What a search may say beside its query, as keyword arguments; docs/search.md has the meanings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from m3.types import Codec, Tenancy
from scoring.fusion import Method
from search.ranking import Rank
from store.filters import FieldType

MethodName = Literal["dense", "sparse", "colbert", "dense+sparse", "fusion"]
FieldTypeName = Literal["string", "int", "float", "bool", "strings"]


class Options(TypedDict, total=False):
    """All of it may be left out; the server's defaults hold then."""

    method: Method | MethodName
    weights: Mapping[str, float] | str | None
    top_k: int
    candidates: int | None
    rerank_depth: int | None
    offset: int
    filter: Mapping[str, Any] | None
    must: Sequence[str]
    must_not: Sequence[str]
    rank: Rank | Literal["weighted", "rrf"]
    min_score: float | None
    group_by: Literal["document"] | None
    neighbours: int
    page: str | None
    explain: bool
    timeout_ms: int | None


class Search(Options):
    """One of many searches at once."""

    query: str
    collection: str


class Reranking(TypedDict, total=False):
    """What reranking may say beside its texts."""

    top_n: int
    return_documents: bool
    method: Method | MethodName
    weights: Mapping[str, float] | str


class CollectionOptions(TypedDict, total=False):
    """What a collection that is made may say beside its name."""

    fields: Mapping[str, FieldType | FieldTypeName]
    codec: Codec | Literal["int8", "bf16", "fp32"]
    chunking: Mapping[str, Any]
    tenancy: Tenancy
    pooling: int
