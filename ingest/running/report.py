"""What a run did, as far as it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of one run; every document is one of written, unchanged and failed.

    Attributes:
        documents: read, those that could not be read included.
        replaced: of the written, those whose older version went.
        chunks: written, of these `reused` with vectors that were stored already.
        tokens: that the model read.
        truncated: documents longer than the model reads, in collections of whole documents.
        bytes: of the sources, dealt with.
    """

    documents: int = 0
    written: int = 0
    replaced: int = 0
    unchanged: int = 0
    failed: int = 0
    chunks: int = 0
    reused: int = 0
    tokens: int = 0
    truncated: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Report) -> Report:
        return Report(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


Progress: TypeAlias = Callable[[Report], None]
"""Told of every change; called from the event loop, so it must not wait."""
