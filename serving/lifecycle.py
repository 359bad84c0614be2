"""Where a server stands between its start and its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from m3.errors import M3Error, NotReady

ReadyCheck = Callable[[], Awaitable[None]]
"""Raises an `M3Error` that says what is missing for requests to be answered."""


class Lifecycle:
    """Loading, ready, draining or failed; `/readyz` answers from it, `serve` acts on it."""

    def __init__(self, check: ReadyCheck | None = None) -> None:
        self._check = check
        self.draining = False
        self.failure: Exception | None = None

    async def ready(self) -> None:
        """Return when requests can be answered.

        Raises:
            NotReady: draining, or whatever else the check says is missing.
        """
        if self.draining:
            raise NotReady("the server is draining: send no more requests")
        if self._check is None:
            return
        try:
            await self._check()
        except NotReady:
            raise
        except M3Error as error:
            raise NotReady(error.message) from error

    def fail(self, error: Exception) -> None:
        """End the server: what it needs cannot be had, and `serve` raises why."""
        self.failure = error
        self.draining = True
