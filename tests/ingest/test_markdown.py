from __future__ import annotations

from pathlib import Path

import pytest

from ingest.sources import Parsed, Reject
from m3.types import Document
from tests.ingest.reading import everything


def read(tmp_path: Path, content: str) -> Parsed | Reject:
    path = tmp_path / "page.md"
    path.write_bytes(content.encode())
    [found] = everything(path)
    return found


def parsed(tmp_path: Path, content: str) -> Parsed:
    found = read(tmp_path, content)
    assert isinstance(found, Parsed), found
    return found


def test_front_matter_is_metadata_and_no_text(tmp_path: Path):
    found = parsed(
        tmp_path,
        "---\ntitle: The title\ntags: [a, b]\ndate: 2024-02-01\n1: x\n---\n\n# Heading\n\nBody",
    )
    assert found.document == Document(
        "page.md",
        "\n# Heading\n\nBody",
        "The title",
        {"tags": ["a", "b"], "date": "2024-02-01", "1": "x"},
        markdown=True,
    )


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("# First *one*\n\n# Second", "First one"),
        ("## Only second level", "page"),
        ("```\n# in a fence\n```\n", "page"),
        ("---\ntitle:\n---\n# Heading", "Heading"),
        ("---\ntitle: 2024\n---\ntext", "2024"),
        ("---\ntitle: [a]\n---\ntext", "page"),
        ("text", "page"),
    ],
)
def test_titles(tmp_path: Path, content: str, title: str):
    assert parsed(tmp_path, content).document.title == title


@pytest.mark.parametrize(
    "content",
    [
        "---\n\nA rule above\n\n---\nand below",
        "---\nnever closed: yes\n",
        "text\n---\na: b\n---\n",
        "----\na: b\n----\n",
    ],
)
def test_what_is_no_front_matter_is_text(tmp_path: Path, content: str):
    assert parsed(tmp_path, content).document.text == content


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_closing_marks(tmp_path: Path, newline: str):
    for close in ("---", "...", "---  "):
        content = newline.join(["---", "a: 1", close, "text"])
        assert parsed(tmp_path, content).document.text == "text"


@pytest.mark.parametrize(
    ("front", "reason"),
    [
        ("a: b: c", "malformed front matter, line 2"),
        ("ok: 1\n\tbad: 2", "malformed front matter, line 3"),
        ("a: !!python/object:os.system x", "malformed front matter"),
        ("a: 2024-99-99", "malformed front matter"),
        ("a: &x [1]\nb: *x", "YAML aliases are not read"),
        ("[" * 30_000 + "]" * 30_000, "nested over 32 deep"),
        ("- " * 30_000, "nested over 32 deep"),
        ("a: " + "x" * 70_000, "over 65,536 characters"),
        ("a: !!binary /w==", "cannot be written as JSON"),
        ("a: 1" + "0" * 30, "cannot be written as JSON"),
    ],
)
def test_malformed_front_matter_is_a_reject(tmp_path: Path, front: str, reason: str):
    found = read(tmp_path, f"---\n{front}\n---\ntext")
    assert isinstance(found, Reject)
    assert reason in found.reason


def test_a_bomb_of_aliases_takes_no_memory(tmp_path: Path):
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))
    found = read(tmp_path, f"---\na0: &a0 x\n{levels}\n---\ntext")
    assert isinstance(found, Reject)
