"""Places in a ranking as hits: with their texts, and what else was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from search.ranking import Place
from search.response import ChunkScore, Explanation, Hit, Neighbour
from store.chunks import StoredChunk

Explain = Callable[[Place, StoredChunk], Explanation]


def hits(
    places: Sequence[Place],
    chunks: Mapping[int, StoredChunk],
    *,
    explain: Explain | None = None,
    around: Mapping[int, Sequence[StoredChunk]] | None = None,
    grouped: bool = False,
) -> list[Hit]:
    """The places as hits, in their order; `chunks` has the texts of all of them, by row."""
    made: list[Hit] = []
    for place in places:
        chunk = chunks[place.row]
        made.append(
            Hit(
                id=chunk.id,
                document_id=chunk.document_id,
                source=chunk.source,
                position=chunk.position,
                score=place.score,
                scores=place.scores,
                title=chunk.title,
                text=chunk.text,
                metadata=chunk.metadata,
                heading=chunk.heading,
                page=chunk.page,
                start=chunk.start,
                end=chunk.end,
                explain=explain(place, chunk) if explain else None,
                chunks=[_chunk(each) for each in place.rest] if grouped else None,
                neighbours=None if around is None else [_near(each) for each in around[place.row]],
            )
        )
    return made


def _chunk(place: Place) -> ChunkScore:
    return ChunkScore(place.chunk.id, place.chunk.position, place.score, place.scores)


def _near(chunk: StoredChunk) -> Neighbour:
    return Neighbour(
        id=chunk.id,
        position=chunk.position,
        text=chunk.text,
        heading=chunk.heading,
        page=chunk.page,
        start=chunk.start,
        end=chunk.end,
    )
