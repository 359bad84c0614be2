"""What a faster arithmetic costs: retrieval on judged collections beside the same in fp32."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.checkpoints import cache, checkpoint, described
from bench.measure import Result
from bench.ranking import Embedded, rankings
from embedder.encoders.encoder import Encoder, encode
from embedder.encoders.loading import load_encoder
from evaluation.judged.beir import TestCollection, load
from evaluation.measuring.metrics import measure
from m3.codec import from_bytes, to_bytes
from m3.errors import InvalidConfiguration
from m3.settings import load_settings
from m3.types import OUTPUTS, Codec, Representation, batch_of, model_text

_BATCH_TOKENS = 4096
_TOP = 10


def run(
    folders: Annotated[list[Path], typer.Argument(help="Collections in BEIR layout.")],
    *,
    model: Annotated[str, typer.Option(help="stand-in or DIR; weights that mean something.")] = (
        "stand-in"
    ),
    precisions: Annotated[str, typer.Option(help="Held against fp32, comma-separated.")] = (
        "bf16,int8"
    ),
    codec: Annotated[Codec, typer.Option(help="How passages are stored.")] = Codec.INT8,
    limit: Annotated[int | None, typer.Option(help="Documents, for a quick look.")] = None,
) -> Result:
    """nDCG@10 of every method, its loss against fp32, and the overlap of the ten best.

    Queries in fp32 codes and passages in `codec`, both of the precision named, as a node and
    the search service have them. What fp32 gives is kept under the state directory.
    """
    folder = checkpoint(model)
    collections = [load(path) for path in folders]
    notes: dict[str, Any] = {"model": described(model), "codec of passages": codec.value}
    figures: list[dict[str, Any]] = []
    base: dict[str, Outcome] = {}
    for precision in ("fp32", *precisions.split(",")):
        try:
            encoder = load_encoder(load_settings(model=str(folder), precision=precision))
        except InvalidConfiguration as error:
            notes[f"left out: {precision}"] = error.message
            continue
        notes[f"engine of {precision}"] = encoder.engine
        for judged in collections:
            outcome = Outcome(encoder, judged, codec, limit)
            fp32 = base.setdefault(judged.name, outcome)
            figures += [
                {"collection": judged.name, "what": f"{precision}, {method}", **row}
                for method, row in outcome.beside(fp32).items()
            ]
    return Result("fidelity" if limit is None else "fidelity-part", figures, notes)


class Outcome:
    """One collection through one encoder: its rankings, and what they are worth."""

    def __init__(
        self, encoder: Encoder, judged: TestCollection, codec: Codec, limit: int | None
    ) -> None:
        documents = [parsed.document for parsed in judged.documents()][:limit]
        texts = [model_text(document.title, document.text) for document in documents]
        self.documents = Embedded(
            [document.id for document in documents], embedded(encoder, texts, codec)
        )
        self._queries = Embedded(
            list(judged.queries), embedded(encoder, list(judged.queries.values()), Codec.FP32)
        )
        self._rankings = rankings(self.documents, self._queries)
        self._ndcg = {
            method: float(measure(judged.qrels, ranking)["nDCG@10"].mean())
            for method, ranking in self._rankings.items()
        }

    def beside(self, fp32: Outcome) -> Mapping[str, Mapping[str, float]]:
        """Figures by method."""
        cosine = _cosines(self.documents, fp32.documents)
        return {
            method.value: {
                "nDCG@10": self._ndcg[method],
                "loss": round(fp32._ndcg[method] - self._ndcg[method], 4),
                "top-10 overlap": overlap(ranking, fp32._rankings[method]),
                "dense cosine, mean": float(cosine.mean()),
                "dense cosine, least": float(cosine.min()),
            }
            for method, ranking in self._rankings.items()
        }


def _cosines(one: Embedded, other: Embedded) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    norms = np.linalg.norm(one.dense, axis=1) * np.linalg.norm(other.dense, axis=1)
    return np.vecdot(one.dense, other.dense) / norms


def overlap(one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> float:
    """The share of the ten best of `other` that are among the ten best of `one`."""
    shares = [
        len({*one[query][:_TOP]} & {*best[:_TOP]}) / len(best[:_TOP])
        for query, best in other.items()
        if best
    ]
    return float(np.mean(shares))


def embedded(encoder: Encoder, texts: Sequence[str], codec: Codec) -> list[Representation]:
    """In the order of the texts; what fp32 gives is kept."""
    if encoder.info.precision != "fp32":
        return _encoded(encoder, texts, codec)
    key = hashlib.blake2b(digest_size=12)
    for part in (encoder.info.fingerprint, encoder.engine, codec, *texts):
        key.update(hashlib.blake2b(part.encode()).digest())
    kept = cache() / f"fp32-{key.hexdigest()}.safetensors"
    if not kept.exists():
        rows = _encoded(encoder, texts, codec)
        unfinished = kept.with_suffix(".part")
        unfinished.write_bytes(to_bytes(batch_of(rows)))
        unfinished.replace(kept)
    return list(from_bytes(kept.read_bytes()))


def _encoded(encoder: Encoder, texts: Sequence[str], codec: Codec) -> list[Representation]:
    ids = [text.ids for text in encoder.tokenizer.tokenize(texts, encoder.info.max_tokens)]
    rows: dict[int, Representation] = {}
    for batch in _batches([len(text) for text in ids]):
        columns = encode(encoder, [ids[i] for i in batch], OUTPUTS, codec)
        rows |= {i: columns.row(row) for row, i in enumerate(batch)}
    return [rows[i] for i in range(len(texts))]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Texts of like length together, up to a batch's tokens."""
    batch: list[int] = []
    tokens = 0
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and tokens + lengths[i] > _BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(i)
        tokens += lengths[i]
    if batch:
        yield batch
