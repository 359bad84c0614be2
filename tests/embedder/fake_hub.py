"""As much of the Hugging Face hub as fetching a model takes: over one folder, slow, counting."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson

MODEL = "somebody/some-model"
_COMMIT = "a" * 40
_PIECE = 2**20


@dataclass
class FakeHub:
    """A hub at `url` that has one model."""

    url: str = ""
    served: Counter[str] = field(default_factory=Counter[str])
    """Bytes sent, by file."""


def _entry(folder: Path, file: Path) -> dict[str, object]:
    name, size = str(file.relative_to(folder)), file.stat().st_size
    return {"type": "file", "path": name, "size": size, "oid": _digest(file)[:40]}


@cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def fake_hub(folder: Path, pause: float = 0.0) -> Iterator[FakeHub]:
    """Serve a checkpoint folder; `pause` seconds after each MiB."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            if self.path.startswith("/api/models/"):
                files = [file for file in folder.rglob("*") if file.is_file()]
                if "/tree/" in self.path:
                    self._json([_entry(folder, file) for file in files])
                    return
                listed = [{"rfilename": str(file.relative_to(folder))} for file in files]
                self._json({"id": MODEL, "sha": _COMMIT, "siblings": listed})
            else:
                self._answer(body=True)

        def _json(self, value: object) -> None:
            content = orjson.dumps(value)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _answer(self, *, body: bool) -> None:
            name = self.path.partition("/resolve/")[2].partition("/")[2].partition("?")[0]
            file = folder / name
            if not name or not file.is_file():
                self.send_error(404)
                return
            content = file.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", _COMMIT)
            self.send_header("ETag", f'"{_digest(file)}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            for start in range(0, len(content) if body else 0, _PIECE):
                piece = content[start : start + _PIECE]
                # Counted first: whoever has read the last piece may look at once.
                hub.served[name] += len(piece)
                self.wfile.write(piece)
                time.sleep(pause)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
