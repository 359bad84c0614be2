from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources import MAX_DOCUMENT_BYTES, Fields, Parsed, Reject
from m3.types import Document
from tests.ingest.formats import documents, of, reasons


def test_columns_are_metadata_and_empty_cells_are_missing():
    found = documents(of("a.csv", b"\xef\xbb\xbfid,title,text,lang,year\n1,T,some text,en,\n"))
    assert found == [Document("1", "some text", "T", {"lang": "en"})]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"id;text\n1;x,y\n"),
        ("a.csv", b'id|"a;;;b"|text\n1||x,y\n'),
        ("a.tsv", b"id\ttext\n1\tx,y\n"),
        ("a.csv", b"id\ttext\r\n1\tx,y\r\n"),
    ],
)
def test_the_delimiter_is_found(name: str, data: bytes):
    assert documents(of(name, data))[0].text == "x,y"


def test_the_delimiter_can_be_given():
    assert documents(of("a.csv", b"id^text\n1^x\n", Fields(delimiter="^")))[0].text == "x"


def test_quoted_newlines_and_quotes_are_text():
    data = b'\nid,text\n1,"one\nline ""more"""\n\n2,two\n'
    found = of("a.csv", data)
    assert [document.text for document in documents(found)] == ['one\nline "more"', "two"]
    assert [item.place.line for item in found] == [3, 6]
    assert sum(item.size for item in found) == len(data)


def test_a_bad_row_is_rejected_with_its_line_and_the_rest_is_read():
    data = b'id,text\n1,good\n2,too,many\n3\n4,b\xe4d\n6,"quote"junk\n,none\n7,\n8,good\n'
    found = of("a.csv", data)
    assert [item.document.id for item in found if isinstance(item, Parsed)] == ["1", "8"]
    assert [(line, reason[:38]) for line, reason in reasons(found)] == [
        (3, "the row has 3 cells, the header 2"),
        (4, "the row has 1 cells, the header 2"),
        (5, "cell 2 is not UTF-8: save the file as "),
        (6, "malformed row: ',' expected after '\"'"),
        (7, "there is no field '_id' or 'id' for th"),
        (8, "there is no field 'text' with the text"),
    ]
    assert next(item.raw for item in found if isinstance(item, Reject)) == "2,too,many"


def test_a_zero_byte_far_into_a_file_costs_its_row():
    found = of("a.csv", b"id,text\n1," + b"x" * 10_000 + b"\n2,a\0b\n3,c\n")
    assert reasons(found) == [(3, "cell 2 has a zero byte")]


def test_a_quote_that_is_never_closed_is_told_where_it_opens():
    found = of("a.csv", b'id,text\n1,a\n2,"b\n3,c\n')
    assert reasons(found) == [(3, "a quote is opened and never closed: all rows from here are one")]


def test_a_row_that_is_too_long_is_rejected():
    huge = b"x" * (MAX_DOCUMENT_BYTES + 5)
    found = of("a.csv", b"id,text\n1,a\n2," + huge + b'\n3,c\n4,"' + huge + b'"\n5,e\n')
    assert [item.document.id for item in found if isinstance(item, Parsed)] == ["1", "3", "5"]
    assert reasons(found) == [
        (3, "the row is over 32 MB: split it"),
        (5, "the row is over 32 MB: split it"),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty: there is no header"),
        (b"\n\n", "it is empty: there is no header"),
        (b"id,body\n1,x\n", "there is no column text; there are: id, body"),
        (b"name,text\n1,x\n", "there is no column _id or id; there are: name, text"),
        (b"id,text,text\n1,x,y\n", "its header has column 'text' twice"),
        ("id,text\n1,x\n".encode("utf-16"), "UTF-16"),
        (b"id,text\n1,x\0y\n" + b"\0" * 20, "zero byte"),
    ],
)
def test_a_file_that_is_no_table_is_one_reject(data: bytes, reason: str):
    [(line, said)] = reasons(of("a.csv", data))
    assert reason in said
    assert line in (None, 2)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
                str.strip
            ),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
        ),
        max_size=8,
    )
)
def test_what_was_written_is_read(rows: list[tuple[str, str]]):
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["id", "text", "note"])
    writer.writerows((number, *row) for number, row in enumerate(rows))
    found = documents(of("a.csv", file.getvalue().encode()))
    assert [(each.text, each.metadata.get("note", "")) for each in found] == rows
