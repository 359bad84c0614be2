from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.ingest.mapping import FieldFlags, mapped
from ingest.sources import Fields, MetaField, MetaType, Parsed
from ingest.sources.fields import plain
from ingest.sources.mapping import load_mapping
from ingest.sources.values import converted
from m3.errors import InvalidInput
from store.filters import FieldType
from tests.ingest.formats import documents, of, reasons

FILE = """\
id = "url"
text = ["headline", "body"]   # joined
title = "headline"

[metadata]
lang = "language"
year = { type = "int", filter = true }
published = { column = "date", type = "date", filter = true }

[metadata.tags]
type = "strings"
split = ";"

[constants]
publisher = "ACME"
"""
ROWS = (
    b"url,headline,body,language,year,date,tags,other\n"
    b"u1,Head,Body,en,2024,2024-05-01T12:00:00+02:00,a; b,x\n"
    b"u2,Head,,de,,,,x\n"
    b"u3,Head,Body,de,MMXX,,,x\n"
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "map.toml"
    path.write_text(text)
    return path


def flagged(**flags: Any) -> tuple[Fields, dict[str, FieldType]]:
    return mapped(FieldFlags(**flags), "s", "t")


def test_a_file_says_what_the_columns_are(tmp_path: Path):
    fields, filters = flagged(mapping=written(tmp_path, FILE))
    assert filters == {"year": FieldType.INT, "published": FieldType.STRING}
    found = of("a.csv", ROWS, fields)
    first, second = documents(found[:2])
    assert (first.id, first.text, first.title) == ("u1", "Head\n\nBody", "Head")
    assert first.metadata == {
        "publisher": "ACME",
        "lang": "en",
        "year": 2024,
        "published": "2024-05-01T10:00:00Z",
        "tags": ["a", "b"],
    }
    assert (second.text, second.metadata) == ("Head", {"publisher": "ACME", "lang": "de"})
    assert reasons(found) == [(4, "metadata field 'year': 'MMXX' is not of type int")]


def test_flags_go_before_the_file(tmp_path: Path):
    path = written(tmp_path, FILE)
    fields, filters = flagged(
        mapping=path, id="nr", text="body", meta=["year:float", "*"], filters=["lang:string"]
    )
    assert (fields.id, fields.text, fields.title, fields.rest) == (
        "nr",
        ("body",),
        "headline",
        True,
    )
    assert MetaField("year", "year", MetaType.FLOAT) in fields.metadata
    assert filters["lang"] is FieldType.STRING


def test_without_anything_all_else_is_metadata():
    fields, filters = flagged()
    assert (fields, filters) == (Fields("s", "t"), {})


def test_metadata_that_is_named_is_all_there_is():
    [found] = documents(
        of(
            "a.jsonl",
            b'{"id": 7, "text": "x", "a": "1", "b": 2, "metadata": {"c": 3}}',
            flagged(meta=["n=a:int", "c", "key=id:string"])[0],
        )
    )
    assert found.metadata == {"n": 1, "c": 3, "key": "7"}


def test_front_matter_and_pages_are_mapped_too():
    fields = flagged(meta=["lang", "by=author"])[0]
    [page] = documents(
        of(
            "a.html",
            b"<html lang=en><meta name=author content=A><meta name=keywords content=k>x",
            fields,
        )
    )
    assert page.metadata == {"lang": "en", "by": "A"}
    [text] = documents(of("a.md", b"---\nauthor: A\nother: b\n---\nx", fields))
    assert text.metadata == {"by": "A"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id = 'a'\nidd = 'b'\n", "line 2: idd: no such key; there are: id, text"),
        ("[metadata]\nyear = { typ = 'int' }\n", "line 2: metadata.year.typ: no such key"),
        ("[metadata.year]\n\ntype = 'number'\n", "line 3: metadata.year.type: input should be"),
        ("[metadata]\nx = 'id'\nid = 5\n", "line 3: metadata.id: input should be"),
        ("[metadata]\nyear = { filter = true }", "line 2: metadata.year: a filter field needs"),
        ("text = []\n", "line 1: text: "),
        ("\ndelimiter = '::'\n", "line 2: delimiter: "),
        ("[constants]\na = { b = 1 }\n", "line 2: constants.a"),
        ("id = \n", "is no TOML: Invalid value (at line 1"),
        ("x = " + "[" * 5000, "nests too deep"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, reason: str):
    with pytest.raises(InvalidInput) as caught:
        load_mapping(written(tmp_path, text))
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path):
    with pytest.raises(InvalidInput, match="cannot read the mapping"):
        load_mapping(tmp_path / "none.toml")


@pytest.mark.parametrize("given", ["", "=a", "a=", "a:", "a:number", ":int"])
def test_a_flag_that_says_nothing_is_wrong_usage(given: str):
    with pytest.raises(InvalidInput, match="expected NAME"):
        flagged(meta=[given])


@pytest.mark.parametrize(
    ("value", "type_", "result"),
    [
        ("12", "int", 12),
        (3.0, "int", 3),
        ("1.5", "float", 1.5),
        ("Yes", "bool", True),
        (0, "bool", False),
        (5, "string", "5"),
        ("one", "strings", ["one"]),
        ('["a", 1]', "strings", ["a", "1"]),
        (["a"], "strings", ["a"]),
        ("20240501", "date", "2024-05-01"),
        ("2024-05-01 10:00", "date", "2024-05-01T10:00:00Z"),
        ("2024-05-01T10:00:00.5-01:00", "date", "2024-05-01T11:00:00Z"),
    ],
)
def test_values_become_their_type(value: Any, type_: str, result: Any):
    assert converted(value, MetaType(type_)) == result


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("1.5", "int"), (1.5, "int"), (True, "int"), (2**63, "int"), ("nan", "float"),
        (float("inf"), "float"), ("maybe", "bool"), (2, "bool"), ([1], "string"), (True, "string"),
        ({"a": 1}, "strings"), ("[1", "strings"), (17, "date"), ("yesterday", "date"),
        ("0001-01-01T00:00:00+10:00", "date"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(value: Any, type_: str):
    with pytest.raises(InvalidInput, match=f"is not of type {type_}"):
        converted(value, MetaType(type_))


@given(st.datetimes(), st.datetimes())
def test_dates_sort_as_text(first: datetime, second: datetime):
    earlier, later = (
        converted(each.isoformat(), MetaType.DATE) for each in sorted([first, second])
    )
    assert earlier <= later


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5) | st.floats(allow_nan=True),
        lambda inner: st.lists(inner, max_size=2),
    ),
    st.sampled_from(MetaType),
)
def test_any_value_fits_or_is_refused(value: Any, type_: MetaType):
    try:
        result = converted(plain(value), type_)
    except InvalidInput:
        return
    # What fits stays as it is when it is read again.
    assert converted(result, type_) == result


def test_ids_are_at_most_512_bytes():
    row = b'{"id": "%s", "text": "x"}'
    assert isinstance(of("a.jsonl", row % (b"i" * 512))[0], Parsed)
    assert reasons(of("a.jsonl", row % (b"i" * 513))) == [(1, "its id has 513 bytes; at most 512")]
