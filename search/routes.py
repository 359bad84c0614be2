"""`POST /v1/search`."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Response

from search.bodies import SearchBody
from search.metrics import SearchMetrics
from search.parts import Parts, parts_of
from search.response import SearchResponse, as_json
from serving import openapi, strict
from serving.keys.caller import MayRead


def routes(metrics: SearchMetrics) -> APIRouter:
    """The search routes, counting in `metrics`."""
    router = strict.router(tags=["search"])

    @router.post(
        "/v1/search",
        summary="Search a collection",
        response_class=Response,
        responses={
            200: {"description": "Hits, best first.", "model": SearchResponse},
            **openapi.problems(404, 409, 429, 503, 504),
        },
    )
    async def search(
        body: SearchBody, caller: MayRead, parts: Annotated[Parts, Depends(parts_of)]
    ) -> Response:
        """Candidates by dense and sparse, each scored exactly by all three representations.

        `dense` and `sparse` use their own leg; `dense+sparse`, `colbert` and `fusion` rank the
        union of both. `score` is Σwᵢsᵢ / Σwᵢ; every hit carries its three raw scores.
        """
        request = body.request(caller.tenant)
        response = await parts.service.search(request)
        metrics.observe(request, response)
        return Response(orjson.dumps(as_json(response)), media_type="application/json")

    del search
    return router
