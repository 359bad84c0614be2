"""`/v1/encode` and what goes with it. The three representations in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from email.message import Message
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from embedder.api.answers import encode_answer
from embedder.api.node import node_of, service_of
from embedder.api.schemas import (
    EncodeAnswer,
    EncodeRequest,
    Model,
    Models,
    TokenizeAnswer,
    TokenizedItem,
    TokenizeRequest,
)
from embedder.api.service import EmbeddingService
from m3.codec import MEDIA_TYPE, to_bytes
from m3.errors import InvalidInput
from m3.types import Codec
from serving.abandon import unless_abandoned
from serving.openapi import problems
from serving.strict import router

FINGERPRINT_HEADER = "X-Model-Fingerprint"
Service = Annotated[EmbeddingService, Depends(service_of)]
routes = router(prefix="/v1", tags=["embeddings"])


@routes.post(
    "/encode",
    summary="Texts to dense, sparse and ColBERT representations",
    response_model=EncodeAnswer,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
        **problems(429, 503, 504),
    },
)
async def encode(request: Request, body: EncodeRequest, service: Service) -> Response:
    """JSON in fp32, or the binary form of `m3/codec.py`.

    The latter for `Accept: application/vnd.m3.embeddings;codec=int8|bf16|fp32`; queries are
    fp32 in it, whatever the codec.
    """
    refuse_too_many(request, body.input)
    codec = _binary_codec(request)
    batch = await unless_abandoned(
        request,
        service.encode(
            body.input,
            body.kind,
            outputs=body.outputs,
            codec=codec if codec and body.kind == "passage" else Codec.FP32,
            max_length=body.max_length,
            truncate=body.truncate,
            timeout=body.deadline_ms and body.deadline_ms / 1000,
        ),
    )
    if codec:
        return Response(await asyncio.to_thread(to_bytes, batch), media_type=MEDIA_TYPE)
    content = await asyncio.to_thread(encode_answer, batch, body.outputs)
    return Response(content, media_type="application/json")


@routes.post("/tokenize", summary="What the model reads of each text", responses=problems(503))
async def tokenize(request: Request, body: TokenizeRequest, service: Service) -> TokenizeAnswer:
    """Token ids, special ones included, and each as the vocabulary writes it."""
    refuse_too_many(request, body.input)
    tokenized = await service.tokenize(body.input, body.max_length)
    pieces = service.encoder.tokenizer.pieces
    return TokenizeAnswer(
        model=service.info.id,
        fingerprint=service.info.fingerprint,
        data=[
            TokenizedItem(index=i, ids=text.ids, pieces=pieces(text.ids), truncated=text.truncated)
            for i, text in enumerate(tokenized)
        ],
    )


@routes.get(
    "/tokenizer",
    summary="The model's tokenizer, as `tokenizers` reads it",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {}}},
        304: {"description": "The caller's copy is current."},
        **problems(503),
    },
)
async def tokenizer(request: Request, service: Service) -> Response:
    """Named by the model's fingerprint, as its ETag too."""
    fingerprint = service.info.fingerprint
    headers = {"ETag": f'"{fingerprint}"', FINGERPRINT_HEADER: fingerprint}
    if fingerprint in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = service.encoder.tokenizer.to_json()
    return Response(content, media_type="application/json", headers=headers)


@routes.get("/models", summary="The model this node serves", responses=problems(503))
async def models(service: Service) -> Models:
    return Models(data=[Model(**asdict(service.info))])


def refuse_too_many(request: Request, texts: Sequence[Any]) -> None:
    """Raises InvalidInput above the number of texts one request may have."""
    limit = node_of(request).settings.max_request_texts
    if len(texts) > limit:
        raise InvalidInput(f"input: {len(texts)} texts; one request may have {limit}: split it")


def _binary_codec(request: Request) -> Codec | None:
    """The codec of the binary form, or None where JSON is wanted."""
    for part in request.headers.get("accept", "").split(","):
        accepted = Message()
        accepted["content-type"] = part.strip()
        if accepted.get_content_type() != MEDIA_TYPE:
            continue
        name = accepted.get_param("codec", Codec.INT8.value)
        try:
            return Codec(str(name))
        except ValueError as error:
            known = ", ".join(Codec)
            raise InvalidInput(f"Accept: there is no codec {name!r}; take {known}") from error
    return None
