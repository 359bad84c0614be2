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

from m3.settings import load_settings
from m3.types import Codec, Document
from scoring.fusion import Method
from search.request import SearchRequest
from search.service import SearchService
from store.contract import DocumentRows
from store.engine import Engine
from store.memory import MemoryStore
from store.opening import open_store
from tests.search.library import COLLECTION, KnownQueries, example, spec
from tests.search.tenants import rows_of
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
            text = f"{tenant} has text {number}"
            document = Document(f"d{number}", text, metadata=metadata(rng), tenant=tenant)
            yield rows_of(document, example(number))


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[SearchService, SearchService]]:
    """Over the real store, and over the oracle; the same rows in both."""
    here = load_settings(home=tmp_path_factory.mktemp("tenants"))
    node, rows = KnownQueries({"q": example(1, Codec.FP32)}), list(documents())
    real, oracle = open_store(here), MemoryStore()
    for store in (real, oracle):
        store.create(COLLECTION, dataclasses.replace(spec(), fields=FIELDS)).replace(rows)
    yield SearchService(real, node), SearchService(oracle, node)
    real.close()
    Engine.of(here).stop()


cases = given(
    tenant=st.sampled_from((*TENANTS, "nobody")),
    filter=st.none() | filters(),
    method=st.sampled_from((Method.DENSE, Method.SPARSE, Method.FUSION)),
    top_k=st.sampled_from((3, 100)),
)


def check(
    services: tuple[SearchService, SearchService],
    tenant: str,
    filter: dict[str, Any] | None,
    method: Method,
    top_k: int,
) -> None:
    request = SearchRequest("q", COLLECTION, method, top_k=top_k, filter=filter, tenant=tenant)
    found, expected = (asyncio.run(service.search(request)).hits for service in services)
    assert {hit.text.removesuffix(f" has text {hit.document_id[1:]}") for hit in found} <= {tenant}
    assert [hit.id for hit in found] == [hit.id for hit in expected]
    assert [hit.metadata for hit in found] == [hit.metadata for hit in expected]


@cases
@settings(max_examples=CASES, deadline=None)
def test_a_filter_finds_what_the_oracle_finds_and_nothing_of_others(services, **case):
    check(services, **case)


@pytest.mark.drill
@pytest.mark.timeout(1800)
@cases
@settings(
    max_examples=DRILL_CASES,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_ten_thousand_filters_of_tenants_find_nothing_of_others(services, **case):
    check(services, **case)
