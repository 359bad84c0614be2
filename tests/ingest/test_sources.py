from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources import (
    FORMATS,
    MAX_DOCUMENT_BYTES,
    Fields,
    Parsed,
    Place,
    Reject,
    SourceFile,
    discover,
    read,
)
from ingest.sources.jsonl import Jsonl
from m3.errors import InvalidInput
from m3.types import Document
from store.checks import MAX_ID_BYTES

FILE = SourceFile(None, "rows.jsonl", "rows.jsonl", FORMATS["jsonl"])


def rows(data: bytes, **fields: Any) -> list[Parsed | Reject]:
    stream = io.BufferedReader(io.BytesIO(data))  # pyright: ignore[reportArgumentType]
    return list(Jsonl().read(FILE, stream, Fields(**fields)))


def row(record: Any, **fields: Any) -> Parsed | Reject:
    [found] = rows(orjson.dumps(record), **fields)
    return found


def document(record: Any, **fields: Any) -> Document:
    found = row(record, **fields)
    assert isinstance(found, Parsed), found
    return found.document


def everything(folder: Path, *paths: Path, **fields: Any) -> list[Parsed | Reject]:
    return list(read(discover([str(p) for p in paths or [folder]]).files, Fields(**fields)))


def reasons(found: list[Parsed | Reject]) -> list[tuple[str, str]]:
    return [
        (str(item.place).rsplit("/", 1)[-1], item.reason)
        for item in found
        if isinstance(item, Reject)
    ]


class TestJsonl:
    def test_other_fields_are_metadata(self):
        found = document({"_id": "a", "title": "T", "text": "x", "lang": "en", "tags": [1, 2]})
        assert found == Document("a", "x", "T", {"lang": "en", "tags": [1, 2]})

    def test_a_metadata_object_is_spread(self):
        record = {"id": "a", "text": "x", "lang": "en", "metadata": {"year": 2020, "lang": "de"}}
        assert document(record).metadata == {"lang": "de", "year": 2020}
        assert document({"id": "a", "text": "x", "metadata": None}).metadata == {}
        assert document({"id": "a", "text": "x", "metadata": 7}).metadata == {"metadata": 7}

    def test_fields_can_be_named(self):
        record = {"url": "u", "body": "x", "name": "T", "_id": "other"}
        found = document(record, id="url", text="body", title="name", source="s", tenant="t")
        assert found == Document("u", "x", "T", {"_id": "other"}, "s", "t")

    def test_whole_numbers_are_ids(self):
        assert document({"id": 17, "text": "x"}).id == "17"

    def test_blank_lines_are_counted_but_no_documents(self):
        found = rows(b'\n{"id": "a", "text": "x"}\r\n  \nnonsense')
        assert [str(item.place) for item in found] == ["rows.jsonl:2", "rows.jsonl:4"]

    def test_a_byte_order_mark_is_skipped(self):
        assert isinstance(rows(b'\xef\xbb\xbf{"id": "a", "text": "x"}')[0], Parsed)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b'{"id": "a", "text": "x"', "invalid JSON at character"),
            (b"[1, 2]", "the line is a list, not an object"),
            (b'"text"', "the line is text, not an object"),
            (b'{"text": "x"}', "there is no field '_id' or 'id'"),
            (b'{"id": null, "text": "x"}', "field 'id' is null, not an id"),
            (b'{"id": true, "text": "x"}', "field 'id' is true or false, not an id"),
            (b'{"id": {}, "text": "x"}', "field 'id' is an object, not an id"),
            (b'{"id": "", "text": "x"}', "its id is empty"),
            (b'{"id": "a"}', "there is no field 'text'"),
            (b'{"id": "a", "text": 5}', "field 'text' is a number, not text"),
            (b'{"id": "a", "text": ["x"]}', "field 'text' is a list, not text"),
            (b'{"id": "a", "text": "x", "title": 3}', "field 'title' is a number, not text"),
            (b'{"id": "a", "text": " \\n\\t"}', "empty text"),
            (b'{"id": "a", "text": "\xff"}', "invalid UTF-8 at byte 22"),
            (b'{"id": "a", "text": "\\ud800"}', "invalid JSON"),
            (b'{"id": "' + b"i" * 513 + b'", "text": "x"}', "its id has 513 bytes; at most 512"),
            (b'{"id": "a", "text": "x", "m": "' + b"m" * 65_536 + b'"}', "as every chunk carries"),
            (
                b'{"id": "a", "text": "x", "m": ' + b"[" * 400 + b"]" * 400 + b"}",
                "its title or metadata cannot be stored: Recursion limit reached",
            ),
        ],
    )
    def test_a_bad_line_is_rejected_with_its_place_and_the_rest_is_read(
        self, line: bytes, reason: str
    ):
        good = b'{"id": "good", "text": "x"}'
        first, bad, last = rows(b"\n".join([good, line, good]))
        assert isinstance(first, Parsed)
        assert isinstance(last, Parsed)
        assert isinstance(bad, Reject)
        assert reason in bad.reason
        assert bad.place == Place("rows.jsonl", 2)
        kept = line.decode("utf-8", "replace")
        assert bad.raw == (kept if len(line) < 16_384 else None)

    def test_an_id_of_the_longest_size_is_taken(self):
        assert document({"id": "é" * (MAX_ID_BYTES // 2), "text": "x"}).id

    @given(
        st.lists(
            st.fixed_dictionaries(
                {"_id": st.text(min_size=1, max_size=20), "text": st.text(min_size=1)},
                optional={
                    "title": st.text(),
                    "n": st.integers(-(2**53), 2**53) | st.booleans() | st.none(),
                },
            ).filter(lambda record: record["text"].strip())
        )
    )
    def test_what_was_written_is_read(self, records: list[dict[str, Any]]):
        data = b"".join(orjson.dumps(record) + b"\n" for record in records)
        found = [item for item in rows(data) if isinstance(item, Parsed)]
        assert sum(item.size for item in found) == len(data)
        assert [item.place.line for item in found] == list(range(1, len(records) + 1))
        assert [
            {"_id": d.id, "text": d.text, **({"title": d.title} if d.title else {}), **d.metadata}
            for d in (item.document for item in found)
        ] == [{k: v for k, v in r.items() if k != "title" or v} for r in records]

    @given(st.binary(max_size=300))
    def test_any_bytes_are_documents_or_rejects(self, data: bytes):
        try:
            found = rows(data)
        except InvalidInput:
            assert b"\0" in data
        else:
            assert len(found) <= data.count(b"\n") + 1


def test_a_line_of_100_mb_is_a_reject_and_never_in_memory(tmp_path: Path):
    path = tmp_path / "big.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id": "before", "text": "x"}\n{"id": "huge", "text": "')
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"id": "after", "text": "x"}\n')
    process = psutil.Process()
    before = process.memory_info().rss
    most = 0

    def watched() -> Iterator[Parsed | Reject]:
        nonlocal most
        for item in read(discover([str(path)]).files, Fields()):
            most = max(most, process.memory_info().rss - before)
            yield item

    first, huge, last = watched()
    assert isinstance(first, Parsed)
    assert first.document.id == "before"
    assert isinstance(huge, Reject)
    assert huge.reason == "the line is over 32 MB: split it"
    assert huge.place.line == 2
    assert huge.raw is None
    assert huge.size == path.stat().st_size - first.size - last.size
    assert isinstance(last, Parsed)
    assert last.document.id == "after"
    assert most < 2 * MAX_DOCUMENT_BYTES


class TestMarkdown:
    def parsed(self, tmp_path: Path, content: str | bytes, name: str = "page.md") -> Parsed:
        [found] = self.read(tmp_path, content, name)
        assert isinstance(found, Parsed), found
        return found

    def read(
        self, tmp_path: Path, content: str | bytes, name: str = "page.md"
    ) -> list[Parsed | Reject]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return everything(tmp_path)

    def test_front_matter_is_metadata_and_no_text(self, tmp_path: Path):
        found = self.parsed(
            tmp_path,
            "---\ntitle: The title\ntags: [a, b]\ndate: 2024-02-01\n1: x\n---\n\n# Heading\n\nBody",
        )
        assert found.markdown
        assert found.document == Document(
            "page.md",
            "\n# Heading\n\nBody",
            "The title",
            {"tags": ["a", "b"], "date": "2024-02-01", "1": "x"},
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
    def test_titles(self, tmp_path: Path, content: str, title: str):
        assert self.parsed(tmp_path, content).document.title == title

    @pytest.mark.parametrize(
        "content",
        [
            "---\n\nA rule above\n\n---\nand below",
            "---\nnever closed: yes\n",
            "text\n---\na: b\n---\n",
            "----\na: b\n----\n",
        ],
    )
    def test_what_is_no_front_matter_is_text(self, tmp_path: Path, content: str):
        assert self.parsed(tmp_path, content).document.text == content

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_closing_marks(self, tmp_path: Path, newline: str):
        for close in ("---", "...", "---  "):
            content = newline.join(["---", "a: 1", close, "text"])
            assert self.parsed(tmp_path, content).document.text == "text"

    @pytest.mark.parametrize(
        ("front", "reason"),
        [
            ("a: b: c", "malformed front matter, line 2"),
            ("ok: 1\n\tbad: 2", "malformed front matter, line 3"),
            ("a: !!python/object:os.system x", "malformed front matter"),
            ("a: 2024-99-99", "malformed front matter"),
            ("a: &x [1]\nb: *x", "YAML aliases are not read"),
            ("[" * 5000, "malformed front matter"),
            ("a: !!binary aGVsbG8=", "cannot be written as JSON"),
            ("a: 1" + "0" * 30, "cannot be written as JSON"),
        ],
    )
    def test_malformed_front_matter_is_a_reject(self, tmp_path: Path, front: str, reason: str):
        [found] = self.read(tmp_path, f"---\n{front}\n---\ntext")
        assert isinstance(found, Reject)
        assert reason in found.reason

    def test_a_bomb_of_aliases_takes_no_memory(self, tmp_path: Path):
        levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))
        [found] = self.read(tmp_path, f"---\na0: &a0 x\n{levels}\n---\ntext")
        assert isinstance(found, Reject)


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


@pytest.mark.timeout(20)
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
        ("a.txt", "text".encode("utf-16"), "it is binary (it has zero bytes), not UTF-8 text"),
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
    with pytest.raises(InvalidInput, match="format 'docx' is not known; there are: jsonl, text"):
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
