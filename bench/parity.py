"""The packed encoder against FlagEmbedding, number by number, on 500 texts of mixed length."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.encode import sample_texts
from bench.measure import Result
from embedder.encoder import Encoder
from embedder.node import load_encoder
from embedder.stand_in import build
from m3.codec import decode_tokens
from m3.settings import load_settings
from m3.types import OUTPUTS, Representation

_TEXTS = 500
_BATCH = 20
_LEAST_WEIGHT = 1e-6
"""Sparse terms lighter than this may be there or not: rounding decides."""


def run() -> Result:
    """Largest absolute differences: FlagEmbedding one text at a time, ours alone and in batches."""
    from FlagEmbedding import BGEM3FlagModel

    texts = _mixed()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = build(Path(folder) / "stand-in")
        encoder = load_encoder(load_settings(model=str(checkpoint), precision="fp32"))
        peer = BGEM3FlagModel(
            str(checkpoint), use_fp16=False, pooling_method="mean", devices=["cpu"]
        )
        together = _encode(encoder, texts, _BATCH)
        alone = _encode(encoder, texts, 1)
        theirs = [
            peer.encode([text], return_dense=True, return_sparse=True, return_colbert_vecs=True)
            for text in texts
        ]
    pairs = list(zip(together, theirs, strict=True))
    figures: list[dict[str, Any]] = [
        {
            "what": "FlagEmbedding, one text at a time",
            "dense": max(float(np.abs(o.dense - t["dense_vecs"][0]).max()) for o, t in pairs),
            "colbert": max(
                float(np.abs(_tokens(o) - t["colbert_vecs"][0]).max()) for o, t in pairs
            ),
            "sparse": max(_sparse(_terms(o), _their_terms(t))[0] for o, t in pairs),
            "texts with other terms": sum(_sparse(_terms(o), _their_terms(t))[1] for o, t in pairs),
        },
        {
            "what": f"the same text in batches of {_BATCH} and alone",
            "dense": max(
                float(np.abs(o.dense - a.dense).max()) for o, a in zip(together, alone, strict=True)
            ),
            "colbert": max(
                float(np.abs(_tokens(o) - _tokens(a)).max())
                for o, a in zip(together, alone, strict=True)
            ),
            "sparse": max(
                _sparse(_terms(o), _terms(a))[0] for o, a in zip(together, alone, strict=True)
            ),
            "texts with other terms": sum(
                _sparse(_terms(o), _terms(a))[1] for o, a in zip(together, alone, strict=True)
            ),
        },
    ]
    return Result("parity", figures, {"texts": _TEXTS, "model": "stand-in, fp32"})


def _mixed() -> list[str]:
    """Questions, paragraphs, and runs of paragraphs that fill the model's 512 tokens."""
    paragraphs, questions = sample_texts("corpus.jsonl"), sample_texts("queries.jsonl")
    long = [" ".join(paragraphs[i : i + 4]) for i in range(0, 120, 4)]
    return [*paragraphs, *long, *questions][:_TEXTS]


def _encode(encoder: Encoder, texts: Sequence[str], size: int) -> list[Representation]:
    ids = [text.ids for text in encoder.tokenizer.tokenize(texts, encoder.info.max_tokens)]
    batches = (encoder.encode(ids[i : i + size], OUTPUTS) for i in range(0, len(ids), size))
    return [row for batch in batches for row in batch]


def _tokens(row: Representation) -> Any:
    return decode_tokens(row.codes, row.codec)


def _terms(row: Representation) -> dict[int, float]:
    return dict(zip(row.sparse_ids.tolist(), row.sparse_weights.tolist(), strict=True))


def _their_terms(answer: dict[str, Any]) -> dict[int, float]:
    return {int(term): float(weight) for term, weight in answer["lexical_weights"][0].items()}


def _sparse(one: dict[int, float], other: dict[int, float]) -> tuple[float, int]:
    """The largest difference of a weight, and 1 where terms of some weight differ."""
    heavy = [{t for t, w in terms.items() if w >= _LEAST_WEIGHT} for terms in (one, other)]
    largest = max((abs(one[t] - other[t]) for t in one.keys() & other.keys()), default=0.0)
    return largest, int(heavy[0] != heavy[1])
