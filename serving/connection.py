"""One client's connection: a head that has a size, and requests that come within a time.

uvicorn bounds neither, and whoever sends without an end would keep memory and a descriptor, before
any key was asked for.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.problems import MEDIA_TYPE, Problem

MAX_HEAD_BYTES = 64 * 1024
"""Of what comes without any of a body, in a head, around chunks or after them; what came together
with a beginning is not counted."""
FIRST_SECONDS = 75.0
"""Until a request begins: as long as a connection may rest between two of them."""
HEAD_SECONDS = 20.0
"""From a head's first byte to its last."""
BODY_SECONDS = 60.0
"""Between two parts of a body."""

_Part: TypeAlias = Literal["request", "head", "body"]


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which hangs up on heads and bodies that do not come to an end."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._awaited: _Part = "request"
        self._advanced = False
        self._bare_bytes = 0
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._within(FIRST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._advanced = False
        super().data_received(data)
        self._bare_bytes = 0 if self._advanced else self._bare_bytes + len(data)
        if self._bare_bytes > MAX_HEAD_BYTES:
            self._hang_up(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the request's line, headers or trailers are over {MAX_HEAD_BYTES} bytes: send "
                "less",
            )
        elif self._awaited == "head":
            self._within_at_most(HEAD_SECONDS)
        elif self._awaited == "body":
            if self._answering():
                self._within(None)
            # An answered request's body, which nobody reads on, gets no more time than it had.
            self._within_at_most(BODY_SECONDS)
        elif not self._answering():
            # Blank lines, which uvicorn takes for the beginning of a request.
            self._within_at_most(FIRST_SECONDS)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await("head")

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is none of the head, which is being answered by then.
        if self._awaited == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._await("body")

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._advanced = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._await("request")

    def send_400_response(self, msg: str) -> None:
        """Told in the form that every other error has."""
        self._hang_up(HTTPStatus.BAD_REQUEST, msg)

    def _await(self, part: _Part) -> None:
        self._awaited, self._advanced = part, True
        self._within(None)

    def _within(self, seconds: float | None) -> None:
        """Hang up when so much time has passed; None: whenever it comes."""
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if seconds is not None:
            self._limit = self.loop.call_later(seconds, self._too_slow)

    def _within_at_most(self, seconds: float) -> None:
        """As `_within`, unless there is less time already."""
        if self._limit is None:
            self._within(seconds)

    def _too_slow(self) -> None:
        if self.flow.read_paused:
            # It is the app that does not read on.
            self._within(BODY_SECONDS)
        elif self._awaited == "head":
            detail = f"the request's headers did not come within {HEAD_SECONDS:g} s"
            self._hang_up(HTTPStatus.REQUEST_TIMEOUT, detail)
        else:
            # What is asked for, if anything, is told so by the connection's end.
            self.transport.close()

    def _hang_up(self, status: HTTPStatus, detail: str) -> None:
        """Say why, unless that would come amid another request's answer."""
        self._within(None)
        if not self.transport.is_closing() and not self._answering():
            self.transport.write(_answer(status, detail))
        self.transport.close()

    def _answering(self) -> bool:
        # uvicorn has no cycle before the first request.
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete


def _answer(status: HTTPStatus, detail: str) -> bytes:
    body = orjson.dumps(Problem(status, status.name.lower(), detail).document())
    head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[status] + head.encode() + body
