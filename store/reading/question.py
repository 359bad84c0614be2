"""What a search wants of a collection, and which rows may answer it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from m3.types import Metadata, Representation
from store.filters import Filter, field_values, matches
from store.spec import CollectionSpec
from store.words import Words


@dataclass(frozen=True, slots=True)
class Question:
    """What a search wants, apart from its legs.

    Attributes:
        ends: until when the legs may take, of the monotonic clock.
        codes: whether rows are wanted with token vectors.
    """

    query: Representation
    depth: int
    tenant: str
    filter: Filter | None = None
    words: Words | None = None
    spec: CollectionSpec | None = None
    ends: float | None = None
    codes: bool = True

    def within(self) -> float | None:
        """Seconds that are left."""
        return None if self.ends is None else max(self.ends - time.monotonic(), 0.0)

    @property
    def particular(self) -> bool:
        """Whether a tenant's row may be one that is not wanted."""
        return self.filter is not None or self.words is not None

    def admits(self, title: str, text: str, metadata: Metadata, spec: CollectionSpec) -> bool:
        """Whether a row of the tenant has the words and meets the filter."""
        if self.filter and not matches(self.filter, field_values(metadata, spec.fields)):
            return False
        return self.words is None or self.words.allow(title, text)
