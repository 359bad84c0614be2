"""Raw scores: what both legs find for each query, with all three exact scores, collected once.

Every method, every weight and every smaller depth is computed from them (`ranking`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from m3.errors import GenerationChanged, InvalidInput
from m3.types import F32, I32, I64, offsets_of
from search.looking import Look
from search.request import SearchRequest
from search.service import SearchService
from store.candidates import Leg, Snapshot
from store.chunks import StoredChunk

DEPTH = 200
"""Candidates of each leg; as deep as BGE-M3's authors rerank."""
LEGS: tuple[Leg, ...] = ("dense", "sparse")
_AT_ONCE = 4
"""Queries under way: a node and the store have some to work on while others wait."""

Advance = Callable[[int], None]
"""Told how many more queries are done."""
OnLook = Callable[[str, Look, Mapping[int, StoredChunk]], None]
"""Given a query's id and all that was found for it, before it is reduced to scores."""


@dataclass(frozen=True, slots=True, eq=False)
class RawScores:
    """Candidates of q queries as columns; those of query i are `[offsets[i]:offsets[i+1]]`.

    They are in the order of their ids, so that a stable sort by score breaks ties as a search does.

    Attributes:
        queries: [q] ids.
        offsets: [q+1] int64.
        scores: [n, 3] fp32, dense, sparse and ColBERT.
        ranks: [n, 2] int32, the place in the dense and in the sparse leg, the best 1; 0 where
            the leg did not find it.
        chunks: [n] int32, numbers in `ids`.
        ids: [c] ids of all chunks that were found, ascending.
        owners: [c] int32, each chunk's document, a number in `documents`.
        documents: [d] document ids.
        depth: of each leg.
    """

    queries: tuple[str, ...]
    offsets: I64
    scores: F32
    ranks: I32
    chunks: I32
    ids: tuple[str, ...]
    owners: I32
    documents: tuple[str, ...]
    depth: int

    def __len__(self) -> int:
        return len(self.queries)

    def query_numbers(self) -> I64:
        """[n] int64: which query each candidate is of, a number in `queries`."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def only(self, queries: Mapping[str, object]) -> RawScores:
        """Those of some queries, in their order here; all chunks and documents keep their numbers.

        Raises:
            InvalidInput: none of them is here.
        """
        chosen = [i for i, query in enumerate(self.queries) if query in queries]
        if not chosen:
            raise InvalidInput("no query of the scores is among those that are judged")
        rows = np.isin(self.query_numbers(), chosen)
        lengths = np.diff(self.offsets)[chosen]
        return replace(
            self.where(rows),
            queries=tuple(self.queries[i] for i in chosen),
            offsets=offsets_of(lengths.tolist()),
        )

    def where(self, rows: NDArray[np.bool_]) -> RawScores:
        """Those of [n] candidates alone; queries, chunks and documents keep their numbers."""
        lengths = np.bincount(self.query_numbers()[rows], minlength=len(self))
        return replace(
            self,
            offsets=offsets_of(lengths.tolist()),
            scores=self.scores[rows],
            ranks=self.ranks[rows],
            chunks=self.chunks[rows],
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """One query's candidates, in the order of their ids."""

    ids: list[str]
    documents: list[str]
    scores: F32
    ranks: I32


async def collect(
    service: SearchService,
    queries: Mapping[str, str],
    collection: str,
    *,
    depth: int = DEPTH,
    advance: Advance = lambda _: None,
    on_look: OnLook | None = None,
) -> RawScores:
    """Search for every query in both legs, and score the union, as `/v1/search` does.

    Args:
        queries: texts by id.

    Raises:
        InvalidInput: a query that cannot be searched for; the message names it.
        GenerationChanged: the collection was written to meanwhile.
        M3Error: as `SearchService.look`.
    """
    found: dict[str, _Found] = {}
    snapshots = set[Snapshot]()
    waiting = iter(queries.items())

    async def work() -> None:
        for id_, text in waiting:
            try:
                request = SearchRequest(
                    text, collection, top_k=depth, candidates=depth, rerank_depth=0
                )
                look = await service.look(request)
            except InvalidInput as error:
                raise InvalidInput(f"query {id_!r}: {error}") from error
            if on_look is not None:
                on_look(id_, look, await service.texts(look))
            found[id_] = _reduced(look)
            snapshots.add(look.snapshot)
            if len(snapshots) > 1:
                raise GenerationChanged(
                    f"{collection!r} was written to while its scores were collected: try again "
                    "when nothing writes to it"
                )
            advance(1)

    workers = [asyncio.create_task(work()) for _ in range(_AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return _columns({id_: found[id_] for id_ in queries}, depth)


def _reduced(look: Look) -> _Found:
    chunks = look.candidates.rows.chunks
    order = sorted(range(len(chunks)), key=lambda row: chunks[row].id)
    place = {
        leg: {row: rank for rank, row in enumerate(look.candidates.legs.get(leg, ()), 1)}
        for leg in LEGS
    }
    ranks = [[place[leg].get(chunks[row].row, 0) for leg in LEGS] for row in order]
    return _Found(
        ids=[chunks[row].id for row in order],
        documents=[chunks[row].document_id for row in order],
        scores=look.candidates.scores[order],
        ranks=np.array(ranks, np.int32).reshape(-1, len(LEGS)),
    )


def _columns(found: Mapping[str, _Found], depth: int) -> RawScores:
    owner = {
        id_: document
        for each in found.values()
        for id_, document in zip(each.ids, each.documents, strict=True)
    }
    ids = sorted(owner)
    documents = sorted(set(owner.values()))
    number = {id_: i for i, id_ in enumerate(ids)}
    document_number = {document: i for i, document in enumerate(documents)}
    empty = _Found([], [], np.zeros((0, 3), np.float32), np.zeros((0, len(LEGS)), np.int32))
    parts = [*found.values()] or [empty]
    return RawScores(
        queries=tuple(found),
        offsets=offsets_of([len(each.ids) for each in found.values()]),
        scores=np.concatenate([each.scores for each in parts]),
        ranks=np.concatenate([each.ranks for each in parts]),
        chunks=np.array([number[id_] for each in parts for id_ in each.ids], np.int32),
        ids=tuple(ids),
        owners=np.array([document_number[owner[id_]] for id_ in ids], np.int32),
        documents=tuple(documents),
        depth=depth,
    )
