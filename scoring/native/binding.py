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

from m3.errors import Corrupt
from m3.types import F32, I64, U8

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
    WRONG_OFFSETS = 2
    NO_SUCH_KERNEL = 3


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
        c_int64,
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
    codes: U8,
    offsets: I64,
    *,
    instructions: InstructionSet | None = None,
    threads: int = 1,
) -> F32:
    """As `scoring.maxsim.maxsim` for int8 codes; Python runs on meanwhile.

    Args:
        query: [m, d] fp32, finite, m > 0 and 0 < d <= `MAX_DIMENSION`.
        codes: [T, d + 4] uint8, at any address.
        offsets: [n+1] int64.
        instructions: None: the best there are.
        threads: how many share the passages.

    Raises:
        Corrupt: offsets that run backwards or leave `codes`, or codes of another width.
        MemoryError: no room for the query's bytes.
        ValueError: a set of instructions that this processor does not have.
    """
    tokens, dimension = query.shape
    if codes.shape[1] != dimension + _SCALE_BYTES:
        raise Corrupt(f"codes are {codes.shape[1]} bytes wide, for a query of {dimension}")
    query = np.ascontiguousarray(query, np.float32)
    codes, offsets = np.ascontiguousarray(codes), np.ascontiguousarray(offsets, np.int64)
    scores = np.empty(len(offsets) - 1, np.float32)
    kernels: Any = library()
    answer = kernels.m3_maxsim(
        query.ctypes.data,
        tokens,
        dimension,
        codes.ctypes.data,
        len(codes),
        offsets.ctypes.data,
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
        case _Answer.WRONG_OFFSETS:
            raise Corrupt("passages begin or end outside the codes that were given")
        case _Answer.NO_SUCH_KERNEL:
            raise ValueError(f"this processor does not have {instructions!r}")
