"""`m3-ingest` as its tests call it, and the documents they give it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3.settings import load_settings
from m3.types import DocumentKey
from store.opening import open_store
from tests.inside import inside
from tests.processes import COMMANDS

SAMPLE = Path(__file__).parents[2] / "samples" / "xquad-en" / "corpus.jsonl"


class Shell:
    """`m3-ingest` in a state directory, with a node."""

    def __init__(self, home: Path, node: str = "", **settings: str) -> None:
        self.home = home
        self.environment: Mapping[str, str] = {
            **os.environ,
            "M3_HOME": str(home),
            **({"M3_EMBEDDER_URL": node} if node else {}),
            **settings,
        }

    def __call__(
        self, *arguments: object, expect: int = 0, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """The command in this process, which is quicker by its imports."""
        environment = {**self.environment, **settings}
        return checked(inside("m3-ingest", *arguments, environment=environment), expect)

    def process(
        self, *arguments: object, expect: int = 0, stdin: bytes = b"", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """The command as installed, in a process of its own."""
        done = subprocess.run(
            [COMMANDS / "m3-ingest", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            env={**self.environment, **settings},
            timeout=240,
            check=False,
        )
        said = (done.stdout.decode(), done.stderr.decode())
        return checked(subprocess.CompletedProcess(done.args, done.returncode, *said), expect)

    def said(self, *arguments: object, expect: int = 0, **settings: str) -> str:
        """What it prints, or the line that it refuses with."""
        done = self(*arguments, expect=expect, **settings)
        if done.stdout:
            return done.stdout
        return done.stderr.strip().rpartition("\n")[2].removeprefix("error: ")

    def report(self, *arguments: object, expect: int = 0, **settings: str) -> dict[str, Any]:
        return json.loads(self("run", *arguments, "--json", expect=expect, **settings).stdout)

    def status(self, name: str, **settings: str) -> dict[str, Any]:
        return json.loads(self("status", name, "--json", **settings).stdout)


def checked(
    done: subprocess.CompletedProcess[str], expect: int
) -> subprocess.CompletedProcess[str]:
    """It ended as expected, and not as a bug does."""
    assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def jsonl(path: Path, *records: Any) -> Path:
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def doc(id: str, text: str = "A text about cats.") -> dict[str, Any]:
    return {"_id": id, "text": text}


def letters(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(report["dead_letters"]).read_text().splitlines()]


def stored(shell: Shell, name: str, key: DocumentKey) -> tuple[str, Any, list[str]] | None:
    """A document as the store has it: title, metadata and the texts of its chunks."""
    store = open_store(load_settings(home=shell.home))
    try:
        found = store.open(name).document(key)
    finally:
        store.close()
    return found and (found.title, found.metadata, [chunk.text for chunk in found.chunks])
