"""Adding keys to a file and taking them out; servers that read it follow within seconds."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from m3.errors import AlreadyExists, InvalidConfiguration, InvalidInput, NotFound
from serving.keys.file import KeyLine, key_of, read_keys, read_lines, reasons

_PREFIX = "m3_"
"""By which scanners of repositories and logs can know a key of ours."""
_BYTES = 32
"""Of chance in a key: as many as its digest has, so that guessing one is out of the question."""


def add_key(path: Path, name: str, **members: Any) -> str:
    """Make a key and append its line, as `KeyLine` has it; the file is made where there is none.

    Returns:
        The key, which is kept nowhere.

    Raises:
        AlreadyExists: the name is taken.
        InvalidInput: members that no key has.
        InvalidConfiguration: a file that cannot be used.
    """
    secret = _PREFIX + secrets.token_urlsafe(_BYTES)
    line = _line(name, secret, members)
    with _alone(path):
        if path.exists():
            if any(key.name == name for key in read_keys(path)):
                raise AlreadyExists(f"{path} has a key {name!r}: remove it, or choose another name")
            lines = read_lines(path)
        else:
            lines = []
        _write(path, [*lines, line])
    return secret


def remove_key(path: Path, name: str) -> None:
    """Take a key's line out.

    Raises:
        NotFound: no key has that name.
        InvalidConfiguration: a file that cannot be used.
    """
    with _alone(path):
        names = [key.name for key in read_keys(path)]
        if name not in names:
            raise NotFound(f"no key {name!r} in {path}; there are: {', '.join(names) or 'none'}")
        _write(path, [line for line in read_lines(path) if not _is(line, name)])


def _is(line: str, name: str) -> bool:
    key = key_of(line)
    return key is not None and key.name == name


def _line(name: str, secret: str, members: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    try:
        line = KeyLine(name=name, sha256=digest, **members)
    except ValidationError as error:
        raise InvalidInput(reasons(error)) from error
    return line.model_dump_json(exclude_none=True)


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """One edit of a file at a time; a lock on its folder leaves nothing behind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, lines: Sequence[str]) -> None:
    """Whole or not at all, for its owner alone: who can read it knows names and tenants."""
    target = path.resolve()
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            _keep_owner(target, temporary)
        os.replace(temporary, target)  # noqa: PTH105 - the temporary name is a string
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be written: {error.strerror}") from error


def _keep_owner(target: Path, temporary: str) -> None:
    """A server that runs as another user than whoever edits must go on reading its file."""
    there = target.stat()
    with suppress(PermissionError):
        os.chown(temporary, there.st_uid, there.st_gid)
