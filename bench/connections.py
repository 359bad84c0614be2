"""Just enough of an HTTP client that the load generator is not what is measured.

A general client looks through all of its connections at every request, which under overload, with
hundreds under way, costs more than the node takes to refuse.
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias
from urllib.parse import urlsplit

from m3.codec import MEDIA_TYPE

Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connections:
    """Kept alive, one a request under way. Of one event loop."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._host, self._port = parts.hostname, parts.port
        self._idle: list[Connection] = []

    async def post(self, path: str, body: bytes) -> int:
        """Send JSON and read the answer whole. Its status; 0 where there was none."""
        return (await self.exchange(path, body))[0]

    async def exchange(self, path: str, body: bytes) -> tuple[int, bytes]:
        """As `post`, with the answer's body."""
        connection: Connection | None = None
        try:
            connection = self._idle.pop() if self._idle else await self._open()
            answer = await _exchange(connection, self._head(path, len(body)) + body)
        except (OSError, asyncio.IncompleteReadError):
            if connection is not None:
                connection[1].close()
            return 0, b""
        self._idle.append(connection)
        return answer

    async def _open(self) -> Connection:
        return await asyncio.open_connection(self._host, self._port)

    def _head(self, path: str, length: int) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAccept: {MEDIA_TYPE}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ).encode()


async def _exchange(connection: Connection, request: bytes) -> tuple[int, bytes]:
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(fields["content-length"]))
    return int(head[0].split(" ")[1]), body
