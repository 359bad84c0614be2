"""The compiled kernel as Python sees it: where it is, and one call for all passages."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_int64, c_void_p
from enum import IntEnum
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np

from m3.types import F32
from scoring.codes import Codes

MAX_DIMENSION = 65_536
"""Above it, 32 bits do not hold a sum of products."""
_FOLDER = Path(__file__).parent
_SCALE_BYTES = 4


class InstructionSet(IntEnum):
    """What a kernel is written for; each of them gives the same bits."""

    PLAIN = 0
    AVX2 = 1
    AVX512 = 2


class _Answer(IntEnum):
    DONE = 0
    NO_MEMORY = 1
    NO_SUCH_KERNEL = 2


@cache
def library() -> Any | None:
    """The kernels, or None where they were not built."""
    for suffix in EXTENSION_SUFFIXES:
        file = _FOLDER / f"_maxsim{suffix}"
        if file.exists():
            return _typed(ctypes.CDLL(str(file)))
    return None


def _typed(kernels: Any) -> Any:
    kernels.m3_maxsim.argtypes = (
        c_void_p,
        c_int64,
        c_int64,
        c_void_p,
        c_void_p,
        c_int64,
        c_int,
        c_int,
        c_void_p,
    )
    return kernels


def instruction_set() -> InstructionSet:
    """The best that this processor has; the kernels must be there."""
    kernels: Any = library()
    return InstructionSet(kernels.m3_maxsim_kernel())


def maxsim(
    query: F32,
    passages: Codes,
    *,
    instructions: InstructionSet | None = None,
    threads: int = 1,
) -> F32:
    """As `scoring.maxsim.maxsim` for int8 codes; Python runs on meanwhile.

    Args:
        query: [m, d] fp32, finite, m > 0 and 0 < d <= `MAX_DIMENSION`.
        passages: codes of d + 4 bytes, at any address.
        instructions: None: the best there are.
        threads: how many share the passages.

    Raises:
        Corrupt: codes of another width.
        MemoryError: no room for the query's bytes.
        ValueError: a set of instructions that this processor does not have.
    """
    tokens, dimension = query.shape
    query = np.ascontiguousarray(query, np.float32)
    places = passages.places(dimension + _SCALE_BYTES)
    scores = np.empty(len(passages), np.float32)
    kernels: Any = library()
    answer = kernels.m3_maxsim(
        query.ctypes.data,
        tokens,
        dimension,
        places.addresses.ctypes.data,
        places.lengths.ctypes.data,
        len(scores),
        instruction_set() if instructions is None else instructions,
        threads,
        scores.ctypes.data,
    )
    match _Answer(answer):
        case _Answer.DONE:
            return scores
        case _Answer.NO_MEMORY:
            raise MemoryError
        case _Answer.NO_SUCH_KERNEL:
            raise ValueError(f"this processor does not have {instructions!r}")
