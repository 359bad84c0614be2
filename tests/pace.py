"""What keeps tests apart from how fast a machine is: a clock that they move, and waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LIMIT = 120
"""Seconds in which a busy machine does what is waited for."""


class Clock:
    """In place of a module's `time`, or of a clock that is called.

    It stands still but for sleep, which takes no time.
    """

    def __init__(self) -> None:
        # A whole number, so that sums and differences of a few seconds are exact.
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def until(true: Callable[[], object]) -> None:
    """Wait for what is to happen, however long it takes a busy machine."""
    ends = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.005)


async def eventually(true: Callable[[], object]) -> None:
    """As `until`, of what happens on this event loop."""
    ends = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < ends, "it did not happen"
        await asyncio.sleep(0.005)
