"""A recipe run through the real services: searched, ranked both ways, measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from embedder.client import EmbedderClient
from evaluation.recipes.collection import Published
from evaluation.recipes.cutting import Cutter
from evaluation.recipes.judging import ByAnswers, ByQrels, Judge
from evaluation.recipes.protocol import DEPTH, METHODS, Ranker, ranked
from evaluation.recipes.recipe import Recipe
from evaluation.scores.raw import Advance, RawScores, collect
from search.looking import Look
from search.service import SearchService
from store.chunks import StoredChunk

_QUERIES = 100
"""Whose candidates are in memory at a time: 2,000 passages each."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One method: by the paper's candidates, by the union of both legs, and what is published."""

    method: str
    paper: float
    union: float | None
    published: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a recipe came to.

    Attributes:
        published_languages: that published figures are means of; the others are of one.
        stand_in: whether the model is the English-only stand-in.
    """

    recipe: str
    language: str
    metric: str
    model: str
    stand_in: bool
    documents: int
    queries: int
    published_languages: int
    figures: Sequence[Figure]


async def cut_to_protocol(
    recipe: Recipe, published: Published, client: EmbedderClient
) -> Published:
    """Its queries and documents as long as the protocol has them, by the node's tokenizer."""
    tokenizer = await client.tokenizer()
    cutter = Cutter(tokenizer, query=recipe.query_tokens, passage=recipe.passage_tokens)
    return await asyncio.to_thread(published.cut, cutter)


async def run(
    recipe: Recipe,
    published: Published,
    service: SearchService,
    collection: str,
    advance: Advance,
) -> Mapping[Ranker, float]:
    """The recipe's metric by method and candidates.

    Raises:
        M3Error: as `evaluation.scores.raw.collect`.
    """
    answers = None if published.answers is None else ByAnswers(published.answers)
    judge = answers or ByQrels(published.qrels, recipe.metric)

    def see(query: str, _: Look, texts: Mapping[int, StoredChunk]) -> None:
        if answers is not None:
            for chunk in texts.values():
                answers.see(query, chunk.document_id, f"{chunk.title}\n{chunk.text}")

    for some in _parts(published.queries):
        raw = await collect(service, some, collection, depth=DEPTH, advance=advance, on_look=see)
        await asyncio.to_thread(_judge, judge, recipe, raw)
    return await asyncio.to_thread(judge.results)


def _parts(queries: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    waiting = iter(queries.items())
    while part := dict(islice(waiting, _QUERIES)):
        yield part


def _judge(judge: Judge, recipe: Recipe, raw: RawScores) -> None:
    for ranker, found in ranked(raw, recipe.fusing).items():
        judge.add(ranker, {query: ranking.documents for query, ranking in found.items()})
    judge.forget_texts()


def outcome(
    recipe: Recipe,
    language: str,
    results: Mapping[Ranker, float],
    *,
    documents: int,
    queries: int,
    model: str,
    stand_in: bool,
) -> Outcome:
    """Results beside what is published."""
    figures = [
        Figure(
            method,
            paper=results[method, "paper"],
            union=results.get((method, "union")),
            published=recipe.published[method],
        )
        for method in METHODS
    ]
    return Outcome(
        recipe=recipe.name,
        language=language,
        metric=recipe.metric,
        model=model,
        stand_in=stand_in,
        documents=documents,
        queries=queries,
        published_languages=len(recipe.languages),
        figures=figures,
    )
