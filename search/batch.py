"""Many searches in one request: side by side, each with its own answer or problem."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError

from search.bodies import SearchBody
from search.metrics import SearchMetrics
from search.response import as_json
from search.service import SearchService
from serving import problems
from serving.bodies import Body

MOST_SEARCHES = 32
_SIDE_BY_SIDE = 4
"""Searches of one request at a time: others search as well."""


class BatchBody(Body):
    """Searches, each as `POST /v1/search` takes it."""

    searches: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MOST_SEARCHES,
        description="A `SearchBody` each; one that is none has a problem for its answer.",
    )


async def search_all(
    service: SearchService,
    searches: Sequence[Mapping[str, Any]],
    request: Request,
    tenant: str,
    metrics: SearchMetrics,
) -> list[dict[str, Any]]:
    """An answer or a problem document for each, in their order."""
    gate = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def one(body: Mapping[str, Any]) -> dict[str, Any]:
        async with gate:
            try:
                asked = _read(body).request(tenant)
                response = await service.search(asked)
            except Exception as error:  # noqa: BLE001 - others have their answers all the same
                return problems.of_exception(request, error).document()
            metrics.observe(asked, response)
            return as_json(response)

    return await asyncio.gather(*map(one, searches))


def _read(body: Mapping[str, Any]) -> SearchBody:
    try:
        return SearchBody.model_validate(body)
    except ValidationError as error:
        told = [{**item, "loc": ("body", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(told) from error
