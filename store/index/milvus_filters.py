"""A typed filter as a Milvus expression: never less than `filters.matches` lets through.

The embedded engine has no `not` and no null. So negation is pushed down to the comparisons,
each declared field has a `has_` column beside it, and what cannot be said (a negated
`contains`, a value the expression grammar cannot quote) is left out, which lets more through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.filters import And, Comparison, FieldType, Filter, Not, Or

_MILVUS_OPS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_NEGATED = {"eq": "ne", "ne": "eq", "lt": "gte", "gte": "lt", "gt": "lte", "lte": "gt"}


def column(field: str) -> str:
    """The Milvus column that holds a declared field."""
    return f"f_{field}"


def presence(field: str) -> str:
    """The Milvus column that says whether a row has the field."""
    return f"has_{field}"


def to_milvus(filter_: Filter) -> str | None:
    """The expression, or None where Milvus can rule nothing out."""
    return _compile(filter_, negated=False)


def _compile(filter_: Filter, *, negated: bool) -> str | None:
    match filter_:
        case Not(part):
            return _compile(part, negated=not negated)
        case And(parts):
            return _join(parts, negated=negated, conjunction=not negated)
        case Or(parts):
            return _join(parts, negated=negated, conjunction=negated)
        case Comparison(field, "exists", wanted):
            return f"{presence(field)} == {_literal(wanted is not negated)}"
        case Comparison():
            return _negative(filter_) if negated else _positive(filter_)


def _join(parts: tuple[Filter, ...], *, negated: bool, conjunction: bool) -> str | None:
    compiled = [_compile(part, negated=negated) for part in parts]
    said = [f"({part})" for part in compiled if part is not None]
    if conjunction:
        return " and ".join(said) or None
    return " or ".join(said) if len(said) == len(parts) else None


def _positive(comparison: Comparison) -> str | None:
    said = _column_says(comparison, comparison.op)
    return None if said is None else f"{presence(comparison.field)} == true and {said}"


def _negative(comparison: Comparison) -> str | None:
    """True where the field is missing, as `not` of a comparison that is false there."""
    op = {"in": "not in", "contains": None}.get(comparison.op) or _NEGATED.get(comparison.op)
    said = None if op is None else _column_says(comparison, op)
    return None if said is None else f"{presence(comparison.field)} == false or {said}"


def _column_says(comparison: Comparison, op: str) -> str | None:
    values = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
    if not all(map(_sayable, values)):
        return None
    name = column(comparison.field)
    if op in ("in", "not in"):
        return f"{name} {op} [{', '.join(map(_literal, values))}]"
    if op == "contains":
        return f"array_contains({name}, {_literal(values[0])})"
    return f"{name} {_MILVUS_OPS[op]} {_literal(values[0])}"


def _sayable(value: Any) -> bool:
    """Whether the grammar can quote it: control characters have no agreed escape."""
    return not isinstance(value, str) or value.isprintable()


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    return repr(value)


def quoted(text: str) -> str:
    """A string literal of Milvus's expression grammar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def default(type_: FieldType) -> Any:
    """What the column holds where the row lacks the field: Milvus has no null there."""
    match type_:
        case FieldType.STRING:
            return ""
        case FieldType.INT:
            return 0
        case FieldType.FLOAT:
            return 0.0
        case FieldType.BOOL:
            return False
        case FieldType.STRINGS:
            return []


def columns_of(values: Mapping[str, Any], fields: Mapping[str, FieldType]) -> dict[str, Any]:
    """The Milvus columns of one row, from its typed field values."""
    row: dict[str, Any] = {}
    for name, type_ in fields.items():
        row[column(name)] = values.get(name, default(type_))
        row[presence(name)] = name in values
    return row
