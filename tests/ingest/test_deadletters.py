from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from ingest.deadletters import DeadLetters
from ingest.sources import Place, Reject
from m3.errors import StorageFull


def test_each_reject_is_a_line_as_soon_as_it_is_added(tmp_path: Path):
    with DeadLetters(tmp_path, "docs") as letters:
        assert letters.path is None
        letters.add(Reject(Place("a.jsonl", 7), "invalid JSON", raw="{"))
        letters.add(Reject(Place("b.md"), "too long", "chunk", "b.md"))
        assert letters.path is not None
        assert letters.path.name.startswith("docs-")
        assert letters.path.parent == tmp_path / "dead-letters"
        assert [orjson.loads(line) for line in letters.path.read_bytes().splitlines()] == [
            {
                "document": None,
                "source": "a.jsonl",
                "line": 7,
                "stage": "parse",
                "error": "invalid JSON",
                "raw": "{",
            },
            {
                "document": "b.md",
                "source": "b.md",
                "line": None,
                "stage": "chunk",
                "error": "too long",
                "raw": None,
            },
        ]


def test_without_rejects_there_is_no_file(tmp_path: Path):
    with DeadLetters(tmp_path, "docs"):
        pass
    assert not list(tmp_path.iterdir())


def test_two_runs_of_one_second_have_a_file_each(tmp_path: Path):
    with DeadLetters(tmp_path, "docs") as one, DeadLetters(tmp_path, "docs") as other:
        for letters in (one, other):
            letters.add(Reject(Place("a"), "why"))
        assert one.path != other.path


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "dead-letters").write_text("a file in its place")
    with DeadLetters(tmp_path, "docs") as letters, pytest.raises(StorageFull, match="set M3_HOME"):
        letters.add(Reject(Place("a"), "why"))
