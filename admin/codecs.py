"""What smaller ColBERT codes cost in quality and win in bytes and time, on judged documents.

int8, bf16 and fp32 are what a collection can be kept in, each with tokens pooled or not. Binary
codes are not offered: they are measured here, so that one can tell what they would be worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from admin.table import Table
from embedder.client import EmbedderClient
from evaluation.judged.beir import TestCollection, load
from evaluation.measuring.comparing import Comparison, compare
from evaluation.measuring.metrics import measure, metric_named
from evaluation.measuring.significance import Interval, interval
from ingest.pooling import grouped, means
from m3.codec import decode_tokens, encode_tokens, width
from m3.errors import InvalidInput
from m3.settings import Settings
from m3.types import F32, Codec, EmbeddingBatch, model_text, offsets_of
from scoring.codes import Together
from scoring.exact import first_scores
from scoring.fusion import F64, METHOD_WEIGHTS, Method, fuse, ranked
from scoring.maxsim import maxsim

BASE = "fp32"
_METRIC = metric_named("nDCG@10")
_TOP = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to keep token vectors.

    Attributes:
        token_bytes: of one token of the text, by dimension.
        shrunk: [t, d] fp32 to fewer or coarser vectors, before they are written in `codec`.
        offered: whether a collection can be kept in it, so that its time says something.
    """

    name: str
    codec: Codec
    token_bytes: Callable[[int], float]
    shrunk: Callable[[F32], F32] = lambda vectors: vectors
    offered: bool = True


def _pooled(by: int) -> Callable[[F32], F32]:
    """As ingest pools what nodes answer in int8."""

    def pooled(vectors: F32) -> F32:
        answered = decode_tokens(encode_tokens(vectors, Codec.INT8), Codec.INT8)
        return means(answered, grouped(answered, by))

    return pooled


def _signs(vectors: F32) -> F32:
    """The nearest corner of the cube: what one bit a dimension can say."""
    return np.asarray(np.where(vectors >= 0, 1, -1) / np.sqrt(vectors.shape[1]), np.float32)


KINDS = (
    Kind(BASE, Codec.FP32, lambda d: width(d, Codec.FP32)),
    Kind("bf16", Codec.BF16, lambda d: width(d, Codec.BF16)),
    Kind("int8", Codec.INT8, lambda d: width(d, Codec.INT8)),
    Kind("int8, pooled 2", Codec.INT8, lambda d: width(d, Codec.INT8) / 2, _pooled(2)),
    Kind("int8, pooled 4", Codec.INT8, lambda d: width(d, Codec.INT8) / 4, _pooled(4)),
    Kind("binary", Codec.FP32, lambda d: d / 8, _signs, False),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind comes to.

    Attributes:
        ndcg: nDCG@10 of the fusion, and its 95 % interval; None for one query.
        colbert: nDCG@10 of ColBERT alone.
        overlap: the share of fp32's ten best that it has too.
        against: its fusion against fp32's; None for fp32 itself.
        milliseconds: of MaxSim for one query over all passages; None for what has no kernel.
    """

    kind: str
    passage_bytes: float
    ndcg: float
    ndcg_interval: Interval | None
    colbert: float
    overlap: float
    against: Comparison | None
    milliseconds: float | None


@dataclass(frozen=True, slots=True)
class Texts:
    """Judged documents and queries with their representations in fp32.

    Attributes:
        precision: of the node that embedded them.
        seconds: that it took for the documents.
        ids: of documents, row i of `documents`.
    """

    name: str
    precision: str
    seconds: float
    stand_in: bool
    qrels: Mapping[str, Mapping[str, int]]
    ids: Sequence[str]
    documents: EmbeddingBatch
    queries: EmbeddingBatch


async def embed(
    settings: Settings, folder: Path, *, documents: int, queries: int, url: str | None = None
) -> Texts:
    """The first so many documents of a folder in BEIR layout, and queries about them.

    Args:
        url: of the node; None is the settings' first.

    Raises:
        InvalidInput: not such a folder, or no query is about those documents.
        M3Error: what the node refuses.
    """
    judged = load(folder)
    kept = {item.document.id: item.document for item in islice(judged.documents(), documents)}
    qrels = _about(judged, kept, queries)
    passages = [model_text(document.title, document.text) for document in kept.values()]
    node = settings.model_copy(update={"embedder_url": (url or settings.embedder_url[0],)})
    async with EmbedderClient.from_settings(node) as client:
        model = await client.model()
        asked = [judged.queries[id_] for id_ in qrels]
        of_queries = await client.encode(asked, "query", codec=Codec.FP32)
        began = time.perf_counter()
        of_documents = await client.encode(passages, "passage", codec=Codec.FP32)
        seconds = time.perf_counter() - began
    return Texts(
        name=judged.name,
        precision=model.precision,
        seconds=seconds,
        stand_in=model.stand_in,
        qrels=qrels,
        ids=list(kept),
        documents=of_documents,
        queries=of_queries,
    )


def _about(
    judged: TestCollection, documents: Iterable[str], most: int
) -> dict[str, Mapping[str, int]]:
    there = set(documents)
    found = {id_: grades for id_, grades in judged.qrels.items() if grades.keys() <= there}
    if not found:
        raise InvalidInput(f"no query of {judged.folder} is about these documents alone: take more")
    return dict(islice(found.items(), most))


def costs(texts: Texts) -> list[Cost]:
    """All kinds, fp32 first. Dense and sparse scores are fp32's in all of them."""
    # As the search service scores: on a busy machine BLAS threads wait for each other by spinning.
    with threadpool_limits(1, user_api="blas"):
        measured = {kind.name: Scored.of(texts, kind) for kind in KINDS}
    base = measured[BASE]
    return [_cost(texts, kind, measured[kind.name], base) for kind in KINDS]


@dataclass(frozen=True, slots=True)
class Scored:
    """Rankings of one kind by query, and how long its MaxSim took."""

    fused: Mapping[str, Sequence[str]]
    colbert: Mapping[str, Sequence[str]]
    seconds: float

    @classmethod
    def of(cls, texts: Texts, kind: Kind) -> Scored:
        passages = _codes(texts.documents, kind)
        fused: dict[str, Sequence[str]] = {}
        colbert: dict[str, Sequence[str]] = {}
        seconds = 0.0
        for id_, query in zip(texts.qrels, texts.queries, strict=True):
            vectors = decode_tokens(query.codes, query.codec)
            began = time.perf_counter()
            late = maxsim(vectors, passages, kind.codec)
            seconds += time.perf_counter() - began
            scores = np.column_stack([first_scores(query, texts.documents), late])
            fused[id_] = _ranked(texts, fuse(scores, METHOD_WEIGHTS[Method.FUSION]))
            colbert[id_] = _ranked(texts, late.astype(np.float64))
        return cls(fused, colbert, seconds)


def _codes(documents: EmbeddingBatch, kind: Kind) -> Together:
    shrunk = [kind.shrunk(decode_tokens(row.codes, row.codec)) for row in documents]
    codes = encode_tokens(np.concatenate(shrunk), kind.codec)
    return Together(codes, offsets_of([len(vectors) for vectors in shrunk]))


def _ranked(texts: Texts, scores: F64) -> list[str]:
    return [texts.ids[row] for row in ranked(scores, texts.ids)]


def _cost(texts: Texts, kind: Kind, scored: Scored, base: Scored) -> Cost:
    values = values_of(texts, scored.fused)
    tokens = len(texts.documents.token_ids) / len(texts.ids)
    is_base = scored is base
    return Cost(
        kind=kind.name,
        passage_bytes=tokens * kind.token_bytes(texts.documents.dense.shape[1]),
        ndcg=float(values.mean()),
        ndcg_interval=interval(values),
        colbert=float(values_of(texts, scored.colbert).mean()),
        overlap=overlap_of(scored.colbert, base.colbert),
        against=None if is_base else compare(str(_METRIC), values_of(texts, base.fused), values),
        milliseconds=1000 * scored.seconds / len(texts.qrels) if kind.offered else None,
    )


def values_of(texts: Texts, rankings: Mapping[str, Sequence[str]]) -> F64:
    return measure(texts.qrels, rankings, [_METRIC])[str(_METRIC)]


def overlap_of(one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> float:
    shares = [
        len({*one[id_][:_TOP]} & {*best[:_TOP]}) / len(best[:_TOP]) for id_, best in other.items()
    ]
    return float(np.mean(shares))


def table(found: Sequence[Cost], texts: Texts) -> Table:
    """A row a kind; `noise` says that the difference may be chance."""
    rows = [
        (
            cost.kind,
            round(cost.passage_bytes),
            cost.ndcg,
            cost.colbert,
            cost.overlap,
            "" if cost.against is None else told(cost.against),
            "no kernel" if cost.milliseconds is None else round(cost.milliseconds, 2),
        )
        for cost in found
    ]
    columns = (
        "codes", "bytes a passage", "fusion nDCG@10", "ColBERT nDCG@10",
        "ten best as fp32's", "fusion against fp32", "MaxSim, ms a query",
    )  # fmt: skip
    stand_in = ", English-only stand-in" if texts.stand_in else ""
    caption = f"{texts.name}: {len(texts.ids):,} documents, {len(texts.qrels):,} queries{stand_in}"
    return Table(columns, rows, caption)


def told(against: Comparison) -> str:
    low, high = against.interval
    noise = ", noise" if against.noise else ""
    return f"{against.difference:+.4f} [{low:+.4f}, {high:+.4f}]{noise}"
