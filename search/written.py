"""What became of a document that was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Written:
    """Searchable when this is told."""

    outcome: Literal["created", "replaced", "unchanged"]
    chunks: int
