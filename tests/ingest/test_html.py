from __future__ import annotations

import time

import pytest

from ingest.cutting.headings import outline
from m3.types import Document
from tests.ingest.formats import documents, of, reasons


def page(html: str | bytes) -> Document:
    [found] = documents(of("p/page.html", html if isinstance(html, bytes) else html.encode()))
    return found


def test_a_page_is_markdown_with_its_headings():
    found = page(
        """<!doctype html><html lang=en><head><title> My
        page</title><meta name=description content="About"><meta name=Author content="A">
        <style>x{}</style></head><body><nav><a href=/>Home</a></nav>
        <h1>Top <em>one</em></h1><p>With <a href="http://x">a link</a>.<br>Second line
        <h2>Lists</h2><ul><li>one<li>two<ol><li>deep<li>deeper</ol><li><p>three</ul>
        <h3></h3><p># not a heading<p hidden>never<script>never()</script>
        <pre>\n# code\n  `x`</pre><p>end</body></html>"""
    )
    assert found.text == (
        "# Top one\n\nWith a link.\nSecond line\n\n## Lists\n\n"
        "- one\n- two\n  1. deep\n  2. deeper\n- three\n\n\\# not a heading\n\n"
        "```\n# code\n  `x`\n```\n\nend"
    )
    assert found.title == "My page"
    assert found.metadata == {"lang": "en", "description": "About", "author": "A"}
    assert [heading.text for heading in outline(found.text).headings] == ["Top one", "Lists"]
    assert found.markdown


def test_tables_are_readable():
    found = page(
        "<table><caption>People</caption><tr><th>Name<th>Age</tr>"
        "<tr><td>Ann|x<td><p>5</p><p>years</p></tr><tr><td></td></tr></table>"
    )
    assert found.text == "People\n\n| Name | Age |\n| --- | --- |\n| Ann\\|x | 5 years |"


def test_a_table_for_layout_is_running_text():
    found = page(
        "<table><tr><td>menu<td><h2>Heading</h2><p>one<p>two<td>side</tr></table>"
        "<table><tr><td><table><tr><td>a<td>b</table></table>"
    )
    assert found.text == "menu\n\n## Heading\n\none\n\ntwo\n\nside\n\n| a | b |\n| --- | --- |"


@pytest.mark.parametrize(
    ("html", "title"),
    [("<h3>c</h3><h2>b</h2><h2>d</h2>x", "b"), ("<p>x", "page"), ("<title></title><p>x", "page")],
)
def test_the_title_is_the_heading_or_the_files_name(html: str, title: str):
    assert page(html).title == title


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<p>Grüße".encode(), "Grüße"),
        ("<p>Grüße".encode("cp1252"), "Grüße"),
        ('<meta charset="iso-8859-1"><p>Grüße „x“'.encode("cp1252"), "Grüße „x“"),
        (
            '<meta http-equiv=Content-Type content="text/html; charset=koi8-r"><p>Привет'.encode(
                "koi8-r"
            ),
            "Привет",
        ),
        ("<meta charset=shift_jis><p>日本".encode("shift_jis"), "日本"),
        ("<meta charset=utf-16><p>Grüße".encode("cp1252"), "Grüße"),
        ("<meta charset=hex><p>Grüße".encode("cp1252"), "Grüße"),
        ("<meta charset=nonsense><p>Grüße".encode("cp1252"), "Grüße"),
        ("\ufeff<p>Grüße".encode(), "Grüße"),
        ("<p>Grüße".encode("utf-16"), "Grüße"),
        (b"<p>caf&eacute;&nbsp;&#x4e2d;&#0;", "café 中"),
    ],
)
def test_encodings(data: bytes, text: str):
    assert page(data).text.startswith(text)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no text"),
        (b"  \n ", "no text"),
        (b"<html><script>x()</script><nav>menu</nav></html>", "no text"),
        (b"\x7fELF\0\0", "binary"),
    ],
)
def test_a_page_without_text_is_a_reject(data: bytes, reason: str):
    [(_, said)] = reasons(of("page.html", data))
    assert reason in said


@pytest.mark.parametrize(
    "html",
    [
        b"<div>" * 200_000 + b"x",
        b"<ul><li>" * 100_000 + b"x",
        b"<table><tr><td>" * 60_000 + b"x",
        b"<blockquote>" * 100_000 + b"x" + b"</blockquote>" * 100_000,
        b"<font a=1>" * 50_000 + b"<p>x" * 50_000,
        b"<h1>" * 100_000 + b"x",
        b"<p>x<br>" * 50_000,
        b"<li>x" * 50_000,
        b"<td>x" * 50_000,
        b"<!--x" * 500_000 + b"--><p>x",
        b"<p>x &amp; y\n" * 100_000,
        b"<a b='" * 500_000 + b"'>x",
    ],
)
def test_hostile_pages_take_seconds(html: bytes):
    began = time.thread_time()
    assert of("page.html", html)
    assert time.thread_time() - began < 60


def test_a_page_of_15_mb_takes_seconds():
    began = time.thread_time()
    found = page(b"<h2>Part</h2><p>Some <b>bold</b> text of the page that is long.</p>\n" * 220_000)
    assert len(found.text) > 7_000_000
    assert time.thread_time() - began < 120
