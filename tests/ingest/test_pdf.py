from __future__ import annotations

import os
import time
import zlib
from typing import Any, BinaryIO

import pytest

from ingest.sources import FORMATS, Parsed
from ingest.sources.apart import Apart, Limits
from ingest.sources.office import Office
from tests.ingest import formats
from tests.ingest.formats import documents, items, of, reasons


def parser(name: str, **limits: Any) -> Office:
    return Office("test", (".x",), f"{__name__}:{name}", limits=Limits(**limits))


def sleeps(stream: BinaryIO, name: str) -> dict[str, Any]:
    time.sleep(600)
    return {"text": "late"}


def swells(stream: BinaryIO, name: str) -> dict[str, Any]:
    data = bytearray()
    while True:
        data += bytes(2**24)


def dies(stream: BinaryIO, name: str) -> dict[str, Any]:
    if stream.read() == b"die":
        os.abort()
    return {"text": "alive"}


def tells(stream: BinaryIO, name: str) -> dict[str, Any]:
    return {"text": str(os.getpid())}


def prints(stream: BinaryIO, name: str) -> dict[str, Any]:
    print("noise")
    return {"text": "said"}


def test_pages_title_and_dates_are_kept():
    data = formats.pdf(
        "First page",
        "",
        "Third page",
        Title="A title",
        Author="A. Writer",
        CreationDate="D:20240501120000Z",
    )
    [found] = documents(of("a/report.pdf", data))
    assert found.title == "A title"
    assert found.text == "First page\n\nThird page"
    assert found.pages == (0, 12, 12)
    assert found.metadata["author"] == "A. Writer"
    assert found.metadata["created"].startswith("2024-05-01T12:00:00")
    assert documents(of("a/report.pdf", formats.pdf("x")))[0].title == "report"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no PDF, or corrupt"),
        (b"not a pdf at all", "no PDF, or corrupt"),
        (formats.pdf("text")[:200], "no PDF, or corrupt"),
        (formats.pdf(), "it has no pages"),
        (formats.pdf("", ""), "its 2 pages have no text, only images"),
        (formats.pdf("secret", password="word"), "it is encrypted: take its password off"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, reason: str):
    [(_, said)] = reasons(of("a.pdf", data))
    assert reason in said


def test_an_empty_password_is_tried():
    assert documents(of("a.pdf", formats.pdf("open", password="")))[0].text == "open"


def test_a_decompression_bomb_is_refused():
    good = formats.pdf("text")
    packed = zlib.compress(b" " * 150_000_000, 9)
    start = good.index(b"stream\n") + len(b"stream\n")
    end = good.index(b"endstream")
    length = b"/Length " + str(len(good[start:end].rstrip(b"\n"))).encode()
    bomb = good[:start] + packed + b"\n" + good[end:]
    bomb = bomb.replace(length, b"/Length " + str(len(packed)).encode())
    began = time.monotonic()
    [(_, said)] = reasons(of("bomb.pdf", bomb))
    assert "unpacks to more" in said or "no text" in said or "cannot be read" in said
    assert time.monotonic() - began < 100


def test_a_parser_that_takes_too_long_is_ended():
    began = time.monotonic()
    assert reasons(items(parser("sleeps", seconds=1.0), b"x", "a.x")) == [
        (None, "its parser takes over 1 s")
    ]
    assert time.monotonic() - began < 60


def test_a_parser_has_so_much_memory():
    limited = parser("swells", bytes=2**30)
    [(_, said)] = reasons(items(limited, b"x", "a.x"))
    assert "ran out of memory" in said


def test_a_crash_costs_one_file():
    crashing = parser("dies")
    assert [
        type(item).__name__
        for data in (b"a", b"die", b"b")
        for item in items(crashing, data, "a.x")
    ] == ["Parsed", "Reject", "Parsed"]


def test_what_a_parser_prints_is_not_its_answer():
    assert documents(items(parser("prints"), b"x", "a.x"))[0].text == "said"


def test_a_process_is_kept_for_the_next_file():
    apart = Apart(f"{__name__}:tells")
    try:
        (one, size), (other, _) = (apart.read(as_stream(b"a file"), "a.x") for _ in range(2))
        assert one["text"] == other["text"] != str(os.getpid())
        assert size == len(b"a file")
    finally:
        apart.close()


def as_stream(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


def test_sizes_add_up_to_the_file():
    data = formats.pdf("text")
    [found] = items(FORMATS["pdf"], data, "a.pdf")
    assert isinstance(found, Parsed)
    assert found.size == len(data)
