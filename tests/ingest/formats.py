"""Bytes read as a format, and the smallest files of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from ingest.sources import FORMATS, Fields, Parsed, Reject, SourceFile
from ingest.sources.base import Format
from m3.errors import InvalidInput
from m3.types import Document


def items(
    format_: Format, data: bytes, name: str, fields: Fields | None = None
) -> list[Parsed | Reject]:
    """What a file of these bytes holds; a file that is refused is one reject."""
    file = SourceFile(None, name, name, format_, len(data))
    try:
        return list(format_.read(file, io.BufferedReader(io.BytesIO(data)), fields or Fields()))  # pyright: ignore[reportArgumentType]
    except InvalidInput as error:
        return [Reject(file.place(), error.message)]


def of(name: str, data: bytes, fields: Fields | None = None) -> list[Parsed | Reject]:
    """As `items`, by the format of the file's suffix."""
    suffix = name[name.rindex(".") :]
    format_ = next(each for each in FORMATS.values() if suffix in each.suffixes)
    return items(format_, data, name, fields)


def documents(found: Sequence[Parsed | Reject]) -> list[Document]:
    for item in found:
        assert isinstance(item, Parsed), item
    return [item.document for item in found if isinstance(item, Parsed)]


def reasons(found: Sequence[Parsed | Reject]) -> list[tuple[int | None, str]]:
    return [(item.place.line, item.reason) for item in found if isinstance(item, Reject)]


def pdf(*pages: str, password: str | None = None, **information: Any) -> bytes:
    """A PDF of one line a page; an empty one has no content."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        resources = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): resources})
        content = DecodedStreamObject()
        if text:
            content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(content.flate_encode())
    writer.add_metadata({f"/{name}": value for name, value in information.items()})
    if password is not None:
        writer.encrypt(password, owner_password="owner", algorithm="AES-256")
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()
