"""`m3-ingest` as it is, in a process that kills something when its log reaches a point.

Run as `python -m tests.drills.launcher ARGUMENTS…`, with in the environment:

DRILL_KILL     `POINT COUNT DELAY TARGET`: the kill comes DELAY seconds after the COUNTth line
               POINT of the log; TARGET is `cli`, `milvus` or a process group's number
DRILL_KILLED   a file that gets the point's name just before the kill
DRILL_REVERSED if set, readers' pointer moves before the index is written
DRILL_SMALL    if set, a write has a few documents, and a few small files are enough to compact
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import orjson

POINTS = (
    "committing", "committed", "indexing", "indexed", "published", "sweeping", "swept",
)  # fmt: skip
"""What a writer logs, in its order."""
COMPACTING = ("compacting", "compacted")
"""What it logs beside that where it compacts."""
CLEANING = ("cleaning", "cleaned")
"""What is logged where versions are taken away."""


class _Killer(logging.Handler):
    def __init__(self, point: str, count: int, delay: float, target: str) -> None:
        super().__init__()
        self._point, self._left, self._delay, self._target = point, count, delay, target

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() != self._point:
            return
        self._left -= 1
        if self._left:
            return
        if self._delay:
            threading.Timer(self._delay, self._kill).start()
        else:
            self._kill()

    def _kill(self) -> None:
        Path(os.environ["DRILL_KILLED"]).write_text(self._point)
        with suppress(ProcessLookupError):
            if self._target == "cli":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self._target == "milvus":
                state = Path(os.environ["M3_HOME"]) / "milvus/engine.json"
                os.kill(orjson.loads(state.read_bytes())["engine"], signal.SIGKILL)
            else:
                os.killpg(int(self._target), signal.SIGKILL)


def _reverse() -> None:
    """The wrong order: readers' pointer first, the index after it."""
    from store.generations import publication
    from store.generations.publication import Publisher

    def publish(self: Publisher) -> None:
        generations = self._generations
        with generations.publishing() as lease:
            generation = generations.current()
            table = generations.table(generation)
            base = table.at(generation.published)
            target, added = publication._consistent_over(table, base)
            if target.number == base.number:
                return
            generations.update(generation, lambda g: g.publish(target.number, time.time()))
            publication._log.debug("published")
            publication.write_rows(generations.index(generation), target, added, lease)
            publication._log.debug("indexed")

    Publisher.publish = publish


def _small() -> None:
    """A run of a few dozen documents compacts as one of many thousands does: beside its writes."""
    from ingest.running import passes
    from store.generations import compaction

    passes._WRITE_CHUNKS = 24
    compaction.MOST_FRAGMENTS = compaction.MOST_AMID_RUN = 4


def main() -> None:
    if wanted := os.environ.get("DRILL_KILL"):
        point, count, delay, target = wanted.split()
        log = logging.getLogger("m3.store")
        log.setLevel(logging.DEBUG)
        log.addHandler(_Killer(point, int(count), float(delay), target))
    if os.environ.get("DRILL_REVERSED"):
        _reverse()
    if os.environ.get("DRILL_SMALL"):
        _small()
    from commands import ingest

    ingest.main()


if __name__ == "__main__":
    main()
