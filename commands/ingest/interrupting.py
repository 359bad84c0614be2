"""Ctrl-C and SIGTERM during a run: once to stop in order, twice to stop at once."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal, NoReturn, TypeAlias

import anyio

from commands.console import INTERRUPTED
from commands.ingest.progress import Display

Reason: TypeAlias = Literal["interrupted", "max_errors"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Stop:
    """Whether a run is to end before its time, and why: the first reason counts."""

    event: anyio.Event = field(default_factory=anyio.Event)
    reason: Reason | None = None

    def set(self, reason: Reason) -> None:
        self.reason = self.reason or reason
        self.event.set()


@contextmanager
def interruptible(stop: Stop, screen: Display) -> Generator[None]:
    """While this is entered, a signal sets `stop`; the next one ends the process, even later on.

    Within a running event loop of the main thread.
    """
    loop, met = asyncio.get_running_loop(), threading.Event()

    def stop_in_order() -> None:
        screen.note("interrupted: what is embedded is written; once more ends at once")
        stop.set("interrupted")

    def on_signal() -> None:
        if met.is_set():
            _end_at_once(screen)
        met.set()
        with suppress(RuntimeError):  # all was done, and the loop is closed
            loop.call_soon_threadsafe(stop_in_order)

    give_back = _watched(on_signal)
    try:
        yield
    finally:
        if met.is_set():
            # The interpreter's own end takes a while too, and no thread of ours runs then.
            atexit.register(_ignore_signals)
        else:
            give_back()


def _watched(on_signal: Callable[[], None]) -> Callable[[], None]:
    """Have each signal call `on_signal`, in a thread: the main one may be waiting for anything.

    Returns:
        What sets everything back to as it was.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)

    def watch() -> None:
        while number := os.read(read, 1):
            if number[0] in _SIGNALS:
                on_signal()
        os.close(read)

    threading.Thread(target=watch, name="m3-signals", daemon=True).start()
    before = {number: signal.signal(number, _written_to_the_pipe) for number in _SIGNALS}
    other = signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def give_back() -> None:
        signal.set_wakeup_fd(other)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(write)

    return give_back


def _written_to_the_pipe(_number: int, _frame: FrameType | None) -> None:
    """By the interpreter, which asks only that there be a handler."""


def _end_at_once(screen: Display) -> NoReturn:
    with suppress(Exception):
        screen.end()
    with suppress(OSError):
        # Not by `sys.stderr`, which another thread may be holding.
        os.write(2, b"ended at once; the same command goes on from there\n")
    os._exit(INTERRUPTED)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
