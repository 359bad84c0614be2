"""The node's OpenAPI document: with the limits of the model served, once that is loaded."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fastapi import FastAPI

from embedder.api.node import Node
from embedder.api.service import EmbeddingService
from m3.errors import NotReady


def install(app: FastAPI, node: Node) -> None:
    """Make `app.openapi` say what the model takes; while it is loading, what any may take."""
    general = app.openapi
    limited: dict[str, Any] | None = None

    def openapi() -> dict[str, Any]:
        nonlocal limited
        if limited is None:
            try:
                service = node.service
            except NotReady:
                return general()
            limited = _limited(general(), service, node.settings.max_request_texts)
        return limited

    app.openapi = openapi


def _limited(document: dict[str, Any], service: EmbeddingService, texts: int) -> dict[str, Any]:
    """A copy that says what the routes would refuse with 400 for this model, and only that."""
    document = deepcopy(document)
    bodies = document["components"]["schemas"]
    encode, tokenize, openai, rerank = (
        bodies[f"{name}Request"]["properties"]
        for name in ("Encode", "Tokenize", "OpenAi", "Rerank")
    )
    for body in (encode, tokenize):
        _value(body["max_length"])["maximum"] = service.info.max_tokens
        body["input"]["maxItems"] = texts
    rerank["documents"]["maxItems"] = texts
    _value(openai["dimensions"])["enum"] = [service.info.dimension]
    _, several, ids, several_ids = openai["input"]["anyOf"]
    for form in (ids, several_ids["items"]):
        form["items"]["maximum"] = service.tokenizer.vocabulary - 1
    for form in (several, several_ids):
        form["maxItems"] = texts
    return document


def _value(optional: dict[str, Any]) -> dict[str, Any]:
    """The schema of a member that may be null, for when it is not."""
    value, _ = optional["anyOf"]
    return value
