from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ingest.deadletters import DeadLetters, Letter, Origin, read_letters
from ingest.retrying import Origins, again
from ingest.sources import Fields, Parsed, Place, Reject, discover, read
from m3.errors import InvalidInput
from m3.types import Document

GOOD = b'{"_id": "b", "text": "fine"}\n'
LONG = b'{"_id": "a", "text": "' + b"x" * 20_000 + b'", "title": 5}\n'


def letters_of(tmp_path: Path, *paths: Path) -> list[Letter]:
    """Of a run that reads these."""
    run = Origin(tuple(map(str, paths)), fields=Fields("web"))
    with DeadLetters(tmp_path, "docs") as letters:
        for item in read(discover(run.paths).files, run.fields):
            if isinstance(item, Reject):
                letters.add(item, run)
        assert letters.path is not None
    return list(read_letters(letters.path))


def test_a_kept_row_is_read_as_it_stands_in_the_letter(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b'{"_id": "a", "txt": "mended"}\n')
    [letter] = letters_of(tmp_path, path)
    path.unlink()
    assert letter.raw is not None
    mended = replace(letter, raw=letter.raw.replace("txt", "text"))
    [item] = again([mended])
    assert item == Parsed(Document("a", "mended", source="web"), Place(str(path), 2), item.size)


def test_a_long_row_is_read_from_its_file(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + LONG + GOOD)
    [letter] = letters_of(tmp_path, path)
    assert letter.raw is None
    [still] = again([letter])
    assert isinstance(still, Reject)
    assert "'title' is a number" in still.reason
    path.write_bytes(GOOD + LONG.replace(b"5", b'"T"') + GOOD)
    [item] = again([letter])
    assert isinstance(item, Parsed)
    assert (item.document.id, item.document.title, item.place.line) == ("a", "T", 2)


def test_a_row_with_broken_bytes_is_not_taken_from_its_letter(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"_id": "a", "text": "caf\xe9"}\n')
    [letter] = letters_of(tmp_path, path)
    [still] = again([letter])
    assert isinstance(still, Reject)
    assert "invalid UTF-8" in still.reason


def test_a_row_of_a_table_is_read_with_its_header(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\nb,fine\na,mended,much\n")
    [letter] = letters_of(tmp_path, path)
    path.write_bytes(b"id,text\nb,fine\na,mended much\n")
    [item] = again([letter])
    assert isinstance(item, Parsed)
    assert item.document == Document("a", "mended much", source="web")


def test_a_file_of_a_folder_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "docs" / "deep" / "a.md"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff")
    monkeypatch.chdir(tmp_path)
    [letter] = letters_of(tmp_path, Path("docs"))
    monkeypatch.chdir("/")
    file.write_text("# Now\n\nit is text")
    [item] = again([letter])
    assert isinstance(item, Parsed)
    assert (item.document.id, item.place.path) == ("deep/a.md", letter.source)


def test_what_is_gone_fails_again(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + LONG)
    letters = letters_of(tmp_path, path)
    path.write_bytes(GOOD)
    [item] = again(letters)
    assert isinstance(item, Reject)
    assert "has another content now" in item.reason
    assert Origins(letters).of(item) == letters[0].run
    path.unlink()
    [item] = again(letters)
    assert isinstance(item, Reject)
    assert "there is no file" in item.reason


def test_another_document_at_its_line_is_not_taken_for_it(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD)
    run = Origin((str(path),))
    letter = Letter("a", str(path), 1, "embed", "why", None, None, run)
    [item] = again([letter])
    assert isinstance(item, Reject)
    assert "has another content now" in item.reason


def test_what_came_by_standard_input_is_in_its_letter(tmp_path: Path):
    given = Document("a", "text")
    kept = Letter("a", "stdin", 1, "embed", "why", None, given, Origin(("-",)))
    lost = Letter(None, "stdin", 2, "parse", "too long", None, None, Origin(("-",)))
    [first, second] = again([kept, lost])
    assert first == Parsed(given, Place("stdin", 1))
    assert isinstance(second, Reject)
    assert "send it again" in second.reason


def test_what_had_another_documents_id_is_not_written_over_it(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b'{"_id": "b", "text": "another"}\n')
    first, second = read(discover([str(path)]).files, Fields("web"))
    assert isinstance(first, Parsed)
    assert isinstance(second, Parsed)
    error = InvalidInput("id 'b' was given before")
    reject = replace(second.reject("parse", error), first=first.place)
    with DeadLetters(tmp_path, "docs") as letters:
        letters.add(reject, Origin((str(path),), fields=Fields("web")))
        assert letters.path is not None
    [letter] = read_letters(letters.path)
    [still] = again([letter])
    assert isinstance(still, Reject)
    assert (still.reason, still.first) == ("id 'b' was given before", first.place)
    renamed = replace(letter, raw='{"_id": "c", "text": "another"}')
    [item] = again([renamed])
    assert isinstance(item, Parsed)
    assert item.document.id == "c"
