"""Chunks and queries that resemble the stand-in's embeddings, as wide as BGE-M3's.

The sample's paragraphs and questions are embedded by the stand-in, turned into 1024 dimensions
(inner products stay as they are) and varied: a chunk is a run of one paragraph's tokens and a run
of another's, with their terms and words, and every vector gets noise. So terms are as frequent
as words are, tokens of one text are alike, and a question has better and worse passages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from bench.checkpoints import checkpoint
from bench.chunks import unit_vectors
from bench.fidelity import embedded
from bench.texts import sample_texts
from embedder.encoders.loading import load_encoder
from m3.codec import decode_tokens, encode_tokens
from m3.settings import load_settings
from m3.types import F32, U8, Chunk, Codec, Document, Representation
from store.chunks import DocumentRows

DIMENSION = 1024
_CHUNKS_A_DOCUMENT = 4
_COPIES = 2
"""Of every token of the sample, each with noise of its own."""
_PASSAGE_NOISE = 0.5
_QUERY_NOISE = 0.2
"""Lengths beside vectors of length 1: what is left of the cosine is .89 and .98."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question of the sample, or a variant of one, with its vectors in fp32."""

    text: str
    vectors: Representation


@dataclass(frozen=True)
class Likeness:
    """What the sample's texts are in the stand-in, in 1024 dimensions."""

    paragraphs: Sequence[Representation]
    questions: Sequence[Representation]

    @cached_property
    def _pool(self) -> U8:
        """[copies, tokens, 1028]: every paragraph's tokens, one after the other, in int8."""
        rng = np.random.default_rng(2)
        tokens = np.concatenate([_tokens(each) for each in self.paragraphs])
        return np.stack(
            [
                encode_tokens(_varied(rng, tokens, _PASSAGE_NOISE), Codec.INT8)
                for _ in range(_COPIES)
            ]
        )

    @cached_property
    def _begins(self) -> list[int]:
        return np.cumsum([0, *(len(each.token_ids) for each in self.paragraphs)]).tolist()

    @cached_property
    def _texts(self) -> list[str]:
        return sample_texts("corpus.jsonl")

    @cached_property
    def _weights(self) -> list[dict[int, float]]:
        return [
            dict(zip(each.sparse_ids.tolist(), each.sparse_weights.tolist(), strict=True))
            for each in self.paragraphs
        ]

    def documents(self, chunks: int, tokens: int) -> Iterator[DocumentRows]:
        """About as many chunks, of so many tokens, four a document; the same every time."""
        rng = np.random.default_rng(3)
        for number in range(chunks // _CHUNKS_A_DOCUMENT):
            made = [self._chunk(rng, tokens) for _ in range(_CHUNKS_A_DOCUMENT)]
            text = "\n".join(words for words, _ in made)
            document = Document(f"d{number}", text, metadata={"number": number})
            cut, start = list[Chunk](), 0
            for position, (words, _) in enumerate(made):
                cut.append(Chunk(position, words, start, start + len(words)))
                start += len(words) + 1
            own = [vectors for _, vectors in made]
            yield DocumentRows(document, document.content_hash(), cut, own)

    def _chunk(self, rng: np.random.Generator, tokens: int) -> tuple[str, Representation]:
        """A run of one paragraph and a run of another, about half of the tokens each."""
        first, second = (int(i) for i in rng.choice(len(self.paragraphs), 2, replace=False))
        parts = [
            self._run(rng, first, tokens // 2),
            self._run(rng, second, tokens - tokens // 2),
        ]
        weights: dict[int, float] = {}
        for paragraph, _, ids, _ in parts:
            known = self._weights[paragraph]
            weights.update({term: known[term] for term in ids.tolist() if term in known})
        terms = np.array(sorted(weights), np.int32)
        share = rng.uniform(0.3, 0.7)
        own = np.stack([_dense(self.paragraphs[each]) for each in (first, second)])
        dense = np.array([share, 1 - share], np.float32) @ own
        return " ".join(words for _, words, _, _ in parts), Representation(
            dense=_varied(rng, dense[None], _PASSAGE_NOISE)[0].astype(np.float16),
            sparse_ids=terms,
            sparse_weights=np.array([weights[t] for t in terms.tolist()], np.float32)
            * rng.uniform(0.8, 1.2, len(terms)).astype(np.float32),
            token_ids=np.concatenate([ids for _, _, ids, _ in parts]),
            codes=np.concatenate([codes for _, _, _, codes in parts]),
            codec=Codec.INT8,
        )

    def _run(
        self, rng: np.random.Generator, paragraph: int, tokens: int
    ) -> tuple[int, str, np.ndarray[tuple[int], np.dtype[np.int32]], U8]:
        """Consecutive tokens of a paragraph, from its beginning again where it ends before."""
        own, text = self.paragraphs[paragraph], self._texts[paragraph]
        length = len(own.token_ids)
        start = int(rng.integers(length))
        places = (start + np.arange(tokens)) % length
        words = text[start * len(text) // length :][: tokens * len(text) // length]
        codes = self._pool[rng.integers(_COPIES), self._begins[paragraph] + places]
        return paragraph, words, own.token_ids[places], codes

    def queries(self, count: int) -> list[Query]:
        """The questions, and variants of them where more are wanted; the same every time."""
        rng, texts = np.random.default_rng(4), sample_texts("queries.jsonl")
        return [self._query(rng, texts, number) for number in range(count)]

    def _query(self, rng: np.random.Generator, texts: Sequence[str], number: int) -> Query:
        turn, place = divmod(number, len(self.questions))
        own = self.questions[place]
        vectors = replace(
            own,
            dense=_varied(rng, _dense(own)[None], _QUERY_NOISE)[0],
            codes=encode_tokens(_varied(rng, _tokens(own), _QUERY_NOISE), Codec.FP32),
        )
        return Query(f"{texts[place]} ({turn})" if turn else texts[place], vectors)


def likeness() -> Likeness:
    """Embeds the sample by the stand-in: some seconds."""
    encoder = load_encoder(load_settings(model=str(checkpoint("stand-in")), precision="fp32"))
    turned = [
        [_turned(each) for each in embedded(encoder, sample_texts(f"{name}.jsonl"), Codec.FP32)]
        for name in ("corpus", "queries")
    ]
    return Likeness(*turned)


def _turned(own: Representation) -> Representation:
    """In 1024 dimensions, by one fixed turn."""
    turn = _turn(len(own.dense))
    return replace(
        own, dense=_dense(own) @ turn, codes=encode_tokens(_tokens(own) @ turn, Codec.FP32)
    )


@cache
def _turn(dimension: int) -> F32:
    """[dimension, 1024], its rows orthonormal."""
    columns = np.random.default_rng(1).standard_normal((DIMENSION, dimension), np.float32)
    return np.linalg.qr(columns)[0].T


def _dense(own: Representation) -> F32:
    return own.dense.astype(np.float32)


def _tokens(own: Representation) -> F32:
    return decode_tokens(own.codes, own.codec)


def _varied(rng: np.random.Generator, vectors: F32, noise: float) -> F32:
    """[n, d] fp32 with noise of that length, normalised."""
    varied = vectors + np.float32(noise) * unit_vectors(rng, *vectors.shape)
    return varied / np.linalg.norm(varied, axis=1, keepdims=True)
