"""How fast the model has been of late, by lane."""

from __future__ import annotations

from collections.abc import Mapping

from m3.types import Kind

LANES: tuple[Kind, ...] = ("query", "passage")
_FADING = 0.8
"""What a batch before the last counts of it."""


class Pace:
    """Tokens a second that one worker computes, each batch counted by its tokens."""

    def __init__(self) -> None:
        self._recent: dict[Kind, tuple[float, float]] = dict.fromkeys(LANES, (0.0, 0.0))

    def begin(self, rate: float) -> None:
        """Take `rate` for every lane that has computed nothing yet."""
        for lane, (tokens, _) in self._recent.items():
            if not tokens:
                self._recent[lane] = (1.0, 1 / rate)

    def observe(self, lane: Kind, tokens: int, seconds: float) -> None:
        """Count a batch."""
        before = self._recent[lane]
        self._recent[lane] = (_FADING * before[0] + tokens, _FADING * before[1] + seconds)

    def rate(self, lane: Kind) -> float:
        """Tokens a second; 0 before anything is known."""
        tokens, seconds = self._recent[lane]
        return tokens / max(seconds, 1e-6)

    def seconds(self, tokens: Mapping[Kind, int]) -> float:
        """What one worker takes for so many tokens of each lane; 0 before anything is known."""
        return sum(count / self.rate(lane) for lane, count in tokens.items() if self.rate(lane))
