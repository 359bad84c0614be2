"""The shipped configurations of nginx and HAProxy, run by the real programs on free ports."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.processes import Running, running, wait_until

DEPLOY = Path(__file__).parents[1] / "deploy"
LISTEN = "listen 127.0.0.1:{} backlog=2048 so_keepalive=on;\n"
SERVER = "server {} max_fails=3 fail_timeout={};\n"
Changes: TypeAlias = Sequence[tuple[str, str]]
"""What is replaced in the configuration, to take a protection out; each must be there."""
_HELD: list[socket.socket] = []
"""Bound, and never listened on."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A balancer that runs.

    Attributes:
        folder: its configuration, this run's own copy.
        log: the access log so far.
        list_nodes: have it serve these `address:port` from now on.
        watch: where it tells how it is, if it does.
    """

    url: str
    folder: Path
    log: Callable[[], str]
    list_nodes: Callable[[Sequence[str]], object]
    watch: str = ""

    @property
    def address(self) -> str:
        """Its `address:port`."""
        return self.url.partition("://")[2]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, which the system gives to nobody else while this process lives.

    A program that is told of one may listen there, with SO_REUSEADDR as servers have it.
    """
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    if sys.platform == "linux":
        _HELD.extend(sockets)
    else:
        # Elsewhere a socket that does not listen keeps others from listening too.
        for one in sockets:
            one.close()
    return ports


def needs(program: str) -> str:
    """Its path; the test is skipped where it is not installed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@contextmanager
def nginx(
    folder: Path,
    nodes: Sequence[str],
    *,
    watched: bool = False,
    fail_timeout: str = "1s",
    changes: Changes = (),
    keys: str | None = None,
    days: int = 30,
) -> Iterator[Edge]:
    """deploy/nginx in front of nodes, for the length of a block.

    Args:
        watched: watch_nodes.py runs beside it.
        keys: lines of keys.conf; with them the edge speaks TLS.
        days: that its certificate lasts then.
    """
    program, (port,) = needs("nginx"), free_ports(1)
    conf, logs = folder / "conf", folder / "logs"
    shutil.copytree(DEPLOY / "nginx", conf)
    logs.mkdir()
    (conf / "listen.conf").write_text(LISTEN.format(port))
    listed, served = conf / "nodes.txt", conf / "nodes.conf"
    listed.write_text(_lines(nodes))
    served.write_text("".join(SERVER.format(node, fail_timeout) for node in nodes))
    if keys is not None:
        _replace([conf / "listen-tls.conf"], [("listen 7870", f"listen 127.0.0.1:{port}")])
        (conf / "listen-tls.conf").replace(conf / "listen.conf")
        (conf / "keys.conf").write_text(keys)
        _certify(conf / "certificate.key", conf / "certificate.crt", days)
    _replace([conf / "nginx.conf"], changes)
    command = [program, "-p", folder, "-c", "conf/nginx.conf", "-e", "logs/error.log"]
    with ExitStack() as stack:
        process = stack.enter_context(running([*command, "-g", "daemon off;"]))
        _until_listening(port, process)
        if watched:
            watch = [sys.executable, conf / "watch_nodes.py", listed, served]
            stack.enter_context(running([*watch, "--", *command, "-s", "reload"]))
        yield Edge(
            f"{'http' if keys is None else 'https'}://127.0.0.1:{port}",
            conf,
            (logs / "access.log").read_text,
            lambda nodes: listed.write_text(_lines(nodes)),
        )
        process.signal(signal.SIGTERM)


@contextmanager
def haproxy(
    folder: Path,
    nodes: Sequence[str],
    *,
    changes: Changes = (),
    keys: str | None = None,
    days: int = 30,
) -> Iterator[Edge]:
    """deploy/haproxy in front of nodes, as `nginx`."""
    program, (port,) = needs("haproxy"), free_ports(1)
    conf = folder / "conf"
    shutil.copytree(DEPLOY / "haproxy", conf)
    if keys is not None:
        _replace([conf / "listen-tls.cfg"], [("bind :", "bind 127.0.0.1:")])
        (conf / "listen-tls.cfg").replace(conf / "listen.cfg")
        (conf / "keys.lst").write_text(keys)
        # One file holds both for HAProxy.
        _certify(conf / "certificate.pem", conf / "certificate.crt", days)
        whole = (conf / "certificate.pem").read_text() + (conf / "certificate.crt").read_text()
        (conf / "certificate.pem").write_text(whole)
    _replace([conf / "listen.cfg"], [("127.0.0.1:7870", f"127.0.0.1:{port}")])
    _replace([conf / "haproxy.cfg", conf / "nodes.cfg"], changes)
    _serve(conf / "nodes.cfg", nodes)
    files = ["-f", "haproxy.cfg", "-f", "nodes.cfg", "-f", "listen.cfg"]
    with running([program, "-W", "-C", conf, *files]) as process:
        _until_listening(port, process)

        def list_nodes(nodes: Sequence[str]) -> None:
            _serve(conf / "nodes.cfg", nodes)
            process.signal(signal.SIGUSR2)

        scheme = "http" if keys is None else "https"
        yield Edge(f"{scheme}://127.0.0.1:{port}", conf, process.output, list_nodes)
        process.signal(signal.SIGTERM)


@contextmanager
def haproxy_inside(
    folder: Path, arguments: Sequence[str], *, nodes: str, resolver: str, changes: Changes = ()
) -> Iterator[Edge]:
    """deploy/haproxy as containers run it, on free ports of this machine.

    Args:
        arguments: what the container is given.
        nodes: a name and a port, which stand for all nodes.
        resolver: the name server, in place of /etc/resolv.conf's.
    """
    program, (port, watch) = needs("haproxy"), free_ports(2)
    conf = folder / "conf"
    shutil.copytree(DEPLOY / "haproxy", conf)
    moved = [("bind :7870", f"bind 127.0.0.1:{port}"), ("bind :7871", f"bind 127.0.0.1:{watch}")]
    _replace([conf / "listen-inside.cfg"], moved)
    named = [("parse-resolv-conf", f"nameserver test {resolver}")]
    _replace([conf / "haproxy.cfg"], [*named, *changes])
    given = [str(conf) if each == "/etc/edge" else each for each in arguments]
    with running([program, "-W", "-db", *given], {"EDGE_NODES": nodes}) as process:
        _until_listening(port, process)
        urls = [f"http://127.0.0.1:{each}" for each in (port, watch)]
        yield Edge(urls[0], conf, process.output, _fixed, urls[1])
        process.signal(signal.SIGTERM)


def _fixed(_: Sequence[str]) -> None:
    raise AssertionError("its nodes are those of the name")


def _serve(file: Path, nodes: Sequence[str]) -> None:
    kept = [line for line in file.read_text().splitlines() if not line.startswith("    server ")]
    servers = [f"    server node{i} {node}" for i, node in enumerate(nodes, 1)]
    file.write_text(_lines([*kept, *servers]))


def _replace(files: Sequence[Path], changes: Changes) -> None:
    for old, new in changes:
        texts = {file: file.read_text() for file in files}
        assert any(old in text for text in texts.values()), f"{old!r} is not in {files}"
        for file, text in texts.items():
            file.write_text(text.replace(old, new))


def _certify(key: Path, certificate: Path, days: int) -> None:
    """A key, and a certificate for 127.0.0.1 that it signed itself."""
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    kind += ["-days", str(days)]
    names = ["-subj", "/CN=edge", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", key, "-out", certificate]
    command = [needs("openssl"), "req", *kind, *names, *files]
    subprocess.run(command, check=True, capture_output=True)


def _until_listening(port: int, process: Running) -> None:
    def listening() -> str | None:
        with socket.socket() as probe:
            return "yes" if probe.connect_ex(("127.0.0.1", port)) == 0 else None

    wait_until(listening, process)


def _lines(nodes: Sequence[str]) -> str:
    return "".join(f"{node}\n" for node in nodes)
