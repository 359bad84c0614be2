"""What the API answers, as values: the dataclasses that it writes, and the errors it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx
import orjson
from pydantic import TypeAdapter, ValidationError

from m3.calling import members, seconds_of
from m3.errors import M3Error, Overloaded, Unauthorized, Unreachable, kind_of
from search.response import Scores, SearchResponse

T = TypeVar("T")
BatchAnswer: TypeAlias = SearchResponse | M3Error
"""Of one search among many: what was found, or why nothing was."""


@dataclass(frozen=True, slots=True)
class RerankedDocument:
    """`index` counts the documents that were sent; `text` is theirs, where it was asked for."""

    index: int
    relevance_score: float
    scores: Scores
    document: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Reranked:
    """Documents in the order of their score, the best first."""

    id: str
    model: str
    fingerprint: str
    results: Sequence[RerankedDocument]


def reader_of(shape: type[T]) -> Callable[[bytes], T]:
    """From JSON to a dataclass; members that it has not are a newer server's, and passed over.

    What is returned raises ValueError for JSON of another shape.
    """
    return TypeAdapter(shape).validate_json


_search_response = TypeAdapter(SearchResponse)


def read_batch(content: bytes) -> list[BatchAnswer]:
    """The answers to many searches. Raises ValueError for what is none."""
    results: list[dict[str, Any]] = orjson.loads(content)["results"]
    return [
        _error(result) if "code" in result else _search_response.validate_python(result)
        for result in results
    ]


def read_nothing(_: bytes) -> None:
    """Of an answer without a body."""


def error_of(url: str, answer: httpx.Response) -> M3Error:
    """The error that an answer's problem document names; other pages are of no search API."""
    problem = members(answer.content)
    if answer.status_code == Unauthorized.status:
        error: M3Error = Unauthorized(
            f"the search API at {url} wants a key that it knows: give it one, or set M3_API_KEY"
        )
    elif "code" in problem:
        error = _error(problem)
    else:
        error = not_ours(url, f"status {answer.status_code}")
    if isinstance(error, Overloaded):
        error.retry_after = seconds_of(answer.headers.get("retry-after", ""))
    error.request_id = problem.get("request_id") or answer.headers.get("x-request-id")
    return error


def not_ours(url: str, reason: str) -> Unreachable:
    """For answers that a search API does not give."""
    return Unreachable(f"what answers at {url} is not a search API: {reason}")


def _error(problem: Mapping[str, Any]) -> M3Error:
    """By its code; one that a newer server has is the root, as is one that says only `internal`."""
    error = (kind_of(str(problem["code"])) or M3Error)(str(problem.get("detail", problem["code"])))
    error.request_id = problem.get("request_id")
    return error


ReadError = (ValidationError, ValueError, KeyError, TypeError)
"""What readers raise for what they cannot read."""
