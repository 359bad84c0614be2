"""A state directory, and `m3-ingest` in it with a real node."""

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
