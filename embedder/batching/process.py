"""The server's end of a worker process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from embedder.batching import relay
from embedder.batching.runner import Hello, Listener, Took
from embedder.batching.wire import Head, pack, read, receive, unpack_columns
from embedder.encoders.encoder import Encoded
from embedder.encoders.loading import EncoderName
from embedder.metrics import NodeMetrics
from embedder.model.tokens import SpecialTokens
from m3.errors import M3Error, WorkerLost, kind_of
from m3.settings import Settings
from m3.types import Codec, Kind, ModelInfo, Output

WORKER = (sys.executable, "-m", "embedder.batching.worker")
_SECRETS = {"api_key", "milvus_token"}
_ENDS_WITHIN = 5.0
"""Seconds a worker has to end after its sockets were closed, and again after it was killed."""
_LOADS = 10
"""Times what it took to load that a worker lives, if it is replaced for memory: where any worker
takes more than it should, or others fill its GPU, each would else have one batch."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What a terminal or a supervisor sends the whole group: the server drains, and needs workers."""
_log = structlog.stdlib.get_logger("m3.embedder")


@dataclass(frozen=True, slots=True)
class Order:
    """What every worker of a node is started with.

    Attributes:
        command: of the process; the numbers of its sockets are added.
    """

    settings: Settings
    encoder: EncoderName = "packed"
    command: tuple[str, ...] = WORKER

    def wears_out(self, texts: int, used: int) -> bool:
        """Whether a worker that computed so many is to be replaced; `used` bytes of its device."""
        most, mib = self.settings.recycle_texts, self.settings.recycle_mib
        return (most is not None and texts >= most) or (mib is not None and used >= mib * 2**20)

    def head(self, place: int) -> Head:
        """The first frame, for the worker on the device of that place."""
        return {
            "settings": self.settings.model_dump(mode="json", exclude=_SECRETS),
            "encoder": self.encoder,
            "place": place,
            "parent": os.getpid(),
        }


class WorkerProcess:
    """A `Runner` in a process of its own; `start` makes one.

    Attributes:
        hello: what it says once it is warm and attached to the listener; or raises why it
            cannot be.
        ended: how the process ended.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        order: Order,
        control: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        listener: Listener,
        metrics: NodeMetrics,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._order = order
        self._texts = 0
        self._began = self._warm = time.monotonic()
        self._reader, self._writer = control
        self._listener = listener
        self._metrics = metrics
        self._listening = asyncio.create_task(self._listen())
        self.hello: asyncio.Future[Hello] = self._loop.create_future()
        self.ended: asyncio.Future[str] = self._loop.create_future()

    @classmethod
    async def start(
        cls, order: Order, place: int, listener: Listener, metrics: NodeMetrics
    ) -> WorkerProcess:
        """A process that has begun to load."""
        control, its_control = socket.socketpair()
        results, its_results = socket.socketpair()
        with its_control, its_results:
            process = _spawn(order.command, its_control, its_results)
        streams = await asyncio.open_unix_connection(sock=control)
        worker = cls(process, order, streams, listener, metrics)
        worker._write(order.head(place))
        threading.Thread(target=worker._receive, args=(results,), daemon=True).start()
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def capacity(self) -> int:
        """See `Runner.capacity`."""
        return self.hello.result().capacity

    def run(
        self,
        number: int,
        lane: Kind,
        ids: Sequence[bytes],
        outputs: Collection[Output],
        codec: Codec,
    ) -> None:
        """See `Runner.run`."""
        head: Head = {
            "event": "batch",
            "batch": number,
            "lane": lane,
            "lengths": [len(text) // 4 for text in ids],
            "outputs": sorted(outputs),
            "codec": codec.value,
        }
        self._write(head, b"".join(ids))

    def drop(self, number: int) -> None:
        """See `Runner.drop`."""
        self._write({"event": "drop", "batch": number})

    def close(self) -> None:
        """See `Runner.close`."""
        self._writer.close()

    def kill(self) -> None:
        """See `Runner.kill`."""
        self._process.kill()

    async def stop(self) -> None:
        """End it, and wait for its end, but not for ever."""
        for end in (self.close, self.kill):
            end()
            done, _ = await asyncio.wait([self.ended], timeout=_ENDS_WITHIN)
            if done:
                return
        _log.error("a worker does not end", pid=self.pid)

    def _write(self, head: Head, body: bytes = b"") -> None:
        if not self._writer.is_closing():
            self._writer.writelines(pack(head, body))

    async def _listen(self) -> None:
        """Small frames, on the event loop: the next batch waits for them."""
        while (frame := await read(self._reader)) is not None:
            head, _ = frame
            match head["event"]:
                case "free":
                    self._listener.free(self, head["batch"], head["interruptions"])
                case "dropped":
                    self._listener.dropped(self, head["batch"])
                case "failed":
                    self._listener.failed(self, head["batch"], _error(head))
                case _:
                    relay.write(head)

    def _receive(self, results: socket.socket) -> None:
        """Large frames, in a thread of their own; its end is the process's."""
        with results:
            while (frame := receive(results)) is not None:
                head, body = frame
                match head["event"]:
                    case "done":
                        self._post(self._done, head, self._encoded(head, body))
                    case "hello":
                        self._post(self._greet, _hello(head, body))
                    case _:
                        self._post(self._refuse, _error(head))
        self._process.kill()
        self._post(self._over, _told(self._process.wait()))

    def _post(self, tell: Callable[..., None], *what: Any) -> None:
        # Nobody listens any more where the loop is closed.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(tell, *what)

    def _encoded(self, head: Head, body: memoryview) -> Encoded:
        info = self.hello.result().info
        columns = unpack_columns(
            head["columns"],
            body,
            Codec(head["codec"]),
            model=info.id,
            fingerprint=info.fingerprint,
        )
        return Encoded(columns, frozenset(head["unfit"]), head["padding"])

    def _done(self, head: Head, encoded: Encoded) -> None:
        self._observe_memory(head["memory"])
        self._texts += len(encoded.batch)
        used = head["memory"][0] if self._was_worth_its_load() else 0
        if self._order.wears_out(self._texts, used):
            self._listener.retire(self)
        self._listener.done(self, head["batch"], encoded, Took(*head["took"]))

    def _was_worth_its_load(self) -> bool:
        return time.monotonic() - self._warm >= _LOADS * (self._warm - self._began)

    def _observe_memory(self, memory: tuple[int, int]) -> None:
        device = self.hello.result().device
        self._metrics.memory_used.labels(device).set(memory[0])
        self._metrics.memory_total.labels(device).set(memory[1])

    def _greet(self, hello: Hello) -> None:
        self._warm = time.monotonic()
        self.hello.set_result(hello)
        self._listener.attach(self, hello.rate)

    def _refuse(self, error: M3Error) -> None:
        if not self.hello.done():
            self.hello.set_exception(error)

    def _over(self, how: str) -> None:
        self._writer.close()
        self._listening.cancel()
        self._refuse(
            WorkerLost(f"the worker {how} while it loaded the model: is there memory enough?")
        )
        self._listener.lost(self, how)
        self.ended.set_result(how)


def _spawn(command: Sequence[str], *sockets: socket.socket) -> subprocess.Popen[bytes]:
    """Start a process that knows its sockets by number, and never hears `_SIGNALS`."""
    numbers = [sock.fileno() for sock in sockets]
    # A mask is inherited, so that there is no moment in which a signal could end the worker.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        return subprocess.Popen(  # noqa: S603 - a command of ours
            [*command, *map(str, numbers)], stdin=subprocess.DEVNULL, pass_fds=numbers
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hello(head: Head, body: memoryview) -> Hello:
    return Hello(
        info=ModelInfo(**head["info"]),
        engine=head["engine"],
        special=SpecialTokens(*head["special"]),
        tokenizer=str(body, "utf-8"),
        capacity=head["capacity"],
        device=head["device"],
        devices=head["devices"],
        rate=head["rate"],
    )


def _error(head: Head) -> M3Error:
    return (kind_of(head["code"]) or M3Error)(head["message"])


def _told(status: int) -> str:
    """A process's exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"
