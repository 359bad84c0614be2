"""The node does what its OpenAPI document says, for right and for wrong requests alike."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from embedder.api.app import create_node_app
from m3.settings import Settings

VOCABULARY = 30_522
DOCUMENT = create_node_app(Settings()).openapi()


def of_the_stand_in() -> dict[str, Any]:
    """The document with what it leaves to the model served: its length, width and vocabulary."""
    document = deepcopy(DOCUMENT)
    bodies = {
        name: body["properties"]
        for name, body in document["components"]["schemas"].items()
        if name.endswith("Request")
    }
    bodies["EncodeRequest"]["max_length"]["anyOf"][0]["maximum"] = 512
    bodies["TokenizeRequest"]["max_length"]["anyOf"][0]["maximum"] = 512
    bodies["OpenAiRequest"]["dimensions"] = {"enum": [384, None]}
    text_or_ids = bodies["OpenAiRequest"]["input"]["anyOf"]
    text_or_ids[2]["items"]["maximum"] = VOCABULARY - 1
    text_or_ids[3]["items"]["items"]["maximum"] = VOCABULARY - 1
    # One that passes is a 504, as documented, and taken for a failure here.
    del bodies["EncodeRequest"]["deadline_ms"]
    return document


schema = schemathesis.openapi.from_dict(of_the_stand_in())


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_the_node_serves_the_document_it_is_held_against(node: str) -> None:
    assert httpx.get(f"{node}/openapi.json", trust_env=False).json() == DOCUMENT


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_word(
    case: schemathesis.Case, node: str, session: requests.Session
) -> None:
    case.call_and_validate(base_url=node, session=session, timeout=30)
