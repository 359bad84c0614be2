"""A search API over a library that three tenants share, and a key for every way to call it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from m3.settings import Settings
from m3.types import Chunk, Codec, Document, Representation
from search.app import create
from search.parts import Parts
from search.service import SearchService
from search.written import Written
from store.chunks import DocumentRows
from store.contract import Store
from store.memory import MemoryStore
from tests.search.library import COLLECTION, KnownQueries, example, spec
from tests.serving.keys import keys_file, line

TENANTS = ("acme", "beta", "default")
OWN = "beta-own"
"""A collection of beta's own."""
HAS = {"acme": 3, "beta": 5, "default": 2}
"""Documents of each tenant, under the same ids."""


class Writer:
    """Writes what it is given, one passage a document."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, collection: str, document: Document) -> Written:
        opened = self._store.open(collection)
        there = opened.content_hashes([document.key])
        opened.replace([rows_of(document, example(9))])
        return Written("replaced" if there else "created", 1)


def shared_store() -> MemoryStore:
    store = MemoryStore()
    store.create(COLLECTION, spec()).replace(
        [_document(tenant, number) for tenant in TENANTS for number in range(HAS[tenant])]
    )
    own = store.create(OWN, dataclasses.replace(spec(), owner="beta"))
    own.replace([_document("beta", 0)])
    return store


def rows_of(document: Document, passage: Representation) -> DocumentRows:
    chunk = Chunk(position=0, text=document.text, start=0, end=len(document.text))
    return DocumentRows(document, document.content_hash(), [chunk], [passage])


def _document(tenant: str, number: int) -> DocumentRows:
    document = Document(
        id=f"d{number}",
        text=f"{tenant} has text {number}",
        metadata={"shelf": number, "of": tenant},
        tenant=tenant,
    )
    return rows_of(document, example(number))


def api_of(
    folder: Path,
    store: Store,
    *,
    keys: bool = True,
    queries: Mapping[str, Representation] | None = None,
    **settings: Any,
) -> FastAPI:
    """The app over a store, with `keys_of_all` unless it is to have none or others."""
    node = KnownQueries({"q": example(1, Codec.FP32)} if queries is None else queries)

    @asynccontextmanager
    async def parts() -> AsyncGenerator[Parts]:
        yield Parts(SearchService(store, node), node, Writer(store), node_ready=node.model)

    if keys:
        settings = {"api_keys_file": keys_of_all(folder), **settings}
    return create(Settings(**settings), parts)


def keys_of_all(folder: Path) -> Path:
    """A key for each scope alone and for each tenant, named after it; `operator` is for all."""
    return keys_file(
        folder / "keys",
        *(line(scope, scopes=[scope]) for scope in ("read", "write", "admin")),
        *(line(tenant, scopes=["read", "write"], tenant=tenant) for tenant in TENANTS),
        line("operator", tenant="*"),
        line("old", expires="2020-01-01"),
    )


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as client,
    ):
        yield client
