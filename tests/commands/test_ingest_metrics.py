"""`m3-ingest metrics`: a store in memory behind the command, dead letters on disk."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from commands.ingest import app, metrics
from ingest.deadletters import DeadLetters, Origin
from ingest.sources import Reject
from ingest.sources.base import Place
from m3.errors import InvalidInput, StorageFull, Unreachable
from store.memory import MemoryStore
from tests.edges import free_ports
from tests.store.examples import SPEC, document_rows


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with two dead letters, and a store with one collection of two documents."""
    for name in ("one", "two"):
        with DeadLetters(tmp_path, "my-docs") as letters:
            letters.add(Reject(Place("a.jsonl", 1), f"{name} is broken"), Origin())
    store = MemoryStore()
    rng = np.random.default_rng(7)
    store.create("docs", SPEC).replace([document_rows(rng, name, chunks=2) for name in "ab"])

    @contextmanager
    def opened(_: Path | None):
        yield store

    monkeypatch.setattr(metrics, "opened_store", opened)
    return tmp_path


def run(home: Path, *arguments: object) -> str:
    done = CliRunner().invoke(app, ["metrics", "--home", str(home), *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


def values(text: str) -> dict[tuple[str, str | None], float]:
    return {
        (sample.name.removeprefix("m3_collection_"), sample.labels.get("collection")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_collections_hold_and_what_failed_is_told(home):
    found = values(run(home))
    assert (found["documents", "docs"], found["chunks", "docs"]) == (2, 4)
    assert (found["dead_letters", "docs"], found["dead_letters", "my-docs"]) == (0, 2)
    assert ("missing_rows", "docs") not in found
    assert values(run(home, "--verify"))["missing_rows", "docs"] == 0


def test_a_file_is_written(home, tmp_path):
    file = tmp_path / "m3.prom"
    assert run(home, "--to", file) == ""
    assert values(file.read_text())["documents", "docs"] == 2
    with pytest.raises(StorageFull, match="cannot write"):
        run(home, "--to", tmp_path / "missing" / "m3.prom")


def test_a_pushgateway_gets_them_whole(home):
    got: list[tuple[str, str, bytes]] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.command, self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert run(home, "--push", f"http://127.0.0.1:{server.server_port}") == ""
    [(_, path, body)] = got
    assert path == "/metrics/job/m3-checks"
    assert values(body.decode())["dead_letters", "my-docs"] == 2
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(Unreachable, match="does not take metrics"):
        run(home, "--push", address)
    with pytest.raises(InvalidInput, match="choose one"):
        run(home, "--push", address, "--to", "x")
