"""What fewer ColBERT vectors cost: pooled tokens, and two stages, beside all vectors of all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from threadpoolctl import threadpool_limits

from bench.checkpoints import checkpoint, described
from bench.fidelity import embedded, overlap
from bench.measure import Result
from bench.ranking import Embedded, best_rows, terms_of
from embedder.encoders.loading import load_encoder
from evaluation.judged.beir import TestCollection, load
from evaluation.measuring.metrics import measure
from ingest.pooling import pooled
from m3.settings import load_settings
from m3.types import F32, Codec, batch_of, model_text
from scoring.exact import colbert_scores, first_scores
from scoring.fusion import METHOD_WEIGHTS, Method, Weights, fuse, ranked

_METHODS = (Method.FUSION, Method.COLBERT)
_NDCG = "nDCG@10"


def run(
    folders: Annotated[list[Path], typer.Argument(help="Collections in BEIR layout.")],
    *,
    model: Annotated[str, typer.Option(help="stand-in or DIR; weights that mean something.")] = (
        "stand-in"
    ),
    precision: Annotated[str, typer.Option(help="That texts are embedded in.")] = "bf16",
    codec: Annotated[Codec, typer.Option(help="That nodes answer and tables keep.")] = Codec.INT8,
    poolings: Annotated[str, typer.Option(help="Tokens a vector, comma-separated.")] = "2,3,4",
    depths: Annotated[str, typer.Option(help="Of two stages, comma-separated.")] = "20,50,100",
    limit: Annotated[int | None, typer.Option(help="Documents, for a quick look.")] = None,
) -> Result:
    """nDCG@10 of fusion and ColBERT, the ten best, bytes of codes, and the time of MaxSim.

    Candidates are those of both legs, 200 deep, as `m3-search eval` takes them; two stages have
    tokens that are not pooled. Times are of one core, CPU.
    """
    folder = checkpoint(model)
    encoder = load_encoder(load_settings(model=str(folder), precision=precision))
    ways = [
        Way("all"),
        *(Way(f"pooled {by}", by=int(by)) for by in poolings.split(",")),
        *(Way(f"two stages, {depth}", depth=int(depth)) for depth in depths.split(",")),
        Way("pooled 2, two stages, 50", by=2, depth=50),
    ]
    figures: list[dict[str, Any]] = []
    for judged in map(load, folders):
        documents = [parsed.document for parsed in judged.documents()][:limit]
        texts = [model_text(document.title, document.text) for document in documents]
        asked = {id_: text for id_, text in judged.queries.items() if id_ in judged.qrels}
        collection = Collection(
            judged,
            Embedded([each.id for each in documents], embedded(encoder, texts, codec)),
            Embedded(list(asked), embedded(encoder, list(asked.values()), Codec.FP32)),
        )
        figures += collection.beside_all(ways)
    notes = {
        "model": described(model),
        "engine": encoder.engine,
        "codec of passages": codec.value,
    }
    return Result("pooling" if limit is None else "pooling-part", figures, notes)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to score: tokens a vector, and how many candidates ColBERT scores (0: all)."""

    name: str
    by: int = 1
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rankings by method and query, and CPU seconds: of pooling all passages, of MaxSim a query."""

    rankings: Mapping[Method, Mapping[str, Sequence[str]]]
    code_bytes: int
    pooling: float
    maxsim: float


@dataclass(frozen=True, slots=True)
class Collection:
    """A judged collection with its representations."""

    judged: TestCollection
    documents: Embedded
    queries: Embedded

    def beside_all(self, ways: Iterable[Way]) -> Iterator[dict[str, Any]]:
        """A row of figures for each way; the first is what the others are held against."""
        unions = self._unions()
        base: Outcome | None = None
        for way in ways:
            # As the search service scores: BLAS threads of one query wait for each other.
            with threadpool_limits(1, user_api="blas"):
                outcome = self._outcome(way, unions)
            base = base or outcome
            yield self._figures(way, outcome, base)

    def _unions(self) -> Sequence[Sequence[int]]:
        dense = best_rows(self.queries.dense @ self.documents.dense.T)
        sparse = best_rows(terms_of(self.queries, self.documents))
        return [np.union1d(*legs).tolist() for legs in zip(dense, sparse, strict=True)]

    def _outcome(self, way: Way, unions: Sequence[Sequence[int]]) -> Outcome:
        began = time.process_time()
        rows = [pooled(row, way.by) for row in self.documents.rows]
        pooling, maxsim = time.process_time() - began, list[float]()
        rankings: dict[Method, dict[str, Sequence[str]]] = {method: {} for method in _METHODS}
        for id_, query, union in zip(self.queries.ids, self.queries.rows, unions, strict=True):
            candidates = batch_of([rows[row] for row in union])
            first = first_scores(query, candidates)
            for method in _METHODS:
                weights = METHOD_WEIGHTS[method]
                kept = self._first_stage(first, union, weights, way.depth)
                passages = batch_of([rows[union[i]] for i in kept]) if way.depth else candidates
                began = time.process_time()
                late = colbert_scores(query, passages)
                maxsim.append(time.process_time() - began)
                ids = [self.documents.ids[union[i]] for i in kept]
                order = ranked(fuse(np.column_stack([first[kept], late]), weights), ids)
                rankings[method][id_] = [ids[row] for row in order]
        code_bytes = sum(row.codes.nbytes for row in rows)
        return Outcome(rankings, code_bytes, pooling, float(np.mean(maxsim)))

    def _first_stage(
        self, first: F32, union: Sequence[int], weights: Weights, depth: int
    ) -> Sequence[int]:
        """As `search.rerank.Stage` chooses them."""
        if not depth:
            return range(len(union))
        own = weights.without(["colbert"]) or METHOD_WEIGHTS[Method.DENSE_SPARSE]
        known = np.column_stack([first, np.zeros(len(first), np.float32)])
        return sorted(ranked(fuse(known, own), [self.documents.ids[row] for row in union])[:depth])

    def _figures(self, way: Way, outcome: Outcome, base: Outcome) -> dict[str, Any]:
        figures: dict[str, Any] = {"collection": self.judged.name, "what": way.name}
        for method in _METHODS:
            ndcg, best = (self._ndcg(each.rankings[method]) for each in (outcome, base))
            figures[f"{method} {_NDCG}"] = round(ndcg, 4)
            figures[f"{method} loss"] = round(best - ndcg, 4)
            figures[f"{method} ten best"] = overlap(outcome.rankings[method], base.rankings[method])
        figures["code bytes a passage"] = round(outcome.code_bytes / len(self.documents.ids))
        figures["MaxSim, ms a query"] = 1000 * outcome.maxsim
        figures["pooling, ms a passage"] = 1000 * outcome.pooling / len(self.documents.ids)
        return figures

    def _ndcg(self, rankings: Mapping[str, Sequence[str]]) -> float:
        return float(measure(self.judged.qrels, rankings)[_NDCG].mean())
