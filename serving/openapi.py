"""The OpenAPI document says what the app answers: problems where FastAPI would claim 422."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.keys.caller import TENANT_HEADER
from serving.keys.check import EXEMPT
from serving.problems import MEDIA_TYPE

_PROBLEM = {
    "type": "object",
    "description": "An error, as RFC 9457 writes it.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One line that says what to do."},
        "code": {"type": "string", "description": "Stable, for programs."},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["item", "reason"],
                "properties": {"item": {"type": "string"}, "reason": {"type": "string"}},
            },
        },
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside success and 400, for its `responses=`."""
    return {status: _response(status) for status in statuses}


def install(app: FastAPI, *, keys: bool) -> None:
    """Make `app.openapi` tell the truth; `keys` whether requests need one."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            app.openapi_schema = _truthful(schema, keys=keys)
        return app.openapi_schema

    app.openapi = openapi


def _truthful(schema: dict[str, Any], *, keys: bool) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    if keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in schema.get("paths", {}).items():
        for operation in cast("dict[str, Any]", operations).values():
            _correct(operation, keys=keys and path not in EXEMPT)
    return schema


def _correct(operation: dict[str, Any], *, keys: bool) -> None:
    responses = operation["responses"]
    statuses = {500}
    if responses.pop("422", None) is not None:
        statuses.add(400)
    if "requestBody" in operation:
        statuses |= {400, 408, 413, 415}
    if any(parameter["name"] == TENANT_HEADER for parameter in operation.get("parameters", [])):
        # It asks who calls.
        statuses |= {400, 403}
    if keys:
        statuses |= {401, 429}
        operation["security"] = [{"key": []}]
    else:
        # It is asked for by a name that is none of its own.
        statuses.add(403)
    for status in sorted(statuses):
        responses.setdefault(str(status), _response(status))


def _response(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
