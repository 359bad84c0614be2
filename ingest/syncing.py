"""What vanished from a source leaves the collection: only after all of the source was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from ingest.running.limits import number_or_share
from ingest.sharding import Shard
from ingest.sources import Parsed, Reject
from m3.errors import NotSynced
from m3.types import DocumentKey
from store.contract import Collection

_DELETES = 1_000
"""Documents that are deleted at once."""


@dataclass(frozen=True, slots=True)
class MaxDeletes:
    """So many documents, or such a share of those that the source has in the collection."""

    count: int | None = None
    share: float = 0.1

    @classmethod
    def parsed(cls, given: str) -> Self:
        """From `N` or `P%`. Raises InvalidInput for anything else."""
        count, share = number_or_share("--max-deletes", given)
        return cls(count) if share is None else cls(share=share)

    def of(self, there: int) -> int:
        """Documents that may be deleted of so many."""
        return self.count if self.count is not None else int(self.share * there)


class Reading:
    """A source while it is read: which documents it has, and whether all of it was readable.

    Args:
        remember: a digest of every document of the shard, for `vanished`: about 100 bytes each.
    """

    def __init__(
        self,
        items: Iterable[Parsed | Reject],
        shard: Shard | None = None,
        *,
        remember: bool = True,
    ) -> None:
        self._items = items
        self._remember = remember
        self._shard = shard
        self._seen: set[bytes] = set()
        self._unreadable: Reject | None = None
        self._ended = False

    def __iter__(self) -> Iterator[Parsed | Reject]:
        """All of it, other shards' documents too."""
        for item in self._items:
            if isinstance(item, Reject):
                self._unreadable = self._unreadable or item
            elif self._remember and self._has(item.document.key):
                self._seen.add(_digest(item.document.key))
            yield item
        self._ended = True

    def vanished(self, there: Iterable[DocumentKey]) -> tuple[list[DocumentKey], int]:
        """Those of the shard that were not read, and how many the shard has.

        Raises:
            NotSynced: a document may be in the source and was not seen.
        """
        if not self._ended:
            raise NotSynced("nothing is deleted, as the source was not read to its end")
        if self._unreadable is not None:
            raise NotSynced(
                f"nothing is deleted, as {self._unreadable.place} could not be read: what was not "
                "read may still be there; mend it and run again"
            )
        ours = [key for key in there if self._has(key)]
        return [key for key in ours if _digest(key) not in self._seen], len(ours)

    def _has(self, key: DocumentKey) -> bool:
        return self._shard is None or self._shard.has(key)


@dataclass(frozen=True, slots=True)
class Sync:
    """What a reading says has vanished from a tenant's source, and how much of it may go."""

    reading: Reading
    tenant: str
    source: str
    limit: MaxDeletes

    def vanished(self, collection: Collection) -> list[DocumentKey]:
        """Documents that are to be deleted. Blocks on the store.

        Raises:
            NotSynced: the source was not read whole, or more has vanished than may be deleted.
        """
        vanished, there = self.reading.vanished(collection.keys(self.tenant, self.source))
        most = self.limit.of(there)
        if len(vanished) > most:
            raise NotSynced(
                f"nothing is deleted: {len(vanished):,} of {there:,} documents are not in the "
                f"source any more, and --max-deletes allows {most:,}; raise it if that is right"
            )
        return vanished

    def delete(self, collection: Collection, vanished: Sequence[DocumentKey]) -> None:
        """Some at a time. Blocks on the store."""
        for first in range(0, len(vanished), _DELETES):
            collection.delete(vanished[first : first + _DELETES])


def _digest(key: DocumentKey) -> bytes:
    return bytes.fromhex(key.digest())
