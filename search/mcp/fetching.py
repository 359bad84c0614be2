"""The tool `fetch_document`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from m3.types import DEFAULT_SOURCE, Metadata
from search.bodies import read
from search.mcp.library import Library
from search.mcp.tool import Answer, Tool
from search.views import ChunkView
from serving.bodies import Body

_MOST_CHUNKS = 200
_CHUNKS = 50
"""About 25,000 tokens of text, of the chunks that collections have by default."""


class _Arguments(Body):
    collection: str
    document_id: str
    source: str = Field(default=DEFAULT_SOURCE, description="Where the document is from.")
    first: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=0, description="Position of the first chunk to show."
    )
    most: Annotated[int, Field(strict=True, ge=1, le=_MOST_CHUNKS)] = Field(
        default=_CHUNKS, description="Chunks to show, at most."
    )


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document, or a part of it. Chunks may overlap: `start` and `end` tell.

    Attributes:
        total: chunks that the whole document has.
    """

    document_id: str
    source: str
    title: str
    metadata: Metadata
    chunks: Sequence[ChunkView]
    total: int


async def _fetch(library: Library, arguments: Mapping[str, Any]) -> Answer:
    asked = read(_Arguments, arguments)
    document = await library.document(asked.collection, asked.source, asked.document_id)
    fetched = Fetched(
        document_id=document.id,
        source=document.source,
        title=document.title,
        metadata=document.metadata,
        chunks=document.chunks[asked.first : asked.first + asked.most],
        total=len(document.chunks),
    )
    return Answer(fetched, _told(fetched))


def _told(fetched: Fetched) -> str:
    lines = [fetched.title] if fetched.title else []
    for chunk in fetched.chunks:
        lines.append(f"[chunk {chunk.position}, characters {chunk.start} to {chunk.end}]")
        lines.append(chunk.text)
    shown = len(fetched.chunks)
    if shown < fetched.total:
        lines.append(f"{shown} of {fetched.total} chunks: `first` says where to begin.")
    return "\n".join(lines)


TOOL = Tool(
    name="fetch_document",
    title="Fetch a document",
    description="Read a document that a search found, chunk by chunk and in order, with the "
    "place of each chunk in its text.",
    arguments=_Arguments.model_json_schema(),
    shape=Fetched,
    run=_fetch,
)
