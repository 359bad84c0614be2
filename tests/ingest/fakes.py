"""A client without a node that counts its calls, and runs of the pipeline with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import numpy as np

from ingest.running.pipeline import Item, ingest
from ingest.running.report import Report
from ingest.sources import Reject
from m3.codec import encode_tokens
from m3.errors import InvalidInput, M3Error
from m3.types import (
    Codec,
    Document,
    DocumentKey,
    EmbeddingBatch,
    ModelInfo,
    Representation,
    batch_of,
    text_hash,
)
from store.contract import Collection
from store.filters import FieldType
from store.spec import Chunking, CollectionSpec

DIMENSION = 8
MODEL = ModelInfo("fake", "f00d", "fp32", DIMENSION, 512)
FORBIDDEN = "forbidden"


def spec(chunking: Chunking | None = None, **fields: FieldType) -> CollectionSpec:
    return CollectionSpec(
        model=MODEL.id,
        fingerprint=MODEL.fingerprint,
        precision=MODEL.precision,
        dimension=DIMENSION,
        chunking=chunking or Chunking(),
        fields=fields,
    )


def representation(text: str) -> Representation:
    """The same for the same text, and hardly for another."""
    rng = np.random.default_rng(int(text_hash(text), 16))
    tokens = rng.standard_normal((3, DIMENSION)).astype(np.float32)
    return Representation(
        dense=rng.standard_normal(DIMENSION).astype(np.float16),
        sparse_ids=np.array([5, 9], np.int32),
        sparse_weights=rng.random(2).astype(np.float32) + 0.1,
        token_ids=np.arange(3, dtype=np.int32),
        codes=encode_tokens(tokens, Codec.INT8),
        codec=Codec.INT8,
    )


@dataclass
class CountingClient:
    """What `EmbedderClient` is to the pipeline.

    Attributes:
        fails_after: texts that it encodes before `failure` is all it answers.
        seconds: that it takes for a request.
        beside: for each request, how many were under way when it began, itself among them.
    """

    tokenizer_json: str
    failure: M3Error | None = None
    fails_after: int = 0
    seconds: float = 0.001
    texts: list[str] = field(default_factory=list[str])
    requests: list[int] = field(default_factory=list[int])
    beside: list[int] = field(default_factory=list[int])
    running: int = 0
    failed: bool = False

    async def model(self, fingerprint: str | None = None) -> ModelInfo:
        return MODEL

    async def tokenizer(self, fingerprint: str | None = None) -> str:
        return self.tokenizer_json

    async def encode(
        self, texts: Sequence[str], kind: str, *, codec: Codec, fingerprint: str, **_: Any
    ) -> EmbeddingBatch:
        assert (kind, codec, fingerprint) == ("passage", Codec.INT8, MODEL.fingerprint)
        self.running += 1
        self.beside.append(self.running)
        self.requests.append(len(texts))
        await anyio.sleep(self.seconds)
        self.running -= 1
        if self.failure and len(self.texts) >= self.fails_after:
            # Later than answers that came before it: a node that is gone is tried for a while.
            await anyio.sleep(0.1)
            self.failed = True
            raise self.failure
        for i, text in enumerate(texts):
            if FORBIDDEN in text:
                raise InvalidInput(f"input[{i}]: not a text for this model")
        self.texts += texts
        return batch_of([representation(text) for text in texts])


PARAGRAPH = "The cat sat on the mat. A dog barked at the moon. Nothing else happened. "


def key(id: str) -> DocumentKey:
    return DocumentKey("default", "default", id)


def docs(count: int, word: str = "text") -> list[Document]:
    return [Document(f"d{i}", f"{word} number {i}", f"Title {i}", {"n": i}) for i in range(count)]


async def run(
    items: Iterable[Item],
    collection: Collection,
    client: Any,
    rejects: list[Reject] | None = None,
    **more: Any,
) -> Report:
    """A run that must not reject anything, unless `rejects` is there to take it."""

    def on_reject(reject: Reject) -> None:
        assert rejects is not None, reject
        rejects.append(reject)

    return await ingest(items, collection, client, on_reject=on_reject, **more)


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.documents, report.written, report.unchanged, report.failed
