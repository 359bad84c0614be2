"""The tool `search`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from m3.errors import InvalidInput
from m3.types import Metadata
from search.bodies import SearchBody, read
from search.mcp.library import Library
from search.mcp.tool import Answer, Tool, cut
from search.response import Hit, SearchResponse

_ARGUMENTS = (
    "query",
    "collection",
    "method",
    "top_k",
    "filter",
    "must",
    "must_not",
    "group_by",
    "min_score",
    "page",
)
"""Of a search's body: an agent reads the description of every tool, whatever it is asked."""
_SHOWN_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Passage:
    """`start` and `end` count characters of the document's text.

    Attributes:
        others: where hits are documents, the positions of its other passages among the
            candidates, best first.
    """

    document_id: str
    source: str
    position: int
    score: float
    title: str
    text: str
    metadata: Metadata
    heading: Sequence[str]
    page: int | None
    start: int
    end: int
    others: Sequence[int]


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, best first.

    Attributes:
        degraded: scores that the search went without.
        page: with the same arguments, for the passages after these; null after the last.
    """

    passages: Sequence[Passage]
    degraded: Sequence[str]
    page: str | None


async def _search(library: Library, arguments: Mapping[str, Any]) -> Answer:
    if unknown := arguments.keys() - set(_ARGUMENTS):
        raise InvalidInput(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(_ARGUMENTS)}")
    body = read(SearchBody, arguments)
    response = await library.search(body)
    found = Found([_passage(hit) for hit in response.hits], response.degraded, response.page)
    return Answer(found, _told(body.collection, response))


def _passage(hit: Hit) -> Passage:
    return Passage(
        document_id=hit.document_id,
        source=hit.source,
        position=hit.position,
        score=hit.score,
        title=hit.title,
        text=hit.text,
        metadata=hit.metadata,
        heading=hit.heading,
        page=hit.page,
        start=hit.start,
        end=hit.end,
        others=[chunk.position for chunk in hit.chunks or ()],
    )


def _told(collection: str, response: SearchResponse) -> str:
    lines = [_line(number, hit) for number, hit in enumerate(response.hits, 1)]
    if response.degraded:
        lines.append(f"Found without: {', '.join(response.degraded)}.")
    if response.page is not None:
        lines.append("There is more: the same call with `page`.")
    return "\n".join(lines) or f"Nothing found in {collection}."


def _line(number: int, hit: Hit) -> str:
    place = f"document_id {hit.document_id!r}, source {hit.source!r}, position {hit.position}"
    title = f"{hit.title}: " if hit.title else ""
    return f"{number}. [{hit.score:.3f}; {place}] {title}{cut(hit.text, _SHOWN_CHARACTERS)}"


def _schema() -> dict[str, Any]:
    """The body's own, with the arguments alone."""
    whole = SearchBody.model_json_schema()
    properties = {name: whole["properties"][name] for name in _ARGUMENTS}
    told = orjson.dumps(properties).decode()
    used = {name: of for name, of in whole["$defs"].items() if f'"#/$defs/{name}"' in told}
    return {
        "type": "object",
        "properties": properties,
        "required": whole["required"],
        "additionalProperties": False,
        "$defs": used,
    }


TOOL = Tool(
    name="search",
    title="Search a collection",
    description="Find the passages of a collection that answer a question. Ask in plain words; "
    "meaning and words both count. list_collections names the collections and the fields that "
    "filter may use.",
    arguments=_schema(),
    shape=Found,
    run=_search,
)
