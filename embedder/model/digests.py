"""The digest of a large file, remembered while the file stays what it was.

Hashing gigabytes takes seconds, at each start and in each worker. What is remembered holds for
one file as the system knows it: its place, device, inode, size and times. If any differs, or the
file was still being changed when it was read, it is hashed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

_DIGEST_BYTES = 16
_SETTLED_NS = 2_000_000_000
"""Age at which a file's times would show another change; some systems keep whole seconds."""


def file_digest(file: Path, cache: Path | None = None) -> bytes:
    """16 bytes of blake2b over the content.

    Args:
        cache: the folder to remember it in; it need not exist, nor be writable.

    Raises:
        OSError: the file cannot be read.
    """
    known = _identity(file)
    memory = _memory_of(file, cache) if cache is not None else None
    if memory is not None and (remembered := _recall(memory, known)) is not None:
        return remembered
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, _blake2b).digest()
    if memory is not None and _identity(file) == known and _is_settled(known):
        _remember(memory, known, digest)
    return digest


def _blake2b() -> Any:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def _identity(file: Path) -> dict[str, Any]:
    """What differs once a file was written to or replaced; ctime cannot be set back."""
    stat = file.stat()
    return {
        "file": str(file.resolve()),
        "device": stat.st_dev,
        "inode": stat.st_ino,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
    }


def _is_settled(known: dict[str, Any]) -> bool:
    return time.time_ns() - max(known["mtime_ns"], known["ctime_ns"]) > _SETTLED_NS


def _memory_of(file: Path, cache: Path) -> Path:
    name = hashlib.blake2b(os.fsencode(file.resolve()), digest_size=8).hexdigest()
    return cache / "digests" / f"{name}.json"


def _recall(memory: Path, known: dict[str, Any]) -> bytes | None:
    try:
        found = orjson.loads(memory.read_bytes())
        digest = bytes.fromhex(found.pop("digest"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return digest if found == known and len(digest) == _DIGEST_BYTES else None


def _remember(memory: Path, known: dict[str, Any], digest: bytes) -> None:
    """Whole or not at all; a folder that cannot be written to costs time, and nothing else."""
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=memory.parent, delete=False) as scratch:
            scratch.write(orjson.dumps({**known, "digest": digest.hex()}))
        Path(scratch.name).replace(memory)
