"""What one collection holds otherwise than another."""

from __future__ import annotations

from collections.abc import Mapping

from m3.types import DocumentKey
from store.contract import Collection


def unlike(some: Mapping[DocumentKey, str], other: Collection) -> list[DocumentKey]:
    """Those of these documents, by content hash, that another collection has not, or not so."""
    there = other.content_hashes(some)
    return [key for key, content_hash in some.items() if there.get(key) != content_hash]
