"""A state directory, `m3-ingest` in it with a real node, and a small judged collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from m3.settings import load_settings
from store.index.engine import Engine
from tests.commands.shell import SAMPLE, Shell


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    Engine.of(load_settings(home=home)).stop()


@pytest.fixture
def shell(home: Path, node: str) -> Shell:
    return Shell(home, node)


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """A part of the sample, enough for several requests."""
    path = tmp_path / "some.jsonl"
    path.write_bytes(b"".join(SAMPLE.read_bytes().splitlines(keepends=True)[:60]))
    return path


@pytest.fixture(scope="module")
def environment(home: Path, node: str) -> dict[str, str]:
    """Settings of the state directory and the node."""
    return {"M3_HOME": str(home), "M3_EMBEDDER_URL": node}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents, one of them without text; two judged queries."""
    folder = tmp_path / "tiny set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "Bread", "text": "Bakers bake bread of flour and water."}\n'
        '{"_id": "2", "title": "Harbour", "text": "Boats lie in the harbour."}\n'
        '{"_id": "3", "title": "", "text": ""}\n'
    )
    (folder / "queries.jsonl").write_text(
        '{"_id": "a", "text": "who bakes bread"}\n{"_id": "b", "text": "boats in the harbour"}\n'
    )
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\nb\t2\t1\n")
    return folder
