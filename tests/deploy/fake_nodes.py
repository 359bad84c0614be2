"""Nodes of a few lines, that answer as a test says: what a balancer makes of them is the test."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Request"], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that reached a node; `connection` tells those of one connection from others'."""

    path: str
    body: bytes
    headers: Message
    connection: object


class Request(BaseHTTPRequestHandler):
    """A request at a fake node, which its test's function answers."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._serve()

    def do_GET(self) -> None:
        self.body = b""
        if self.path == "/readyz":
            self.server.node.probes += 1
            self.reply(200 if self.server.node.ready else 503)
            return
        self._serve()

    def _serve(self) -> None:
        asked = Asked(self.path, self.body, self.headers, self.client_address)
        self.server.node.requests.append(asked)
        self.server.node.answer(self)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """End the connection, whatever was written on it."""
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    node: FakeNode

    def handle_error(self, *_: object) -> None:
        """A caller that hung up is no news; all else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*_)


def fine(request: Request) -> None:
    request.reply(200, b"fine")


@dataclass
class FakeNode:
    """What it answers with, and what it was asked; `probes` counts what asked for /readyz."""

    answer: Answer = fine
    ready: bool = True
    host: str = "127.0.0.1"
    address: str = ""
    probes: int = 0
    requests: list[Asked] = field(default_factory=list)


@contextmanager
def fake_nodes(*nodes: FakeNode, port: int = 0) -> Iterator[list[str]]:
    """Their addresses (`127.0.0.1:port`), for the length of a block; port 0 takes free ones."""
    servers = [_Server((node.host, port), Request) for node in nodes]
    for node, server in zip(nodes, servers, strict=True):
        server.node = node
        node.address = f"{node.host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield [node.address for node in nodes]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
