"""What the flags and a mapping file together say of a record's fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3.errors import InvalidInput

if TYPE_CHECKING:
    from ingest.sources import Fields, MetaField
    from store.filters import FieldType

_PANEL = "What a record's fields are"
_ALL = "*"

IdField = Annotated[
    str | None,
    typer.Option(help="[_id, or else id]", metavar="F", show_default=False, rich_help_panel=_PANEL),
]
TextField = Annotated[
    str | None,
    typer.Option(help="[text]", metavar="F", show_default=False, rich_help_panel=_PANEL),
]
TitleField = Annotated[
    str | None,
    typer.Option(
        help="Also of front matter.  [title]",
        metavar="F",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Meta = Annotated[
    list[str] | None,
    typer.Option(
        "--meta",
        help="Metadata to keep, from a field of another name, or with a type: string, int, float, "
        "bool, strings or date. Then no other is kept, unless * is given too. Repeatable.  [all]",
        metavar="NAME[=COLUMN][:TYPE]",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        help="All of this in a TOML file; flags go before it.",
        metavar="FILE.toml",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Field = Annotated[
    list[str] | None,
    typer.Option(
        help="Metadata to filter on, when the collection is made: string, int, float, bool "
        "or strings. Repeatable.",
        metavar="NAME:TYPE",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class FieldFlags:
    """As they were given; None is not given."""

    id: str | None = None
    text: str | None = None
    title: str | None = None
    meta: list[str] | None = None
    filters: list[str] | None = None
    mapping: Path | None = None


def mapped(flags: FieldFlags, source: str, tenant: str) -> tuple[Fields, dict[str, FieldType]]:
    """How records become documents, and the fields to filter on.

    Raises:
        InvalidInput: a flag or the mapping file says what it cannot say.
    """
    from ingest.sources import Fields  # noqa: PLC0415 - keeps --help quick
    from ingest.sources.mapping import Mapping, load_mapping  # noqa: PLC0415

    file = load_mapping(flags.mapping) if flags.mapping else Mapping()
    given = [_meta_field(each) for each in flags.meta or [] if each != _ALL]
    by_name = {each.name: each for each in (*file.meta_fields(), *given)}
    rest = file.rest if file.rest is not None else not by_name
    default = Fields()
    text = (flags.text,) if flags.text is not None else file.text
    fields = Fields(
        source=source,
        tenant=tenant,
        id=flags.id or file.id,
        text=text or default.text,
        title=flags.title or file.title or default.title,
        metadata=tuple(by_name.values()),
        rest=rest or _ALL in (flags.meta or []),
        constants=file.constants,
        separator=default.separator if file.separator is None else file.separator,
        delimiter=file.delimiter,
    )
    filters = {
        name: entry.type.filter_type
        for name, entry in file.metadata.items()
        if entry.filter and entry.type is not None
    }
    return fields, filters | _filter_fields(flags.filters or [])


def _meta_field(given: str) -> MetaField:
    from ingest.sources import MetaField, MetaType  # noqa: PLC0415 - keeps --help quick

    name, colon, kind = given.rpartition(":")
    if not colon:
        name, kind = given, ""
    name, equals, column = name.partition("=")
    if not name or (equals and not column) or (colon and kind not in set(MetaType)):
        raise InvalidInput(
            f"--meta {given}: expected NAME[=COLUMN][:TYPE], TYPE one of {', '.join(MetaType)}"
        )
    return MetaField(name, column or name, MetaType(kind) if kind else None)


def _filter_fields(given: list[str]) -> dict[str, FieldType]:
    from store.filters import FieldType  # noqa: PLC0415 - keeps --help quick

    fields: dict[str, FieldType] = {}
    for each in given:
        name, _, kind = each.rpartition(":")
        if not name or kind not in set(FieldType):
            raise InvalidInput(f"--field {each}: expected NAME:TYPE, of {', '.join(FieldType)}")
        fields[name] = FieldType(kind)
    return fields
