"""Open collections by name, each opened once."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from store.contract import Collection, CollectionSpec, Store


class Collections:
    """The store's collections for many threads; a handle keeps what is costly to open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[str, Collection] = {}
        self._lock = threading.Lock()

    def names(self) -> Sequence[str]:
        return self._store.names()

    def open(self, name: str) -> Collection:
        """Raises NotFound."""
        with self._lock:
            if name not in self._open:
                self._open[name] = self._store.open(name)
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
