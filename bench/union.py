"""Union rescoring beside brute force, where each leg is searched as deep as there are chunks.

Over HTTP a leg goes 1,000 deep; here the same candidates, scores and ranking are asked for below
that limit. Brute force is `scoring.definition` of every row that the table has.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.kept import Made, kept
from bench.measure import Result
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT, Representation
from scoring import definition
from scoring.fusion import METHOD_WEIGHTS, Method
from search.ranking import Place
from search.request import SearchRequest
from search.rerank import score
from store.candidates import Leg
from store.contract import Collection

_LEGS: tuple[Leg, ...] = ("dense", "sparse")
_TOP = 10
_ROUNDING = 1e-5
"""Scores that are no further apart are one."""
_WEIGHTS = METHOD_WEIGHTS[Method.FUSION]


def run(
    *,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps the collection, and has it next time.")
    ] = None,
    chunks: Annotated[int, typer.Option(min=1_000, max=16_000)] = 10_000,
    tokens: Annotated[int, typer.Option(help="Of a chunk.")] = 32,
    queries: int = 20,
) -> Result:
    """For each query, whether all chunks are candidates, and the ten best those of brute force."""
    with (
        tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place,
        kept(Path(place), Made(chunks, tokens)) as here,
        here.opened() as collection,
    ):
        asked = dict(islice(here.queries().items(), queries))
        figures = [_figure(collection, text, asked[text], chunks) for text in asked]
    same = sum(figure["same ten"] for figure in figures)
    notes = {"candidates of each leg": chunks, "same ten": f"{same} of {len(figures)} queries"}
    return Result("union", figures, notes)


def _figure(collection: Collection, text: str, query: Representation, depth: int) -> dict[str, Any]:
    ours, exact = _ranked(collection, query, depth), _brute(collection, query)
    best = sorted(exact.values(), reverse=True)
    # By their scores: of passages that score the same, either may come first.
    places = [exact[place.row] for place in ours[:_TOP]]
    apart = max(abs(place.score - exact[place.row]) for place in ours)
    return {
        "what": text[:40],
        "chunks": len(exact),
        "candidates": len(ours),
        "most apart": apart,
        "same ten": all(abs(a - b) <= _ROUNDING for a, b in zip(places, best[:_TOP], strict=True)),
    }


def _ranked(collection: Collection, query: Representation, depth: int) -> list[Place]:
    found = collection.candidates(query, legs=_LEGS, depth=depth, tenant=DEFAULT_TENANT)
    scored = score(query, found.rows, found.legs, found.failed, ends=None)
    return list(scored.ranking(SearchRequest("whatever it says", "bench"), _WEIGHTS))


def _brute(collection: Collection, query: Representation) -> Mapping[int, float]:
    """The fused score of every row, by its id."""
    return {
        chunk.row: definition.fused_score(definition.scores(query, own), _WEIGHTS.as_tuple())
        for rows in collection.scan(DEFAULT_TENANT, DEFAULT_SOURCE)
        for chunk, own in zip(rows.chunks, rows.embeddings, strict=True)
    }
