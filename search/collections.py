"""Open collections by name, each opened once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from m3.errors import NotFound
from store.checks import unknown_collection
from store.contract import Collection, Store
from store.spec import CollectionSpec


@dataclass(frozen=True, slots=True)
class Opened:
    """A collection, with its spec as it was when it was looked at."""

    collection: Collection
    spec: CollectionSpec


class Collections:
    """The store's collections for many threads; a handle keeps what is costly to open.

    Args:
        generation: look at this one of every collection; None is the one that serves.
    """

    def __init__(self, store: Store, generation: int | None = None) -> None:
        self._store = store
        self._generation = generation
        self._open: dict[str, Collection] = {}
        self._seen: dict[str, Opened] = {}
        self._lock = threading.Lock()

    def names(self) -> Sequence[str]:
        return self._store.names()

    def seen_by(self, tenant: str | None) -> list[Collection]:
        """All but those that are another tenant's own; None sees all."""
        return [
            found.collection for name in self._store.names() if (found := self._find(name, tenant))
        ]

    def open(self, name: str, tenant: str | None = None) -> Collection:
        """As `look_at`, without what it is."""
        return self.look_at(name, tenant).collection

    def look_at(self, name: str, tenant: str | None = None) -> Opened:
        """The collection, for a tenant or for whoever sees all, with what it is now.

        Raises:
            NotFound: in the same words for one that is another tenant's own.
        """
        found = self._find(name, tenant)
        if found is None:
            raise unknown_collection(name, [each.name for each in self.seen_by(tenant)])
        return found

    def remembered(self, name: str, tenant: str) -> Opened | None:
        """What a tenant was shown last, without looking: it may be another one by now, or gone."""
        seen = self._seen.get(name)
        return seen if seen is not None and seen.spec.admits(tenant) else None

    def _find(self, name: str, tenant: str | None) -> Opened | None:
        try:
            opened = self._opened(name)
            found = self._seen[name] = Opened(opened, opened.spec)
        except NotFound:
            self.forget(name)
            return None
        return found if tenant is None or found.spec.admits(tenant) else None

    def _opened(self, name: str) -> Collection:
        with self._lock:
            if name not in self._open:
                self._open[name] = self._store.open(name, self._generation)
            return self._open[name]

    def create(self, name: str, spec: CollectionSpec) -> Collection:
        """Raises AlreadyExists, or InvalidInput for a name that is not allowed."""
        self._store.create(name, spec)
        self.forget(name)
        return self.open(name)

    def drop(self, name: str) -> None:
        """Raises NotFound."""
        self._store.drop(name)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Open it anew next time: it may have been dropped, here or by another process."""
        with self._lock:
            self._open.pop(name, None)
            self._seen.pop(name, None)
