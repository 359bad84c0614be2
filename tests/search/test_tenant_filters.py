"""Any filter for any tenant on the real engine: what the oracle finds, nothing of another's."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from m3.errors import NotFound
from m3.settings import load_settings
from m3.types import Chunk, Codec, Document, DocumentKey
from scoring.fusion import Method
from search.paging import Page
from search.request import SearchRequest
from search.response import Hit, Neighbour
from search.service import SearchService
from store.chunks import DocumentRows
from store.index.engine import Engine
from store.memory import MemoryStore
from store.opening import open_store
from tests.search.library import COLLECTION, KnownQueries, example, spec
from tests.store.examples import FIELDS
from tests.store.filter_strategies import filters

TENANTS = ("acme", "beta", "default", 'it\'s "odd" \\ %', "acm\u00e9")
EACH = 24
LANGUAGES = ("en", "de", "", 'q"\\x', "中", "a\nb")
CASES, DRILL_CASES = 250, 10_000


def metadata(rng: np.random.Generator) -> Mapping[str, Any]:
    """Values that the filters often name; each field is missing now and then."""
    values: dict[str, Any] = {
        "lang": LANGUAGES[rng.integers(len(LANGUAGES))],
        "year": int(rng.integers(-4, 5)),
        "price": [0.0, 0.1, 1.5, -2.0, 1e300, 3.0][rng.integers(6)],
        "open": bool(rng.integers(2)),
        "tags": [tag for tag in "xyz" if rng.integers(2)],
    }
    return {name: value for name, value in values.items() if rng.random() < 0.8}


def documents() -> Iterator[DocumentRows]:
    rng = np.random.default_rng(11)
    for number in range(EACH):
        for tenant in TENANTS:
            parts = [f"{tenant} has text {number}.{part}\n" for part in range(1 + number % 3)]
            document = Document(f"d{number}", "".join(parts), metadata=metadata(rng), tenant=tenant)
            starts = [sum(map(len, parts[:part])) for part in range(len(parts))]
            yield DocumentRows(
                document,
                document.content_hash(),
                [
                    Chunk(part, text, start, start + len(text))
                    for part, (text, start) in enumerate(zip(parts, starts, strict=True))
                ],
                [example(10 * number + part) for part in range(len(parts))],
            )


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[SearchService, SearchService]]:
    """Over the real store, and over the oracle; the same rows in both."""
    here = load_settings(home=tmp_path_factory.mktemp("tenants"), milvus_timeout=120.0)
    node, rows = KnownQueries({"q": example(1, Codec.FP32)}), list(documents())
    real, oracle = open_store(here), MemoryStore()
    for store in (real, oracle):
        store.create(COLLECTION, dataclasses.replace(spec(), fields=FIELDS)).replace(rows)
    yield SearchService(real, node), SearchService(oracle, node)
    real.close()
    Engine.of(here).stop()


requests = st.builds(
    dict,
    query=st.just("q") | st.integers(0, EACH).map(lambda number: f"d{number}"),
    method=st.sampled_from((Method.DENSE, Method.SPARSE, Method.FUSION)),
    filter=st.none() | filters(),
    must=st.just(()) | st.sampled_from((("text",), ("acme",), ("beta has", "text"), ("never",))),
    must_not=st.just(()) | st.sampled_from((("acme",), ("5.1",))),
    group_by=st.sampled_from((None, "document")),
    neighbours=st.integers(0, 2),
    top_k=st.sampled_from((3, 100)),
)
cases = given(tenant=st.sampled_from((*TENANTS, "nobody")), asked=requests)


def check(
    services: tuple[SearchService, SearchService], tenant: str, asked: dict[str, Any]
) -> None:
    """The first two pages of a search, or of one for what is similar to a document."""
    if asked["query"] != "q":
        asked = {**asked, "query": DocumentKey(tenant, "default", asked["query"])}
    request = SearchRequest(collection=COLLECTION, tenant=tenant, **asked)
    found, expected = (answers(service, request) for service in services)
    texts = [text for hit in found for text in (hit.text, *map(_text, hit.neighbours or ()))]
    assert all(text.startswith(f"{tenant} has text ") for text in texts)
    assert [_facts(hit) for hit in found] == [_facts(hit) for hit in expected]


def answers(service: SearchService, request: SearchRequest) -> list[Hit]:
    try:
        first = asyncio.run(service.search(request))
    except NotFound:
        assert request.query == DocumentKey(request.tenant, "default", f"d{EACH}") or (
            request.tenant == "nobody"
        )
        return []
    if first.page is None:
        return list(first.hits)
    following = dataclasses.replace(request, page=Page.read(first.page))
    return [*first.hits, *asyncio.run(service.search(following)).hits]


def _text(neighbour: Neighbour) -> str:
    return neighbour.text


def _facts(hit: Hit) -> tuple[Any, ...]:
    others = sorted(each.id for each in hit.chunks or ())
    return hit.id, hit.text, hit.metadata, others, [each.id for each in hit.neighbours or ()]


@cases
@settings(max_examples=CASES)
def test_a_filter_finds_what_the_oracle_finds_and_nothing_of_others(services, **case):
    check(services, **case)


@pytest.mark.drill
@pytest.mark.timeout(1800)
@cases
@settings(
    max_examples=DRILL_CASES,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_ten_thousand_filters_of_tenants_find_nothing_of_others(services, **case):
    check(services, **case)
