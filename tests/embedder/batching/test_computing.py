"""A worker's two threads: what interrupts a batch, what gives it up, what fails it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from embedder.batching.computing import Computer, Inbox, Task
from embedder.encoders.encoder import Launched
from m3.errors import NotComputed
from m3.types import OUTPUTS, Codec, Kind

Step = Callable[[Callable[[], None]], None]


def out_of_memory() -> Any:
    raise RuntimeError("out of memory")


class ScriptedEncoder:
    """Each text's launch does what its script says; its result is a failure."""

    def __init__(self) -> None:
        self.scripts: dict[int, Step] = {}

    def launch(self, token_ids: Any, outputs: Any, codec: Any, pause: Any) -> Launched:
        self.scripts[token_ids[0][0]](pause)
        return out_of_memory


class Worker:
    """A computer in a thread of its own, and what it tells."""

    def __init__(self) -> None:
        self.encoder = ScriptedEncoder()
        self.inbox = Inbox()
        self.examined = 0
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        encoder: Any = self.encoder
        self._computer = Computer(
            encoder,
            self.inbox,
            tell=self.told.put,
            answer=self.told.put,
            memory=lambda: (0, 0),
            examine=self._examine,
        )
        threading.Thread(target=self._computer.compute, daemon=True).start()

    def finish(self) -> None:
        """Have results written, which else are not."""
        threading.Thread(target=self._computer.finish, daemon=True).start()

    def put(self, number: int, lane: Kind, script: Step) -> None:
        self.encoder.scripts[number] = script
        self.inbox.put(Task(number, lane, [[number]], OUTPUTS, Codec.FP32))

    def next_told(self) -> tuple[str, int]:
        head = self.told.get(timeout=60)
        return head["event"], head["batch"]

    def _examine(self) -> None:
        self.examined += 1


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_passage_that_is_dropped_during_a_query_is_given_up_after_it(worker):
    def query(_: Callable[[], None]) -> None:
        worker.inbox.drop(10)

    def passage(pause: Callable[[], None]) -> None:
        worker.put(11, "query", query)
        pause()
        pause()

    worker.put(10, "passage", passage)
    assert [worker.next_told() for _ in range(2)] == [("free", 11), ("dropped", 10)]


def test_a_batch_that_is_dropped_before_its_turn_is_not_begun(worker):
    def passage(pause: Callable[[], None]) -> None:
        worker.put(11, "query", lambda _: pytest.fail("nobody waits for it"))
        worker.inbox.drop(11)
        pause()

    worker.put(10, "passage", passage)
    assert [worker.next_told() for _ in range(2)] == [("dropped", 11), ("free", 10)]


def test_a_batch_that_is_dropped_too_late_takes_no_other_with_it(worker):
    for number in (10, 11):
        worker.put(number, "passage", lambda pause: pause())
        assert worker.next_told() == ("free", number)
        worker.inbox.drop(number)


@pytest.mark.parametrize("events", [["failed"], ["free", "failed"]])
def test_a_failure_of_launch_or_result_has_the_device_examined(worker, events):
    fails_at_once = events == ["failed"]
    worker.finish()
    worker.put(10, "passage", lambda _: out_of_memory() if fails_at_once else None)
    assert [worker.next_told() for _ in events] == [(event, 10) for event in events]
    assert worker.examined == 1


def test_an_error_that_says_what_it_is_has_no_device_examined(worker):
    def refuse(_: Callable[[], None]) -> None:
        raise NotComputed("a text that this encoder does not compute")

    worker.put(10, "passage", refuse)
    assert worker.next_told() == ("failed", 10)
    assert not worker.examined
