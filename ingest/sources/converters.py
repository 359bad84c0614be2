"""What docling and markitdown make of a file: markdown. Both are extras, imported when used."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from ingest.sources.pdf import joined
from m3.errors import InvalidInput


def read_by_markitdown(stream: BinaryIO, name: str) -> dict[str, Any]:
    """Raises InvalidInput, or whatever the parser raises, where nothing can be made of the file."""
    from markitdown import StreamInfo  # noqa: PLC0415 - an extra

    path = PurePosixPath(name)
    info = StreamInfo(extension=path.suffix.lower(), filename=path.name)
    result = _markitdown().convert_stream(stream, stream_info=info)
    return {"text": result.markdown, "title": result.title, "markdown": True}


def read_by_docling(stream: BinaryIO, name: str) -> dict[str, Any]:
    """As markitdown; pages are kept. Raises InvalidInput where docling gives the file up."""
    models: Any = import_module("docling.datamodel.base_models")
    good = {models.ConversionStatus.SUCCESS, models.ConversionStatus.PARTIAL_SUCCESS}
    source = models.DocumentStream(name=PurePosixPath(name).name, stream=stream)
    result = _docling().convert(source, raises_on_error=False)
    if result.status not in good:
        reasons = "; ".join(error.error_message for error in result.errors)
        raise InvalidInput(f"docling cannot read it: {reasons or result.status}")
    document = result.document
    numbers = sorted(document.pages)
    if not numbers:
        return {"text": document.export_to_markdown(), "markdown": True}
    text, pages = joined(document.export_to_markdown(page_no=number) for number in numbers)
    return {"text": text, "pages": pages, "markdown": True}


@cache
def _markitdown() -> Any:
    from markitdown import MarkItDown  # noqa: PLC0415 - an extra

    return MarkItDown(enable_plugins=False)


@cache
def _docling() -> Any:
    converter: Any = import_module("docling.document_converter")
    return converter.DocumentConverter()
