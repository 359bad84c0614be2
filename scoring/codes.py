"""ColBERT codes of passages that are scored together, wherever in memory they lie."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np

from m3.errors import Corrupt
from m3.types import I64, U8


class Places(NamedTuple):
    """Where a kernel finds passages: for as long as `held` is.

    Attributes:
        held: the arrays, C-contiguous, that the addresses are of.
        addresses: [n] int64, where each passage's first code is; 0 for one without any.
        lengths: [n] int64, codes of each passage, one after the other.
    """

    held: Sequence[U8]
    addresses: I64
    lengths: I64


@dataclass(frozen=True, slots=True)
class Together:
    """Passages of one array; iterating gives views of each one's codes.

    Attributes:
        codes: [T, width] uint8.
        offsets: [n+1] int64: passage i is `codes[offsets[i]:offsets[i+1]]`.

    Raises:
        Corrupt: offsets that run backwards or leave `codes`.
    """

    codes: U8
    offsets: I64

    def __post_init__(self) -> None:
        backwards = bool((np.diff(self.offsets) < 0).any())
        if backwards or self.offsets[0] < 0 or self.offsets[-1] > len(self.codes):
            raise Corrupt("passages begin or end outside the codes that were given")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[U8]:
        return (self.codes[begin:end] for begin, end in pairwise(self.offsets.tolist()))

    @property
    def tokens(self) -> int:
        """Of all passages."""
        return int(self.offsets[-1] - self.offsets[0])

    def places(self, width: int) -> Places:
        """Raises Corrupt for codes of another width."""
        codes = np.ascontiguousarray(self.codes)
        _check_widths({codes.shape[1]}, width)
        offsets = self.offsets.astype(np.int64, copy=False)
        return Places([codes], codes.ctypes.data + offsets[:-1] * width, np.diff(offsets))


@dataclass(frozen=True, slots=True)
class Apart:
    """Passages that have an array each.

    Attributes:
        codes: [v, width] uint8 of each passage.
    """

    codes: Sequence[U8]

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[U8]:
        return iter(self.codes)

    @property
    def tokens(self) -> int:
        """Of all passages."""
        return sum(map(len, self.codes))

    def places(self, width: int) -> Places:
        """Raises Corrupt for codes of another width."""
        held = [np.ascontiguousarray(codes) for codes in self.codes]
        _check_widths({codes.shape[1] for codes in held}, width)
        addresses = np.fromiter(map(_address, held), np.int64, len(held))
        return Places(held, addresses, np.fromiter(map(len, held), np.int64, len(held)))


Codes: TypeAlias = Together | Apart


def _check_widths(widths: set[int], width: int) -> None:
    for other in widths - {width}:
        raise Corrupt(f"codes are {other} bytes wide, where {width} are wanted")


def _address(codes: U8) -> int:
    if not codes.size:
        return 0
    if not codes.flags.writeable:
        return codes.ctypes.data
    # A third of the time, for the many arrays of rows that are kept in memory.
    return ctypes.addressof(ctypes.c_char.from_buffer(codes.data))
