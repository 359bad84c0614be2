"""What every format hands over: documents with their place, or why there is none."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Literal, Protocol, TypeAlias

from ingest.sources.fields import Fields
from m3.errors import InvalidInput, M3Error
from m3.types import Document

MAX_DOCUMENT_BYTES = 32 * 2**20
"""Of one line or one text file. Nothing longer is held in memory."""

BOM = b"\xef\xbb\xbf"

_MAX_RAW_BYTES = 16_384
_PEEK_BYTES = 8192

Stage: TypeAlias = Literal["parse", "chunk", "embed", "write"]
Stream: TypeAlias = BufferedIOBase


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file as it was named, and its line where there are lines."""

    path: str
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document, and where it was found.

    Attributes:
        size: bytes of the source that it took, so that progress adds up to the files' sizes.
    """

    document: Document
    place: Place
    size: int = 0

    def reject(self, stage: Stage, error: M3Error) -> Reject:
        """Why this document went no further."""
        return Reject(
            self.place,
            error.message,
            stage,
            self.document.id,
            size=self.size,
            given=self.document,
            error=error,
        )


@dataclass(frozen=True, slots=True)
class Reject:
    """What did not become a document in the store, and why.

    Attributes:
        document: its id, where one is known.
        raw: the row as it stood, where it is small enough to keep.
        given: the document, where it could be read.
        first: where the run met another document of its id before.
        error: what it was refused with, where it could be read.
    """

    place: Place
    reason: str
    stage: Stage = "parse"
    document: str | None = None
    raw: str | None = None
    size: int = 0
    given: Document | None = None
    first: Place | None = None
    error: M3Error | None = None


class Format(Protocol):
    """One way of writing documents down."""

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def read(self, file: SourceFile, stream: Stream, fields: Fields) -> Iterator[Parsed | Reject]:
        """The documents of one file, as they come.

        Raises:
            InvalidInput: nothing can be made of the file.
        """
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is being read.

    Attributes:
        stream: its bytes as they are stored, packed or not.
        check: where it can change meanwhile: asked after the last document, raises InvalidInput
            if what is there now is not what was read, so that this document may be torn.
    """

    stream: Stream
    check: Callable[[], None] | None = None


class Content(Protocol):
    """Where the bytes of a file come from."""

    def open(self) -> AbstractContextManager[Opened]:
        """Raises InvalidInput where it is refused, OSError where it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read.

    Attributes:
        content: None where whoever reads it has the bytes already.
        name: as it is shown.
        id: what a document is called that is the whole file: its path from the given folder.
        size: bytes that its documents' sizes add up to; None where that is not known beforehand.
    """

    content: Content | None
    name: str
    id: str
    format: Format
    size: int | None = None

    def place(self, line: int | None = None) -> Place:
        return Place(self.name, line)


def refuse_binary(stream: Stream) -> None:
    """Raises InvalidInput for a file that is no text, and for UTF-16, which looks like that."""
    peek = getattr(stream, "peek", None)
    beginning: bytes = peek(_PEEK_BYTES)[:_PEEK_BYTES] if peek is not None else b""
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidInput("it is UTF-16: save it as UTF-8")
    if b"\0" in beginning:
        raise InvalidInput("it is binary (it has zero bytes), not UTF-8 text")


def whole_file(stream: Stream) -> tuple[str, int]:
    """A file's text and how many bytes it took.

    Raises:
        InvalidInput: too long, binary, or not UTF-8.
    """
    refuse_binary(stream)
    data = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidInput(too_long("the file"))
    return decoded(data.removeprefix(BOM)), len(data)


def decoded(data: bytes) -> str:
    """Raises InvalidInput with the place of the first byte that is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"invalid UTF-8 at byte {error.start + 1}") from error


def kept(raw: bytes) -> str | None:
    """A row for the dead letters, or None where it is too long to keep."""
    if len(raw) > _MAX_RAW_BYTES:
        return None
    return raw.decode("utf-8", "replace").rstrip("\r\n")


def too_long(what: str) -> str:
    return f"{what} is over {MAX_DOCUMENT_BYTES // 2**20} MB: split it"
