"""The node does what its OpenAPI document says, for right and for wrong requests alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from embedder.api.app import create_node_app
from m3.settings import Settings
from tests.processes import COMMANDS, running, wait_for_server
from tests.schemathesis_runs import SECONDS, assert_keeps_its_word

HOOKS = Path(__file__).with_name("beyond_schemas.py")


def document_of(url: str) -> dict[str, Any]:
    return httpx.get(f"{url}/openapi.json", trust_env=False).json()


def test_the_document_has_the_limits_of_the_model_once_it_is_loaded(stand_in):
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with running(arguments, {"M3_MAX_REQUEST_TEXTS": "77"}) as process:
        general = document_of(wait_for_server(process, ready=False))
        document = document_of(wait_for_server(process))
    assert general == create_node_app(Settings()).openapi()
    encode, tokenize, openai, rerank = (
        document["components"]["schemas"][f"{name}Request"]["properties"]
        for name in ("Encode", "Tokenize", "OpenAi", "Rerank")
    )
    assert encode["max_length"]["anyOf"][0]["maximum"] == 512
    assert tokenize["max_length"]["anyOf"][0]["maximum"] == 512
    assert openai["dimensions"]["anyOf"][0]["enum"] == [384]
    _, texts, ids, many_ids = openai["input"]["anyOf"]
    assert ids["items"]["maximum"] == many_ids["items"]["items"]["maximum"] == 30_521
    lists = [encode["input"], tokenize["input"], rerank["documents"], texts, many_ids]
    assert [items["maxItems"] for items in lists] == [77] * 5
    assert "maxItems" not in ids


@pytest.mark.timeout(SECONDS)
def test_every_operation_keeps_its_word(node: str, tmp_path: Path):
    assert_keeps_its_word(node, HOOKS, tmp_path)
