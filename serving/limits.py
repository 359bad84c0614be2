"""Bodies have a size, whether they announce it or not, and a time to come in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m3.errors import PayloadTooLarge

_PATIENCE = 4
"""Times the limit that is read on, and thrown away, before a caller is told."""
_SECONDS = 5.0


class BodyLimit:
    """Answers 413 to a body of more than `limit` bytes, before it is held in memory.

    And 408 to one that is not whole within `seconds` of its head, however steadily it comes.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        seconds: float,
        advice: str = "send less at once (M3_MAX_REQUEST_BYTES)",
    ) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds
        self._advice = advice

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
        ends = asyncio.get_running_loop().time() + self._seconds
        received, whole = 0, False

        async def bounded() -> Message:
            nonlocal received, whole
            if whole:
                # What comes after it is the end of the connection, which has no time.
                return await receive()
            message = await self._in_time(receive, ends)
            whole = not message.get("more_body")
            received += len(message.get("body", b""))
            if received > self._limit:
                if not whole:
                    await self._discard(receive)
                raise self._too_large()
            return message

        await self._app(scope, bounded, send)

    async def _in_time(self, receive: Receive, ends: float) -> Message:
        """The next part, by that time of the event loop."""
        try:
            async with asyncio.timeout_at(ends):
                return await receive()
        except TimeoutError:
            raise HTTPException(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the body did not come within {self._seconds:g} s: send less at once, or on a "
                "faster connection (M3_MAX_REQUEST_SECONDS)",
                headers={"Connection": "close"},
            ) from None

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
            f"the body is over {self._limit} bytes: {self._advice}",
            headers={"Connection": "close"},
        )
