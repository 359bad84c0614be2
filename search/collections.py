"""Open collections by name, each opened once."""

from __future__ import annotations

import threading

from store.contract import Collection, Store


class Collections:
    """The store's collections for many threads; a handle keeps what is costly to open."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._open: dict[str, Collection] = {}
        self._lock = threading.Lock()

    def open(self, name: str) -> Collection:
        """Raises NotFound."""
        with self._lock:
            if name not in self._open:
                self._open[name] = self.store.open(name)
            return self._open[name]

    def drop(self, name: str) -> None:
        """Raises NotFound."""
        self.forget(name)
        self.store.drop(name)
        # A search may have opened it again meanwhile.
        self.forget(name)

    def forget(self, name: str) -> None:
        """Open it anew next time: it may have been dropped, here or by another process."""
        with self._lock:
            self._open.pop(name, None)
