from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import orjson
import pytest

from ingest.sources import FORMATS, MAX_DOCUMENT_BYTES, Fields, Parsed, Reject, discover, read
from m3.errors import InvalidInput
from tests.ingest.reading import everything


def reasons(found: list[Parsed | Reject]) -> list[tuple[str, str]]:
    return [
        (str(item.place).rsplit("/", 1)[-1], item.reason)
        for item in found
        if isinstance(item, Reject)
    ]


def test_a_folder_is_read_with_paths_as_ids(tmp_path: Path):
    for name in ("b.txt", "a/deep/page.MD", "a/rows.jsonl", "a/image.png", "README"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"id": "row", "text": "x"}')
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "notes.md").write_text("hidden")
    (tmp_path / ".hidden.md").write_text("hidden")
    found = discover([str(tmp_path)])
    assert [file.id for file in found.files] == ["b.txt", "a/rows.jsonl", "a/deep/page.MD"]
    assert found.passed_over == {".png": 1, "README": 1}
    assert found.bytes == 3 * 26
    assert [
        item.document.id for item in read(found.files, Fields()) if isinstance(item, Parsed)
    ] == ["b.txt", "row", "a/deep/page.MD"]


def test_a_named_format_is_taken_for_every_file(tmp_path: Path):
    (tmp_path / "app.log").write_text("a line")
    (tmp_path / "page.md").write_text("# Title")
    found = discover([str(tmp_path)], "text")
    assert [(file.id, file.format.name) for file in found.files] == [
        ("app.log", "text"),
        ("page.md", "text"),
    ]
    assert discover([str(tmp_path / "app.log")], "text").files[0].id == "app.log"


def test_packed_files_are_unpacked(tmp_path: Path):
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a", "text": "x"}\n'))
    (tmp_path / "page.md.gz").write_bytes(gzip.compress(b"# Title\n\ntext"))
    found = discover([str(tmp_path)])
    assert found.bytes is None
    ids = [item.document.id for item in read(found.files, Fields()) if isinstance(item, Parsed)]
    assert ids == ["page.md", "a"]


def test_a_broken_packed_file_keeps_what_came_before(tmp_path: Path):
    lines = b"".join(b'{"id": "%d", "text": "x"}\n' % i for i in range(20_000))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(lines)[:-2000])
    (tmp_path / "z.txt").write_text("after")
    *_, broken, after = found = everything(tmp_path)
    assert len(found) > 100
    assert isinstance(broken, Reject)
    assert "cannot be read" in broken.reason
    assert isinstance(after, Parsed)


def test_loops_of_links_end(tmp_path: Path):
    (tmp_path / "page.md").write_text("text")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "me.md").symlink_to(tmp_path / "me.md")
    (tmp_path / "nowhere.md").symlink_to(tmp_path / "gone.md")
    (tmp_path / "linked.md").symlink_to(tmp_path / "page.md")
    found = everything(tmp_path)
    assert [i.document.id for i in found if isinstance(i, Parsed)] == ["linked.md", "page.md"]
    assert [place for place, _ in reasons(found)] == ["me.md", "nowhere.md"]


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path):
    (tmp_path / "page.md").write_text("text")
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "link.md").symlink_to(tmp_path / "pipe.md")
    assert [file.id for file in discover([str(tmp_path)]).files] == ["page.md"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "empty text"),
        ("a.txt", b" \n ", "empty text"),
        ("a.md", b"---\ntitle: x\n---\n", "empty text"),
        ("a.txt", b"caf\xe9", "invalid UTF-8 at byte 4"),
        ("a.md", bytes(range(256)) * 40, "it is binary (it has zero bytes), not UTF-8 text"),
        ("a.jsonl", bytes(range(256)) * 40, "it is binary (it has zero bytes), not UTF-8 text"),
        ("a.txt", "text".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        ("a.txt", b"x" * (MAX_DOCUMENT_BYTES + 1), "the file is over 32 MB: split it"),
        (b"\xff.txt", b"text", "its id is not UTF-8"),
    ],
)
def test_bad_files_are_rejects(tmp_path: Path, name: str | bytes, content: bytes, reason: str):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(content)
    (tmp_path / "good.txt").write_text("text")
    found = everything(tmp_path)
    assert [why for _, why in reasons(found)] == [reason]
    assert sum(isinstance(item, Parsed) for item in found) == 1
    assert sum(item.size for item in found) == len(content) + 4
    orjson.dumps([item.place for item in found])


def test_a_missing_path_is_refused_before_anything_is_read(tmp_path: Path):
    (tmp_path / "page.md").write_text("text")
    with pytest.raises(InvalidInput, match=r"there is no file or folder .*gone"):
        discover([str(tmp_path / "page.md"), str(tmp_path / "gone")])


def test_a_path_that_cannot_be_looked_at_is_refused():
    with pytest.raises(InvalidInput, match=r"cannot read x+: File name too long"):
        discover(["x" * 5000])


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path):
    (tmp_path / "page.md").write_text("text")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    if os.access(locked, os.R_OK):
        pytest.skip("whoever runs this may read every folder")
    with pytest.raises(InvalidInput, match=r"cannot read .*locked: Permission denied"):
        discover([str(tmp_path)])


def test_a_folder_without_documents_is_refused(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"holds no documents; known suffixes: \.jsonl"):
        discover([str(tmp_path)])
    (tmp_path / "image.png").write_bytes(b"png")
    with pytest.raises(InvalidInput, match=r"holds no documents \(1 other files\)"):
        discover([str(tmp_path)])


def test_formats_that_nobody_knows_are_refused(tmp_path: Path):
    (tmp_path / "data.bin").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"cannot tell the format of .*--format"):
        discover([str(tmp_path / "data.bin")])
    with pytest.raises(InvalidInput, match="format 'docx' is not known; there are: jsonl, csv, "):
        discover([str(tmp_path / "data.bin")], "docx")


def test_standard_input_is_json_lines_unless_told(monkeypatch: pytest.MonkeyPatch):
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b'{"id": "a", "text": "x"}')))  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr("sys.stdin", stdin)
    found = discover(["-"])
    assert found.bytes is None
    [item] = read(found.files, Fields())
    assert isinstance(item, Parsed)
    assert (item.document.id, str(item.place)) == ("a", "stdin:1")
    assert discover(["-"], "text").files[0].format is FORMATS["text"]
