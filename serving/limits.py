"""Bodies have a size, whether they announce it or not."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m3.errors import PayloadTooLarge


class BodyLimit:
    """Answers 413 to a body of more than `limit` bytes, before it is held in memory."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self._limit:
            raise self._too_large()
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._limit:
                    raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> HTTPException:
        # Starlette's class, because FastAPI lets nothing else out of the reading of a body.
        return HTTPException(
            PayloadTooLarge.status,
            f"the body is over {self._limit} bytes: send less at once (M3_MAX_REQUEST_BYTES)",
            headers={"Connection": "close"},
        )
