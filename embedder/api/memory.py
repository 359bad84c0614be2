"""Large buffers go back to the system when they are freed.

A server that answers megabytes from many threads would else keep what each thread's arena once
took: glibc raises its own threshold with every large buffer, and has up to eight arenas a core.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
_LARGE = 1 << 20
"""Bytes from which a buffer has pages of its own; setting it stops glibc from raising it."""


def return_large_buffers() -> None:
    """Have glibc do so in this process from here on; elsewhere nothing is changed."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    libc.mallopt(_M_ARENA_MAX, _ARENAS)
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGE)
