"""What a hit and a document say of their source: metadata as it was given, and the place."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.ingest import formats
from tests.processes import COMMANDS, server
from tests.system.conftest import Machine

TYPES = ("year:int", "price:float", "open:bool", "tags:strings", "day=published:date", "*")
ROW = {
    "_id": "row",
    "title": "A row",
    "text": "The lighthouse keeper lights the lamp.",
    "year": "1999",
    "price": 3,
    "open": "yes",
    "tags": "sea",
    "published": "2024-05-01T12:00:00+02:00",
    "nested": {"deep": [1, None, {"ü": "😀"}], "n": 2**53 + 1, "f": 0.1},
    "nothing": None,
}
ROW_METADATA = {
    "year": 1999,
    "price": 3.0,
    "open": True,
    "tags": ["sea"],
    "day": "2024-05-01T10:00:00Z",
    "nested": ROW["nested"],
    "nothing": None,
}
PAGE = """---
title: A page
year: 2001
price: "0.5"
open: false
tags: [sea, storm]
published: 2024-05-02
nested: {deep: [1, null], text: "a: b"}
---
The fishing boats return to the harbour.
"""
PAGE_METADATA = {
    "year": 2001,
    "price": 0.5,
    "open": False,
    "tags": ["sea", "storm"],
    "day": "2024-05-02",
    "nested": {"deep": [1, None], "text": "a: b"},
}

SENTENCES = [
    f"Sentence {i} tells of cats, boats and the sea, and of little else." for i in range(9)
]
PROSE = " ".join(SENTENCES)
MARKDOWN = f"---\nlang: en\n---\r\n# Guide\r\n\r\n{PROSE}\r\n\r\n## Überblick 😀\r\n\r\n{PROSE}\r\n"
HTML = (
    f"<title>Web</title><h1>Top</h1><p>{PROSE}</p><ul><li>one &amp; two<li>three</ul>"
    f"<h2>Deep</h2><p>{PROSE}"
)


@contextmanager
def api(machine: Machine) -> Generator[httpx.Client]:
    command = [COMMANDS / "m3-search", "serve", "--port", "0"]
    with (
        server(command, machine.environment) as (url, _),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        yield client


def hits(client: httpx.Client, query: str) -> dict[str, dict[str, Any]]:
    """By id."""
    answer = client.post("/v1/search", json={"query": query, "collection": "docs", "top_k": 100})
    return {hit["id"]: hit for hit in answer.raise_for_status().json()["hits"]}


def document(client: httpx.Client, id_: str) -> dict[str, Any]:
    return client.get(f"/v1/collections/docs/documents/{id_}").raise_for_status().json()


def test_metadata_arrives_as_it_was_given_and_typed(machine: Machine, tmp_path: Path):
    (tmp_path / "page.md").write_text(PAGE, "utf-8")
    (tmp_path / "rows.jsonl").write_bytes(orjson.dumps(ROW))
    typed = [flag for type_ in TYPES for flag in ("--meta", type_)]
    machine.run("m3-ingest", "run", tmp_path, "-c", "docs", *typed, "--field", "year:int")
    with api(machine) as client:
        found = hits(client, "boats in the harbour, lamp of the lighthouse")
        for id_, title, expected in [
            ("row", "A row", ROW_METADATA),
            ("page.md", "A page", PAGE_METADATA),
        ]:
            for told in (found[f"default/{id_}#0"], document(client, id_)):
                assert told["title"] == title
                assert told["metadata"] == expected
                assert orjson.dumps(told["metadata"], option=orjson.OPT_SORT_KEYS) == orjson.dumps(
                    expected, option=orjson.OPT_SORT_KEYS
                ), "3.0 is not 3, True is not 1"


def test_a_hit_can_be_shown_in_its_documents_text(machine: Machine, tmp_path: Path):
    """`text[start:end]` of the document's text is the chunk's, and chunks leave out only blanks."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "guide.md").write_bytes(MARKDOWN.encode())
    (folder / "web.html").write_text(HTML, "utf-8")
    (folder / "paper.pdf").write_bytes(formats.pdf(PROSE, "", PROSE))
    small = ("--max-tokens", "48", "--overlap", "12")
    machine.run("m3-ingest", "run", folder, "-c", "docs", *small)
    machine.run("m3-ingest", "export", "docs", tmp_path / "docs.jsonl")
    exported = map(orjson.loads, (tmp_path / "docs.jsonl").read_bytes().splitlines())
    texts: dict[str, str] = {each["_id"]: each["text"] for each in exported}
    assert texts["guide.md"] == MARKDOWN.partition("---\r\n")[2], "the file without front matter"
    with api(machine) as client:
        found = hits(client, "cats, boats and the sea")
        chunks = {id_: document(client, id_)["chunks"] for id_ in texts}
    for id_, text in texts.items():
        assert len(chunks[id_]) > 3
        shown = [" " if letter.isspace() else "" for letter in text]
        for chunk in chunks[id_]:
            assert text[chunk["start"] : chunk["end"]] == chunk["text"]
            hit = found[chunk["id"]]
            for name in ("text", "start", "end", "heading", "page"):
                assert hit[name] == chunk[name]
            shown[chunk["start"] : chunk["end"]] = chunk["text"]
        assert "".join(shown).split() == text.split()
    assert [chunks["guide.md"][i]["heading"] for i in (0, -1)] == [
        ["Guide"],
        ["Guide", "Überblick 😀"],
    ]
    assert [chunks["web.html"][i]["heading"] for i in (0, -1)] == [["Top"], ["Top", "Deep"]]
    assert {chunk["page"] for chunk in chunks["paper.pdf"]} == {1, 3}
    assert {chunk["page"] for chunk in chunks["web.html"]} == {None}
