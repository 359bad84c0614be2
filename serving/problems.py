"""Errors as answers: `application/problem+json` (RFC 9457), or a path's own shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, compile_path
from starlette.types import Scope

from m3.errors import (
    InvalidInput,
    M3Error,
    NotFound,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    Unauthorized,
)

MEDIA_TYPE = "application/problem+json"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MAX_ERRORS = 20
_log = structlog.stdlib.get_logger("m3.http")


@dataclass(frozen=True, slots=True)
class Problem:
    """One error as it leaves the process.

    Attributes:
        code: for programs; a class of `m3.errors`, or a name of the HTTP status.
        detail: for people; one plain line.
        request_id: "" for what was refused before it was a request.
        errors: the items a validation refused: `{"item", "reason"}` each.
    """

    status: int
    code: str
    detail: str
    request_id: str = ""
    errors: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def document(self) -> dict[str, Any]:
        """The members of RFC 9457, and `code`, `request_id` and `errors` beside them."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.request_id:
            document["request_id"] = self.request_id
        if self.errors:
            document["errors"] = list(self.errors)
        return document


ErrorShape: TypeAlias = Callable[[Problem], dict[str, Any]]
"""What a path that follows another API's manners answers in place of a problem document."""


class ErrorShapes:
    """Shapes by the paths that have them: a request may be refused before it has a route."""

    def __init__(self, by_template: Mapping[str, ErrorShape]) -> None:
        self._shapes = [(compile_path(path)[0], shape) for path, shape in by_template.items()]

    def of(self, path: str) -> ErrorShape | None:
        return next((shape for pattern, shape in self._shapes if pattern.match(path)), None)


def respond(scope: Scope, problem: Problem) -> Response:
    """The answer for `problem`, in the shape that the request's path has."""
    shapes: ErrorShapes = scope["app"].state.error_shapes
    shape = shapes.of(scope["path"])
    return Response(
        orjson.dumps(shape(problem) if shape else problem.document()),
        status_code=problem.status,
        media_type="application/json" if shape else MEDIA_TYPE,
        headers=dict(problem.headers),
    )


def install(app: FastAPI) -> None:
    """Answer everything that handlers raise."""

    async def answer(request: Request, error: Exception) -> Response:
        return respond(request.scope, of_exception(request, error))

    for kind in (M3Error, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


def of_exception(request: Request, error: Exception) -> Problem:
    """What an exception is to the caller; one that is not ours is logged and told as a bug."""
    request_id = request.state.request_id
    match error:
        case M3Error():
            return _of_m3_error(error, request_id)
        case RequestValidationError():
            return _of_validation_error(error, request_id)
        case HTTPException():
            return _of_http_exception(request, error, request_id)
        case _:
            _log.error("unexpected", exc_info=error)
            detail = f"this is a bug in m3-retrieval: its log has it under {request_id}"
            return Problem(M3Error.status, M3Error.code, detail, request_id)


def _of_m3_error(error: M3Error, request_id: str) -> Problem:
    # Not being ready is a state, and probes ask for it all the time.
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, NotReady):
        _log.warning("refused", code=error.code, reason=error.message)
    headers: dict[str, str] = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return Problem(error.status, error.code, error.message, request_id, headers=headers)


def _of_validation_error(error: RequestValidationError, request_id: str) -> Problem:
    refused = [_refused(each) for each in error.errors()[:_MAX_ERRORS]]
    first = refused[0]
    detail = f"{first['item']}: {first['reason']}" if first["item"] else first["reason"]
    return Problem(InvalidInput.status, InvalidInput.code, detail, request_id, refused)


def _refused(error: Mapping[str, Any]) -> dict[str, str]:
    """Pydantic's error as `{"item": "input[3]", "reason": "…"}`."""
    place: Sequence[str | int] = error["loc"]
    if error["type"] == "json_invalid":
        return {"item": "", "reason": f"the body is not JSON we accept: {error['ctx']['error']}"}
    if tuple(place) == ("body",) and error["type"] != "value_error":
        return {"item": "", "reason": "the body must be an object, sent as application/json"}
    return {"item": item(place[1:]), "reason": error["msg"].removeprefix("Value error, ")}


def item(place: Sequence[str | int]) -> str:
    """A place in a body, as problems name it: `input[3]`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return "".join(steps).removeprefix(".")


def _of_http_exception(request: Request, error: HTTPException, request_id: str) -> Problem:
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    code, detail = status.name.lower(), error.detail
    if status is HTTPStatus.NOT_FOUND:
        code, detail = NotFound.code, f"there is nothing at {request.url.path}: see /docs"
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
        detail = f"{request.method} is not for {request.url.path}, which takes {headers['Allow']}"
    elif status == PayloadTooLarge.status:
        code = PayloadTooLarge.code
    return Problem(status, code, detail, request_id, headers=headers)


def _allowed(request: Request) -> list[str]:
    """Every method of the path; the router names only those of its first route."""

    def answers(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)

    return [method for method in _METHODS if answers(method)]
