"""Ctrl-C and SIGTERM during a run: once to stop in order, twice to stop at once."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import anyio

from commands.console import INTERRUPTED
from commands.ingest.progress import Display
from ingest.tasks import together

Reason: TypeAlias = Literal["interrupted", "max_errors"]


@dataclass(slots=True)
class Stop:
    """Whether a run is to end before its time, and why: the first reason counts."""

    event: anyio.Event = field(default_factory=anyio.Event)
    reason: Reason | None = None

    def set(self, reason: Reason) -> None:
        self.reason = self.reason or reason
        self.event.set()


@asynccontextmanager
async def interruptible(stop: Stop, screen: Display) -> AsyncGenerator[None]:
    """While this is entered, a signal sets `stop`; the next one ends the process."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

        async def watch() -> None:
            async for _ in signals:
                if stop.reason == "interrupted":
                    screen.end()
                    os._exit(INTERRUPTED)
                screen.note("interrupted: what is embedded is written; once more ends at once")
                stop.set("interrupted")

        async with together() as tasks:
            tasks.start_soon(watch)
            yield
            tasks.cancel_scope.cancel()
