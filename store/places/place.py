"""Where records and tables live, and how those who write there exclude each other.

`folder` is a folder of this machine or one that is mounted, `bucket` a prefix in a bucket of S3 or
what speaks its language. Both pass `tests/store/test_places.py`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lies there; `tag` changes whenever `data` does."""

    data: bytes
    tag: str


class Lease(Protocol):
    """The right to be the only one who publishes."""

    def check(self) -> None:
        """Raises LeaseLost where another may have it by now."""
        ...


class Place(Protocol):
    """One record a collection, small and replaced as a whole, and its tables beside it.

    All methods raise `StorageFull` or `TablesUnreachable` where the place itself fails.
    """

    def names(self) -> list[str]:
        """The collections that have a record, in order."""
        ...

    def read(self, name: str) -> Stored | None:
        """A collection's record, or None."""
        ...

    def swap(self, name: str, tag: str | None, data: bytes) -> bool:
        """Replace the record that has this tag, or make the first one (None); at once or not.

        Returns:
            Whether it was done: not where another was quicker.
        """
        ...

    def remove(self, name: str) -> None:
        """Take a collection away, its record first.

        Raises:
            TablesUnreachable: some of it stays.
        """
        ...

    def publishing(self, name: str) -> AbstractContextManager[Lease]:
        """Held by one at a time among all that use the place; who dies with it loses it."""
        ...

    def table_uri(self, name: str, table: str) -> str:
        """The address at which lance finds a table."""
        ...

    def remove_table(self, name: str, table: str) -> None:
        """Take a table's files away; one that is not there is fine.

        Raises:
            TablesUnreachable: some of them stay.
        """
        ...
