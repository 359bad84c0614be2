"""How a record becomes a document: what is its id, its text, its title, its metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import orjson

from ingest.sources.values import MetaType, converted
from m3.errors import InvalidInput
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT, Document, Metadata
from store.checks import MAX_ID_BYTES, MAX_METADATA_BYTES

_TYPES = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
_DEFAULT_IDS = ("_id", "id")
_SHOWN_COLUMNS = 20


@dataclass(frozen=True, slots=True)
class MetaField:
    """A field of the metadata, and the field of a record that it is read from.

    Attributes:
        type: None keeps the value as it stands.
        split: for `strings`, what stands between them in text.
    """

    name: str
    column: str
    type: MetaType | None = None
    split: str | None = None

    def read(self, record: Mapping[str, Any]) -> Any:
        """Its value, or None where there is none. Raises InvalidInput for another type."""
        value = record.get(self.column)
        if self.type is None:
            return value
        if value is None or value == "":
            return None
        try:
            return converted(value, self.type, self.split)
        except InvalidInput as error:
            raise InvalidInput(f"metadata field {self.name!r}: {error}") from error


@dataclass(frozen=True, slots=True)
class Fields:
    """What documents are called, and which fields of a record hold what.

    Attributes:
        id: None: `_id`, or else `id`.
        text: several are joined by `separator`; then some of them may be empty.
        metadata: fields that are renamed or have a type.
        rest: whether fields that nothing here names are metadata too.
        constants: metadata that every document gets.
        delimiter: between the columns of CSV; None goes by the file.
    """

    source: str = DEFAULT_SOURCE
    tenant: str = DEFAULT_TENANT
    id: str | None = None
    text: tuple[str, ...] = ("text",)
    title: str = "title"
    metadata: tuple[MetaField, ...] = ()
    rest: bool = True
    constants: Metadata = field(default_factory=dict[str, Any])
    separator: str = "\n\n"
    delimiter: str | None = None

    def check_columns(self, columns: Collection[str]) -> None:
        """Raises InvalidInput where a table lacks a column that every document needs."""
        ids = _DEFAULT_IDS if self.id is None else (self.id,)
        missing = [name for name in self.text if name not in columns]
        if not any(name in columns for name in ids):
            missing.insert(0, " or ".join(ids))
        if missing:
            shown = list(columns)[:_SHOWN_COLUMNS]
            more = f" and {len(columns) - len(shown)} more" if len(columns) > len(shown) else ""
            raise InvalidInput(
                f"there is no column {', '.join(missing)}; there are: {', '.join(shown)}{more}"
            )

    def wanted(self, columns: Collection[str]) -> list[str]:
        """Those of a table's columns that documents are made of."""
        if self.rest:
            return list(columns)
        named = {
            "metadata",
            "markdown",
            "pages",
            self.title,
            *self.text,
            *(each.column for each in self.metadata),
        }
        named |= {self.id} if self.id is not None else set(_DEFAULT_IDS)
        return [name for name in columns if name in named]

    def of_record(self, record: Mapping[str, Any]) -> Document:
        """The document that a record is; what its `metadata` object holds counts as its own fields.

        Raises:
            InvalidInput: a field is missing or of another type, or as `document`.
        """
        name, identifier = self._identifier(record)
        text = self._text(record)
        title = _text(record, self.title) or ""
        named = {name, self.title, *self.text}
        rest = {name: value for name, value in record.items() if name not in named}
        markdown, pages = _form(rest, len(text))
        nested = rest.pop("metadata", None)
        if isinstance(nested, dict):
            rest |= cast(dict[str, Any], nested)
        elif nested is not None:
            rest["metadata"] = nested
        return self.document(
            identifier, text, title, rest, record=record, markdown=markdown, pages=pages
        )

    def document(
        self,
        identifier: str,
        text: str,
        title: str,
        metadata: Metadata,
        *,
        record: Metadata | None = None,
        markdown: bool = False,
        pages: tuple[int, ...] = (),
    ) -> Document:
        """A document that a collection can hold, its metadata named and typed as declared.

        Args:
            metadata: as the file has it.
            record: more that declared metadata may be read from, the id for one.

        Raises:
            InvalidInput: a value of another type than declared; an id, a title or metadata beyond
                the store's limits; or no text.
        """
        if not identifier:
            raise InvalidInput("its id is empty")
        if not text.strip():
            raise InvalidInput("empty text")
        if not _is_utf8(identifier):
            raise InvalidInput("its id is not UTF-8")
        if not _is_utf8(text):
            raise InvalidInput("its text is not UTF-8")
        id_bytes = len(identifier.encode())
        if id_bytes > MAX_ID_BYTES:
            raise InvalidInput(f"its id has {id_bytes} bytes; at most {MAX_ID_BYTES}")
        labels = self._metadata(metadata, {**(record or {}), **metadata})
        _check_labels(title, labels)
        return Document(identifier, text, title, labels, self.source, self.tenant, markdown, pages)

    def _metadata(self, given: Metadata, readable: Metadata) -> Metadata:
        declared = {each.name: each.read(readable) for each in self.metadata}
        read = {each.column for each in self.metadata}
        others = {name: value for name, value in given.items() if name not in read}
        return {
            **self.constants,
            **(others if self.rest else {}),
            **{name: value for name, value in declared.items() if value is not None},
        }

    def _identifier(self, record: Mapping[str, Any]) -> tuple[str, str]:
        """The id's field, and the id. Whole numbers count as text: many exports have them."""
        names = (self.id,) if self.id is not None else _DEFAULT_IDS
        name = next((name for name in names if name in record), None)
        if name is None:
            raise InvalidInput(f"there is no field {' or '.join(map(repr, names))} for the id")
        value = record[name]
        if isinstance(value, int) and not isinstance(value, bool):
            return name, str(value)
        if not isinstance(value, str):
            raise InvalidInput(f"field {name!r} is {type_name(value)}, not an id")
        return name, value

    def _text(self, record: Mapping[str, Any]) -> str:
        parts = [_text(record, name) for name in self.text]
        if all(part is None for part in parts):
            names = " or ".join(map(repr, self.text))
            raise InvalidInput(f"there is no field {names} with the text")
        if len(parts) == 1:
            return parts[0] or ""
        return self.separator.join(part for part in parts if part and part.strip())


def _form(record: dict[str, Any], length: int) -> tuple[bool, tuple[int, ...]]:
    """Take out whether the text is markdown and where its pages begin, as an export has them.

    Fields of these names that hold anything else stay: they are metadata.

    Args:
        length: of the text, within which pages begin.
    """
    markdown: Any = record.get("markdown")
    if not isinstance(markdown, bool):
        return False, ()
    del record["markdown"]
    pages: Any = record.get("pages")
    if not isinstance(pages, list):
        return markdown, ()
    starts = cast(list[Any], pages)
    if any(type(start) is not int or not 0 <= start <= length for start in starts):
        return markdown, ()
    if starts != sorted(starts):
        return markdown, ()
    del record["pages"]
    return markdown, tuple(starts)


def type_name(value: Any) -> str:
    """What a JSON value is, in words."""
    return "null" if value is None else _TYPES.get(cast(type[Any], type(value)), "an object")


def plain(value: Any) -> Any:
    """The JSON value that stands for `value`: dates, decimals, durations and keys as text.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return orjson.loads(orjson.dumps(value, _as_text, orjson.OPT_NON_STR_KEYS))
    except TypeError as error:
        raise InvalidInput(f"its metadata cannot be written as JSON: {error}") from error


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise TypeError("bytes that are not UTF-8") from error
    if isinstance(value, Decimal | timedelta):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")


def _text(record: Mapping[str, Any], name: str) -> str | None:
    """A field of text; None where it is missing or null."""
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"field {name!r} is {type_name(value)}, not text")
    return value


def _check_labels(title: str, metadata: Metadata) -> None:
    try:
        size = len(orjson.dumps([title, metadata]))
    except TypeError as error:
        raise InvalidInput(f"its title or metadata cannot be stored: {error}") from error
    if size > MAX_METADATA_BYTES:
        raise InvalidInput(
            f"title and metadata have {size:,} bytes; at most {MAX_METADATA_BYTES:,}, "
            "as every chunk carries them"
        )


def _is_utf8(text: str) -> bool:
    """False for half of a surrogate pair, as file names of other encodings have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
