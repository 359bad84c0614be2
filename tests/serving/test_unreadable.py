"""What is said of a body that is not JSON."""

from __future__ import annotations

import json
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.unreadable import fault

NO_UNICODE = " is not Unicode: bytes that are not UTF-8, or a lone surrogate"


def fault_of(body: bytes) -> str:
    with pytest.raises(orjson.JSONDecodeError) as caught:
        orjson.loads(body)
    return fault(body, caught.value)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"input": ["ok", "\\ud800"]}', "input[1]"),
        (b'{"input": ["ok", "a\xff"]}', "input[1]"),
        (b'{"input": ["\xed\xa0\x80", "\xff"]}', "input[0]"),
        (b'{"x": {"y": [[1, "\\udc00"]]}, "z": "\\ud800"}', "x.y[0][1]"),
        (b'{"\\ud800": 1}', "a name of a member"),
        (b'"\\ud800"', "the body"),
    ],
)
def test_the_first_string_that_is_no_unicode_is_named(body: bytes, place: str):
    assert fault_of(body) == place + NO_UNICODE


@pytest.mark.parametrize(
    ("body", "place"), [(b'{"a": 1,}', 7), (b"[NaN]", 1), (b'["\xff",', 0), (b"[" * 100_000, None)]
)
def test_what_is_wrong_otherwise_has_a_place_too(body: bytes, place: int | None):
    told = fault_of(body)
    assert NO_UNICODE not in told
    assert place is None or told.endswith(f", at character {place}")


def test_large_bodies_are_read_once_and_names_are_cut():
    large = b'{"a": "' + b"x" * 300_000 + b'", "b": "\xff"}'
    assert NO_UNICODE not in fault_of(large)
    assert len(fault_of(b'{"' + b"x" * 10_000 + b'": "\xff"}')) < 200


def test_many_strings_take_no_time():
    body = b'{"input": [' + b'"",' * 80_000 + b'"\xff"]}'
    began = time.thread_time()
    assert fault_of(body) == "input[80000]" + NO_UNICODE
    assert time.thread_time() - began < 2


JSON = st.recursive(
    st.none() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(before=st.lists(JSON, max_size=4), after=st.lists(JSON, max_size=4))
def test_any_item_is_named(before: list[object], after: list[object]):
    written = json.dumps({"input": [*before, "@@", *after]})
    if written.count('"@@"') > 1:
        return
    body = written.replace('"@@"', '"\\ud800"').encode()
    assert fault_of(body) == f"input[{len(before)}]{NO_UNICODE}"
