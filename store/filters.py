"""Typed filters: how they are read, and what they mean (`matches`).

A filter is a structure, never an expression string. `matches` is the one definition: the
expression that Milvus is asked (`index/milvus_filters.py`) may let more through (the embedded
engine knows no negation), never less, and every row that comes back is held against `matches`
again.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias, cast

from m3.errors import InvalidInput
from m3.types import Metadata

MAX_DEPTH = 8
MAX_TERMS = 200
_INT64 = 2**63


class FieldType(StrEnum):
    """What a declared filter field holds."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STRINGS = "strings"


Scalar: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against one value (a list for `in`). False where the field is missing."""

    field: str
    op: str
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter: TypeAlias = Comparison | And | Or | Not


_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_SCALAR_OPS = frozenset({"eq", "ne", "in", "exists", *_ORDER})
OPERATORS: Mapping[FieldType, frozenset[str]] = {
    FieldType.STRING: _SCALAR_OPS,
    FieldType.INT: _SCALAR_OPS,
    FieldType.FLOAT: _SCALAR_OPS,
    FieldType.BOOL: frozenset({"eq", "ne", "in", "exists"}),
    FieldType.STRINGS: frozenset({"contains", "exists"}),
}
"""What may be asked of a field of each type."""


def typed(value: Any, type_: FieldType) -> Any:
    """The value as a field of that type holds it.

    Raises:
        ValueError: it is of another type, or outside the type's range.
    """
    match type_:
        case FieldType.STRING if isinstance(value, str):
            return value
        case FieldType.BOOL if isinstance(value, bool):
            return value
        case FieldType.INT if isinstance(value, int) and not isinstance(value, bool):
            if not -_INT64 <= value < _INT64:
                raise ValueError(f"{value} does not fit 64 bits")
            return value
        case FieldType.FLOAT if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise ValueError(f"{value} is not a finite number")
            return float(value)
        case FieldType.STRINGS if isinstance(value, Sequence) and not isinstance(value, str):
            return [typed(item, FieldType.STRING) for item in cast(Sequence[Any], value)]
        case _:
            raise ValueError(f"{value!r} is not of type {type_.value}")


def field_values(metadata: Metadata, fields: Mapping[str, FieldType]) -> dict[str, Any]:
    """The declared fields that the metadata has, typed; null is the same as missing.

    Raises:
        InvalidInput: a value does not fit its declared type.
    """
    values: dict[str, Any] = {}
    for name, type_ in fields.items():
        if (value := metadata.get(name)) is None:
            continue
        try:
            values[name] = typed(value, type_)
        except ValueError as error:
            raise InvalidInput(f"metadata field {name!r}: {error}") from error
    return values


def parse(value: Any, fields: Mapping[str, FieldType]) -> Filter:
    """A filter from its JSON form, checked against the declared fields.

    Raises:
        InvalidInput: it says where in the filter, and what would do.
    """
    filter_ = _parse(value, fields, depth=1)
    if (terms := _terms(filter_)) > MAX_TERMS:
        raise InvalidInput(
            f"filter: it has {terms} values to compare with; send at most {MAX_TERMS}"
        )
    return filter_


def _parse(node: Any, fields: Mapping[str, FieldType], depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidInput(
            f"filter: nested deeper than {MAX_DEPTH}: `and` and `or` take lists, so that it can be "
            "written flatter"
        )
    if not isinstance(node, dict):
        raise InvalidInput(f"filter: expected an object, got {node!r}")
    match cast(dict[str, Any], node):
        case {"and": parts, **rest} if not rest:
            return And(_parts("and", parts, fields, depth))
        case {"or": parts, **rest} if not rest:
            return Or(_parts("or", parts, fields, depth))
        case {"not": part, **rest} if not rest:
            return Not(_parse(part, fields, depth + 1))
        case comparison:
            return _comparison(comparison, fields)


def _parts(
    name: str, parts: Any, fields: Mapping[str, FieldType], depth: int
) -> tuple[Filter, ...]:
    if not isinstance(parts, list) or not parts:
        raise InvalidInput(f"filter: {name!r} takes a list of at least one filter")
    return tuple(_parse(part, fields, depth + 1) for part in cast(list[Any], parts))


def _terms(filter_: Filter) -> int:
    match filter_:
        case And(parts) | Or(parts):
            return sum(map(_terms, parts))
        case Not(part):
            return _terms(part)
        case Comparison(value=tuple() as values):
            return len(values)
        case Comparison():
            return 1


def _comparison(node: Mapping[str, Any], fields: Mapping[str, FieldType]) -> Comparison:
    if not set(node) <= {"field", "op", "value"} or "field" not in node or "op" not in node:
        raise InvalidInput(
            'filter: expected {"field", "op", "value"}, {"and": […]}, {"or": […]} or {"not": …}, '
            f"got keys {sorted(map(str, node))}"
        )
    name, op = node["field"], node["op"]
    if name not in fields:
        raise InvalidInput(f"filter: field {name!r} is not declared; declared: {sorted(fields)}")
    type_ = fields[name]
    if op not in OPERATORS[type_]:
        raise InvalidInput(
            f"filter: {op!r} does not work on {name!r} ({type_.value}); "
            f"these do: {sorted(OPERATORS[type_])}"
        )
    try:
        return Comparison(name, op, _comparand(op, type_, node.get("value")))
    except ValueError as error:
        raise InvalidInput(f"filter: field {name!r}, {op!r}: {error}") from error


def _comparand(op: str, type_: FieldType, value: Any) -> Scalar | tuple[Scalar, ...]:
    if op == "exists":
        return typed(True if value is None else value, FieldType.BOOL)
    if op == "contains":
        return typed(value, FieldType.STRING)
    if op == "in":
        if not isinstance(value, list) or not value:
            raise ValueError("takes a list of at least one value")
        return tuple(typed(item, type_) for item in cast(list[Any], value))
    return typed(value, type_)


def matches(filter_: Filter, values: Mapping[str, Any]) -> bool:
    """What a filter means, over a row's `field_values`."""
    match filter_:
        case And(parts):
            return all(matches(part, values) for part in parts)
        case Or(parts):
            return any(matches(part, values) for part in parts)
        case Not(part):
            return not matches(part, values)
        case Comparison(name, "exists", wanted):
            return (name in values) == wanted
        case Comparison(name, op, value):
            return name in values and _compare(op, values[name], value)


def _compare(op: str, stored: Any, value: Any) -> bool:
    match op:
        case "eq":
            return stored == value
        case "ne":
            return stored != value
        case "in":
            return stored in value
        case "contains":
            return value in stored
        case _:
            return _ORDER[op](stored, value)
