"""Who changed what: one line for every call that writes or administers, whatever came of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m3.errors import InvalidConfiguration
from serving.abandon import Abandoned

_ABANDONED = 499
_MODE = 0o600
_log = structlog.stdlib.get_logger("m3.audit")


class AuditFile:
    """JSON lines, appended to a file that its owner alone may read, whatever the log's level."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidConfiguration for a file that cannot be written."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(b"")
        except OSError as error:
            raise InvalidConfiguration(
                f"M3_AUDIT_FILE: {path} cannot be written: {error.strerror}"
            ) from error

    def write(self, line: dict[str, Any]) -> None:
        """A line that cannot be written is an error in the log: the call has been answered."""
        try:
            self._append(orjson.dumps(line) + b"\n")
        except OSError as error:
            _log.error("audit file not written", path=str(self._path), reason=error.strerror)

    def _append(self, content: bytes) -> None:
        # Opened for each line, so that the file may be moved away; one write, so that lines of
        # several servers do not mix.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)


class Audit:
    """Notes the calls whose routes asked for a scope beyond reading."""

    def __init__(self, app: ASGIApp, file: AuditFile | None) -> None:
        self._app = app
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Abandoned:
            status = _ABANDONED
            raise
        finally:
            if scope["type"] == "http" and scope["state"].get("needs") in ("write", "admin"):
                self._record(scope, status)

    def _record(self, scope: Scope, status: int) -> None:
        state, parameters = scope["state"], scope.get("path_params", {})
        key, caller = state.get("key"), state.get("caller")
        line = {
            "key": key.name if key else None,
            "tenant": caller.tenant if caller else key.tenant if key else None,
            "scope": state["needs"],
            "method": scope["method"],
            "route": getattr(scope.get("route"), "path", None),
            "collection": parameters.get("collection") or state.get("collection"),
            "source": Request(scope).query_params.get("source"),
            "document": parameters.get("document_id"),
            "status": status,
            "request_id": state["request_id"],
        }
        _log.info("audit", **line)
        if self._file is not None:
            self._file.write({"time": datetime.now(UTC).isoformat(), **line})


def about(request: Request, collection: str) -> None:
    """Name the collection of a call whose path does not."""
    request.scope["state"]["collection"] = collection
