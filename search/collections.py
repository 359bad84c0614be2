"""Open collections by name, each opened once."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from m3.errors import NotFound
from store.checks import unknown_collection
from store.contract import Collection, CollectionSpec, Store


class Collections:
    """The store's collections for many threads; a handle keeps what is costly to open.

    Args:
        generation: look at this one of every collection; None is the one that serves.
    """

    def __init__(self, store: Store, generation: int | None = None) -> None:
        self._store = store
        self._generation = generation
        self._open: dict[str, Collection] = {}
        self._lock = threading.Lock()

    def names(self) -> Sequence[str]:
        return self._store.names()

    def seen_by(self, tenant: str | None) -> list[Collection]:
        """All but those that are another tenant's own; None sees all."""
        return [each for name in self._store.names() if (each := self._find(name, tenant))]

    def open(self, name: str, tenant: str | None = None) -> Collection:
        """The collection, for a tenant or for whoever sees all.

        Raises:
            NotFound: in the same words for one that is another tenant's own.
        """
        found = self._find(name, tenant)
        if found is None:
            raise unknown_collection(name, [each.name for each in self.seen_by(tenant)])
        return found

    def _find(self, name: str, tenant: str | None) -> Collection | None:
        try:
            opened = self._opened(name)
            return opened if tenant is None or opened.spec.admits(tenant) else None
        except NotFound:
            self.forget(name)
            return None

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
