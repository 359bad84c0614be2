"""Paths to files, and files to documents."""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from ingest.sources.base import Format, Parsed, Reject, SourceFile, Stream
from ingest.sources.fields import Fields
from ingest.sources.formats import FORMATS, Formats
from m3.errors import InvalidInput

STDIN = "-"
_GZIP = ".gz"


@dataclass(frozen=True, slots=True)
class Found:
    """The files to read, and how many others the folders hold, by suffix."""

    files: Sequence[SourceFile]
    passed_over: Mapping[str, int] = field(default_factory=Counter[str])

    @property
    def bytes(self) -> int | None:
        """Of all files together, or None where one of them does not say."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None


def discover(
    paths: Iterable[str], format_name: str | None = None, *, parser: str | None = None
) -> Found:
    """The files under `paths`: files, folders with all they hold, `-` for standard input.

    A format that is named is taken for every file; else the suffix decides, and folders'
    files of other suffixes are passed over. A parser takes over the files that it can read.
    Hidden files are passed over, too, and folders behind links, so that a loop of them ends.

    Raises:
        InvalidInput: a path that is not there, a format nobody knows, or nothing to read.
    """
    formats = Formats.chosen(format_name, parser)
    files: list[SourceFile] = []
    passed_over = Counter[str]()
    for given in paths:
        try:
            files += _under(given, formats, passed_over)
        except OSError as error:
            raise InvalidInput(f"cannot read {error.filename}: {error.strerror}") from error
    return Found(files, passed_over)


def read(files: Iterable[SourceFile], fields: Fields) -> Iterator[Parsed | Reject]:
    """All documents of all files, in order, as they come; nothing a file holds stops the rest."""
    for file in files:
        try:
            with _opened(file) as stream:
                yield from file.format.read(file, stream, fields)
        except InvalidInput as error:
            yield Reject(file.place(), error.message, size=file.size or 0)
        except (OSError, EOFError, zlib.error) as error:
            yield Reject(file.place(), f"cannot be read: {error}")


def _under(given: str, formats: Formats, passed_over: Counter[str]) -> list[SourceFile]:
    path = Path(given)
    if given == STDIN:
        return [SourceFile(None, "stdin", "stdin", formats.forced or FORMATS["jsonl"])]
    if path.is_dir():
        return _in_folder(path, formats, passed_over)
    if path.exists():
        return [_source_file(path, path.name, _format_of(path, formats))]
    raise InvalidInput(f"there is no file or folder {given}")


def _in_folder(folder: Path, formats: Formats, passed_over: Counter[str]) -> list[SourceFile]:
    found: list[SourceFile] = []
    for path in _walk(folder):
        format_ = formats.of(_suffix(path))
        if format_ is None:
            passed_over[_suffix(path) or path.name] += 1
        else:
            found.append(_source_file(path, path.relative_to(folder).as_posix(), format_))
    if not found:
        others = f" ({sum(passed_over.values())} other files)" if passed_over else ""
        known = ", ".join(formats.by_suffix)
        raise InvalidInput(f"folder {folder} holds no documents{others}; known suffixes: {known}")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below, in the order of names; sockets and pipes would never end."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            # A link that leads nowhere stays: reading it says so.
            if not name.startswith(".") and (path.is_file() or not path.exists()):
                yield path


def _raise(error: OSError) -> None:
    raise error


def _format_of(path: Path, formats: Formats) -> Format:
    format_ = formats.of(_suffix(path))
    if format_ is None:
        known = ", ".join(FORMATS)
        raise InvalidInput(f"cannot tell the format of {path}: name it with --format ({known})")
    return format_


def _suffix(path: Path) -> str:
    return path.with_suffix("").suffix.lower() if path.suffix == _GZIP else path.suffix.lower()


def _source_file(path: Path, identifier: str, format_: Format) -> SourceFile:
    """What a packed file or a pipe holds is not known before it is read."""
    known = path.is_file() and path.suffix != _GZIP
    return SourceFile(
        path=path,
        name=_shown(str(path)),
        id=identifier.removesuffix(_GZIP),
        format=format_,
        size=path.stat().st_size if known else None,
    )


def _shown(name: str) -> str:
    """A file name for people and JSON: bytes that are no UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


@contextmanager
def _opened(file: SourceFile) -> Generator[Stream]:
    if file.path is None:
        yield cast(Stream, sys.stdin.buffer)
        return
    with file.path.open("rb") as raw:
        if file.path.suffix == _GZIP:
            with gzip.open(raw) as unpacked:
                yield unpacked
        else:
            yield raw
