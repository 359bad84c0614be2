"""Records and tables in a folder: files replaced as a whole, and locks that die with a process."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from m3.errors import InvalidConfiguration, StorageFull, TablesUnreachable
from store.places.place import Lease, Stored

_RECORD = "collection.json"
_RECORD_LOCK = "collection.lock"
_PUBLISH_LOCK = "publish.lock"
_REMOVALS = 5
_REMOVAL_SECONDS = 0.05
"""Until a writer has seen that what it writes to is gone: it adds files where others went."""


class _FolderLease:
    """The kernel holds it."""

    def check(self) -> None:
        """It cannot be lost while the process lives."""


class FolderPlace:
    """See `store.places.place.Place`; a subfolder for each collection.

    Raises:
        InvalidConfiguration: the folder cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidConfiguration(
                f"cannot use {root}: {error.strerror}; name another folder (M3_HOME, M3_TABLES)"
            ) from error

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob(f"*/{_RECORD}"))

    def read(self, name: str) -> Stored | None:
        path = self.root / name / _RECORD
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TablesUnreachable(f"cannot read {path}: {error.strerror}") from error
        return Stored(data, xxhash.xxh3_128_hexdigest(data))

    def swap(self, name: str, tag: str | None, data: bytes) -> bool:
        with self._locked(name, _RECORD_LOCK):
            there = self.read(name)
            if (there.tag if there else None) != tag:
                return False
            self._write(name, data)
            return True

    def _write(self, name: str, data: bytes) -> None:
        path = self.root / name / _RECORD
        draft = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _no_room(path, error) from error

    def remove(self, name: str) -> None:
        with self._locked(name, _RECORD_LOCK):
            (self.root / name / _RECORD).unlink(missing_ok=True)
        _remove(self.root / name)

    @contextmanager
    def publishing(self, name: str) -> Generator[Lease]:
        with self._locked(name, _PUBLISH_LOCK):
            yield _FolderLease()

    @contextmanager
    def _locked(self, name: str, lock: str) -> Generator[None]:
        path = self.root / name / lock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            raise _no_room(path, error) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def table_uri(self, name: str, table: str) -> str:
        return str(self.root / name / table)

    def remove_table(self, name: str, table: str) -> None:
        _remove(self.root / name / table)


def _remove(folder: Path) -> None:
    """Take a folder away with all in it. Raises TablesUnreachable where some of it stays."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REMOVAL_SECONDS)
    raise TablesUnreachable(
        f"{folder} is not gone, nor are the texts in it: see who may write there, and remove it"
    )


def _no_room(path: Path, error: OSError) -> StorageFull:
    return StorageFull(f"cannot write {path}: {error.strerror}; what was published is safe")
