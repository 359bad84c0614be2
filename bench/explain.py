"""What explaining ten hits adds to an answer.

Ten paragraphs of XQuAD, cut to 180 tokens, for its first question; random vectors, 1024 wide.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tokenizers import Tokenizer

from bench.measure import Result, interleaved, timed
from embedder.stand_in import build
from m3.codec import encode_tokens
from m3.types import Codec, Representation
from scoring.fusion import Weights
from search.explain.explainer import Explainer
from search.explain.tokens import Tokens
from search.hits import hits
from search.ranking import Place
from search.response import Hit, SearchResponse, Timings, as_json
from store.chunks import StoredChunk

_HITS = 10
_TOKENS = 180
_DIMENSION = 1024
_ROUNDS = 50
_SAMPLE = Path(__file__).parents[1] / "samples/xquad-en"


def run() -> Result:
    """Milliseconds from places to the answer's bytes, with and without explanations, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer: Any = Tokenizer.from_file(
            str(build(Path(folder) / "stand-in") / "tokenizer.json")
        )
    rng = np.random.default_rng(7)
    long = [text for text in _texts("corpus") if len(_ids(tokenizer, text)) >= _TOKENS]
    chunks = [_chunk(i, _cut(tokenizer, text)) for i, text in enumerate(long[:_HITS])]
    passages = [_represented(rng, tokenizer, chunk.model_text()) for chunk in chunks]
    query = _represented(rng, tokenizer, _texts("queries")[0], Codec.FP32)
    texts, vectors = dict(enumerate(chunks)), dict(enumerate(passages))
    places = [_place(chunk) for chunk in chunks]
    tokens = Tokens(tokenizer.to_str())

    def explained() -> None:
        explainer = Explainer(query, tokens, "title", Weights(1, 0.3, 1))
        _answer(
            hits(
                places,
                texts,
                explain=lambda place, chunk: explainer.explain(place, chunk, vectors[place.row]),
            )
        )

    both = interleaved(
        {"without": timed(lambda: _answer(hits(places, texts))), "explained": timed(explained)},
        repeats=_ROUNDS,
    )
    figures = [
        {
            "what": each.name,
            "ms": round(1000 * each.median_wall, 2),
            "cpu_ms": round(1000 * each.median_cpu, 2),
        }
        for each in both
    ]
    facts = {
        "hits": _HITS,
        "tokens": _TOKENS,
        "query_tokens": len(query.token_ids),
        "dimension": _DIMENSION,
    }
    return Result("explain", figures, facts)


def _answer(found: Sequence[Hit]) -> bytes:
    return orjson.dumps(as_json(SearchResponse(found, Timings(0, 0, 0, 0))))


def _texts(name: str) -> list[str]:
    lines = (_SAMPLE / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [orjson.loads(line)["text"] for line in lines]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def _cut(tokenizer: Any, text: str) -> str:
    return text[: tokenizer.encode(text, add_special_tokens=False).offsets[_TOKENS - 1][1]]


def _chunk(number: int, text: str) -> StoredChunk:
    return StoredChunk(
        row=number,
        tenant="default",
        source="default",
        document_id=str(number),
        position=0,
        chunks=1,
        start=0,
        end=len(text),
        heading=(),
        page=None,
        title="XQuAD",
        text=text,
        metadata={},
    )


def _represented(
    rng: np.random.Generator, tokenizer: Any, text: str, codec: Codec = Codec.INT8
) -> Representation:
    ids = np.array(_ids(tokenizer, text), np.int32)
    terms = np.unique(ids)
    vectors = rng.standard_normal((len(ids), _DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Representation(
        dense=vectors[0].astype(codec.dense_dtype),
        sparse_ids=terms,
        sparse_weights=rng.random(len(terms)).astype(np.float32),
        token_ids=ids,
        codes=encode_tokens(vectors, codec),
        codec=codec,
    )


def _place(chunk: StoredChunk) -> Place:
    parts = [0.2, 0.1, 0.3]
    return Place(chunk, 0.6, parts, parts)
