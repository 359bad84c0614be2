"""One folder with everything that goes wrong: each is a dead letter, the rest is searchable."""

from __future__ import annotations

import gzip
import io
import time
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from pypdf import PdfWriter

ZEROS = bytes(64 * 2**20)


def row(id: str, **more) -> bytes:
    return orjson.dumps({"id": id, "text": f"the good row {id}"} | more) + b"\n"


def encrypted() -> bytes:
    writer, made = PdfWriter(), io.BytesIO()
    writer.add_blank_page(72, 72)
    writer.encrypt("secret", algorithm="AES-256")
    writer.write(made)
    return made.getvalue()


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"id": ["p"], "body": ["no such field"]}), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "everything"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside.md").write_text("a secret beside the folder")
    (folder / "good.md").write_text("# Good\n\nA good page about lighthouses.")
    (folder / "sub/new\nline.md").write_text("A page whose name has two lines.")
    (folder / "corrupt.pdf").write_bytes(b"%PDF-1.7\nnothing of the kind")
    (folder / "encrypted.pdf").write_bytes(encrypted())
    (folder / "bomb.jsonl.gz").write_bytes(gzip.compress(ZEROS))
    (folder / "bomb.jsonl.zst").write_bytes(zstd.compress(ZEROS))
    (folder / "empty.html").write_text("<html><script>var x = 1</script></html>")
    (folder / "ragged.csv").write_text("id,text\nc1,a good row of a table\nc2,too,many\n")
    parquet(folder / "fieldless.parquet")
    (folder / "loop").symlink_to(folder)
    (folder / "escape.md").symlink_to(tmp_path / "outside.md")
    (folder / "latin.txt").write_bytes(b"caf\xe9 \xff\xfe\xfd")
    (folder / "binary.md").write_bytes(bytes(range(256)) * 40)
    (folder / "rows.jsonl").write_bytes(
        row("r1")
        + row("i" * 600)
        + row("fat", note="n" * 70_000)
        + b"{no json\n"
        + b'{"id": "long", "text": "' + b"x" * (40 * 2**20) + b'"}\n'
        + row("r2")
    )  # fmt: skip
    return folder


BAD = {
    "corrupt.pdf", "encrypted.pdf", "bomb.jsonl.gz", "bomb.jsonl.zst", "empty.html", "ragged.csv",
    "fieldless.parquet", "escape.md", "latin.txt", "binary.md", "new\\nline.md",
}  # fmt: skip
BAD_ROWS = {2, 3, 4, 5}


def letters_of(outcome: dict) -> list[dict]:
    return [orjson.loads(line) for line in Path(outcome["dead_letters"]).read_bytes().splitlines()]


def test_everything_at_once(machine, folder):
    """Exit 1, one letter each, the good ones found; mended ones come in by `retry`."""
    run = machine.process("m3-ingest", "run", folder, "--collection", "docs", "--json", expect=1)
    assert "Traceback" not in run.stderr
    outcome = orjson.loads(run.stdout)
    letters = letters_of(outcome)
    assert all(letter["stage"] and letter["error"] for letter in letters)
    sources = [Path(letter["source"]).name for letter in letters]
    assert sorted(s for s in sources if s != "rows.jsonl") == sorted(BAD)
    lines = {letter["line"] for letter in letters if letter["source"].endswith("rows.jsonl")}
    assert lines == BAD_ROWS
    assert len(letters) == outcome["failed"] == len(BAD) + len(BAD_ROWS)
    query = ("m3-search", "query", "a good page or row", "--collection", "docs", "--json")
    hits = orjson.loads(machine.run(*query, "--top-k", "50").stdout)["hits"]
    assert {hit["document_id"] for hit in hits} == {"good.md", "c1", "r1", "r2"}
    machine.run("m3-ingest", "verify", "docs")

    (folder / "empty.html").write_text("<p>Now there is a text about windmills.</p>")
    (folder / "latin.txt").write_text("café")
    letters_file = outcome["dead_letters"]
    again = machine.run("m3-ingest", "retry", letters_file, "-c", "docs", "--json", expect=1)
    assert orjson.loads(again.stdout)["failed"] == len(letters) - 2
    hits = orjson.loads(machine.run(*query, "--top-k", "50").stdout)["hits"]
    assert {"empty.html", "latin.txt"} <= {hit["document_id"] for hit in hits}


@pytest.mark.drill
def test_files_that_vanish_or_grow(machine, tmp_path):
    """Between finding and reading them; a run after it has them as they are."""
    folder = tmp_path / "moving"
    folder.mkdir()
    for i in range(3_000):
        (folder / f"{i:04}.md").write_text(f"Page number {i} of many.")
    run = machine.start("m3-ingest", "run", folder, "--collection", "docs", "--json")
    made = machine.home / "tables/docs/collection.json"
    while run.poll() is None and not made.exists():
        time.sleep(0.05)
    for i in range(2_900, 2_950):
        (folder / f"{i:04}.md").unlink()
    for i in range(2_950, 3_000):
        with (folder / f"{i:04}.md").open("a") as file:
            file.write(" It has grown.")
    output, errors = run.communicate(timeout=240)
    assert run.returncode in {0, 1}, errors
    outcome = orjson.loads(output)
    assert outcome["failed"] <= 100
    assert outcome["written"] + outcome["failed"] == 3_000
    machine.run("m3-ingest", "run", folder, "--collection", "docs")
    machine.run("m3-ingest", "verify", "docs")
