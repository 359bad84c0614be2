"""The notebooks run from end to end on one machine: a node, a search API, a part of the sample."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from admin import collections
from commands.ingest.switching import Recut, run_rebuild
from m3.errors import InvalidInput
from m3.settings import load_settings
from store.index.engine import Engine
from tests.processes import COMMANDS, server

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples/xquad-en/corpus.jsonl"
COLLECTION = "xquad-en"
DOCUMENTS = 60
"""Of the sample: enough to show, quick to embed."""
UNCONFIRMED = "nothing was done"

PICTURES = {
    "1-collections": 0,
    "2-query": 4,
    "3-quality": 3,
    "4-capacity": 4,
    "5-codecs": 3,
    "6-fleet": 3,
}
SMALLER = {
    "3-quality": "QUERIES = 20",
    "5-codecs": "DOCUMENTS, QUERIES, NODES = 30, 20, 2 * settings.embedder_url",
    "6-fleet": 'SECONDS, SEARCH_URL = 2, "{search}"',
}


@dataclass(frozen=True)
class Machine:
    """A state directory with the sample in it, a node, and a search API."""

    home: Path
    node: str
    search: str

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.home, self.node)


def environment(home: Path, node: str) -> dict[str, str]:
    """Of kernels and commands; IPython keeps its history in the state directory."""
    own = {"M3_HOME": str(home), "M3_EMBEDDER_URL": node, "IPYTHONDIR": str(home / "ipython")}
    return {**os.environ, **own}


@pytest.fixture(scope="module")
def machine(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    home = tmp_path_factory.mktemp("notebooks")
    part = home / "part.jsonl"
    part.write_text("".join(SAMPLE.read_text("utf-8").splitlines(keepends=True)[:DOCUMENTS]))
    env = environment(home, node)
    run = [COMMANDS / "m3-ingest", "run", part, "--collection", COLLECTION]
    try:
        subprocess.run(run, env=env, check=True, capture_output=True, timeout=240)
        with server([COMMANDS / "m3-search", "serve", "--port", "0"], env, seconds=120) as (at, _):
            yield Machine(home, node, at)
    finally:
        Engine.of(load_settings(home=home)).stop()


def executed(name: str, machine: Machine) -> Any:
    """The notebook with its outputs; smaller parameters come after its own."""
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", nbformat.NO_CONVERT)
    if name in SMALLER:
        tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
        place = next(i for i, found in enumerate(tags) if "parameters" in found)
        smaller = SMALLER[name].format(search=machine.search)
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(smaller))
    resources = {"metadata": {"path": str(ROOT / "notebooks")}}
    client = NotebookClient(
        notebook,
        timeout=240,
        startup_timeout=120,
        # Beyond it nbclient goes on without the outputs.
        iopub_timeout=120,
        kernel_name="python3",
        resources=resources,
    )
    return client.execute(env=machine.environment)


def shown(notebook: Any) -> list[str]:
    """Of every code cell's last value, the HTML or else the text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output["data"] for output in outputs if output.output_type == "execute_result"]
    return [each.get("text/html", each["text/plain"]) for each in data]


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_runs(name: str, machine: Machine) -> None:
    found = shown(executed(name, machine))
    pictures = [html for html in found if "<img" in html]
    assert len(pictures) == PICTURES[name]
    assert all(
        html.count("data:image/png;base64,iVBOR") == 2 and "m3-light" in html and "m3-dark" in html
        for html in pictures
    )
    assert any("<table>" in html for html in found)
    if name == "1-collections":
        assert sum(UNCONFIRMED in html for html in found) == 3
        assert any("stand-in" in html for html in found)
    if name == "5-codecs":
        assert any("tokens a second" in html and "+0.0000" in html for html in found)
    if name == "3-quality":
        assert any(word in html for html in found for word in ("noise", "better", "worse"))


def test_nothing_is_done_to_a_collection_without_its_name(machine: Machine) -> None:
    """Promote, roll back and delete, each first without a confirmation."""
    settings = load_settings(home=machine.home, embedder_url=machine.node)
    few = machine.home / "few.jsonl"
    few.write_text("".join(SAMPLE.read_text("utf-8").splitlines(keepends=True)[:2]))
    run = [COMMANDS / "m3-ingest", "run", few, "--collection", "small"]
    subprocess.run(run, env=machine.environment, check=True, capture_output=True, timeout=240)
    with pytest.raises(InvalidInput, match="nothing was built"):
        asyncio.run(collections.promote(settings, "small", confirm="small"))
    asyncio.run(run_rebuild("small", settings, Recut(max_tokens=100)))

    def serves() -> int:
        with collections.opened(settings) as store:
            return store.generations("small").current

    assert UNCONFIRMED in asyncio.run(collections.promote(settings, "small", confirm="yes"))
    assert serves() == 1
    asyncio.run(collections.promote(settings, "small", confirm="small"))
    assert serves() == 2
    assert UNCONFIRMED in asyncio.run(collections.roll_back(settings, "small", confirm=""))
    assert serves() == 2
    asyncio.run(collections.roll_back(settings, "small", confirm="small"))
    assert serves() == 1
    assert UNCONFIRMED in collections.delete(settings, "small", confirm=COLLECTION)
    assert serves() == 1
    assert collections.delete(settings, "small", confirm="small") == "small is gone"
    with collections.opened(settings) as store:
        assert store.names() == [COLLECTION]
