"""What becomes of large buffers that are freed.

glibc decides by a threshold that it raises with every large buffer, and has up to eight arenas a
core. A server that answers megabytes from many threads would keep what each arena once took; one
that reads megabytes for every answer would get them from the system anew each time,
zeroed page by page.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
_LARGE = 1 << 20
"""Bytes from which a buffer has pages of its own; setting it stops glibc from raising it."""
_MOST_LARGE = 32 << 20
"""The highest that glibc takes."""
_KEPT = 256 << 20
"""Free bytes at an arena's end that stay with the process."""


def return_large_buffers() -> None:
    """Have glibc give them back from here on; where there is none, nothing is changed."""
    _set(_LARGE, _LARGE)


def keep_large_buffers() -> None:
    """Have glibc keep those of up to 32 MiB for the next that are asked for."""
    _set(_MOST_LARGE, _KEPT)


def _set(mapped: int, kept: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    libc.mallopt(_M_ARENA_MAX, _ARENAS)
    libc.mallopt(_M_MMAP_THRESHOLD, mapped)
    libc.mallopt(_M_TRIM_THRESHOLD, kept)
