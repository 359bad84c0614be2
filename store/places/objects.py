"""Objects of a bucket of S3, or of what speaks its language, below one prefix.

Endpoint, region and credentials come from the AWS_* variables.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from m3.errors import InvalidConfiguration, TablesUnreachable
from store.places.place import Stored

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import S3Store

SCHEME = "s3://"

_STAMP = "m3-write"
_DELETED_AT_ONCE = 1_000


class Objects:
    """Those below `s3://bucket/prefix`, by what their keys have after it.

    All methods raise `InvalidConfiguration` where our credentials are refused, and
    `TablesUnreachable` where the bucket cannot be used.

    Attributes:
        prefix: of their keys, without slashes at its ends; it may be empty.

    Raises:
        InvalidConfiguration: the extra is not installed, or no bucket is named.
    """

    def __init__(self, uri: str) -> None:
        self._bucket, _, self.prefix = uri.removeprefix(SCHEME).strip("/").partition("/")
        if not self._bucket:
            raise InvalidConfiguration(f"{uri} names no bucket: s3://bucket/prefix")
        self._store = s3_store(self._bucket)

    def uri(self, name: str) -> str:
        return f"{SCHEME}{self._bucket}/{self._key(name)}"

    def folders(self) -> list[str]:
        """What there is before the next slash of their names, in no order."""
        listing = _untyped()
        with self._errors():
            listed = listing.list_with_delimiter(self._store, self.prefix or None)
        return [folder.rstrip("/").rpartition("/")[2] for folder in listed["common_prefixes"]]

    def get(self, name: str) -> Stored | None:
        """An object, or None."""
        import obstore  # noqa: PLC0415 - an extra

        with self._errors():
            try:
                answer = obstore.get(self._store, self._key(name))
                return Stored(bytes(answer.bytes()), str(answer.meta["e_tag"]))
            except FileNotFoundError:
                return None

    def put(self, name: str, tag: str | None, data: bytes) -> str | None:
        """Write an object that still has this tag, or is not there (None); its new tag, or None."""
        import obstore  # noqa: PLC0415 - an extra
        from obstore import exceptions as s3  # noqa: PLC0415 - an extra

        key, stamp = self._key(name), uuid.uuid4().hex
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

    def write(self, name: str, data: bytes) -> None:
        """Write an object, whatever is there."""
        import obstore  # noqa: PLC0415 - an extra

        with self._errors():
            obstore.put(self._store, self._key(name), data)

    def delete(self, name: str) -> None:
        """Take an object away; one that is not there is fine."""
        self._delete([self._key(name)])

    def delete_folder(self, name: str) -> None:
        """Take away all whose names begin with this one and a slash."""
        listing = _untyped()
        with self._errors():
            pages: Iterator[Any] = listing.list(self._store, f"{self._key(name)}/")
            keys = [meta["path"] for page in pages for meta in page]
        self._delete(keys)

    def _delete(self, keys: list[str]) -> None:
        import obstore  # noqa: PLC0415 - an extra

        with self._errors():
            for first in range(0, len(keys), _DELETED_AT_ONCE):
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, keys[first : first + _DELETED_AT_ONCE])

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

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


def _untyped() -> Any:
    """obstore, whose stubs leave the types of listings out."""
    import obstore  # noqa: PLC0415 - an extra

    return obstore


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
