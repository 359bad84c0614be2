"""Objects of S3 and what speaks its language."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.sources.base import Opened
from ingest.sources.resuming import Resuming
from m3.errors import InvalidInput
from store.places.objects import SCHEME, s3_store

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import S3Store

_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class BucketObject:
    """An object as it was listed; another one under its key is refused."""

    store: S3Store
    key: str
    etag: str | None
    size: int

    @contextmanager
    def open(self) -> Generator[Opened]:
        with closing(Resuming(self._fetch)) as raw:
            yield Opened(io.BufferedReader(raw, _BUFFER_BYTES))

    def _fetch(self, offset: int) -> Generator[bytes]:
        """Raises InvalidInput where the object is another one; ConnectionError for the rest."""
        import obstore  # noqa: PLC0415 - an extra
        from obstore import exceptions as s3  # noqa: PLC0415 - an extra

        if offset >= self.size:
            return
        if offset and self.etag is None:
            raise InvalidInput("the connection broke, and the object has no ETag: run again")
        match: GetOptions = {"if_match": self.etag} if self.etag else {}
        try:
            answer = obstore.get(
                self.store,
                self.key,
                options={"range": {"offset": offset}, **match},
            )
            for piece in answer.stream():
                yield bytes(piece)
        except (s3.PreconditionError, FileNotFoundError) as error:
            raise InvalidInput("it changed after it was listed: run again") from error
        except (s3.PermissionDeniedError, s3.UnauthenticatedError) as error:
            raise InvalidInput("S3 refuses to read it: check AWS_* variables") from error
        except s3.BaseError as error:
            raise ConnectionError("the connection to S3 broke") from error


def objects(given: str) -> Iterator[tuple[str, BucketObject]]:
    """What an address names, by key: one object, or all below a prefix, hidden ones left out.

    Yields keys within the prefix, with the objects. Endpoint, region and credentials come
    from the AWS_* variables.

    Raises:
        InvalidConfiguration: the extra is not installed.
        InvalidInput: no bucket is named, or S3 does not answer or refuses.
    """
    bucket, _, prefix = given.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise InvalidInput(f"{given} names no bucket: s3://bucket/prefix")
    store = s3_store(bucket)
    from obstore import exceptions as s3  # noqa: PLC0415 - an extra

    try:
        one = _single(store, prefix)
        if one is not None:
            yield prefix.rpartition("/")[2], one
            return
        folder = prefix.strip("/")
        metas = [meta for page in _pages(store, folder) for meta in page]
    except (s3.BaseError, ValueError) as error:
        raise InvalidInput(
            f"cannot list {given}: check the bucket's name and the AWS_* variables"
        ) from error
    for meta in sorted(metas, key=lambda meta: meta["path"]):
        key = meta["path"]
        within = key[len(folder) :].lstrip("/") if folder else key
        if not any(part.startswith(".") for part in within.split("/")):
            yield within, BucketObject(store, key, meta["e_tag"], meta["size"])


def _pages(store: S3Store, folder: str) -> Iterator[Any]:
    """What lies below a folder, as obstore lists it: some at a time, its stubs without types."""
    import obstore  # noqa: PLC0415 - an extra

    listing: Any = obstore
    return listing.list(store, folder or None)


def _single(store: S3Store, key: str) -> BucketObject | None:
    """The object of exactly this key, if there is one."""
    import obstore  # noqa: PLC0415 - an extra

    if not key or key.endswith("/"):
        return None
    try:
        meta = obstore.head(store, key)
    except FileNotFoundError:
        return None
    return BucketObject(store, key, meta["e_tag"], meta["size"])
