"""The legs of one search, over one version: the index's best, held against the table's rows.

The index may hold rows that the version does not have yet or no longer, and its filter may let
through what it cannot say. Such rows fall away when the table is asked for them, and a leg that
lacks some is searched deeper. Rows that are wanted for their words, which the index does not
have, are named to it where they are few. Where not even Milvus's deepest search meets a leg's
depth, all rows that are wanted are named, part by part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial

from m3.errors import DeadlineExceeded, M3Error
from store.candidates import MAX_DEPTH, CandidateRows, Leg, looking
from store.index.index import Index
from store.index.milvus_filters import to_milvus
from store.reading.naming import in_parts, named
from store.reading.question import Question
from store.reading.rows import RowReader
from store.reading.vectors import Vectors, selected
from store.spec import CollectionSpec
from store.table.version import Version

_QUICKEST_FIRST: tuple[Leg, ...] = ("sparse", "dense")
"""The embedded engine answers one after the other, and what the first finds is read meanwhile."""


@dataclass(frozen=True, slots=True)
class Legs:
    """Searches an index for a question's rows of a version."""

    index: Index
    reader: RowReader
    question: Question
    pool: ThreadPoolExecutor

    @property
    def version(self) -> Version:
        return self.reader.version

    @property
    def spec(self) -> CollectionSpec:
        return self.reader.spec

    def best(
        self, legs: Sequence[Leg]
    ) -> tuple[dict[Leg, list[int]], CandidateRows, dict[Leg, M3Error]]:
        """Row ids of each leg, best first, the rows of their union, and the legs that failed.

        Raises:
            M3Error: of a leg, where no other one has answered.
        """
        asked = dict.fromkeys(legs, self.question.depth)
        failed: dict[Leg, M3Error] = {}
        found, vectors = dict[Leg, list[int]](), self.reader.vectors(codes=self.question.codes)
        for leg, ids in self._answers(asked, None, failed):
            found[leg] = ids
            # Of what has other words, rows would be read in vain.
            if self.question.words is None:
                vectors.ask(ids)
        allowed = self._allowed(found, vectors)
        kept: dict[Leg, list[int]] = {leg: self._kept(ids, allowed) for leg, ids in found.items()}
        lacking: list[Leg] = [
            leg for leg in found if self._may_lack(kept[leg], found[leg], asked[leg])
        ]
        if lacking:
            for leg in lacking:
                del kept[leg]
            kept.update(self._deeper(lacking, failed))
        if failed and not looking(kept, self.question.query):
            raise next(iter(failed.values()))
        wanted = set[int]().union(*kept.values())
        vectors.ask(wanted)
        rows = selected(vectors.read(), lambda chunk: chunk.row in wanted)
        return {leg: kept[leg] for leg in legs if leg in kept}, rows, failed

    def _allowed(self, found: Mapping[Leg, Sequence[int]], vectors: Vectors) -> set[int]:
        """The ids of those found rows that the version has and the question allows."""
        if self.question.particular:
            return self.reader.allowed(_union(found), self.question)
        tenant = self.question.tenant
        return {chunk.row for chunk in vectors.read().chunks if chunk.tenant == tenant}

    def _deeper(self, legs: Sequence[Leg], failed: dict[Leg, M3Error]) -> dict[Leg, list[int]]:
        """Those of the legs that do not fail, each as deep as it takes.

        Each time twice as deep, or four times for words, which is enough for frequent ones.
        Where it is not, the rows that have them are named, if they are few.
        """
        question = self.question
        depth, words = question.depth, question.words
        within, step = None, 4 if words else 2
        asked = dict.fromkeys(legs, min(step * depth, MAX_DEPTH))
        look = words is not None
        kept: dict[Leg, list[int]] = {}
        while asked:
            found = dict(self._answers(asked, within, failed))
            allowed = self.reader.allowed(_union(found), question)
            unmet = dict[Leg, int]()
            for leg, ids in found.items():
                best = self._kept(ids, allowed)
                if not self._may_lack(best, ids, asked[leg]):
                    kept[leg] = best
                elif asked[leg] < MAX_DEPTH:
                    unmet[leg] = min(step * asked[leg], MAX_DEPTH)
                else:
                    kept.update(self._of_parts(leg, failed))
            asked = unmet
            if asked and look:
                look, within = False, named(self.version, question, self.spec)
                asked = dict.fromkeys(asked, depth) if within else asked
        return kept

    def _kept(self, ids: Iterable[int], allowed: set[int]) -> list[int]:
        return [row for row in ids if row in allowed][: self.question.depth]

    def _may_lack(self, kept: Sequence[int], found: Sequence[int], asked: int) -> bool:
        return len(kept) < self.question.depth and asked <= len(found)

    def _of_parts(self, leg: Leg, failed: dict[Leg, M3Error]) -> dict[Leg, list[int]]:
        """Nothing of a leg that fails."""
        try:
            return {leg: self._best_of_parts(leg)}
        except M3Error as error:
            failed[leg] = error
            return {}

    def _best_of_parts(self, leg: Leg) -> list[int]:
        question, best = self.question, list[tuple[int, float]]()
        for part in in_parts(self.version, question, self.spec):
            best += self.index.search(
                leg,
                question.query,
                depth=question.depth,
                tenant=question.tenant,
                expression=part,
                within=question.within(),
            )
            best = sorted(best, key=lambda found: (-found[1], found[0]))[: question.depth]
        return [row for row, _ in best]

    def _answers(
        self, asked: Mapping[Leg, int], within: str | None, failed: dict[Leg, M3Error]
    ) -> Iterator[tuple[Leg, list[int]]]:
        """All legs at once, each as soon as it has an answer; one that fails goes to `failed`."""
        waiting: dict[Future[list[tuple[int, float]]], Leg] = {
            self._begun(leg, asked[leg], within): leg for leg in _QUICKEST_FIRST if leg in asked
        }
        try:
            for search in as_completed(list(waiting), self.question.within()):
                leg = waiting.pop(search)
                try:
                    found = search.result()
                except M3Error as error:
                    failed[leg] = error
                else:
                    yield leg, [row for row, _ in found]
        except TimeoutError:
            for search, leg in waiting.items():
                # One that a thread has begun with ends by itself, by the same clock.
                search.cancel()
                failed[leg] = DeadlineExceeded(f"the {leg} search took longer than its time")

    def _begun(self, leg: Leg, depth: int, within: str | None) -> Future[list[tuple[int, float]]]:
        question = self.question
        said = None if question.filter is None else to_milvus(question.filter)
        parts = [f"({part})" for part in (within, said) if part is not None]
        return self.pool.submit(
            # With the request's id and trace.
            copy_context().run,
            partial(
                self.index.search,
                leg,
                question.query,
                depth=depth,
                tenant=question.tenant,
                expression=" and ".join(parts) or None,
                within=question.within(),
            ),
        )


def _union(found: Mapping[Leg, Sequence[int]]) -> list[int]:
    return sorted(set[int]().union(*found.values()))
