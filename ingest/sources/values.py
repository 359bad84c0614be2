"""A metadata value as the type it was declared to have, or why it does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, cast

import orjson

from m3.errors import InvalidInput
from store.filters import FieldType

_INT64 = 2**63
_SHOWN = 60
_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0"})


class MetaType(StrEnum):
    """What a metadata field holds."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STRINGS = "strings"
    DATE = "date"

    @property
    def filter_type(self) -> FieldType:
        """What a filter field of it is: dates are text that sorts as they do."""
        return FieldType.STRING if self is MetaType.DATE else FieldType(self.value)


def converted(value: Any, type_: MetaType, split: str | None = None) -> Any:
    """The value as that type: text is read as what it says, nothing is rounded or cut off.

    Args:
        split: for `strings`, what stands between them in text.

    Raises:
        InvalidInput: it does not fit.
    """
    try:
        return _list(value, split) if type_ is MetaType.STRINGS else _CONVERTERS[type_](value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{_shown(value)} is not of type {type_.value}") from error


def _string(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    return str(value)


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    number = int(value)
    if number != value and not isinstance(value, str):
        raise ValueError
    if not -_INT64 <= number < _INT64:
        raise OverflowError
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _list(value: Any, split: str | None) -> list[str]:
    """Text is one string, unless it is divided by `split` or is a JSON list."""
    if isinstance(value, str) and split is not None:
        return [part.strip() for part in value.split(split) if part.strip()]
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = orjson.loads(value)
    if isinstance(value, list):
        return [_string(item) for item in cast(list[Any], value)]
    return [_string(value)]


def _date(value: Any) -> str:
    """ISO 8601 in one form, so that text sorts as time does: a day, or a second of UTC."""
    if not isinstance(value, str):
        raise TypeError
    text = value.strip()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return f"{moment.replace(tzinfo=None, microsecond=0).isoformat()}Z"


_CONVERTERS: Mapping[MetaType, Callable[[Any], Any]] = {
    MetaType.STRING: _string,
    MetaType.INT: _int,
    MetaType.FLOAT: _float,
    MetaType.BOOL: _bool,
    MetaType.DATE: _date,
}


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
