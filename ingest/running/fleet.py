"""How many requests are under way: as many as keep every node busy, and no more."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from embedder.client import Load

REQUEST_TOKENS = 3584
"""A little under what the client takes for one request, so that a call is one."""
REQUEST_TEXTS = 256

_FIRST = 2
_MOST = 128
_MOST_UNTOLD = 16
"""To servers that say nothing of their load."""
_SHORT_SECONDS = 0.5
_SWIFT_SECONDS = 2.0
_SLOW_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Leave:
    """One request's permission to be sent, with what its answers said.

    Attributes:
        told: whether an answer told a load.
    """

    since: float
    told: bool = False


class Fleet:
    """A number of requests at once that follows what the nodes say of their queues.

    A node with little waiting is about to be idle: one more. One with a long queue has enough: one
    less. A refusal halves the number, once for all that were under way then. Behind a balancer
    every answer is the word of the node that gave it, so the number grows with the nodes.

    Args:
        now: seconds by a clock that never jumps.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._gate = anyio.CapacityLimiter(_FIRST)
        self._halved = now()

    @property
    def size(self) -> int:
        """Requests that may be under way."""
        return int(self._gate.total_tokens)

    @asynccontextmanager
    async def request(self, leave: Leave) -> AsyncGenerator[None]:
        """Around a request that has its leave; the leave ends with it."""
        try:
            yield
            if not leave.told:
                self._untold(self._now() - leave.since)
        finally:
            self._gate.release_on_behalf_of(leave)

    async def leave(self) -> Leave:
        """Wait until one more may be sent."""
        leave = Leave(self._now())
        await self._gate.acquire_on_behalf_of(leave)
        leave.since = self._now()
        return leave

    def give_back(self, leave: Leave) -> None:
        """Nothing is sent by this leave."""
        self._gate.release_on_behalf_of(leave)

    def told(self, leave: Leave, load: Load) -> None:
        """What an answer to that request said."""
        leave.told = True
        if load.full:
            if leave.since >= self._halved:
                self._resize(self.size // 2)
                self._halved = self._now()
        elif load.tokens < REQUEST_TOKENS or load.seconds < _SHORT_SECONDS:
            self._grow(_MOST)
        elif load.tokens > 2 * REQUEST_TOKENS and load.seconds > 2 * _SHORT_SECONDS:
            self._resize(self.size - 1)

    def _untold(self, seconds: float) -> None:
        """By time alone: too many requests wait for each other until they time out."""
        if seconds < _SWIFT_SECONDS:
            self._grow(_MOST_UNTOLD)
        elif seconds > _SLOW_SECONDS:
            self._resize(self.size - 1)

    def _grow(self, most: int) -> None:
        """Only where all leaves are taken: what is not needed is not known to be borne."""
        if self._gate.available_tokens <= 0 and self.size < most:
            self._resize(self.size + 1)

    def _resize(self, size: int) -> None:
        self._gate.total_tokens = max(size, 1)
