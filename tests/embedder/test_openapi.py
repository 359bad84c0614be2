"""The node does what its OpenAPI document says, for right and for wrong requests alike."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from embedder.api.app import create_node_app
from m3.settings import Settings
from tests.schemathesis_runs import SECONDS, assert_keeps_its_word

HOOKS = Path(__file__).with_name("beyond_schemas.py")


async def document_of(app: FastAPI) -> dict[str, Any]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return (await client.get("/openapi.json")).json()


@pytest.mark.anyio
async def test_the_document_has_the_limits_of_the_model_once_it_is_loaded(stand_in: Path):
    loaded = asyncio.Event()
    app = create_node_app(
        Settings(model=str(stand_in), max_request_texts=77), on_loaded=lambda _: loaded.set()
    )
    # Asked before the app begins to load, so that it cannot have loaded yet.
    general = await document_of(app)
    async with app.router.lifespan_context(app):
        await asyncio.wait_for(loaded.wait(), 120)
        document = await document_of(app)
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
