"""A library in memory behind the API; XQuAD's paragraphs as they really are; FlagEmbedding."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from embedder.client import EmbedderClient
from evaluation.judged.beir import TestCollection, load
from m3.settings import Settings
from m3.types import Chunk, Codec, Document, EmbeddingBatch, ModelInfo
from search.app import create
from search.parts import Parts
from search.service import SearchService
from store.chunks import DocumentRows
from store.memory import MemoryStore
from store.spec import CollectionSpec
from tests.browser import browser, missing, visit
from tests.search.library import KnownQueries, Notes, example, library, passages_of
from tests.search.little import LAME, little_app
from tests.search.reader import BOOKS, LIBRARY, Reader
from tests.search.served import PATIENT, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

CODECS = (Codec.INT8, Codec.FP32)


@pytest.fixture(scope="session")
def xquad(data: Path) -> TestCollection:
    return load(data / "xquad-en")


@pytest.fixture(scope="session")
def paragraphs(xquad: TestCollection) -> list[Document]:
    return [parsed.document for parsed in list(xquad.documents())[::2]]


@pytest.fixture(scope="session")
def embedded(
    node: str, paragraphs: list[Document]
) -> tuple[ModelInfo, Mapping[Codec, EmbeddingBatch]]:
    """The node's model, and the paragraphs as it represents them in each codec."""

    async def encode() -> tuple[ModelInfo, Mapping[Codec, EmbeddingBatch]]:
        async with EmbedderClient([node]) as client:
            texts = [document.text for document in paragraphs]
            # At once: the node computes a text that both ask for only once.
            asked = (client.encode(texts, "passage", codec=codec) for codec in CODECS)
            batches = await asyncio.gather(*asked)
            return await client.model(), dict(zip(CODECS, batches, strict=True))

    return asyncio.run(encode())


@pytest.fixture(scope="session")
def paragraph_store(
    paragraphs: list[Document], embedded: tuple[ModelInfo, Mapping[Codec, EmbeddingBatch]]
) -> MemoryStore:
    """One collection a codec, named after it; one chunk a paragraph."""
    model, batches = embedded
    store = MemoryStore()
    for codec, batch in batches.items():
        spec = CollectionSpec(
            model=model.id,
            fingerprint=model.fingerprint,
            precision=model.precision,
            dimension=model.dimension,
            codec=codec,
        )
        store.create(codec, spec).replace(
            [
                DocumentRows(
                    document,
                    document.content_hash(),
                    [Chunk(0, document.text, 0, len(document.text))],
                    [batch.row(i)],
                )
                for i, document in enumerate(paragraphs)
            ]
        )
    return store


@pytest.fixture(scope="module")
def flag(stand_in: Path) -> Iterator[Any]:
    """FlagEmbedding on the stand-in, in fp32."""
    import torch
    from FlagEmbedding import BGEM3FlagModel

    # Threads wait for each other at every step, and on a busy machine most of all.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield BGEM3FlagModel(
        str(stand_in),
        use_fp16=False,
        pooling_method="mean",
        devices="cpu",
        query_max_length=512,
        passage_max_length=512,
    )
    torch.set_num_threads(threads)


@pytest.fixture
def known() -> KnownQueries:
    """In place of a node: it knows the query `q`."""
    return KnownQueries({"q": example(1, Codec.FP32)})


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def api(known: KnownQueries, notes: Notes) -> AsyncIterator[httpx.AsyncClient]:
    """The API over a library of thirty passages."""

    @asynccontextmanager
    async def parts():
        service = SearchService(library(passages_of(30)), known)
        yield Parts(service, known, notes, node_ready=known.model)

    app = create(Settings(), parts)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def books() -> Iterator[str]:
    """The URL of an API over a few books."""
    with served(little_app({BOOKS: LIBRARY, LAME: LIBRARY})) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # Playwright holds the thread's event loop while it runs: other modules have asynchronous tests.
    if missing():
        pytest.skip(f"not installed: {missing()}")
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def loaded(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that need not load the page's files anew each time."""
    with chromium.new_context() as context:
        yield context


@pytest.fixture
def reader(loaded: BrowserContext, books: str) -> Iterator[Reader]:
    """Whose browser has nothing to complain of, in the end."""
    with httpx.Client(base_url=books, trust_env=False, timeout=PATIENT) as api:
        reader = Reader(visit(loaded, books), api)
        yield reader
        reader.page.close()
        assert reader.visit.complaints == []
        assert reader.visit.hosts() <= {str(api.base_url.netloc, "ascii")}
