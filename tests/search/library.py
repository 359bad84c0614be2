"""A small library in memory, and a client that knows its queries: no node, no disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from hypothesis import strategies as st

from m3.codec import encode_tokens
from m3.errors import EmbedderUnreachable, InvalidInput
from m3.types import (
    DEFAULT_TENANT,
    Chunk,
    Codec,
    Document,
    EmbeddingBatch,
    ModelInfo,
    Representation,
    batch_of,
)
from search.written import Written
from store.chunks import DocumentRows
from store.filters import FieldType
from store.memory import MemoryStore
from store.spec import CollectionSpec
from tests.m3.strategies import VOCABULARY, codecs, representations, unit_vectors

DIMENSION = 64
COLLECTION = "library"
FINGERPRINT = "f00d"
REPRESENTATIONS = ("dense", "sparse", "colbert")


@dataclass
class KnownQueries:
    """What `EmbedderClient` is to the service, for queries whose embedding is known."""

    queries: Mapping[str, Representation]
    truncated: bool = False
    down: bool = False
    encoded: list[str] = field(default_factory=list)
    reranked: list[dict[str, Any]] = field(default_factory=list)

    async def encode(
        self,
        texts: Sequence[str],
        kind: str,
        *,
        codec: Codec = Codec.INT8,
        fingerprint: str | None = None,
        **_: Any,
    ) -> EmbeddingBatch:
        assert (kind, codec, fingerprint) == ("query", Codec.FP32, FINGERPRINT)
        if self.down:
            raise EmbedderUnreachable("no node answers")
        self.encoded += texts
        return batch_of(
            [self.queries[text] for text in texts],
            truncated=np.full(len(texts), self.truncated),
            fingerprint=FINGERPRINT,
        )

    async def rerank(self, body: Mapping[str, Any]) -> bytes:
        """The documents in their order; refuses none, as a node does."""
        if self.down:
            raise EmbedderUnreachable("no node answers")
        if not body["query"].strip():
            raise InvalidInput("query: the text is empty")
        self.reranked.append(dict(body))
        results = [
            {"index": i, "relevance_score": 0.5, "scores": dict.fromkeys(REPRESENTATIONS, 0.5)}
            for i in range(len(body["documents"]))
        ]
        units = {"input_tokens": 2}
        return orjson.dumps(
            {
                "id": "r",
                "model": "known",
                "fingerprint": FINGERPRINT,
                "results": results,
                "meta": {"api_version": {"version": "1"}, "billed_units": units, "tokens": units},
                "usage": {"prompt_tokens": 2, "total_tokens": 2},
            }
        )

    async def tokenizer(self, fingerprint: str | None = None) -> str:
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel

        words = {f"word{i}": i for i in range(VOCABULARY)}
        return Tokenizer(WordLevel(words, unk_token="word0")).to_str()

    async def model(self, fingerprint: str | None = None) -> ModelInfo:
        if self.down:
            raise EmbedderUnreachable("no node answers")
        return ModelInfo("known", FINGERPRINT, "fp32", DIMENSION, 512)


@dataclass
class Notes:
    """A writer that notes what it is given."""

    documents: list[tuple[str, Document]] = field(default_factory=list)

    async def write(self, collection: str, document: Document) -> Written:
        known = [(name, noted.id) for name, noted in self.documents]
        self.documents.append((collection, document))
        return Written("replaced" if (collection, document.id) in known else "created", 1)


def spec(codec: Codec = Codec.INT8, pooling: int = 1) -> CollectionSpec:
    return CollectionSpec(
        model="known",
        fingerprint=FINGERPRINT,
        precision="fp32",
        dimension=DIMENSION,
        codec=codec,
        fields={"shelf": FieldType.INT},
        pooling=pooling,
    )


def library(passages: Mapping[str, Representation], codec: Codec = Codec.INT8) -> MemoryStore:
    """A store with one collection: one passage a document, by document id."""
    store = MemoryStore()
    store.create(COLLECTION, spec(codec, _pooling(passages.values()))).replace(
        [_rows(id_, number, passage) for number, (id_, passage) in enumerate(passages.items())]
    )
    return store


def _pooling(passages: Iterable[Representation]) -> int:
    return 2 if any(passage.groups is not None for passage in passages) else 1


def _rows(id_: str, number: int, passage: Representation) -> DocumentRows:
    text = f"text of {id_}"
    document = Document(
        id=id_, text=text, title=f"title of {id_}", metadata={"shelf": number % 2, "no": number}
    )
    chunk = Chunk(position=0, text=text, start=0, end=len(text))
    return DocumentRows(document, document.content_hash(), [chunk], [passage])


def books(chapters: Mapping[str, Sequence[Representation]], tenant: str = DEFAULT_TENANT):
    """Documents of several chunks each, by document id; their texts are `chapter i of id`."""
    made: list[DocumentRows] = []
    for id_, passages in chapters.items():
        texts = [f"chapter {i} of {id_}" for i in range(len(passages))]
        document = Document(id=id_, text=" ".join(texts), title=f"title of {id_}", tenant=tenant)
        chunks = [Chunk(position=i, text=text, start=0, end=1) for i, text in enumerate(texts)]
        made.append(DocumentRows(document, document.content_hash(), chunks, list(passages)))
    return made


def shelf(chapters: Mapping[str, Sequence[Representation]], codec: Codec = Codec.INT8):
    """A store with one collection of books."""
    store = MemoryStore()
    pooling = _pooling(passage for passages in chapters.values() for passage in passages)
    store.create(COLLECTION, spec(codec, pooling)).replace(books(chapters))
    return store


def example(seed: int, codec: Codec = Codec.INT8) -> Representation:
    """Two terms, three token vectors; the same for the same seed."""
    rng = np.random.default_rng(seed)
    return Representation(
        dense=unit_vectors(rng, 1, DIMENSION)[0].astype(codec.dense_dtype),
        sparse_ids=np.array([1, 5], np.int32),
        sparse_weights=np.array([0.5, 0.25], np.float32),
        token_ids=np.array([5, 6, 1], np.int32),
        codes=encode_tokens(unit_vectors(rng, 3, DIMENSION), codec),
        codec=codec,
    )


class AnyQuery(dict[str, Representation]):
    """Every query has an embedding."""

    def __missing__(self, query: str) -> Representation:
        return example(len(query), Codec.FP32)


def passages_of(count: int) -> dict[str, Representation]:
    return {f"d{i:03}": example(100 + i) for i in range(count)}


@st.composite
def libraries(draw: st.DrawFn) -> tuple[Representation, dict[str, Representation], Codec]:
    """A query and passages by document id, pooled or not; some are equal, under different ids."""
    codec = draw(codecs)
    query = draw(representations(DIMENSION, Codec.FP32, max_tokens=6))
    rows = representations(DIMENSION, codec, max_tokens=9, pooled=draw(st.booleans()))
    different = draw(st.lists(rows, min_size=1, max_size=12))
    copies = draw(st.lists(st.sampled_from(different), max_size=4))
    ids = draw(st.permutations([f"d{i:02}" for i in range(len(different) + len(copies))]))
    return query, dict(zip(ids, different + copies, strict=True)), codec
