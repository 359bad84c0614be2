"""What a search does without: parts that fail, are late, or were given up on for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from m3.errors import DeadlineExceeded, M3Error, MilvusRefused, MilvusUnreachable
from store.candidates import Leg

Part = Literal["dense", "sparse", "colbert"]
PARTS: tuple[Part, ...] = ("dense", "sparse", "colbert")

_LEGS_SHARE = 0.6
"""Of the time that is left once the query is embedded: the rest is for rows and ColBERT."""
_COLBERT_SHARE = 0.9
"""Of all the time: what is left then is for the answer."""

_FAILURES = 3
_WINDOW_SECONDS = 60.0
_REST_SECONDS = 5.0
_FAIR_SECONDS = 1.0
"""A leg that had less and was late says something of its caller, who must not speak for others."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Budget:
    """The time of a search; without `seconds` there is no end to it.

    Attributes:
        began: of the monotonic clock.
    """

    began: float
    seconds: float | None

    @classmethod
    def of(cls, timeout_ms: int | None) -> Budget:
        return cls(time.monotonic(), None if timeout_ms is None else timeout_ms / 1000)

    def left(self) -> float | None:
        if self.seconds is None:
            return None
        return max(self.began + self.seconds - time.monotonic(), 0.0)

    def legs(self) -> float | None:
        """Seconds that the legs have from now on."""
        left = self.left()
        return None if left is None else left * _LEGS_SHARE

    def colbert_ends(self) -> float | None:
        """Until when ColBERT may be computed, of the monotonic clock."""
        return None if self.seconds is None else self.began + self.seconds * _COLBERT_SHARE


def in_order(parts: Iterable[str]) -> tuple[Part, ...]:
    """What dropped out, as answers name it."""
    given = set(parts)
    return tuple(part for part in PARTS if part in given)


@dataclass(slots=True)
class _Failing:
    """A leg whose last search failed.

    Attributes:
        since, asked_again: of the monotonic clock; None while it is still asked.
    """

    since: float
    failures: int = 0
    asked_again: float | None = None
    probed: bool = False


class Breakers:
    """Legs that failed again and again are not waited for: one search in a while tries them.

    Each collection's legs are apart, as an index of one may be broken. For one event loop.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._failing: dict[tuple[str, Leg], _Failing] = {}

    def refused(self, collection: str, legs: Sequence[Leg]) -> dict[Leg, M3Error]:
        """Those that are not to be asked now. Whoever asks the others tells what came of it."""
        return {leg: self._error(leg) for leg in legs if not self._admits(collection, leg)}

    def _admits(self, collection: str, leg: Leg) -> bool:
        known = self._failing.get((collection, leg))
        if known is None or known.asked_again is None:
            return True
        if known.probed or self._clock() < known.asked_again:
            return False
        known.probed = True
        return True

    @staticmethod
    def _error(leg: Leg) -> M3Error:
        return MilvusUnreachable(
            f"the {leg} search of this collection has failed {_FAILURES} times in a row: it is "
            f"tried again every {_REST_SECONDS:g} s; see that Milvus runs"
        )

    def tell(
        self, collection: str, outcomes: Mapping[Leg, M3Error | None], within: float | None
    ) -> None:
        """What came of legs that were asked: None for an answer.

        Args:
            within: seconds that they had.
        """
        fair = within is None or within >= _FAIR_SECONDS
        for leg, error in outcomes.items():
            if error is None:
                self._failing.pop((collection, leg), None)
            elif _is_milvus(error, fair=fair):
                self._failed(collection, leg)
            else:
                self.release(collection, [leg])

    def _failed(self, collection: str, leg: Leg) -> None:
        now = self._clock()
        known = self._failing.get((collection, leg))
        if known is None or (known.asked_again is None and now - known.since > _WINDOW_SECONDS):
            known = self._failing[collection, leg] = _Failing(now)
        known.failures += 1
        known.probed = False
        if known.failures >= _FAILURES:
            known.asked_again = now + _REST_SECONDS

    def release(self, collection: str, legs: Iterable[Leg]) -> None:
        """Of legs that were asked nothing is known: the next search may try them."""
        for leg in legs:
            if known := self._failing.get((collection, leg)):
                known.probed = False

    def open(self, leg: Leg) -> int:
        """Collections whose leg is not waited for."""
        return sum(1 for (_, of), known in self._failing.items() if of == leg and known.asked_again)


def _is_milvus(error: M3Error, *, fair: bool) -> bool:
    if isinstance(error, DeadlineExceeded):
        return fair
    return isinstance(error, MilvusUnreachable | MilvusRefused)
