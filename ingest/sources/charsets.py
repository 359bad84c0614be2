"""What encoding a web page is in, as browsers decide it, a little simpler."""

from __future__ import annotations

import codecs
import re

from m3.errors import InvalidInput

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,512}?(?:charset|encoding)\s*=\s*["']?([\w:.-]+)""", re.IGNORECASE
)
_HEAD_BYTES = 4096
_FALLBACK = "cp1252"


def page_text(data: bytes) -> str:
    """A page as text: by its byte order mark, as UTF-8, as it declares, or as Windows-1252.

    Raises:
        InvalidInput: it is binary.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace")
    if b"\0" in data[:_HEAD_BYTES]:
        raise InvalidInput("it is binary (it has zero bytes), not HTML")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(_declared(data), "replace")


def _declared(data: bytes) -> str:
    match = _DECLARED.search(data[:_HEAD_BYTES])
    try:
        name = codecs.lookup(match[1].decode()).name if match else _FALLBACK
        b"x".decode(name)
    except (LookupError, UnicodeError):
        return _FALLBACK
    # Pages that claim ASCII or Latin-1 are in Windows-1252; with zero bytes they were refused.
    wrong = name in {"ascii", "iso8859-1"} or name.startswith(("utf-16", "utf-32"))
    return _FALLBACK if wrong else name
