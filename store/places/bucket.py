"""Records and tables in a bucket of S3, or of what speaks its language.

A record is replaced on the condition that it still has the ETag it was read with. Whoever
publishes holds a lease: an object that its owner writes anew every few seconds. Nobody's clock
is compared with another's: a lease is taken over by one who has watched it unchanged for
`LEASE_SECONDS` of his own.
"""

from __future__ import annotations

import math
import random
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress

from m3.errors import LeaseLost, TablesUnreachable
from store.places.objects import Objects
from store.places.place import Lease, Stored

LEASE_SECONDS = 20.0
"""Unchanged for so long, a lease is its owner's no more."""

_RENEW_SECONDS = 5.0
_POLL_SECONDS = 0.1
_RECORD = "collection.json"
_LEASE = "publish.json"
_FREE = b"free"


class _BucketLease:
    """The lease object while this process writes it.

    Attributes:
        certain: when it was last certain to be ours (monotonic time).
    """

    def __init__(self, objects: Objects, name: str) -> None:
        self._objects = objects
        self._name = name
        self._tag: str | None = None
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self.certain = -math.inf

    def check(self) -> None:
        if time.monotonic() - self.certain > LEASE_SECONDS - _RENEW_SECONDS:
            raise LeaseLost("this process stood still, and another may publish now: try again")

    def take(self) -> None:
        """Wait until it is free or given up, and write our name into it."""
        watched: tuple[str | None, float] = (None, time.monotonic())
        while True:
            there = self._objects.get(self._name)
            tag = there.tag if there else None
            if tag != watched[0]:
                watched = (tag, time.monotonic())
            free = there is None or there.data == _FREE
            given_up = time.monotonic() - watched[1] > LEASE_SECONDS
            if (free or given_up) and self._write(tag):
                self._keeper.start()
                return
            time.sleep(_POLL_SECONDS * (1 + random.random()))  # noqa: S311 - no secret

    def free(self) -> None:
        """Let others have it at once; where that cannot be said, they wait until it is given up."""
        self._stop.set()
        self._keeper.join()
        if self._tag is not None:
            with suppress(TablesUnreachable):
                self._objects.put(self._name, self._tag, _FREE)

    def _keep(self) -> None:
        while self._tag is not None and not self._stop.wait(_RENEW_SECONDS):
            with suppress(TablesUnreachable):
                self._write(self._tag)

    def _write(self, tag: str | None) -> bool:
        sent = time.monotonic()
        # Other bytes every time, for the ETag may be their digest.
        self._tag = self._objects.put(self._name, tag, uuid.uuid4().hex.encode())
        self.certain = sent if self._tag is not None else -math.inf
        return self._tag is not None


class BucketPlace:
    """See `store.places.place.Place`; `s3://bucket/prefix`, a folder below it for each collection.

    Raises:
        InvalidConfiguration: the extra is not installed, or no bucket is named.
    """

    def __init__(self, uri: str) -> None:
        self.objects = Objects(uri)

    def names(self) -> list[str]:
        return sorted(name for name in self.objects.folders() if self.read(name) is not None)

    def read(self, name: str) -> Stored | None:
        return self.objects.get(f"{name}/{_RECORD}")

    def swap(self, name: str, tag: str | None, data: bytes) -> bool:
        return self.objects.put(f"{name}/{_RECORD}", tag, data) is not None

    def remove(self, name: str) -> None:
        self.objects.delete(f"{name}/{_RECORD}")
        self.objects.delete_folder(name)

    @contextmanager
    def publishing(self, name: str) -> Generator[Lease]:
        lease = _BucketLease(self.objects, f"{name}/{_LEASE}")
        lease.take()
        try:
            yield lease
        finally:
            lease.free()

    def table_uri(self, name: str, table: str) -> str:
        return self.objects.uri(f"{name}/{table}")

    def remove_table(self, name: str, table: str) -> None:
        self.objects.delete_folder(f"{name}/{table}")
