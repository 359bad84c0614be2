"""What a store tells of a collection: its counts, its state, its saved defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from scoring.fusion import Method, Weights
from store.spec import CollectionSpec


@dataclass(frozen=True, slots=True)
class Counts:
    """What one tenant has in the published version."""

    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Defaults:
    """What searches of a collection use where they say nothing, for one model.

    Attributes:
        weights: by method, of those that fuse; a method that is not here has its own.
        rerank_depth: how many candidates get a ColBERT score; None: all of them.
    """

    weights: Mapping[Method, Weights] = field(default_factory=dict[Method, Weights])
    rerank_depth: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of the published version, and what waits to be published.

    Attributes:
        unpublished: commits that the index does not have yet.
        lag_seconds: since the oldest of them was made, 0 where none waits.
        published_at: when a version was last published; None where none has been since the
            collection was made, or by a version that did not note it.
        defaults: saved for the model that serves.
    """

    name: str
    generation: int
    version: int
    documents: int
    chunks: int
    bytes: int
    unpublished: int
    lag_seconds: float
    published_at: datetime | None
    spec: CollectionSpec
    defaults: Defaults = field(default_factory=Defaults)


@dataclass(frozen=True, slots=True)
class Verification:
    """The difference between table and index, and what was done about it.

    Attributes:
        missing: rows alive in the table that the index lacks.
        stale: rows in the index that are not alive in the table.
        corrupt: row ids whose bytes do not match their checksum.
        repaired: whether the index now equals the table.
    """

    chunks: int
    missing: int
    stale: int
    corrupt: Sequence[int]
    repaired: bool

    @property
    def consistent(self) -> bool:
        return not self.corrupt and (self.repaired or not (self.missing or self.stale))


@dataclass(frozen=True, slots=True)
class Compaction:
    """What compacting came to: files of rows before and after, and bytes that were freed."""

    fragments_before: int
    fragments: int
    bytes_freed: int


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of a collection, by their numbers.

    Attributes:
        current: the one that serves.
        building: the one that is being made to serve next.
        previous: the one that served before, kept to go back to.
    """

    specs: Mapping[int, CollectionSpec]
    current: int
    building: int | None = None
    previous: int | None = None

    @property
    def leaving(self) -> list[int]:
        """Those in no role: taking them out has broken off, and may have taken their rows."""
        used = (self.current, self.building, self.previous)
        return [number for number in self.specs if number not in used]
