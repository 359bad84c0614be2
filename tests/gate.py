"""A gate before a real node: so many requests for vectors pass, and the rest wait before it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

PATIENCE = 120
"""Seconds that a request waits at most."""


class Gate:
    """What a caller does while its node does not answer can be looked at, at any pace.

    Attributes:
        url: where the node seems to be.
        waiting: set once a request waits.
    """

    def __init__(self, node: str, passing: int) -> None:
        self.node = node
        self.url = ""
        self.waiting = threading.Event()
        self._passing = threading.Semaphore(passing)
        self._open = threading.Event()

    def open(self) -> None:
        """Let all pass from now on, those that wait too."""
        self._open.set()

    def enter(self) -> None:
        if not self._passing.acquire(blocking=False):
            self.waiting.set()
            self._open.wait(PATIENCE)


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.gate.enter()
        self._pass_on(body)

    def do_GET(self) -> None:
        self._pass_on(b"")

    def _pass_on(self, body: bytes) -> None:
        answer = httpx.request(
            self.command,
            f"{self.server.gate.node}{self.path}",
            content=body,
            headers=dict(self.headers),
            trust_env=False,
            timeout=PATIENCE,
        )
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name not in {"content-encoding", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    gate: Gate

    def handle_error(self, *_: object) -> None:
        """A caller that was ended hangs up."""


@contextmanager
def gate(node: str, *, passing: int) -> Iterator[Gate]:
    """For the length of a block; whoever waits at its end passes."""
    server = _Server(("127.0.0.1", 0), _Request)
    server.gate = Gate(node, passing)
    server.gate.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.gate
    finally:
        server.gate.open()
        server.shutdown()
        server.server_close()
