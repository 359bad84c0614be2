"""`/v1/embeddings`: the dense vector in OpenAI's shape, errors included."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal, TypeAlias, cast

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, WithJsonSchema
from starlette.responses import Response

from embedder.api.admission import refuse_too_long, refuse_too_many
from embedder.api.answers import dumps, vector
from embedder.api.early import Entry
from embedder.api.routes import Service, model_of
from embedder.api.schemas import TEXT_SCHEMA, Count, Model
from embedder.api.service import EmbeddingService, refuse_truncated
from embedder.model.tokens import TextTokenizer, TokenizedText
from m3.errors import InvalidInput, NotFound
from m3.types import EmbeddingBatch, Kind
from serving.abandon import unless_abandoned
from serving.problems import Problem
from serving.strict import router

PATH = "/v1/embeddings"
MODEL_PATH = "/v1/models/{model_id:path}"
routes = router(tags=["embeddings"])


Inputs: TypeAlias = list[str] | list[list[int]]


def _inputs(value: Any) -> Inputs:
    """A list, whichever of the four forms it came in.

    One pass in place of a union of four types, each of which would list its faults.
    """
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not items:
        raise ValueError("there must be at least one text")
    if isinstance(value, list) and type(items[0]) in _NUMBERS:
        items = [items]
    read = _ids if isinstance(items[0], list) else _text
    inputs = [read(item) for item in items]
    for index, item in enumerate(inputs):
        if item is None:
            raise ValueError(f"item {index} is neither a text nor token ids like the others")
        if not item:
            raise ValueError(f"item {index} is empty")
    return cast("Inputs", inputs)


def _text(item: Any) -> str | None:
    """None for another thing, "" for nothing but blanks."""
    if not isinstance(item, str):
        return None
    return item if item.strip() else ""


def _ids(item: Any) -> list[int] | None:
    """Whole numbers, those written as 5.0 among them; None for another thing."""
    if not isinstance(item, list):
        return None
    values = cast("list[Any]", item)
    kinds = set(map(type, values))
    if float in kinds and kinds <= _NUMBERS and all(map(float.is_integer, map(float, values))):
        values, kinds = list(map(int, values)), {int}
    return values if kinds <= {int} and min(values, default=0) >= 0 else None


_NUMBERS = {int, float}
_IDS: dict[str, Any] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "minItems": 1,
}
_FORMS = [
    TEXT_SCHEMA,
    {"type": "array", "items": TEXT_SCHEMA, "minItems": 1},
    _IDS,
    {"type": "array", "items": _IDS, "minItems": 1},
]
Input = Annotated[Any, AfterValidator(_inputs), WithJsonSchema({"anyOf": _FORMS})]


class OpenAiRequest(BaseModel):
    """As OpenAI's; what it does not know is passed over, as OpenAI's clients expect."""

    model_config = ConfigDict(extra="ignore")

    input: Input = Field(description="A text, texts, the token ids of a text, or those of texts.")
    model: str | None = Field(default=None, description="Any; a node serves one model.")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="Unset or null, as some clients write it: float."
    )
    dimensions: Count | None = Field(default=None, description="The model's own, or unset.")
    truncate: StrictBool = Field(
        default=False,
        description="Whether texts longer than the model's limit are cut; if not, one that is "
        "answers 400.",
    )


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
    fault = OpenAiFault(
        message=problem.detail, type=kind, param=_param(problem.detail), code=problem.code
    )
    return OpenAiError(error=fault).model_dump()


def _param(message: str) -> str | None:
    """The parameter at fault, as every refusal of one begins with it: `input[3]: …`."""
    name = message.partition(":")[0].partition("[")[0]
    return name if name in OpenAiRequest.model_fields else None


_ERROR: dict[str, Any] = {"model": OpenAiError, "description": "An error in OpenAI's shape."}
_ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((401, 403, 500, 503), _ERROR)


@routes.post(
    PATH,
    summary="The dense vectors of texts, as OpenAI answers them",
    response_model=OpenAiAnswer,
    responses={**_ERRORS, **dict.fromkeys((400, 408, 413, 415, 429), _ERROR)},
)
async def embeddings(request: Request, body: OpenAiRequest, service: Service) -> Response:
    """Token ids are those of `/v1/tokenizer`, with or without the special ones."""
    admit(request, body, service)
    batch = await unless_abandoned(request, _encode(request, body, service))
    tokens = int(batch.tokens.sum())
    encoding = body.encoding_format or "float"
    answer = {
        "object": "list",
        "model": batch.model,
        "data": [
            {"object": "embedding", "index": i, "embedding": vector(v, encoding)}
            for i, v in enumerate(batch.dense)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(await asyncio.to_thread(dumps, answer), media_type="application/json")


@routes.get(
    MODEL_PATH,
    summary="The model of that name, if it is served",
    responses={**_ERRORS, 404: _ERROR},
)
async def model(model_id: str, service: Service) -> Model:
    if model_id != service.info.id:
        raise NotFound(f"this node does not serve {model_id!r}; it serves {service.info.id}")
    return model_of(service)


def admit(request: Request, body: OpenAiRequest, service: EmbeddingService) -> None:
    """Raises what is refused before it is tokenised."""
    if body.dimensions not in (None, service.info.dimension):
        raise InvalidInput(
            f"dimensions: the model has {service.info.dimension}, and they cannot be cut to "
            f"{body.dimensions}"
        )
    refuse_too_many(request, body.input)
    service.refuse_if_full(body.input, _kind(body))


ENTRY = Entry(PATH, OpenAiRequest, admit, "query")


def _kind(body: OpenAiRequest) -> Kind:
    # One text is somebody waiting; many are a job.
    return "query" if len(body.input) == 1 else "passage"


async def _encode(
    request: Request, body: OpenAiRequest, service: EmbeddingService
) -> EmbeddingBatch:
    limit = service.info.max_tokens
    if isinstance(body.input[0], str):
        tokenized = await service.tokenize(cast("list[str]", body.input))
    else:
        tokenizer = service.tokenizer
        tokenized = [
            _read(tokenizer, ids, index, limit)
            for index, ids in enumerate(cast("list[list[int]]", body.input))
        ]
    if not body.truncate:
        refuse_truncated(tokenized, limit)
    refuse_too_long(request, tokenized)
    return await service.encode_tokens(tokenized, _kind(body), outputs=("dense",))


def _read(tokenizer: TextTokenizer, ids: list[int], index: int, limit: int) -> TokenizedText:
    """Token ids as the model reads them, its special tokens added where they are missing."""
    if max(ids) >= tokenizer.vocabulary:
        raise InvalidInput(
            f"input[{index}]: there is no token {max(ids)}; /v1/tokenizer has the model's ids"
        )
    special = tokenizer.special
    if ids[0] == special.cls and ids[-1] == special.eos:
        ids = ids[1:-1]
    return tokenizer.wrap(ids, limit)
