"""The packed encoder against FlagEmbedding, number by number, on 500 texts of mixed length."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import Result
from bench.texts import sample_texts
from embedder.encoders.encoder import Encoder, encode
from embedder.encoders.loading import load_encoder
from embedder.stand_in import build
from m3.codec import decode_tokens
from m3.settings import load_settings
from m3.types import F32, OUTPUTS, Representation

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
            _their_values(
                peer.encode([text], return_dense=True, return_sparse=True, return_colbert_vecs=True)
            )
            for text in texts
        ]
    figures = [
        _differences("FlagEmbedding, one text at a time", together, theirs),
        _differences(f"the same text alone and in batches of {_BATCH}", together, alone),
    ]
    return Result("parity", figures, {"texts": _TEXTS, "model": "stand-in, fp32"})


@dataclass(frozen=True, slots=True)
class _Values:
    """One text's dense vector [d], ColBERT vectors [t, d] and weights by term."""

    dense: F32
    colbert: F32
    terms: dict[int, float]


def _differences(what: str, ours: Sequence[_Values], others: Sequence[_Values]) -> dict[str, Any]:
    """The largest absolute difference of each output over all texts."""
    pairs = list(zip(ours, others, strict=True))
    return {
        "what": what,
        "dense": max(float(np.abs(one.dense - other.dense).max()) for one, other in pairs),
        "colbert": max(float(np.abs(one.colbert - other.colbert).max()) for one, other in pairs),
        "sparse": max(
            abs(weight - other.terms.get(term, 0.0))
            for one, other in pairs
            for term, weight in one.terms.items()
        ),
        "texts with other terms": sum(
            _heavy(one.terms) != _heavy(other.terms) for one, other in pairs
        ),
    }


def _heavy(terms: dict[int, float]) -> set[int]:
    return {term for term, weight in terms.items() if weight >= _LEAST_WEIGHT}


def _mixed() -> list[str]:
    """Questions, paragraphs, and runs of paragraphs that fill the model's 512 tokens."""
    paragraphs, questions = sample_texts("corpus.jsonl"), sample_texts("queries.jsonl")
    long = [" ".join(paragraphs[i : i + 4]) for i in range(0, 120, 4)]
    return [*paragraphs, *long, *questions][:_TEXTS]


def _encode(encoder: Encoder, texts: Sequence[str], size: int) -> list[_Values]:
    ids = [text.ids for text in encoder.tokenizer.tokenize(texts, encoder.info.max_tokens)]
    batches = (encode(encoder, ids[i : i + size], OUTPUTS) for i in range(0, len(ids), size))
    return [_our_values(row) for batch in batches for row in batch]


def _our_values(row: Representation) -> _Values:
    terms = dict(zip(row.sparse_ids.tolist(), row.sparse_weights.tolist(), strict=True))
    return _Values(row.dense.astype(np.float32), decode_tokens(row.codes, row.codec), terms)


def _their_values(answer: Any) -> _Values:
    terms = {int(term): float(weight) for term, weight in answer["lexical_weights"][0].items()}
    return _Values(answer["dense_vecs"][0], answer["colbert_vecs"][0], terms)
