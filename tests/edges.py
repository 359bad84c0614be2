"""The shipped configurations of nginx and HAProxy, run by the real programs on free ports."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import Running, running, wait_until

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
LISTEN = "listen 127.0.0.1:{} backlog=2048 so_keepalive=on;\n"
SERVER = "server {} max_fails=3 fail_timeout={};\n"


@dataclass(frozen=True, slots=True)
class Edge:
    """A balancer that runs.

    Attributes:
        folder: its configuration, this run's own copy.
        program: that reads it.
    """

    url: str
    folder: Path
    program: Running
    kind: str

    def list_nodes(self, nodes: Sequence[str]) -> None:
        """Other nodes, for the program that watches the list."""
        (self.folder / "nodes.txt").write_text(_lines(nodes))

    def log(self) -> str:
        return (self.folder.parent / "logs/access.log").read_text()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def needs(program: str) -> str:
    """Its path; the test is skipped where it is not installed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def nginx_prefix(
    folder: Path,
    nodes: Sequence[str],
    *,
    port: int,
    fail_timeout: str = "1s",
    changes: Sequence[tuple[str, str]] = (),
    keys: str | None = None,
) -> Path:
    """A copy of deploy/nginx with its own port and nodes.

    Args:
        nodes: `address:port` each.
        changes: what is replaced in nginx.conf, to take a protection out; each must be there.
        keys: lines of keys.conf; with them the edge speaks TLS.
    """
    conf = folder / "conf"
    shutil.copytree(DEPLOY / "nginx", conf)
    (folder / "logs").mkdir()
    # The workers' user is another than root, and temporary folders of tests are closed to it.
    folder.chmod(0o755)
    (conf / "listen.conf").write_text(LISTEN.format(port))
    if keys is not None:
        _secure(conf, port, keys)
    (conf / "nodes.txt").write_text(_lines(nodes))
    (conf / "nodes.conf").write_text("".join(SERVER.format(node, fail_timeout) for node in nodes))
    text = (conf / "nginx.conf").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (conf / "nginx.conf").write_text(text)
    return conf


@contextmanager
def nginx(
    folder: Path,
    nodes: Sequence[str],
    *,
    watched: bool = False,
    fail_timeout: str = "1s",
    changes: Sequence[tuple[str, str]] = (),
    keys: str | None = None,
) -> Iterator[Edge]:
    """nginx in front of nodes, for the length of a block; `watched`: by watch_nodes.py too."""
    (port,) = free_ports(1)
    program = needs("nginx")
    conf = nginx_prefix(
        folder, nodes, port=port, fail_timeout=fail_timeout, changes=changes, keys=keys
    )
    command = [program, "-p", folder, "-c", "conf/nginx.conf", "-e", "logs/error.log"]
    with ExitStack() as stack:
        process = stack.enter_context(running([*command, "-g", "daemon off;"]))
        _until_listening(port, process)
        if watched:
            lists = [conf / "nodes.txt", conf / "nodes.conf"]
            watch = [
                sys.executable,
                conf / "watch_nodes.py",
                *lists,
                "--",
                *command,
                "-s",
                "reload",
            ]
            stack.enter_context(running(watch))
        scheme = "http" if keys is None else "https"
        yield Edge(f"{scheme}://127.0.0.1:{port}", conf, process, "nginx")
        process.signal(signal.SIGTERM)


def _secure(conf: Path, port: int, keys: str) -> None:
    """listen-tls.conf in place of listen.conf, with a certificate of its own."""
    secure = (conf / "listen-tls.conf").read_text()
    assert "listen 7870 " in secure
    secure = secure.replace("listen 7870 ", f"listen 127.0.0.1:{port} ")
    (conf / "listen.conf").write_text(secure)
    (conf / "keys.conf").write_text(keys)
    names = ["-subj", "/CN=edge", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", conf / "certificate.key", "-out", conf / "certificate.pem"]
    subprocess.run(
        [needs("openssl"), "req", *kind, *names, *files], check=True, capture_output=True
    )


def _until_listening(port: int, process: Running) -> None:
    def listening() -> str | None:
        with socket.socket() as probe:
            return "yes" if probe.connect_ex(("127.0.0.1", port)) == 0 else None

    wait_until(listening, process, seconds=10)


def _lines(nodes: Sequence[str]) -> str:
    return "".join(f"{node}\n" for node in nodes)
