"""Hits of one query that say the same: near-duplicates by the words that they share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from evaluation.unjudged.analysis import TOP
from search.looking import Look
from store.chunks import StoredChunk

ALIKE = 0.8
"""Of the triples of words that two passages have, so many both have."""
_WORDS = 3
_SPLIT = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hits of a query that are near-duplicates; `alike` from 0.8 to 1."""

    query: str
    a: str
    b: str
    alike: float


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Near-duplicates among the first ten hits of each query; `see` is a pass's `on_look`."""

    pairs: list[Pair] = field(default_factory=list[Pair])

    def see(self, query: str, look: Look, texts: Mapping[int, StoredChunk]) -> None:
        places = look.candidates.ranking(look.question.request, look.weights)[:TOP]
        shingled = [(place.chunk.id, shingles(texts[place.row].text)) for place in places]
        for (a, of_a), (b, of_b) in combinations(shingled, 2):
            alike = similarity(of_a, of_b)
            if alike >= ALIKE:
                self.pairs.append(Pair(query, a, b, round(alike, 4)))

    def queries(self) -> Sequence[str]:
        """Those that have some."""
        return list(dict.fromkeys(pair.query for pair in self.pairs))


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """All runs of three words of a text; the words of a shorter one."""
    words = _SPLIT.findall(text.casefold())
    size = min(_WORDS, len(words))
    return frozenset(tuple(words[i : i + size]) for i in range(len(words) - size + 1) if size)


def similarity(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    """Of the runs that either has, the share that both have (Jaccard)."""
    return len(a & b) / len(a | b) if a and b else 0.0
