#!/usr/bin/env python3
"""Active checks for nginx, whose free edition has none, and nodes that come and go by name.

Asks every node for /readyz once a second, writes those that are ready as nginx's `server` lines,
and has nginx read them anew when they changed. Needs Python 3.11 and nothing else.

    watch_nodes.py NODES_TXT NODES_CONF -- nginx -p PREFIX -c conf/nginx.conf -s reload
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY = 1.0
PATIENCE = 1.0
"""Seconds a node has to say that it is ready. Its event loop never computes: this is long."""
FALL = 3
"""Checks in a row that a node fails before it gets nothing more."""
SERVER = "server {} max_fails=3 fail_timeout=1s;\n"
HEAD = "# Written by watch_nodes.py: change the list that it reads instead.\n"


@dataclass(slots=True)
class Node:
    """What is known of one address; nobody has asked it yet."""

    ready: bool = False
    failures: int = 0

    def hear(self, *, ready: bool) -> None:
        """One answer is enough to come in; `FALL` failures in a row lead out."""
        self.failures = 0 if ready else self.failures + 1
        self.ready = ready or (self.ready and self.failures < FALL)


class Watch:
    """The nodes of a list, and the file that nginx reads."""

    def __init__(self, listed: Path, written: Path, reload: Sequence[str]) -> None:
        self._listed = listed
        self._written = written
        self._reload = reload
        self._nodes: dict[str, Node] = {}
        self._served = ""
        """What nginx has taken; what it had before this watch began, nobody knows."""

    async def turn(self) -> None:
        """Ask all once, and tell nginx if that changed something."""
        try:
            addresses = await asyncio.to_thread(_resolved, self._listed.read_text())
        except (OSError, ValueError) as error:
            # The nodes known before are there all the same.
            print(f"{self._listed}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        else:
            self._nodes = {address: self._nodes.get(address, Node()) for address in addresses}
        answers = await asyncio.gather(*map(_ready, self._nodes))
        for node, ready in zip(self._nodes.values(), answers, strict=True):
            node.hear(ready=ready)
        # With nobody ready the last list stands: refusals of nodes say more than none at all.
        if servers := [address for address, node in self._nodes.items() if node.ready]:
            self._serve(servers)

    def _serve(self, servers: Iterable[str]) -> None:
        content = HEAD + "".join(SERVER.format(address) for address in sorted(servers))
        if content == self._served:
            return
        draft = self._written.with_suffix(".draft")
        draft.write_text(content)
        draft.replace(self._written)
        print(f"nodes: {', '.join(sorted(servers))}", flush=True)  # noqa: T201 - its log
        done = subprocess.run(self._reload, check=False)  # noqa: S603 - the operator's own command
        if done.returncode == 0:
            self._served = content


def _resolved(listed: str) -> list[str]:
    """`address:port` of all nodes. Raises OSError or ValueError for a line that has none."""
    lines = [line.partition("#")[0].strip() for line in listed.splitlines()]
    found: list[str] = []
    for line in filter(None, lines):
        name, _, port = line.rpartition(":")
        entries = socket.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM)
        for family, _, _, _, (address, number, *_) in entries:
            shown = f"[{address}]" if family == socket.AF_INET6 else address
            found.append(f"{shown}:{number}")
    return found


async def _ready(address: str) -> bool:
    """Whether /readyz answers 200 within `PATIENCE`."""
    host, _, port = address.rpartition(":")
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.write(b"GET /readyz HTTP/1.0\r\nHost: readyz\r\n\r\n")
            return b" 200 " in await reader.readline()
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        if writer is not None:
            writer.close()


async def watch(listed: Path, written: Path, reload: Sequence[str]) -> None:
    """Turn after turn, without end."""
    watched = Watch(listed, written, reload)
    while True:
        began = time.monotonic()
        await watched.turn()
        await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))


def main() -> None:
    """The program."""
    if len(sys.argv) < 5 or sys.argv[3] != "--":
        sys.exit(f"usage: {(__doc__ or '').strip().splitlines()[-1].strip()}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(watch(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:]))


if __name__ == "__main__":
    main()
