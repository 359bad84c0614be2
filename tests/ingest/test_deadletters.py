from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from ingest.deadletters import DeadLetters, Origin, read_letters
from ingest.sources import Fields, MetaField, MetaType, Place, Reject
from m3.errors import InvalidInput, StorageFull
from m3.types import Document

RUN = Origin(
    ("a.jsonl", "docs"),
    fields=Fields(
        "web", "acme", "url", ("title", "body"), metadata=(MetaField("n", "m", MetaType.INT),)
    ),
)


def test_each_reject_is_a_line_as_soon_as_it_is_added(tmp_path: Path):
    with DeadLetters(tmp_path, "docs") as letters:
        assert letters.path is None
        letters.add(Reject(Place("a.jsonl", 7), "invalid JSON", raw="{"), RUN)
        letters.add(Reject(Place("b.md"), "too long", "chunk", "b.md"), RUN)
        assert letters.path is not None
        assert letters.path.name.startswith("docs-")
        assert letters.path.parent == tmp_path / "dead-letters"
        [first, second] = map(orjson.loads, letters.path.read_bytes().splitlines())
        run = first.pop("run")
        assert (run["paths"], run["fields"]["source"]) == (["a.jsonl", "docs"], "web")
        assert first == {
            "document": None,
            "source": "a.jsonl",
            "line": 7,
            "stage": "parse",
            "error": "invalid JSON",
            "raw": "{",
            "given": None,
            "first": None,
        }
        assert (second["document"], second["line"], second["stage"]) == ("b.md", None, "chunk")


def test_letters_come_back_as_they_were(tmp_path: Path):
    given = Document("a", "text", "title", {"n": 1}, "web", "acme", markdown=True, pages=(0, 2))
    with DeadLetters(tmp_path, "docs") as letters:
        letters.add(Reject(Place("stdin", 1), "why", "embed", "a", given=given), RUN)
        letters.add(Reject(Place("a.jsonl", 1), "why", "embed", "a", given=given), RUN)
        assert letters.path is not None
        [piped, of_file] = read_letters(letters.path)
    assert piped.given == given
    assert piped.run == RUN
    assert of_file.given is None, "it can be read again from where it is"


@pytest.mark.parametrize("line", [b"{", b'{"_id": "a", "text": "x"}', b"[]"])
def test_what_is_no_letter_is_told_with_its_line(tmp_path: Path, line: bytes):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n" + line)
    with pytest.raises(InvalidInput, match=r"x\.jsonl:2 is no dead letter of m3-ingest"):
        list(read_letters(path))


def test_without_rejects_there_is_no_file(tmp_path: Path):
    with DeadLetters(tmp_path, "docs"):
        pass
    assert not list(tmp_path.iterdir())


def test_two_runs_of_one_second_have_a_file_each(tmp_path: Path):
    with DeadLetters(tmp_path, "docs") as one, DeadLetters(tmp_path, "docs") as other:
        for letters in (one, other):
            letters.add(Reject(Place("a"), "why"), RUN)
        assert one.path != other.path


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "dead-letters").write_text("a file in its place")
    with DeadLetters(tmp_path, "docs") as letters, pytest.raises(StorageFull, match="set M3_HOME"):
        letters.add(Reject(Place("a"), "why"), RUN)
