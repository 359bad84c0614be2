from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3.errors import InvalidInput
from store.filters import FieldType, field_values, matches, parse
from store.index.milvus_filters import to_milvus
from tests.store.examples import FIELDS
from tests.store.filter_strategies import filters


@given(wanted=filters(), values=st.fixed_dictionaries({}, optional={"year": st.integers(-4, 4)}))
def test_not_is_the_complement(wanted, values):
    filter_ = parse(wanted, FIELDS)
    negated = parse({"not": wanted}, FIELDS) if _shallow(wanted) else None
    if negated is not None:
        assert matches(filter_, values) != matches(negated, values)


def _shallow(wanted):
    return "and" not in wanted and "or" not in wanted and "not" not in wanted


@pytest.mark.parametrize(
    ("wanted", "metadata", "expected"),
    [
        ({"field": "year", "op": "eq", "value": 3}, {"year": 3}, True),
        ({"field": "year", "op": "ne", "value": 3}, {}, False),
        ({"not": {"field": "year", "op": "eq", "value": 3}}, {}, True),
        ({"field": "year", "op": "exists"}, {"year": 0}, True),
        ({"field": "year", "op": "exists", "value": False}, {"year": None}, True),
        ({"field": "price", "op": "lt", "value": 2}, {"price": 1}, True),
        ({"field": "lang", "op": "gte", "value": "b"}, {"lang": "中"}, True),
        ({"field": "tags", "op": "contains", "value": "x"}, {"tags": ["y", "x"]}, True),
        ({"field": "open", "op": "in", "value": [True]}, {"open": False}, False),
    ],
)
def test_meaning(wanted, metadata, expected):
    assert matches(parse(wanted, FIELDS), field_values(metadata, FIELDS)) is expected


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("lang == 'en'", "expected an object"),
        ({"field": "nope", "op": "eq", "value": 1}, "not declared"),
        ({"field": "year", "op": "like", "value": 1}, "'like' does not work"),
        ({"field": "year", "op": "eq", "value": "3"}, "not of type int"),
        ({"field": "year", "op": "eq", "value": True}, "not of type int"),
        ({"field": "year", "op": "eq", "value": 2**63}, "64 bits"),
        ({"field": "price", "op": "eq", "value": float("inf")}, "finite"),
        ({"field": "year", "op": "in", "value": []}, "at least one value"),
        ({"field": "tags", "op": "eq", "value": "x"}, "contains"),
        ({"and": []}, "at least one filter"),
        ({"and": [{"field": "year", "op": "exists"}], "or": []}, "expected"),
        ({"field": "year"}, "expected"),
        ({"field": "year", "op": "in", "value": list(range(201))}, "send at most 200"),
    ],
)
def test_what_is_refused(wanted, words):
    with pytest.raises(InvalidInput, match=words):
        parse(wanted, FIELDS)


def test_depth_is_bounded():
    wanted = {"field": "year", "op": "exists"}
    for _ in range(8):
        wanted = {"not": wanted}
    with pytest.raises(InvalidInput, match="deeper"):
        parse(wanted, FIELDS)


@pytest.mark.parametrize("value", ['"; drop', 'a" or 1 == 1 or lang == "', "\\", '\\\\"'])
def test_a_value_stays_a_value(value):
    """Whatever a string holds, the expression has as many unescaped quotes as it needs."""
    expression = to_milvus(parse({"field": "lang", "op": "eq", "value": value}, FIELDS))
    quotes = expression.replace("\\\\", "").replace('\\"', "").count('"')
    assert quotes == 2


def test_declared_fields_are_typed():
    with pytest.raises(InvalidInput, match="'lang'"):
        field_values({"lang": 3}, {"lang": FieldType.STRING})
    assert field_values({"lang": None, "x": 1}, {"lang": FieldType.STRING}) == {}
