"""The series that our programs really show, from their own /metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import asynccontextmanager

import httpx
import numpy as np
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.metrics import CollectionMetrics
from m3.settings import Settings
from m3.types import Codec
from search.app import create
from search.parts import Parts
from search.service import SearchService
from store.memory import MemoryStore
from tests.search.library import COLLECTION, KnownQueries, Notes, example, library, passages_of
from tests.store.examples import SPEC, document_rows

Series = Mapping[str, frozenset[str]]
"""By name, the labels it has."""


def series_of(text: str) -> Series:
    found = defaultdict[str, set[str]](set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] |= sample.labels.keys()
    return {name: frozenset(labels) for name, labels in found.items()}


def of_a_node(url: str) -> Series:
    """Of a node that has encoded a text and refused one that is too long for its deadline."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        encoded = client.post("/v1/encode", json={"input": ["a text"], "kind": "passage"})
        assert encoded.status_code == 200
        return series_of(client.get("/metrics").text)


async def of_the_search_api() -> Series:
    """Of an API that has searched, once without a node."""
    known = KnownQueries({"q": example(1, Codec.FP32)})

    @asynccontextmanager
    async def parts():
        yield Parts(SearchService(library(passages_of(5)), known), known, Notes(), known.model)

    app = create(Settings(), parts)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        asked = {"query": "q", "collection": COLLECTION, "method": "fusion"}
        assert (await client.post("/v1/search", json=asked)).status_code == 200
        return series_of((await client.get("/metrics")).text)


def of_the_checks() -> Series:
    """What `m3-ingest metrics --verify` writes of a collection."""
    store = MemoryStore()
    collection = store.create("docs", SPEC)
    collection.replace([document_rows(np.random.default_rng(1), "a")])
    found = CollectionMetrics({"docs": 1})
    found.hold(collection.status())
    found.check("docs", collection.verify())
    return series_of(generate_latest(found.registry).decode())
