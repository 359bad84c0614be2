"""Records and tables in a bucket of S3, or of what speaks its language.

A record is replaced on the condition that it still has the ETag it was read with. Whoever
publishes holds a lease: an object that its owner writes anew every few seconds. Nobody's clock
is compared with another's: a lease is taken over by one who has watched it unchanged for
`LEASE_SECONDS` of his own.

Endpoint, region and credentials come from the AWS_* variables.
"""

from __future__ import annotations

import math
import random
import threading
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from m3.errors import InvalidConfiguration, LeaseLost, TablesUnreachable
from store.places import Lease, Stored

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import S3Store

SCHEME = "s3://"

LEASE_SECONDS = 20.0
"""Unchanged for so long, a lease is its owner's no more."""

_RENEW_SECONDS = 5.0
_POLL_SECONDS = 0.1
_RECORD = "collection.json"
_LEASE = "publish.json"
_FREE = b"free"
_STAMP = "m3-write"
_DELETED_AT_ONCE = 1_000


class _BucketLease:
    """The lease object while this process writes it.

    Attributes:
        certain: when it was last certain to be ours (monotonic time).
    """

    def __init__(self, place: BucketPlace, key: str) -> None:
        self._place = place
        self._key = key
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
            there = self._place.get(self._key)
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
                self._place.put(self._key, self._tag, _FREE)

    def _keep(self) -> None:
        while self._tag is not None and not self._stop.wait(_RENEW_SECONDS):
            with suppress(TablesUnreachable):
                self._write(self._tag)

    def _write(self, tag: str | None) -> bool:
        sent = time.monotonic()
        # Other bytes every time, for the ETag may be their digest.
        self._tag = self._place.put(self._key, tag, uuid.uuid4().hex.encode())
        self.certain = sent if self._tag is not None else -math.inf
        return self._tag is not None


class BucketPlace:
    """See `store.places.Place`; `s3://bucket/prefix`, a folder below it for each collection.

    Raises:
        InvalidConfiguration: the extra is not installed, or no bucket is named.
    """

    def __init__(self, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix(SCHEME).strip("/").partition("/")
        if not bucket:
            raise InvalidConfiguration(f"{uri} names no bucket: s3://bucket/prefix")
        self._bucket = bucket
        self._prefix = prefix
        self._store = s3_store(bucket)

    def names(self) -> list[str]:
        import obstore  # noqa: PLC0415 - an extra

        with self._errors():
            listing: Any = obstore  # its stubs leave types out
            listed = listing.list_with_delimiter(self._store, self._prefix or None)
        folders = [prefix.rstrip("/").rpartition("/")[2] for prefix in listed["common_prefixes"]]
        return sorted(name for name in folders if self.read(name) is not None)

    def read(self, name: str) -> Stored | None:
        return self.get(self._key(name, _RECORD))

    def swap(self, name: str, tag: str | None, data: bytes) -> bool:
        return self.put(self._key(name, _RECORD), tag, data) is not None

    def remove(self, name: str) -> None:
        self._delete(self._key(name, _RECORD))
        self._delete(*self._below(self._key(name, "")))

    @contextmanager
    def publishing(self, name: str) -> Generator[Lease]:
        lease = _BucketLease(self, self._key(name, _LEASE))
        lease.take()
        try:
            yield lease
        finally:
            lease.free()

    def table_uri(self, name: str, table: str) -> str:
        return f"{SCHEME}{self._bucket}/{self._key(name, table)}"

    def remove_table(self, name: str, table: str) -> None:
        self._delete(*self._below(self._key(name, table)))

    def get(self, key: str) -> Stored | None:
        """An object, or None."""
        import obstore  # noqa: PLC0415 - an extra

        with self._errors():
            try:
                answer = obstore.get(self._store, key)
                return Stored(bytes(answer.bytes()), str(answer.meta["e_tag"]))
            except FileNotFoundError:
                return None

    def put(self, key: str, tag: str | None, data: bytes) -> str | None:
        """Write an object that still has this tag, or is not there (None); its new tag, or None."""
        import obstore  # noqa: PLC0415 - an extra
        from obstore import exceptions as s3  # noqa: PLC0415 - an extra

        stamp = uuid.uuid4().hex
        with self._errors():
            try:
                mode: PutMode = "create" if tag is None else {"e_tag": tag}
                done = obstore.put(self._store, key, data, attributes={_STAMP: stamp}, mode=mode)
                return str(done["e_tag"])
            except (s3.AlreadyExistsError, s3.PreconditionError):
                # It may have been ourselves: a request whose answer was lost is sent again.
                return self._stamped(key, stamp)

    def _stamped(self, key: str, stamp: str) -> str | None:
        """The tag of an object if it is the one that was written under this stamp."""
        import obstore  # noqa: PLC0415 - an extra

        try:
            answer = obstore.get(self._store, key)
        except FileNotFoundError:
            return None
        return str(answer.meta["e_tag"]) if answer.attributes.get(_STAMP) == stamp else None

    def _key(self, name: str, rest: str) -> str:
        return "/".join(part for part in (self._prefix, name, rest) if part)

    def _below(self, folder: str) -> list[str]:
        import obstore  # noqa: PLC0415 - an extra

        listing: Any = obstore  # its stubs leave types out
        with self._errors():
            pages: Iterator[Any] = listing.list(self._store, f"{folder}/")
            return [meta["path"] for page in pages for meta in page]

    def _delete(self, *keys: str) -> None:
        import obstore  # noqa: PLC0415 - an extra

        with self._errors():
            for first in range(0, len(keys), _DELETED_AT_ONCE):
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, keys[first : first + _DELETED_AT_ONCE])

    @contextmanager
    def _errors(self) -> Generator[None]:
        """What obstore raises, in our words."""
        from obstore import exceptions as s3  # noqa: PLC0415 - an extra

        place = f"{SCHEME}{self._bucket}"
        try:
            yield
        except (s3.PermissionDeniedError, s3.UnauthenticatedError) as error:
            raise InvalidConfiguration(
                f"{place} refuses our credentials: check the AWS_* variables"
            ) from error
        except (s3.BaseError, FileNotFoundError) as error:
            raise TablesUnreachable(
                f"{place} cannot be used: check that the bucket is there, the AWS_* variables and "
                "the network"
            ) from error


def s3_store(bucket: str) -> S3Store:
    """A bucket as the AWS_* variables say; unencrypted only where AWS_ENDPOINT_URL says so.

    Raises:
        InvalidConfiguration: the extra is not installed.
    """
    try:
        from obstore.store import S3Store  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InvalidConfiguration(
            "s3:// needs an extra: pip install 'm3-retrieval[s3]'"
        ) from error
    return S3Store(bucket, client_options={"allow_http": True})
