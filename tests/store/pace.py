"""What keeps tests apart from how fast a machine is: a clock that they move, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """In place of a module's `time`: it stands still but for sleep, which takes no time."""

    def __init__(self) -> None:
        # A whole number, so that sums and differences of a few seconds are exact.
        self.now = float(int(time.time()))

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for what is to happen, however long it takes a busy machine."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.005)
