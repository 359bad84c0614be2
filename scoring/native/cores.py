"""With how many threads a call scores: what it is worth, of the cores that no other call uses."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock

_PRODUCTS = 2**28
"""What a further thread is started for: about a millisecond, of which starting it takes a tenth."""


class Cores:
    """Lent to calls that run side by side; a call that finds none free computes in its thread."""

    def __init__(self, count: int) -> None:
        self._count = self._free = count
        self._lock = Lock()

    def limit(self, count: int) -> None:
        """Lend no more than `count` at once, 1 at the least, where they were more."""
        with self._lock:
            fewer = max(0, self._count - max(count, 1))
            self._count -= fewer
            self._free -= fewer

    @contextmanager
    def lent(self, products: int) -> Generator[int]:
        """How many threads a call may have.

        Args:
            products: multiplications of the call.
        """
        worth = 1 + products // _PRODUCTS
        with self._lock:
            threads = min(worth, max(self._free, 1))
            self._free -= threads
        try:
            yield threads
        finally:
            with self._lock:
                self._free += threads


def _usable() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


CORES = Cores(_usable())
"""Of this process; servers limit them to the time that their control groups allow."""
