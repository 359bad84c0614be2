"""What is given to files, and files to documents."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from ingest.sources import bucket, web
from ingest.sources.base import Format, Opened, Parsed, Reject, SourceFile
from ingest.sources.fields import Fields
from ingest.sources.folders import files_below, files_matching, is_pattern
from ingest.sources.formats import FORMATS, Formats
from ingest.sources.opening import LocalFile, StandardInput
from ingest.sources.unpacking import ERRORS, bare, is_packed, unpacked
from m3.errors import InvalidInput

T = TypeVar("T")

STDIN = "-"

ROWS = frozenset({"jsonl", "csv", "parquet"})
"""Formats whose documents are rows with ids of their own; else the file's name is the id."""


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
    paths: Iterable[str],
    format_name: str | None = None,
    *,
    parser: str | None = None,
    allow_private: bool = False,
) -> Found:
    """The files of `paths`: files, folders with all they hold, globs, `-` for standard input,
    http(s) addresses of files, `s3://bucket/prefix` for an object or all below a prefix.

    A format that is named is taken for every file; else the suffix decides, and folders'
    files of other suffixes are passed over. A parser takes over the files that it can read.
    Hidden files are passed over, too, and folders behind links, so that a loop of them ends.
    A file that is found twice is read once, as it was found first. Addresses of this machine
    and of private networks are refused when they are read, unless `allow_private`.

    Raises:
        InvalidInput: a path that is not there, a format nobody knows, nothing to read, or two
            files that were named one by one and would share an id.
        InvalidConfiguration: an extra is not installed.
    """
    search = _Search(Formats.chosen(format_name, parser), allow_private=allow_private)
    for given in paths:
        try:
            search.add(given)
        except OSError as error:
            raise InvalidInput(f"cannot read {error.filename}: {error.strerror}") from error
    return Found(search.files, search.passed_over)


def read(files: Iterable[SourceFile], fields: Fields) -> Iterator[Parsed | Reject]:
    """All documents of all files, in order, as they come; nothing a file holds stops the rest."""
    for file in files:
        if file.content is None:
            continue
        try:
            _check_name(file.id)
            with file.content.open() as opened:
                yield from _sound(file, opened, fields)
        except InvalidInput as error:
            yield Reject(file.place(), error.message, size=file.size or 0)
        except OSError as error:
            yield Reject(file.place(), f"cannot be read: {error.strerror or error}")
        except ERRORS as error:
            yield Reject(file.place(), f"cannot be read: {error}")


def _sound(file: SourceFile, opened: Opened, fields: Fields) -> Iterator[Parsed | Reject]:
    """A file's documents, the last one only after a look at whether the file is still the same."""
    held: Parsed | Reject | None = None
    try:
        with unpacked(opened.stream, file.name) as stream:
            for item in file.format.read(file, stream, fields):
                if held is not None:
                    yield held
                held = item
                if opened.check is None:
                    yield held
                    held = None
    except (InvalidInput, OSError, *ERRORS):
        if held is not None:
            yield held
        raise
    try:
        if opened.check is not None:
            opened.check()
    except InvalidInput as error:
        yield Reject(file.place(), error.message, size=held.size if held else 0)
        return
    if held is not None:
        yield held


def _check_name(identifier: str) -> None:
    """Raises InvalidInput for a name that would break lines of logs, or steer a terminal."""
    if any(ord(character) < 0x20 or character == "\x7f" for character in identifier):
        raise InvalidInput("its name has a line break or another control character: rename it")


class _Search:
    """Collects files, each once."""

    def __init__(self, formats: Formats, *, allow_private: bool) -> None:
        self._formats = formats
        self._allow_private = allow_private
        self._known: set[str] = set()
        self._named: dict[str, str] = {}
        self.files: list[SourceFile] = []
        self.passed_over = Counter[str]()

    def add(self, given: str) -> None:
        """Raises InvalidInput or OSError, as `discover`."""
        path = Path(given)
        if given == STDIN:
            format_ = self._formats.forced or FORMATS["jsonl"]
            self._take(STDIN, SourceFile(StandardInput(), "stdin", "stdin", format_))
        elif web.is_web(given):
            self._take_web(given)
        elif given.startswith(bucket.SCHEME):
            self._take_objects(given)
        elif path.is_dir():
            others = Counter[str]()
            self._take_all(f"folder {given}", path, files_below(path), others)
            self.passed_over += others
        elif path.exists():
            self._take_local(path, path.name, format_of(given, self._formats), None)
        elif is_pattern(given):
            folder, paths = files_matching(given)
            self._take_all(f"pattern {given}", folder, paths, self.passed_over)
        else:
            raise InvalidInput(f"there is no file or folder {printable(given)}")

    def _take_all(
        self, what: str, folder: Path, paths: Iterable[Path], others: Counter[str]
    ) -> None:
        named = ((path.name, path) for path in paths)
        for _, path, format_ in self._known_formats(what, named, others):
            self._take_local(path, path.relative_to(folder).as_posix(), format_, folder)

    def _known_formats(
        self, what: str, found: Iterable[tuple[str, T]], others: Counter[str]
    ) -> Iterator[tuple[str, T, Format]]:
        """Those whose names have a format's suffix; the rest is counted. Raises where all is."""
        any_known = False
        for name, each in found:
            format_ = self._formats.of(suffix(name))
            if format_ is None:
                others[suffix(name) or name] += 1
            else:
                any_known = True
                yield name, each, format_
        if not any_known:
            raise InvalidInput(nothing_in(what, others, self._formats))

    def _take_local(self, path: Path, identifier: str, format_: Format, root: Path | None) -> None:
        """What a packed file or a pipe holds is not known before it is read."""
        known = path.is_file() and not is_packed(path.name)
        file = SourceFile(
            LocalFile(path, root),
            name=printable(str(path)),
            id=bare(identifier),
            format=format_,
            size=path.stat().st_size if known else None,
        )
        # Not the target of a link: a link beside a file is a document of its own.
        key = str(Path(os.path.realpath(path.parent), path.name))
        self._take(key, file, named=root is None)

    def _take_web(self, given: str) -> None:
        url = web.parsed(given)
        name = web.shown(url)
        format_ = format_of(url.path, self._formats, shown=name)
        content = web.WebFile(url, self._allow_private)
        identifier = bare(PurePosixPath(url.path).name) or url.host
        self._take(str(url), SourceFile(content, printable(name), identifier, format_), named=True)

    def _take_objects(self, given: str) -> None:
        store = given.removeprefix(bucket.SCHEME).split("/")[0]
        others = Counter[str]()
        objects = bucket.objects(given)
        for within, found, format_ in self._known_formats(printable(given), objects, others):
            name = f"{bucket.SCHEME}{store}/{found.key}"
            size = None if is_packed(within) else found.size
            self._take(name, SourceFile(found, printable(name), bare(within), format_, size))
        self.passed_over += others

    def _take(self, key: str, file: SourceFile, *, named: bool = False) -> None:
        """Raises InvalidInput for two files that were named themselves and share a name."""
        if key in self._known:
            return
        other = self._named.get(file.id) if named else None
        if other is not None and file.format.name not in ROWS:
            raise InvalidInput(
                f"{other} and {file.name} would share the id {printable(file.id)}: "
                "give the folder above both, or run them with different --source names"
            )
        if named:
            self._named[file.id] = file.name
        self._known.add(key)
        self.files.append(file)


def nothing_in(what: str, others: Mapping[str, int], formats: Formats) -> str:
    count = f" ({sum(others.values())} other files)" if others else ""
    return f"{what} holds no documents{count}; known suffixes: {', '.join(formats.by_suffix)}"


def format_of(given: str, formats: Formats, *, shown: str | None = None) -> Format:
    """Raises InvalidInput for a name whose suffix no format has, named as it is to be shown."""
    format_ = formats.of(suffix(given))
    if format_ is None:
        known = ", ".join(FORMATS)
        raise InvalidInput(
            f"cannot tell the format of {printable(shown or given)}: "
            f"name it with --format ({known})"
        )
    return format_


def suffix(name: str) -> str:
    """A name's suffix in lower case, that of its packing left out."""
    return PurePath(bare(name)).suffix.lower()


def printable(name: str) -> str:
    """A name for people and JSON: what is no UTF-8 is replaced, control characters escaped."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
