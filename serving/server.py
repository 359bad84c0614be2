"""Serving an app: a port that is checked first, an address that is safe, an end that drains."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from m3.errors import InvalidConfiguration
from m3.settings import Settings
from serving import garbage
from serving.application import lifecycle_of
from serving.connection import Connection
from serving.lifecycle import Lifecycle

_BACKLOG = 2048
_KEEP_ALIVE = 75
"""Seconds; more than a proxy keeps its end (nginx: 60), so that the server never hangs up first."""
GRACE = 90
"""Seconds that requests under way get after the last connection was accepted: more than a node's
queue may hold (`max_queue_seconds`)."""


def serve(
    app: FastAPI,
    *,
    host: str,
    port: int,
    settings: Settings,
    insecure: bool = False,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT; those under way are finished.

    The port is taken before the app starts anything. Port 0 takes a free one.

    Args:
        insecure: serve others than this machine without keys.
        on_ready: told the address (`http://host:port`) once connections are accepted.

    Raises:
        InvalidConfiguration: a port that is taken, a host that is not ours or not safe.
        M3Error: what the app's lifecycle failed with.
        KeyboardInterrupt: after SIGINT.
    """
    _check_exposure(host, settings, insecure=insecure)
    app.state.any_host = not _is_loopback(host)
    lifecycle = lifecycle_of(app)
    with _bound(host, port) as listener:
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
        server = _Server(config, lifecycle, settings.drain_seconds)
        if on_ready is not None:
            server.on_ready = lambda: on_ready(_address(host, listener))
        server.run(sockets=[listener])
    if lifecycle.failure is not None:
        raise lifecycle.failure
    if server.interrupted:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """uvicorn's server, which drains first, and ends with 0 where uvicorn re-raises SIGTERM."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, drain_seconds: float) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_seconds = drain_seconds
        self._stop_at: float | None = None
        self.interrupted = False
        self.on_ready: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        garbage.spare()
        if self.started and self._lifecycle.failure is None and self.on_ready is not None:
            self.on_ready()

    async def on_tick(self, counter: int) -> bool:
        due = self._stop_at is not None and time.monotonic() >= self._stop_at
        if due or self._lifecycle.failure is not None:
            self.should_exit = True
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        ours = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, self.handle_exit) for number in ours}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's form
        if self._stop_at is not None:
            # Asked twice: whoever asks does not want to wait.
            self.should_exit = self.force_exit = True
        self._lifecycle.draining = True
        self.interrupted = sig == signal.SIGINT
        wait = 0.0 if self.interrupted else self._drain_seconds
        self._stop_at = time.monotonic() + wait


def _check_exposure(host: str, settings: Settings, *, insecure: bool) -> None:
    if insecure or settings.api_keys_file or _is_loopback(host):
        return
    raise InvalidConfiguration(
        f"{host} can be reached from other machines, and no keys are configured: "
        "set M3_API_KEYS_FILE, use 127.0.0.1, or say --insecure"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _bound(host: str, port: int) -> Generator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise InvalidConfiguration(_why_not_bound(host, port, error)) from error
    with listener:
        yield listener


def _why_not_bound(host: str, port: int, error: Exception) -> str:
    match error:
        case socket.gaierror():
            return f"--host {host}: no such address: {error.strerror}"
        case OSError() if error.errno == errno.EADDRINUSE:
            return (
                f"port {port} on {host} is taken: stop what uses it, "
                "or choose another with --port (0 takes a free one)"
            )
        case PermissionError():
            return f"port {port} needs rights this user lacks: choose one above 1023 with --port"
        case _:
            return f"cannot listen on {host} port {port}: {error}"


def _address(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"
