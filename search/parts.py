"""What the HTTP face is made of; the composition root puts it together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from embedder.client import EmbedderClient
from m3.types import Document
from search.service import SearchService
from search.written import Written
from serving.lifecycle import ReadyCheck


class DocumentWriter(Protocol):
    """Documents into a collection: cut, embedded, stored."""

    async def write(self, collection: str, document: Document) -> Written:
        """Make this the document under its key.

        Raises:
            NotFound: no such collection.
            InvalidInput: a document that the collection cannot hold.
        """
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Open as long as the app runs.

    Attributes:
        node_ready: returns when an embedder node could answer, and raises where none could.
    """

    service: SearchService
    client: EmbedderClient
    writer: DocumentWriter
    node_ready: ReadyCheck


async def parts_of(request: Request) -> Parts:
    """The parts of the app that a request came to.

    A coroutine, because FastAPI calls a plain function in a thread.
    """
    parts = request.app.state.parts
    assert isinstance(parts, Parts)  # noqa: S101 - set by the app's lifespan alone
    return parts
