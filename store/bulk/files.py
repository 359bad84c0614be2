"""Where the files of a bulk load lie: a folder, or a prefix in a bucket that Milvus reads."""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from m3.errors import InvalidConfiguration, StorageFull
from store.places.objects import SCHEME, Objects


class Files(Protocol):
    """Files by name at one address, each there whole or not at all."""

    @property
    def address(self) -> str: ...

    @property
    def path(self) -> str | None:
        """Where Milvus finds them if its storage is this bucket; None where only we can tell."""
        ...

    def drafts(self) -> AbstractContextManager[str]:
        """A folder of this machine to write files in, gone with what is left in it."""
        ...

    def put(self, name: str, draft: Path) -> int:
        """Take a file in, in place of one of that name; its bytes. Raises StorageFull."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """As `put`."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """Raises FileNotFoundError."""
        ...

    def read(self, name: str) -> bytes | None: ...


class Folder:
    """See `Files`."""

    path = None

    def __init__(self, root: Path) -> None:
        self._root = root
        self.address = str(root)

    def drafts(self) -> AbstractContextManager[str]:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(prefix=".draft-", dir=self._root)
        except OSError as error:
            raise InvalidConfiguration(f"cannot use {self._root}: {error.strerror}") from error

    def put(self, name: str, draft: Path) -> int:
        try:
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            size = draft.stat().st_size
            draft.replace(self._root / name)
        except OSError as error:
            raise StorageFull(f"cannot write {self._root / name}: {error.strerror}") from error
        return size

    def write(self, name: str, data: bytes) -> None:
        with self.drafts() as drafts:
            draft = Path(drafts) / name
            draft.write_bytes(data)
            self.put(name, draft)

    def open(self, name: str) -> pa.NativeFile:
        opened: Any = pa.OSFile
        return opened(str(self._root / name))

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None


class Bucket:
    """See `Files`; `s3://bucket/prefix`, under the AWS_* variables. A file passes whole through
    memory.
    """

    def __init__(self, uri: str) -> None:
        self._objects = Objects(uri)
        self.address = uri.rstrip("/")
        self.path = self._objects.prefix

    def drafts(self) -> AbstractContextManager[str]:
        return tempfile.TemporaryDirectory(prefix="m3-bulk-")

    def put(self, name: str, draft: Path) -> int:
        data = draft.read_bytes()
        self.write(name, data)
        return len(data)

    def write(self, name: str, data: bytes) -> None:
        self._objects.write(name, data)

    def open(self, name: str) -> pa.NativeFile:
        data = self.read(name)
        if data is None:
            raise FileNotFoundError(name)
        return pa.BufferReader(data)

    def read(self, name: str) -> bytes | None:
        there = self._objects.get(name)
        return there.data if there else None


def files_at(address: str) -> Files:
    """A folder, or `s3://bucket/prefix`. Raises InvalidConfiguration."""
    if address.startswith(SCHEME):
        return Bucket(address)
    if "://" in address:
        raise InvalidConfiguration(f"{address}: a folder, or s3://bucket/prefix")
    return Folder(Path(address))
