"""`/v1/encode` and what goes with it. The three representations in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from email.message import Message
from functools import lru_cache
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from embedder.api.admission import refuse_too_long, refuse_too_many
from embedder.api.answers import dumps, encode_answer
from embedder.api.early import Entry
from embedder.api.node import service_of
from embedder.api.schemas import (
    EncodeAnswer,
    EncodeRequest,
    Model,
    Models,
    TokenizeAnswer,
    TokenizeRequest,
)
from embedder.api.service import EmbeddingService, refuse_truncated
from embedder.model.tokens import TokenizedText
from m3 import tracing
from m3.codec import MEDIA_TYPE, to_bytes
from m3.errors import InvalidInput
from m3.types import Codec, EmbeddingBatch
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
    """JSON in fp32, its vectors as lists or in base64, or the binary form of `m3/codec.py`.

    The latter for `Accept: application/vnd.m3.embeddings;codec=int8|bf16|fp32`; queries are
    fp32 in it, whatever the codec.
    """
    admit(request, body, service)
    codec = _binary_codec(request)
    batch = await unless_abandoned(request, _encode(request, body, service, codec or Codec.FP32))
    with tracing.span("node.answer") as span:
        if codec:
            content, media_type = await asyncio.to_thread(to_bytes, batch), MEDIA_TYPE
        else:
            content = await asyncio.to_thread(encode_answer, batch, body.outputs, body.encoding)
            media_type = "application/json"
        span.add({"m3.bytes": len(content), "m3.media_type": media_type})
    return Response(content, media_type=media_type)


def admit(request: Request, body: EncodeRequest, service: EmbeddingService) -> None:
    """Raises what is refused before it is tokenised."""
    refuse_too_many(request, body.input)
    _binary_codec(request)
    service.refuse_if_full(
        body.input, body.kind, max_length=body.max_length, timeout=_timeout(body)
    )


ENTRY = Entry("/v1/encode", EncodeRequest, admit, "query")


async def _encode(
    request: Request, body: EncodeRequest, service: EmbeddingService, codec: Codec
) -> EmbeddingBatch:
    tokenized = await service.tokenize(body.input, body.max_length)
    if not body.truncate:
        refuse_truncated(tokenized, body.max_length or service.info.max_tokens)
    refuse_too_long(request, tokenized)
    return await service.encode_tokens(
        tokenized,
        body.kind,
        outputs=body.outputs,
        codec=codec if body.kind == "passage" else Codec.FP32,
        timeout=_timeout(body),
    )


def _timeout(body: EncodeRequest) -> float | None:
    return body.deadline_ms and body.deadline_ms / 1000


@routes.post(
    "/tokenize",
    summary="What the model reads of each text",
    response_model=TokenizeAnswer,
    responses=problems(503),
)
async def tokenize(request: Request, body: TokenizeRequest, service: Service) -> Response:
    """Token ids, special ones included, and each as the vocabulary writes it."""
    refuse_too_many(request, body.input)
    tokenized = await service.tokenize(body.input, body.max_length)
    refuse_too_long(request, tokenized)
    content = await asyncio.to_thread(_tokenize_answer, service, tokenized)
    return Response(content, media_type="application/json")


def _tokenize_answer(service: EmbeddingService, tokenized: Sequence[TokenizedText]) -> bytes:
    """The JSON that `TokenizeAnswer` describes."""
    pieces = service.tokenizer.pieces
    answer = {
        "model": service.info.id,
        "fingerprint": service.info.fingerprint,
        "data": [
            {"index": i, "ids": text.ids, "pieces": pieces(text.ids), "truncated": text.truncated}
            for i, text in enumerate(tokenized)
        ],
    }
    return dumps(answer)


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
    content = service.tokenizer.to_json()
    return Response(content, media_type="application/json", headers=headers)


@routes.get("/models", summary="The model this node serves", responses=problems(503))
async def models(service: Service) -> Models:
    return Models(data=[model_of(service)])


def model_of(service: EmbeddingService) -> Model:
    """The node's model as `/v1/models` lists it."""
    return Model(**asdict(service.info), engine=service.engine)


def _binary_codec(request: Request) -> Codec | None:
    """The codec of the binary form, or None where JSON is wanted."""
    return _codec_named(request.headers.get("accept", ""))


@lru_cache(maxsize=64)
def _codec_named(accept: str) -> Codec | None:
    if MEDIA_TYPE not in accept.lower():
        return None
    for part in accept.split(","):
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
