"""Bodies have a size, whether they announce it or not."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m3.errors import PayloadTooLarge

_PATIENCE = 4
"""Times the limit that is read on, and thrown away, before a caller is told."""
_SECONDS = 5.0


class BodyLimit:
    """Answers 413 to a body of more than `limit` bytes, before it is held in memory."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > self._limit:
            # A caller that asked first (`Expect: 100-continue`) is told before it sends.
            if "expect" not in headers:
                await self._discard(receive)
            raise self._too_large()
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._limit:
                    if message.get("more_body"):
                        await self._discard(receive)
                    raise self._too_large()
            return message

        await self._app(scope, counted, send)

    async def _discard(self, receive: Receive) -> None:
        """Read on: most callers look at an answer only when all is sent, and see a reset if not."""
        left = self._limit * _PATIENCE
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        return

    def _too_large(self) -> HTTPException:
        # Starlette's class, because FastAPI lets nothing else out of the reading of a body.
        return HTTPException(
            PayloadTooLarge.status,
            f"the body is over {self._limit} bytes: send less at once (M3_MAX_REQUEST_BYTES)",
            headers={"Connection": "close"},
        )
