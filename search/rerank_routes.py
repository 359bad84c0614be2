"""`POST /v1/rerank`: the embedder node's, for callers who know the search API alone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, FailFast, Field

from search.parts import Parts, parts_of
from serving import strict
from serving.cohere import RerankAnswer, RerankError
from serving.keys.caller import MayRead

PATH = "/v1/rerank"

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": RerankError, "description": "An error that Cohere's clients can raise."}
    for status in (400, 401, 403, 408, 413, 415, 429, 500, 503, 504)
}


class RerankBody(BaseModel):
    """As Cohere's and Jina's; the node that reads it is what holds it."""

    model_config = ConfigDict(extra="allow")

    query: str = Field(json_schema_extra={"pattern": r"\S"})
    documents: Annotated[list[str | dict[str, Any]], FailFast()] = Field(
        min_length=1, description='Texts, or `{"text": …}` each.'
    )


def routes() -> APIRouter:
    """The rerank route."""
    router = strict.router(tags=["rerank"])

    @router.post(
        PATH,
        summary="Documents in the order of their score against a query",
        response_model=RerankAnswer,
        responses=_ERRORS,
    )
    async def rerank(
        body: RerankBody,
        caller: MayRead,  # noqa: ARG001 - every route asks who calls
        parts: Annotated[Parts, Depends(parts_of)],
    ) -> Response:
        """Exact scores by all three representations; nothing is stored.

        `top_n`, `return_documents`, `method` and `weights` as at a node's `/v1/rerank`.
        """
        answer = await parts.client.rerank(body.model_dump(exclude_unset=True))
        return Response(answer, media_type="application/json")

    del rerank
    return router
