"""A document that is written through the search API: what becomes of one that is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from commands.search.serving import Writer
from m3.errors import InvalidInput, M3Error, NotFinite, WorkerLost
from m3.types import Document
from search.collections import Collections
from store.memory import MemoryStore
from store.spec import Chunking
from tests.ingest.fakes import CountingClient, spec


class Refusing(CountingClient):
    """Its node computes any text but a document's."""

    error: M3Error

    async def encode(self, texts: Sequence[str], *args: Any, **options: Any) -> Any:
        if any("some words" in text for text in texts):
            raise self.error
        return await super().encode(texts, *args, **options)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error", [WorkerLost("it ended a worker"), NotFinite("no numbers"), InvalidInput("too odd")]
)
async def test_it_is_told_as_what_it_is(stand_in: Any, error: M3Error) -> None:
    store = MemoryStore()
    store.create("docs", spec(Chunking(64, 0)))
    client: Any = Refusing((stand_in / "tokenizer.json").read_text())
    client.error = error
    with pytest.raises(M3Error) as raised:
        await Writer(Collections(store), client).write("docs", Document("a", "some words"))
    assert raised.value is error
