"""A TOML file that says which fields of a record hold what."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ingest.sources.fields import MetaField
from ingest.sources.values import MetaType
from m3.errors import InvalidInput

_MAX_BYTES = 2**20


class _Table(BaseModel):
    """A table of the file: another key than these is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MetaEntry(_Table):
    """One metadata field: `column` it is read from, its type, and whether to filter on it."""

    column: str | None = None
    type: MetaType | None = None
    split: str | None = Field(default=None, min_length=1)
    filter: bool = False


class Mapping(_Table):
    """The file; None is whatever the flags or the defaults say.

    Attributes:
        text: several fields are joined by `separator`.
        rest: whether fields that are not named are metadata; without a `[metadata]` table they are.
        constants: metadata that every document gets.
    """

    id: str | None = None
    text: tuple[str, ...] | None = Field(default=None, min_length=1)
    title: str | None = None
    separator: str | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    rest: bool | None = None
    metadata: dict[str, MetaEntry] = Field(default_factory=dict[str, MetaEntry])
    constants: dict[str, str | bool | int | float | list[str]] = Field(default_factory=dict)

    @field_validator("text", mode="before")
    @classmethod
    def _one_text(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("metadata", mode="before")
    @classmethod
    def _renames(cls, value: Any) -> Any:
        """`lang = "language"` is short for `lang = { column = "language" }`."""
        if not isinstance(value, dict):
            return value
        return {
            name: {"column": entry} if isinstance(entry, str) else entry
            for name, entry in cast(dict[str, Any], value).items()
        }

    def meta_fields(self) -> tuple[MetaField, ...]:
        return tuple(
            MetaField(name, entry.column or name, entry.type, entry.split)
            for name, entry in self.metadata.items()
        )


def load_mapping(path: Path) -> Mapping:
    """Raises InvalidInput for a file that is not there, no TOML, or says what it cannot say."""
    try:
        source = path.read_bytes()[: _MAX_BYTES + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the mapping {path}: {error}") from error
    if len(source) > _MAX_BYTES:
        raise InvalidInput(f"the mapping {path} is over {_MAX_BYTES:,} bytes")
    try:
        given = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the mapping {path} is no TOML: {error}") from error
    except RecursionError as error:
        raise InvalidInput(f"the mapping {path} nests too deep") from error
    try:
        mapping = Mapping.model_validate(given)
    except ValidationError as error:
        raise InvalidInput(_first_mistake(path, source, error)) from error
    for name, entry in mapping.metadata.items():
        if entry.filter and entry.type is None:
            line = _line(source, ["metadata", name])
            raise InvalidInput(f"{path}, line {line}: metadata.{name}: a filter field needs a type")
    return mapping


def _first_mistake(path: Path, source: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    keys = [key for key in first["loc"] if isinstance(key, str)]
    # Of a union pydantic names the member that failed, too.
    keys = [key for key in keys if re.search(_key_pattern(key), source, re.MULTILINE)] or keys
    where = f"{path}, line {_line(source, keys)}: {'.'.join(keys)}"
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
    known = MetaEntry.model_fields if keys[0] == "metadata" else Mapping.model_fields
    return f"{where}: no such key; there are: {', '.join(known)}"


def _line(source: str, keys: list[str]) -> int:
    """Where a key stands, looked for after the keys above it; the first line where nowhere."""
    position = 0
    for key in keys:
        match = re.compile(_key_pattern(key), re.MULTILINE).search(source, position)
        position = match.start("key") if match else position
    return source.count("\n", 0, position) + 1


def _key_pattern(key: str) -> str:
    name = re.escape(key)
    return rf"""(?:^|[\[\].{{,])[ \t]*["']?(?P<key>{name})["']?[ \t]*[=.\]]"""
