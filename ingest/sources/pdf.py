"""PDF by pypdf: pages kept, the document's own title, author and dates."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, BinaryIO

from pypdf import DocumentInformation, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError, PyPdfError

from ingest.sources.base import MAX_DOCUMENT_BYTES, too_long
from m3.errors import InvalidInput

_BETWEEN_PAGES = "\n\n"


def read_pdf(stream: BinaryIO, name: str) -> dict[str, Any]:  # noqa: ARG001 - as every parser
    """A PDF's text with where each page begins, and what it says of itself.

    Raises:
        InvalidInput: corrupt, encrypted, without pages or without text.
    """
    try:
        reader = PdfReader(stream)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidInput("it is encrypted: take its password off")
        if not reader.pages:
            raise InvalidInput("it has no pages")
        text, pages = joined(_cleaned(page.extract_text()) for page in reader.pages)
        if not text.strip():
            raise InvalidInput(
                f"its {len(pages)} pages have no text, only images: read it with OCR, "
                "--parser docling"
            )
        title, metadata = _information(reader.metadata)
    except (FileNotDecryptedError, DependencyError) as error:
        raise InvalidInput(f"it is encrypted: take its password off ({error})") from error
    except LimitReachedError as error:
        raise InvalidInput(f"it unpacks to more than is read: {error}") from error
    except PyPdfError as error:
        raise InvalidInput(f"it is no PDF, or corrupt: {error}") from error
    return {"text": text, "title": title, "metadata": metadata, "pages": pages}


def joined(pages: Iterable[str]) -> tuple[str, list[int]]:
    """Pages as one text, and where each begins in it.

    Raises:
        InvalidInput: they are longer than a document may be.
    """
    parts: list[str] = []
    starts: list[int] = []
    length = size = 0
    for page in pages:
        starts.append(length)
        if page:
            parts.append(page)
            length += len(page) + len(_BETWEEN_PAGES)
            size += len(page.encode())
        if size > MAX_DOCUMENT_BYTES:
            raise InvalidInput(too_long("its text"))
    text = _BETWEEN_PAGES.join(parts)
    return text, [min(start, len(text)) for start in starts]


def _cleaned(text: str) -> str:
    """Without zero bytes and halves of surrogate pairs, which broken fonts leave."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode().strip()


def _information(given: DocumentInformation | None) -> tuple[str, dict[str, Any]]:
    """The title, and what else there is; a field that is broken is as good as missing."""
    if given is None:
        return "", {}
    values = {
        "author": given.author,
        "subject": given.subject,
        "keywords": given.keywords,
        "created": _date(given, "creation_date"),
        "modified": _date(given, "modification_date"),
    }
    metadata = {name: _cleaned(value) for name, value in values.items() if value}
    return _cleaned(given.title or ""), metadata


def _date(given: DocumentInformation, name: str) -> str | None:
    try:
        value = getattr(given, name)
    except (ValueError, OverflowError):
        return None
    return value.isoformat() if isinstance(value, datetime) else None
