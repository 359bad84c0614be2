"""Whether a node takes a request on: how many texts and tokens one may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from embedder.api.node import node_of
from embedder.model.tokens import TokenizedText
from m3.errors import InvalidInput, PayloadTooLarge
from serving.observe import note


def refuse_too_many(request: Request, texts: Sequence[Any], item: str = "input") -> None:
    """Raises InvalidInput above the number of texts one request may have."""
    limit = node_of(request).settings.max_request_texts
    note(request, texts=len(texts))
    if len(texts) > limit:
        raise InvalidInput(f"{item}: {len(texts)} texts; one request may have {limit}: split it")


def refuse_too_long(request: Request, tokenized: Sequence[TokenizedText]) -> None:
    """Raises PayloadTooLarge above the tokens that one request's texts may have together."""
    limit = node_of(request).settings.max_request_tokens
    tokens = sum(len(text.ids) for text in tokenized)
    note(request, tokens=tokens)
    if tokens > limit:
        raise PayloadTooLarge(
            f"{tokens} tokens at once; one request may have {limit}: split it, "
            "or ask for less of each text"
        )
