"""The outermost layer: request ids, one log line and one count per request, the last handler."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import TypeAlias

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m3 import tracing
from serving.abandon import Abandoned
from serving.keys.check import EXEMPT
from serving.metrics import HttpMetrics
from serving.problems import of_exception, respond

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TRACE_HEADERS = ("traceparent", "tracestate")
_ABANDONED = 499
_QUIET = frozenset({HTTPStatus.TOO_MANY_REQUESTS})
"""Under overload a line for each refusal would cost more than the refusal."""
_log = structlog.stdlib.get_logger("m3.http")

AnswerHeaders = Callable[[], Mapping[str, str]]
Quiet: TypeAlias = Callable[[str], bool]
"""Whether requests of a path are of no interest in a log, as those of probes are not."""


class Observe:
    """Every answer carries `X-Request-Id` and `headers`; nothing raised goes unanswered."""

    def __init__(
        self, app: ASGIApp, metrics: HttpMetrics, headers: AnswerHeaders, is_quiet: Quiet
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._headers = headers
        self._is_quiet = is_quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {}).update(request_id=request_id, noted={})
        with self._span(scope) as span:
            await self._observed(scope, receive, send, span)

    async def _observed(
        self, scope: Scope, receive: Receive, send: Send, span: tracing.Span
    ) -> None:
        request_id: str = scope["state"]["request_id"]
        status: int | None = None

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                # Not every app's is a plain number.
                status = int(message["status"])
                ours = {"X-Request-Id": request_id, **self._headers()}
                message = {**message, "headers": [*message.get("headers", ()), *_raw(ours)]}
            await send(message)

        began = time.perf_counter()
        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, observed)
        except Abandoned:
            pass
        except Exception as error:  # noqa: BLE001 - the last handler there is
            problem = of_exception(Request(scope), error)
            if status is None:
                await respond(scope, problem)(scope, receive, observed)
        finally:
            self._record(scope, status or _ABANDONED, time.perf_counter() - began)
            _tell(span, scope, status or _ABANDONED)
            structlog.contextvars.reset_contextvars(**bound)

    def _span(self, scope: Scope) -> AbstractContextManager[tracing.Span]:
        if not tracing.on() or self._is_dull(scope["path"]):
            return tracing.NOTHING
        headers = Headers(scope=scope)
        carried = {name: headers[name] for name in _TRACE_HEADERS if name in headers}
        return tracing.span(_method(scope), kind="server", caller=carried)

    def _is_dull(self, path: str) -> bool:
        return path in EXEMPT or self._is_quiet(path)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = _route(scope), _method(scope)
        self._metrics.observe(method, route, status, seconds)
        quiet = status in _QUIET or self._is_dull(scope["path"])
        log = _log.debug if quiet else _log.info
        client = scope.get("client")
        log(
            "request",
            method=method,
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 1),
            client=client[0] if client else None,
            **scope["state"]["noted"],
        )


def _tell(span: tracing.Span, scope: Scope, status: int) -> None:
    """What a trace shows of a request: no path, which may name a document."""
    if span is tracing.NOTHING:
        return
    method, route = _method(scope), _route(scope)
    span.rename(f"{method} {route}")
    span.add(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "m3.request_id": scope["state"]["request_id"],
            **{f"m3.{name}": value for name, value in scope["state"]["noted"].items()},
        }
    )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.fail(str(status))


def note(request: Request, **members: int) -> None:
    """Members for the log line of a request: how much it asked for."""
    request.state.noted.update(members)


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "unmatched")


def _method(scope: Scope) -> str:
    """An unknown word must not make a time series of its own."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def _request_id(scope: Scope) -> str:
    """The caller's id where it is sane, else one of ours."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else os.urandom(16).hex()


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
