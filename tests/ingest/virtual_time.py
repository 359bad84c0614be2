"""An event loop whose clock jumps to whatever is due next: simulations that take no time."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Waits for nothing, and notes how long it was asked to."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


class VirtualTime(asyncio.SelectorEventLoop):
    """For tasks that wait for each other and for the clock alone."""

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


BACKEND = ("asyncio", {"loop_factory": VirtualTime})
"""What a module's `anyio_backend` returns, so that a busy machine changes nothing."""
