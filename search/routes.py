"""`POST /v1/search`, many of them at once, and searches for what is similar to a document."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from search.batch import BatchBody, search_all
from search.bodies import SearchBody, SimilarBody
from search.metrics import SearchMetrics
from search.parts import Parts, parts_of
from search.response import SearchResponse, as_json
from serving import openapi, strict
from serving.keys.caller import MayRead

_Parts = Annotated[Parts, Depends(parts_of)]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Hits, best first.", "model": SearchResponse},
    **openapi.problems(404, 409, 410, 429, 503, 504),
}
_RESULTS: dict[str, Any] = {
    "description": "An answer or a problem for each, in order.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["results"],
                "properties": {
                    "results": {
                        "type": "array",
                        "items": {
                            "anyOf": [
                                {"$ref": "#/components/schemas/SearchResponse"},
                                {"$ref": "#/components/schemas/Problem"},
                            ]
                        },
                    }
                },
            }
        }
    },
}


def routes(metrics: SearchMetrics) -> APIRouter:
    """The search routes, counting in `metrics`."""
    router = strict.router(tags=["search"])

    @router.post(
        "/v1/search", summary="Search a collection", response_class=Response, responses=_ANSWERS
    )
    async def search(body: SearchBody, caller: MayRead, parts: _Parts) -> Response:
        """Candidates by dense and sparse, each scored exactly by all three representations.

        `dense` and `sparse` use their own leg; `dense+sparse`, `colbert` and `fusion` rank the
        union of both. `score` is Σwᵢsᵢ / Σwᵢ; every hit carries its three raw scores.
        """
        request = body.request(caller.tenant)
        response = await parts.service.search(request)
        metrics.observe(request, response)
        return _json(as_json(response))

    @router.post(
        "/v1/search/batch",
        summary="Up to 32 searches at once",
        response_class=Response,
        responses={200: _RESULTS, **openapi.problems(429, 503)},
    )
    async def batch(request: Request, body: BatchBody, caller: MayRead, parts: _Parts) -> Response:
        """Side by side, a few at a time. One that fails takes no other with it."""
        results = await search_all(parts.service, body.searches, request, caller.tenant, metrics)
        return _json({"results": results})

    @router.post(
        "/v1/similar",
        summary="Search for what is similar to a document",
        response_class=Response,
        responses=_ANSWERS,
    )
    async def similar(body: SimilarBody, caller: MayRead, parts: _Parts) -> Response:
        """By the vectors that are stored of it; nothing is embedded. It is not among the hits."""
        request = body.request(caller.tenant)
        response = await parts.service.search(request)
        metrics.observe(request, response)
        return _json(as_json(response))

    del search, batch, similar
    return router


def _json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
