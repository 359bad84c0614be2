"""The search API does what its OpenAPI document says, for right and for wrong requests alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from m3.settings import Settings
from search.app import create
from search.parts import Parts
from search.service import SearchService
from tests.schemathesis_runs import SECONDS, assert_keeps_its_word
from tests.search.library import AnyQuery, KnownQueries, Notes, library, passages_of
from tests.search.served import served

HOOKS = Path(__file__).with_name("beyond_schemas.py")


@pytest.fixture
def url() -> Iterator[str]:
    """The API over a library in memory, at a port of this machine."""

    @asynccontextmanager
    async def parts():
        known = KnownQueries(AnyQuery())
        service = SearchService(library(passages_of(30)), known)
        yield Parts(service, known, Notes(), node_ready=known.model)

    with served(create(Settings(), parts)) as address:
        yield address


@pytest.mark.timeout(SECONDS)
def test_every_operation_keeps_its_word(url: str, tmp_path: Path):
    assert_keeps_its_word(url, HOOKS, tmp_path, "--continue-on-failure")
