"""`/v1/rerank` and `/v2/rerank`: documents scored against a query, in Cohere's and Jina's shape."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast

import numpy as np
from fastapi import Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StrictBool,
    StrictFloat,
    WithJsonSchema,
)
from starlette.responses import Response

from embedder.api.admission import refuse_too_long, refuse_too_many
from embedder.api.answers import dumps, finite
from embedder.api.early import Entry
from embedder.api.routes import Service
from embedder.api.schemas import MOST_TEXTS, TEXT_SCHEMA, Count, Length, Text
from embedder.api.service import EmbeddingService
from m3.types import EmbeddingBatch
from scoring.exact import all_scores
from scoring.fusion import METHOD_WEIGHTS, PRESETS, Method, Weights, fuse, preset_named
from serving.abandon import unless_abandoned
from serving.bodies import Body
from serving.cohere import RerankAnswer, RerankError
from serving.strict import router

PATHS = ("/v1/rerank", "/v2/rerank")
routes = router(tags=["rerank"])


_ONE_COUNTS: dict[str, Any] = {
    "anyOf": [
        {"required": [name], "properties": {name: {"exclusiveMinimum": 0}}}
        for name in ("dense", "sparse", "colbert")
    ]
}


class WeightsBody(Body):
    """How much each score counts; one that is left out counts as 0. Only ratios matter."""

    model_config = ConfigDict(json_schema_extra=_ONE_COUNTS)

    dense: StrictFloat = Field(default=0.0, ge=0, le=1e6)
    sparse: StrictFloat = Field(default=0.0, ge=0, le=1e6)
    colbert: StrictFloat = Field(default=0.0, ge=0, le=1e6)


def _text_of(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    document = cast("dict[str, Any]", value)
    if "text" not in document:
        raise ValueError("an object must have a text")
    return document["text"]


def _weights_of(value: Any) -> Any:
    return asdict(preset_named(value)) if isinstance(value, str) else value


_OBJECT = {"type": "object", "properties": {"text": TEXT_SCHEMA}, "required": ["text"]}
_PRESET = {"type": "string", "enum": [*PRESETS]}
Passage = Annotated[
    Text, BeforeValidator(_text_of), WithJsonSchema({"anyOf": [TEXT_SCHEMA, _OBJECT]})
]
AnyWeights = Annotated[
    WeightsBody,
    BeforeValidator(_weights_of),
    WithJsonSchema({"anyOf": [_PRESET, WeightsBody.model_json_schema()]}),
]


class RerankRequest(BaseModel):
    """As Cohere's and Jina's; what it does not know is passed over, as their clients expect."""

    model_config = ConfigDict(extra="ignore")

    query: Text
    documents: Annotated[
        list[Passage],
        FailFast(),
        Field(min_length=1, max_length=MOST_TEXTS, description='Texts, or `{"text": …}` each.'),
    ]
    model: str | None = Field(default=None, description="Any; a node serves one model.")
    top_n: Count | None = Field(default=None, description="The best so many; unset: all.")
    return_documents: StrictBool | None = Field(
        default=None, description="Whether each result carries its text."
    )
    max_tokens_per_doc: Length | None = Field(
        default=None,
        description="Tokens to read of each document; never more than the model's limit.",
    )
    rank_fields: list[Literal["text"]] | None = Field(
        default=None,
        max_length=1,
        description="Documents are ranked by their text alone.",
    )
    method: Method = Field(default=Method.FUSION, description="Which scores count, and how much.")
    weights: AnyWeights | None = Field(
        default=None, description="In place of the method's: an object, or a preset's name."
    )

    def fusion(self) -> Weights:
        """Raises InvalidInput where all weights are zero."""
        if self.weights is None:
            return METHOD_WEIGHTS[self.method]
        return Weights(self.weights.dense, self.weights.sparse, self.weights.colbert)


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": RerankError, "description": "An error that Cohere's clients can raise."}
    for status in (400, 401, 403, 408, 413, 415, 429, 500, 503)
}


@routes.post(
    PATHS[0],
    summary="Documents in the order of their score against a query",
    response_model=RerankAnswer,
    responses=_ERRORS,
)
@routes.post(
    PATHS[1],
    summary="The same, for clients of the second version",
    response_model=RerankAnswer,
    responses=_ERRORS,
)
async def rerank(request: Request, body: RerankRequest, service: Service) -> Response:
    """Every text is read once, and all three scores are exact."""
    admit(request, body, service)
    weights = body.fusion()
    query, documents = await unless_abandoned(request, _encode(request, body, service))
    results = await asyncio.to_thread(_results, body, query, documents, weights)
    tokens = int(query.tokens.sum() + documents.tokens.sum())
    answer = {
        "id": request.state.request_id,
        "model": documents.model,
        "fingerprint": documents.fingerprint,
        "results": results,
        "meta": {
            "api_version": {"version": request.url.path[2]},
            "billed_units": {"input_tokens": tokens},
            "tokens": {"input_tokens": tokens},
        },
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(dumps(answer), media_type="application/json")


def admit(request: Request, body: RerankRequest, service: EmbeddingService) -> None:
    """Raises what is refused before it is tokenised."""
    refuse_too_many(request, body.documents, "documents")
    body.fusion()
    service.refuse_if_full(body.documents, "passage", max_length=body.max_tokens_per_doc)


ENTRIES = tuple(Entry(path, RerankRequest, admit, "passage") for path in PATHS)


async def _encode(
    request: Request, body: RerankRequest, service: EmbeddingService
) -> tuple[EmbeddingBatch, EmbeddingBatch]:
    """The query and the documents, in fp32, each in the lane of its kind."""
    limit = service.info.max_tokens
    query = await service.tokenize([body.query])
    documents = await service.tokenize(body.documents, min(body.max_tokens_per_doc or limit, limit))
    refuse_too_long(request, [*query, *documents])
    try:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(service.encode_tokens(query, "query"))
            searched = group.create_task(service.encode_tokens(documents, "passage"))
    except BaseExceptionGroup as failed:
        # The first failure cancelled the other; handlers expect it bare.
        raise failed.exceptions[0] from failed
    return asked.result(), searched.result()


def _results(
    body: RerankRequest, query: EmbeddingBatch, documents: EmbeddingBatch, weights: Weights
) -> list[dict[str, Any]]:
    scores = finite(all_scores(query.row(0), documents))
    fused = finite(fuse(scores, weights))
    best = np.argsort(-fused, kind="stable")[: body.top_n]
    results: list[dict[str, Any]] = []
    for index, score, legs in zip(best.tolist(), fused[best], scores[best], strict=True):
        dense, sparse, colbert = legs.tolist()
        result: dict[str, Any] = {
            "index": index,
            "relevance_score": float(score),
            "scores": {"dense": dense, "sparse": sparse, "colbert": colbert},
        }
        if body.return_documents:
            result["document"] = {"text": body.documents[index]}
        results.append(result)
    return results
