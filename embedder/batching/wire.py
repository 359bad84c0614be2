"""Frames between the server and a worker: a head in JSON, and a body of plain bytes.

Nothing is pickled: what travels holds what callers sent.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import orjson

from m3.codec import COLUMNS
from m3.types import U8, Codec, EmbeddingBatch

Head: TypeAlias = dict[str, Any]
Buffer: TypeAlias = bytes | memoryview

_LENGTHS = struct.Struct("<IQ")
_ALIGNMENT = 8
_SMALL = 1 << 16
"""Bytes of a frame that is cheaper to copy than to send in parts."""


def pack(head: Head, *body: Buffer) -> list[Buffer]:
    """The parts of a frame, in order; `head` may hold what JSON does."""
    packed = orjson.dumps(head, default=str)
    size = sum(len(part) for part in body)
    return [_LENGTHS.pack(len(packed), size) + packed, *body]


def send(sock: socket.socket, head: Head, *body: Buffer) -> None:
    """Write a frame, and wait until it is written. Raises OSError when nobody reads."""
    parts = pack(head, *body)
    if sum(map(len, parts)) <= _SMALL:
        parts = [b"".join(parts)]
    for part in parts:
        sock.sendall(part)


def receive(sock: socket.socket) -> tuple[Head, memoryview] | None:
    """Wait for a frame; None where the other end is closed."""
    lengths = _exactly(sock, _LENGTHS.size)
    if lengths is None:
        return None
    head_size, body_size = _LENGTHS.unpack(lengths)
    head, body = _exactly(sock, head_size), _exactly(sock, body_size)
    return None if head is None or body is None else (orjson.loads(head), body)


def _exactly(sock: socket.socket, size: int) -> memoryview | None:
    # Not a bytearray: that would be filled with zeros first.
    buffer = np.empty(size, np.uint8).data
    filled = 0
    while filled < size:
        try:
            received = sock.recv_into(buffer[filled:])
        except ConnectionError:
            return None
        if not received:
            return None
        filled += received
    return buffer


async def read(reader: asyncio.StreamReader) -> tuple[Head, bytes] | None:
    """As `receive`, on an event loop."""
    try:
        head_size, body_size = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        head = orjson.loads(await reader.readexactly(head_size))
        return head, await reader.readexactly(body_size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def pack_columns(batch: EmbeddingBatch) -> tuple[list[Any], list[Buffer]]:
    """A batch's columns: their names, dtypes and shapes for a head, and a body. Copies nothing."""
    arrays = {name: np.ascontiguousarray(getattr(batch, name)) for name in COLUMNS}
    described = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    return described, list(_aligned(arrays.values()))


def _aligned(arrays: Any) -> Iterator[Buffer]:
    for array in arrays:
        yield array.reshape(-1).view(np.uint8).data
        yield bytes(-array.nbytes % _ALIGNMENT)


def unpack_columns(
    described: list[Any], body: memoryview, codec: Codec, *, model: str, fingerprint: str
) -> EmbeddingBatch:
    """The opposite of `pack_columns`: views of `body`."""
    columns: dict[str, Any] = {}
    data: U8 = np.frombuffer(body, np.uint8)
    start = 0
    for name, dtype, shape in described:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        columns[name] = data[start : start + size].view(dtype).reshape(shape)
        start += size + -size % _ALIGNMENT
    return EmbeddingBatch(**columns, codec=codec, model=model, fingerprint=fingerprint)
