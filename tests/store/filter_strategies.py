"""Filters over `examples.FIELDS`, with values that often hit."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from store.filters import MAX_DEPTH

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "lang": st.sampled_from(["en", "de", "", 'q"\\x', "中", "a\nb", "zz"]),
    "year": st.integers(-4, 4) | st.sampled_from([2**63 - 1, -(2**63)]),
    "price": st.sampled_from([0.0, 0.1, 1.5, -2.0, 1e300, -1e-7, 3]),
    "open": st.booleans(),
    "tags": st.sampled_from(["x", "y", "z", "never"]),
}
_ORDERED = ("eq", "ne", "lt", "lte", "gt", "gte")


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    field = draw(st.sampled_from(sorted(_VALUES)))
    if field == "tags":
        op = draw(st.sampled_from(["contains", "exists"]))
    elif field == "open":
        op = draw(st.sampled_from(["eq", "ne", "in", "exists"]))
    else:
        op = draw(st.sampled_from([*_ORDERED, "in", "exists"]))
    if op == "exists":
        return {"field": field, "op": op, "value": draw(st.booleans())}
    values = _VALUES[field]
    value = draw(st.lists(values, min_size=1, max_size=4)) if op == "in" else draw(values)
    return {"field": field, "op": op, "value": value}


def filters() -> st.SearchStrategy[dict[str, Any]]:
    return _trees().filter(lambda tree: _depth(tree) <= MAX_DEPTH)


def _depth(tree: dict[str, Any]) -> int:
    parts = tree.get("and") or tree.get("or") or ([tree["not"]] if "not" in tree else [])
    return 1 + max(map(_depth, parts), default=0)


def _trees() -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        comparisons(),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts}),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts}),
            inner.map(lambda part: {"not": part}),
        ),
        max_leaves=6,
    )
