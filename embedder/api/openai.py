"""`/v1/embeddings`: the dense vector in OpenAI's shape, errors included."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any, Literal, cast

import numpy as np
import orjson
from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from starlette.responses import Response

from embedder.api.routes import Service, refuse_too_many
from embedder.api.schemas import NOT_BLANK
from embedder.api.service import EmbeddingService, refuse_truncated
from embedder.model.tokens import TextTokenizer, TokenizedText
from m3.errors import InvalidInput
from m3.types import Dense, EmbeddingBatch, Kind
from serving.abandon import unless_abandoned
from serving.problems import Problem
from serving.strict import router

PATH = "/v1/embeddings"
routes = router(tags=["embeddings"])


def _one_kind(value: Any) -> Any:
    """Refuse in one line what a union of four types would refuse in eight."""
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not items:
        raise ValueError("there must be at least one text")
    if isinstance(value, list) and all(map(_is_id, items)):
        return items
    wanted = list if isinstance(items[0], list) else str
    for index, item in enumerate(items):
        ids = cast("list[Any]", item) if isinstance(item, list) else []
        if not isinstance(item, wanted) or not all(map(_is_id, ids)):
            raise ValueError(f"item {index} is neither a text nor token ids like the others")
        if not (item.strip() if isinstance(item, str) else item):
            raise ValueError(f"item {index} is empty")
    return cast("Any", value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


Text = Annotated[StrictStr, NOT_BLANK]
Texts = Annotated[list[Text], Field(min_length=1)]
Ids = Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=1)]
Input = Annotated[
    Text | Texts | Ids | Annotated[list[Ids], Field(min_length=1)], BeforeValidator(_one_kind)
]


class OpenAiRequest(BaseModel):
    """As OpenAI's; what it does not know is passed over, as OpenAI's clients expect."""

    model_config = ConfigDict(extra="ignore")

    input: Input = Field(description="A text, texts, the token ids of a text, or those of texts.")
    model: str | None = Field(default=None, description="Any; a node serves one model.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, description="The model's own, or unset.")
    truncate: StrictBool = Field(default=False, description="Cut texts that are too long.")


class OpenAiEmbedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class OpenAiUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class OpenAiAnswer(BaseModel):
    object: Literal["list"] = "list"
    model: str
    data: list[OpenAiEmbedding]
    usage: OpenAiUsage


class OpenAiFault(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class OpenAiError(BaseModel):
    error: OpenAiFault


def error_shape(problem: Problem) -> dict[str, Any]:
    """A problem as OpenAI tells it."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(
        problem.status, "invalid_request_error" if problem.status < 500 else "server_error"
    )
    param = problem.errors[0]["item"] or None if problem.errors else None
    fault = OpenAiFault(message=problem.detail, type=kind, param=param, code=problem.code)
    return OpenAiError(error=fault).model_dump()


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAiError, "description": "An error in OpenAI's shape."}
    for status in (400, 401, 413, 429, 500, 503)
}


@routes.post(
    PATH,
    summary="The dense vectors of texts, as OpenAI answers them",
    response_model=OpenAiAnswer,
    responses=_ERRORS,
)
async def embeddings(request: Request, body: OpenAiRequest, service: Service) -> Response:
    """Token ids are those of `/v1/tokenizer`, with or without the special ones."""
    if body.dimensions not in (None, service.info.dimension):
        raise InvalidInput(
            f"dimensions: the model has {service.info.dimension}, and they cannot be cut to "
            f"{body.dimensions}"
        )
    inputs = _inputs(body.input)
    refuse_too_many(request, inputs)
    batch = await unless_abandoned(request, _encode(service, inputs, truncate=body.truncate))
    tokens = int(batch.tokens.sum())
    answer = {
        "object": "list",
        "model": batch.model,
        "data": [
            {"object": "embedding", "index": i, "embedding": _vector(v, body.encoding_format)}
            for i, v in enumerate(batch.dense)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    content = await asyncio.to_thread(orjson.dumps, answer, None, orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json")


def _inputs(value: str | list[str] | list[int] | list[list[int]]) -> list[str] | list[list[int]]:
    """A list, whichever of the four forms it came in."""
    if isinstance(value, str):
        return [value]
    if isinstance(value[0], int):
        return [cast("list[int]", value)]
    return cast("list[str] | list[list[int]]", value)


async def _encode(
    service: EmbeddingService, inputs: list[str] | list[list[int]], *, truncate: bool
) -> EmbeddingBatch:
    # One text is somebody waiting; many are a job.
    kind: Kind = "query" if len(inputs) == 1 else "passage"
    if isinstance(inputs[0], str):
        texts = cast("list[str]", inputs)
        return await service.encode(texts, kind, outputs=("dense",), truncate=truncate)
    limit, tokenizer = service.info.max_tokens, service.encoder.tokenizer
    tokenized = [
        _read(tokenizer, ids, index, limit)
        for index, ids in enumerate(cast("list[list[int]]", inputs))
    ]
    if not truncate:
        refuse_truncated(tokenized, limit)
    return await service.encode_tokens(tokenized, kind, outputs=("dense",))


def _read(tokenizer: TextTokenizer, ids: list[int], index: int, limit: int) -> TokenizedText:
    """Token ids as the model reads them, its special tokens added where they are missing."""
    unknown = next((i for i in ids if not 0 <= i < tokenizer.vocabulary), None)
    if unknown is not None:
        raise InvalidInput(
            f"input[{index}]: there is no token {unknown}; /v1/tokenizer has the model's ids"
        )
    special = tokenizer.special
    if ids[0] == special.cls and ids[-1] == special.eos:
        ids = ids[1:-1]
    return tokenizer.wrap(ids, limit)


def _vector(vector: Dense, encoding: str) -> Dense | str:
    """A list of floats, or their little-endian fp32 bytes in base64."""
    if encoding == "float":
        return vector
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode("ascii")
