"""A model whose tokens are words, and what it has read: real scores and spans without a node."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI

from m3.codec import encode_tokens
from m3.errors import MilvusUnreachable
from m3.settings import Settings
from m3.types import (
    Chunk,
    Codec,
    Document,
    EmbeddingBatch,
    ModelInfo,
    Representation,
    batch_of,
    model_text,
)
from scoring.fusion import Method, Weights
from search.app import create
from search.parts import Parts
from search.service import SearchService
from store.candidates import Candidates
from store.chunks import DocumentRows
from store.contract import Collection
from store.filters import FieldType
from store.memory import MemoryCollection, MemoryStore
from store.reports import Defaults
from store.spec import CollectionSpec
from tests.search.library import Notes

DIMENSION = 64
FINGERPRINT = "1177"
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=2> <b>bold</b>"
LAME = "lame"
"""A collection whose sparse leg always fails, and whose fusion was tuned."""
TUNED = Weights(0.25, 0.5, 1)
FIELDS = {
    "lang": FieldType.STRING,
    "year": FieldType.INT,
    "price": FieldType.FLOAT,
    "free": FieldType.BOOL,
    "tags": FieldType.STRINGS,
}
_END = 1


@dataclass(frozen=True)
class LittleModel:
    """In place of a node's client. Equal words have equal vectors, tinged by those before them."""

    words: tuple[str, ...]

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        vocabulary = {word: i for i, word in enumerate(("[UNK]", "[SEP]", *self.words))}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        return tokenizer

    @classmethod
    def of(cls, texts: Sequence[str]) -> LittleModel:
        """That knows the words of these texts."""
        split = cls(())._tokenizer.pre_tokenizer.pre_tokenize_str
        found = {word: None for text in texts for word, _ in split(text.lower())}
        return cls(tuple(found))

    def read(self, text: str, codec: Codec) -> Representation:
        ids = np.array([*self._tokenizer.encode(text).ids, _END], np.int32)
        vectors = self._vectors(ids)
        dense = vectors.mean(axis=0)
        terms = np.unique(ids[:-1])
        return Representation(
            dense=(dense / np.linalg.norm(dense)).astype(codec.dense_dtype),
            sparse_ids=terms,
            sparse_weights=(0.1 + terms % 7 / 10).astype(np.float32),
            token_ids=ids,
            codes=encode_tokens(vectors, codec),
            codec=codec,
        )

    @staticmethod
    def _vectors(ids: Any) -> Any:
        """[len(ids), DIMENSION] fp32 of length 1."""
        words = np.stack([np.random.default_rng(int(i)).normal(size=DIMENSION) for i in ids])
        mixed = words + 0.4 * np.vstack([words[:1], words[:-1]])
        return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)

    async def encode(
        self, texts: Sequence[str], kind: str, *, codec: Codec = Codec.INT8, **_: Any
    ) -> EmbeddingBatch:
        read = [self.read(text, codec) for text in texts]
        return batch_of(read, truncated=np.zeros(len(read), bool), fingerprint=FINGERPRINT)

    async def tokenizer(self, fingerprint: str | None = None) -> str:
        return self._tokenizer.to_str()

    async def model(self, fingerprint: str | None = None) -> ModelInfo:
        return ModelInfo("little", FINGERPRINT, "fp32", DIMENSION, 512)


class Lame(MemoryCollection):
    """Its sparse leg fails."""

    def candidates(self, query: Representation, *, legs: Any, **options: Any) -> Candidates:
        found = super().candidates(query, legs=[leg for leg in legs if leg != "sparse"], **options)
        return Candidates(
            found.rows, found.legs, found.snapshot, {"sparse": MilvusUnreachable("it is lame")}
        )


class Shelves(MemoryStore):
    """A store in which one collection is lame."""

    def open(self, name: str, generation: int | None = None) -> Collection:
        return Lame(self._record(name)) if name == LAME else super().open(name, generation)


def spec(**facts: Any) -> CollectionSpec:
    return CollectionSpec(
        model="little",
        fingerprint=FINGERPRINT,
        precision="fp32",
        dimension=DIMENSION,
        codec=Codec.INT8,
        **facts,
    )


def rows_of(model: LittleModel, document: Document, texts: Sequence[str]) -> DocumentRows:
    """A document of a chunk a text; it is one text with a space between them."""
    ends = list(itertools.accumulate(len(text) + 1 for text in texts))
    chunks = [
        Chunk(i, text, end - len(text) - 1, end - 1)
        for i, (text, end) in enumerate(zip(texts, ends, strict=True))
    ]
    read = [model.read(model_text(document.title, text), Codec.INT8) for text in texts]
    return DocumentRows(document, document.content_hash(), chunks, read)


def little_app(
    collections: Mapping[str, Sequence[tuple[Document, Sequence[str]]]],
    *,
    keys_file: Path | None = None,
) -> FastAPI:
    """The search API over these documents, each with its chunks' texts."""
    every = [entry for documents in collections.values() for entry in documents]
    model = LittleModel.of([text for document, texts in every for text in (document.title, *texts)])
    store = Shelves()
    for name, documents in collections.items():
        made = store.create(name, spec(fields=FIELDS, stand_in=name != LAME))
        made.replace([rows_of(model, document, texts) for document, texts in documents])
        if name == LAME:
            made.save_defaults(Defaults({Method.FUSION: TUNED}, rerank_depth=3), made.spec)

    @asynccontextmanager
    async def parts() -> AsyncGenerator[Parts]:
        yield Parts(SearchService(store, model), model, Notes(), node_ready=model.model)

    return create(Settings(api_keys_file=keys_file), parts)
