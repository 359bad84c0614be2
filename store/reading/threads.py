"""The threads that a store's searches share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from serving.machine import usable_cores

_LEGS = 8
_ROWS = max(2, usable_cores())
"""Reading is computing: the system's own cache has the files."""


class Threads:
    """For legs and for rows apart: one that hangs must not hold up the rows of another."""

    def __init__(self) -> None:
        self.legs = ThreadPoolExecutor(_LEGS, thread_name_prefix="m3-search")
        self.rows = ThreadPoolExecutor(_ROWS, thread_name_prefix="m3-rows")

    def shutdown(self) -> None:
        """Wait for what is under way."""
        self.legs.shutdown()
        self.rows.shutdown()
