from __future__ import annotations

import gzip
import os
from pathlib import Path

from backports import zstd

from ingest.sources import Fields, Parsed, Reject, discover, read
from ingest.sources.unpacking import MAX_RATIO
from tests.ingest.reading import everything


def test_all_members_and_frames_are_read_and_content_tells_what_is_packed(tmp_path: Path):
    for name, pack in (("a.md.gz", gzip.compress), ("b.md.zst", zstd.compress)):
        (tmp_path / name).write_bytes(pack(b"# Title\n\none ") + pack(b"two"))
    (tmp_path / "c.md").write_bytes(gzip.compress(b"one two"))
    found = everything(tmp_path)
    assert [i.document.id for i in found if isinstance(i, Parsed)] == ["a.md", "b.md", "c.md"]
    assert all("one two" in i.document.text for i in found if isinstance(i, Parsed))


def test_a_bomb_is_a_dead_letter_and_stops_nothing(tmp_path: Path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"a" * 80_000_000))
    (tmp_path / "b.jsonl.zst").write_bytes(zstd.compress(b"a" * 80_000_000))
    (tmp_path / "c.md").write_text("text")
    first, second, last = everything(tmp_path)
    assert isinstance(first, Reject)
    assert f"over {MAX_RATIO} times its size" in first.reason
    assert isinstance(second, Reject)
    assert f"over {MAX_RATIO} times its size" in second.reason
    assert isinstance(last, Parsed)


def test_a_name_that_promises_what_is_not_there_is_a_dead_letter(tmp_path: Path):
    (tmp_path / "a.md.gz").write_text("plain")
    [item] = everything(tmp_path)
    assert isinstance(item, Reject)
    assert item.reason == "it is named as gzip, but is not packed so"


def test_links_out_of_the_folder_and_names_with_line_breaks_are_dead_letters(tmp_path: Path):
    (tmp_path / "secret.md").write_text("secret")
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "out.md").symlink_to(tmp_path / "secret.md")
    (folder / "a\nb.md").write_text("text")
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    broken, out = everything(tmp_path / "link")
    assert isinstance(broken, Reject)
    assert "line break" in broken.reason
    assert isinstance(out, Reject)
    assert "leads out of the given folder" in out.reason


def test_a_file_that_grows_vanishes_or_becomes_a_pipe_is_a_dead_letter(tmp_path: Path):
    for name in ("a.jsonl", "b.md", "c.md"):
        (tmp_path / name).write_text('{"id": "1", "text": "x"}\n{"id": "2", "text": "x"}\n')
    items = read(discover([str(tmp_path)]).files, Fields())
    first = next(items)
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"id": "3", "text": "x"}\n')
    (tmp_path / "b.md").unlink()
    (tmp_path / "c.md").unlink()
    os.mkfifo(tmp_path / "c.md")
    assert isinstance(first, Parsed)
    assert [item.reason for item in items if isinstance(item, Reject)] == [
        "it changed while it was read: run again",
        "cannot be read: No such file or directory",
        "it is no file (any more)",
    ]


def test_overlapping_paths_and_globs_are_read_once(tmp_path: Path):
    for name in ("a.md", "deep/b.md", "deep/.hidden.md", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = discover([f"{tmp_path}/**/*.md", str(tmp_path), str(tmp_path / "deep" / "b.md")])
    assert [file.id for file in found.files] == ["a.md", "deep/b.md"]
