"""When a switch has copied enough to have writers wait."""

from __future__ import annotations

from typing import Any

import pytest

from commands.ingest import switching
from ingest.running.report import Report
from m3.errors import SnapshotGone
from store.memory import MemoryCollection
from tests.store.examples import SPEC

pytestmark = pytest.mark.anyio


class Passes:
    """`follow` by a list of passes: documents found, and what they took."""

    def __init__(self, *passes: tuple[int, float]) -> None:
        self._left = list(passes)
        self.since: list[Any] = []
        self.gone = False
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    async def follow(self, *_: Any, since: Any, **__: Any) -> Report:
        self.since.append(since)
        if self.gone and since is not None:
            raise SnapshotGone("gone")
        documents, seconds = self._left.pop(0)
        self._now += seconds
        return Report(documents=documents)

    def following(self, monkeypatch: pytest.MonkeyPatch) -> switching._Following:
        monkeypatch.setattr(switching, "follow", self.follow)
        monkeypatch.setattr(switching, "time", self)
        source, target = (MemoryCollection.alone(SPEC) for _ in range(2))
        client: Any = None
        return switching._Following(source, target, client)

    @property
    def left(self) -> int:
        return len(self._left)


async def test_passes_go_on_while_they_become_shorter(monkeypatch):
    passes = Passes((90_000, 100), (500, 7), (40, 0.5), (38, 0.48), (1, 1))
    report = await passes.following(monkeypatch).nearly()
    assert report.documents == 90_578
    assert passes.left == 1


async def test_few_documents_are_enough(monkeypatch):
    passes = Passes((90_000, 100), (8, 7), (1, 1))
    await passes.following(monkeypatch).nearly()
    assert passes.left == 1


async def test_writers_as_quick_as_the_nodes_are_not_followed_for_ever(monkeypatch):
    passes = Passes((500, 20), (500, 20), (1, 1))
    await passes.following(monkeypatch).nearly()
    assert passes.left == 1


async def test_the_last_documents_are_copied_to_the_end(monkeypatch):
    passes = Passes((500, 20), (500, 20), (3, 1), (0, 1), (1, 1))
    following = passes.following(monkeypatch)
    await following.nearly()
    assert (await following.wholly()).documents == 3
    assert passes.left == 1


async def test_all_is_looked_at_once_and_then_what_changed(monkeypatch):
    passes = Passes((500, 20), (0, 1), (0, 1))
    following = passes.following(monkeypatch)
    await following.nearly()
    await following.wholly()
    assert [since is None for since in passes.since] == [True, False, False]


async def test_all_is_looked_at_again_where_nothing_says_what_changed(monkeypatch):
    passes = Passes((500, 20), (0, 1))
    passes.gone = True
    await passes.following(monkeypatch).nearly()
    assert [since is None for since in passes.since] == [True, False, True]
