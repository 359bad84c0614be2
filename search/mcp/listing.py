"""The tool `list_collections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.bodies import read
from search.mcp.library import Library
from search.mcp.tool import Answer, Tool
from search.views import StatusView
from serving.bodies import Body
from store.filters import FieldType


class _Arguments(Body):
    """There are none."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A collection; the caller's own documents and chunks are counted.

    Attributes:
        fields: that a filter may use, and what they hold.
        stand_in: made by the English-only stand-in model.
    """

    name: str
    documents: int
    chunks: int
    fields: Mapping[str, FieldType]
    model: str
    stand_in: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """All collections that the caller sees, by name."""

    collections: Sequence[Listing]


async def _list(library: Library, arguments: Mapping[str, Any]) -> Answer:
    read(_Arguments, arguments)
    listed = Listed([_listing(each) for each in await library.collections()])
    lines = [_line(each) for each in listed.collections]
    return Answer(listed, "\n".join(lines) or "There are no collections.")


def _listing(status: StatusView) -> Listing:
    return Listing(
        name=status.collection.name,
        documents=status.documents,
        chunks=status.chunks,
        fields=status.collection.fields,
        model=status.collection.model,
        stand_in=status.collection.stand_in,
    )


def _line(listing: Listing) -> str:
    fields = ", ".join(f"{name} ({kind})" for name, kind in listing.fields.items()) or "none"
    counts = f"{listing.documents} documents, {listing.chunks} chunks"
    return f"{listing.name}: {counts}; fields to filter by: {fields}"


TOOL = Tool(
    name="list_collections",
    title="List collections",
    description="The collections there are, how much they hold, and the fields to filter by.",
    arguments=_Arguments.model_json_schema(),
    shape=Listed,
    run=_list,
)
