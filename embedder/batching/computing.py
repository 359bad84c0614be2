"""Inside a worker: one thread computes, one writes results, and neither waits for the other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from embedder.batching.wire import Buffer, Head, pack_columns
from embedder.encoders.encoder import Encoder, Launched
from m3.errors import M3Error, NotComputed
from m3.types import Codec, Kind, Output

Send = Callable[..., None]
"""Writes a frame: its head, then the buffers of its body."""
_log = structlog.stdlib.get_logger("m3.embedder")


@dataclass(frozen=True, slots=True)
class Task:
    """A batch as a worker sees it."""

    number: int
    lane: Kind
    token_ids: Sequence[Sequence[int]]
    outputs: Sequence[Output]
    codec: Codec


@dataclass(frozen=True, slots=True)
class _Launch:
    """A task whose result follows; `seconds` are the launch's own."""

    task: Task
    result: Launched
    began: float
    seconds: float


class Dropped(Exception):
    """Nobody waits for the batch."""


class Inbox:
    """What is to be done: a task of each lane, and the numbers of those that are still wanted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tasks: dict[Kind, Task] = {}
        self._wanted: set[int] = set()

    def put(self, task: Task) -> None:
        with self._changed:
            self._tasks[task.lane] = task
            self._wanted.add(task.number)
            self._changed.notify()

    def drop(self, number: int) -> None:
        """Nobody waits for that task any more; it may be done already."""
        self._wanted.discard(number)

    def next(self) -> Task:
        """Wait for a task; a query's goes first."""
        with self._changed:
            self._changed.wait_for(lambda: self._tasks)
            return self._tasks.pop("query" if "query" in self._tasks else "passage")

    def query(self) -> Task | None:
        """A query's task, if one waits."""
        # Looked at without the lock, as most looks find nothing.
        if "query" not in self._tasks:
            return None
        with self._changed:
            return self._tasks.pop("query", None)

    def check(self, task: Task) -> None:
        """Raises Dropped if nobody waits for `task` any more."""
        if task.number not in self._wanted:
            raise Dropped

    def forget(self, task: Task) -> None:
        """It is computed: it cannot be dropped any more."""
        self._wanted.discard(task.number)


class Computer:
    """Runs an encoder on what comes in. `tell` writes small frames, `answer` large ones.

    `examine` is called when the encoder fails, and ends the process if it would fail for ever.
    """

    def __init__(
        self,
        encoder: Encoder,
        inbox: Inbox,
        *,
        tell: Send,
        answer: Send,
        memory: Callable[[], tuple[int, int]],
        examine: Callable[[], None],
    ) -> None:
        self._encoder = encoder
        self._inbox = inbox
        self._tell = tell
        self._answer = answer
        self._memory = memory
        self._examine = examine
        self._launched: queue.SimpleQueue[_Launch] = queue.SimpleQueue()
        self._last_end = 0.0

    def compute(self) -> None:
        """Task after task, for ever, in the calling thread."""
        while True:
            self._compute(self._inbox.next())

    def finish(self) -> None:
        """Result after result, for ever, in the calling thread."""
        while True:
            launch = self._launched.get()
            try:
                self._finish(launch)
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001 - the thread must outlive any batch
                self._fail(launch.task, error)

    def _compute(self, task: Task) -> float:
        """Launch, and tell that the next may come. Returns the seconds it took."""
        began, held_up, interruptions = time.perf_counter(), 0.0, 0

        def pause() -> None:
            nonlocal held_up, interruptions
            self._inbox.check(task)
            query = self._inbox.query() if task.lane == "passage" else None
            if query is not None:
                interruptions += 1
                held_up += self._compute(query)

        try:
            self._inbox.check(task)
            launched = self._encoder.launch(task.token_ids, task.outputs, task.codec, pause)
        except Dropped:
            self._tell({"event": "dropped", "batch": task.number})
        except Exception as error:  # noqa: BLE001 - the thread must outlive any batch
            self._fail(task, error)
        else:
            seconds = time.perf_counter() - began - held_up
            self._tell(
                {
                    "event": "free",
                    "batch": task.number,
                    "interruptions": interruptions,
                }
            )
            self._launched.put(_Launch(task, launched, began, seconds))
        self._inbox.forget(task)
        return time.perf_counter() - began

    def _finish(self, launch: _Launch) -> None:
        task, began = launch.task, time.perf_counter()
        encoded = launch.result()
        columns, body = pack_columns(encoded.batch)
        end = time.perf_counter()
        # A GPU computes after the launch, one batch after the other; a CPU does in it.
        computing = max(launch.seconds, end - max(launch.began, self._last_end))
        self._last_end = end
        used, total = self._memory()
        head: Head = {
            "event": "done",
            "batch": task.number,
            "columns": columns,
            "codec": encoded.batch.codec.value,
            "unfit": sorted(encoded.unfit),
            "padding": encoded.padding,
            "took": [computing, end - began],
            "memory": [used, total],
        }
        buffers: list[Buffer] = body
        self._answer(head, *buffers)

    def _fail(self, task: Task, error: Exception) -> None:
        _log.warning("a batch failed", exc_info=error, texts=len(task.token_ids))
        if not isinstance(error, M3Error):
            self._examine()
            error = NotComputed(f"the model failed: {error!r}")
        self._tell(
            {
                "event": "failed",
                "batch": task.number,
                "code": error.code,
                "message": error.message,
            }
        )
