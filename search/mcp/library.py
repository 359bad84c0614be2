"""What tools read, as the one who calls them sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from search.bodies import SearchBody
from search.response import SearchResponse
from search.views import DocumentView, StatusView


class Library(Protocol):
    """Every method raises what the API names for it (`m3.errors`)."""

    async def search(self, body: SearchBody) -> SearchResponse: ...

    async def document(self, collection: str, source: str, document_id: str) -> DocumentView: ...

    async def collections(self) -> Sequence[StatusView]: ...
