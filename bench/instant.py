"""A node that answers at once with vectors made beforehand, so that only the rest is measured.

`python -m bench.instant TOKENIZER TOKENS [QUERIES RATE]` serves on a free port of 127.0.0.1 and
prints its address: `/readyz`, `/v1/models`, `/v1/tokenizer`, and `/v1/encode` in its binary int8
form, whatever a text says. `/calls` tells how many requests and texts it was asked to encode.
QUERIES is a folder that `keep_queries` wrote: they are answered by their own vectors, in fp32, and
other texts no faster than RATE a second.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from httptools import HttpRequestParser

from m3.codec import encode_tokens, from_bytes, to_bytes
from m3.types import Codec, EmbeddingBatch, ModelInfo, Representation, batch_of

DIMENSION = 1024
_ROWS = 512
_TERMS = 80
VOCABULARY = 250_000
_MODEL = ModelInfo("instant", "1257a7", "int8", DIMENSION, 8192)


_QUERIES = "queries.json"
_VECTORS = "queries.safetensors"


def keep_queries(folder: Path, texts: Sequence[str], vectors: Sequence[Representation]) -> None:
    """Write queries for a node to answer, of one codec."""
    (folder / _QUERIES).write_bytes(orjson.dumps(list(texts)))
    (folder / _VECTORS).write_bytes(to_bytes(_batch(vectors)))


def kept_queries(folder: Path) -> dict[str, Representation]:
    """What `keep_queries` wrote."""
    texts = orjson.loads((folder / _QUERIES).read_bytes())
    return dict(zip(texts, from_bytes((folder / _VECTORS).read_bytes()), strict=True))


class Answers:
    """The vectors of texts that are known; for others random columns of so many tokens a text,
    one answer for each number of texts.

    Args:
        rate: unknown texts a second, at most.
    """

    def __init__(
        self,
        tokens: int,
        known: Mapping[str, Representation] | None = None,
        rate: float = math.inf,
    ) -> None:
        rng = np.random.default_rng(0)
        self._rows = [_row(rng, tokens) for _ in range(_ROWS)]
        self._known = known or {}
        self._rate, self._free = rate, 0.0
        self._random = lru_cache(maxsize=64)(self._drawn)

    def of(self, texts: Sequence[str], turn: int) -> tuple[bytes, float]:
        """The answer, and the seconds after which to give it."""
        if all(text in self._known for text in texts):
            return to_bytes(_batch([self._known[text] for text in texts])), 0.0
        now = time.monotonic()
        self._free = max(self._free, now) + len(texts) / self._rate
        return self._random(len(texts), turn), self._free - now

    def _drawn(self, texts: int, turn: int) -> bytes:
        rows = [self._rows[(turn * texts + i) % _ROWS] for i in range(texts)]
        return to_bytes(_batch(rows))


def _row(rng: np.random.Generator, tokens: int) -> Representation:
    """Its terms as frequent as words are: few often, most hardly ever."""
    terms = np.unique(rng.zipf(1.2, min(tokens, _TERMS)) % VOCABULARY).astype(np.int32)
    dense = rng.standard_normal(DIMENSION).astype(np.float32)
    return Representation(
        dense=(dense / np.linalg.norm(dense)).astype(np.float16),
        sparse_ids=terms,
        sparse_weights=rng.random(len(terms)).astype(np.float32) + np.float32(0.01),
        token_ids=rng.integers(0, VOCABULARY, tokens).astype(np.int32),
        codes=encode_tokens(rng.standard_normal((tokens, DIMENSION), np.float32), Codec.INT8),
        codec=Codec.INT8,
    )


def _batch(rows: Sequence[Representation]) -> EmbeddingBatch:
    return batch_of(rows, model=_MODEL.id, fingerprint=_MODEL.fingerprint)


class Protocol(asyncio.Protocol):
    """One connection, its requests one after the other."""

    def __init__(self, answers: Answers, tokenizer: bytes, calls: dict[str, int]) -> None:
        self._answers, self._tokenizer, self._calls = answers, tokenizer, calls
        self._parser: Any = HttpRequestParser(self)
        self._path, self._body = b"", bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path, self._body = url, bytearray()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._path == b"/v1/encode":
            answer, seconds = self._encoded()
            asyncio.get_running_loop().call_later(seconds, self._send, answer)
        else:
            self._send(self._answer())

    def _send(self, answer: bytes | None) -> None:
        status = b"404 Not Found" if answer is None else b"200 OK"
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(answer or b""))
        self._transport.writelines([head, answer or b""])

    def _answer(self) -> bytes | None:
        match self._path:
            case b"/v1/models":
                model = {name: getattr(_MODEL, name) for name in ModelInfo.__slots__}
                return orjson.dumps({"data": [model]})
            case b"/v1/tokenizer":
                return self._tokenizer
            case b"/calls":
                return orjson.dumps(self._calls)
            case b"/readyz":
                return b"{}"
            case _:
                return None

    def _encoded(self) -> tuple[bytes, float]:
        texts = orjson.loads(bytes(self._body))["input"]
        self._calls["requests"] += 1
        self._calls["texts"] += len(texts)
        # A few answers a size: not one and the same, and not each made anew.
        return self._answers.of(texts, self._calls["requests"] % 4)


async def _serve(tokenizer: bytes, answers: Answers) -> None:
    calls = {"requests": 0, "texts": 0}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(answers, tokenizer, calls), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    import uvloop

    tokenizer, tokens, *queries = sys.argv[1:]
    answers = Answers(int(tokens))
    if queries:
        answers = Answers(int(tokens), kept_queries(Path(queries[0])), float(queries[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(tokenizer).read_bytes(), answers))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
