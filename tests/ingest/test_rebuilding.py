"""One generation brought to what another holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ingest import rebuilding
from ingest.rebuilding import follow
from ingest.running.report import Report
from m3.types import Document, DocumentKey
from store.candidates import Snapshot
from store.contract import Collection
from store.memory import MemoryCollection, MemoryStore
from store.spec import Chunking
from tests.ingest.fakes import CountingClient, docs, key, run, spec
from tests.store.examples import SPEC, document_rows

pytestmark = pytest.mark.anyio


@pytest.fixture
async def source(client: CountingClient) -> Collection:
    made = MemoryStore().create("docs", spec())
    await run(docs(20), made, client)
    return made


@pytest.fixture
def target() -> Collection:
    return MemoryStore().create("docs", spec(Chunking(max_tokens=16, overlap=0)))


async def followed(
    source: Collection, target: Collection, client: Any, since: Snapshot | None = None
) -> Report:
    def on_reject(reject: Any) -> None:
        raise AssertionError(reject)

    return await follow(source, target, client, on_reject=on_reject, since=since)


def held(collection: Collection) -> dict[DocumentKey, str]:
    return {key: own for some in collection.hashes() for key, own in some.items()}


async def test_a_pass_leaves_no_difference(source, target, client):
    assert (await followed(source, target, client)).written == 20
    assert held(target) == held(source)
    await run([Document("d3", "changed"), Document("new", "new")], source, client)
    source.delete([key("d1"), key("d2")])
    report = await followed(source, target, client)
    assert (report.documents, report.written) == (4, 2)
    assert held(target) == held(source)
    assert (await followed(source, target, client)).documents == 0


async def test_a_pass_without_differences_looks_no_document_up(source, target, client, monkeypatch):
    await followed(source, target, client)
    monkeypatch.delattr(MemoryCollection, "content_hashes")
    assert (await followed(source, target, client)).documents == 0


async def test_what_changed_since_is_looked_at_alone(source, target, client, monkeypatch):
    since = source.snapshot()
    await followed(source, target, client)
    await run([Document("d3", "changed"), Document("new", "new")], source, client)
    source.delete([key("d1")])
    wanted = {key("d1"), key("d3"), key("new")}
    looked_up: set[DocumentKey] = set()
    looks = MemoryCollection.content_hashes

    def content_hashes(self: MemoryCollection, keys: Sequence[DocumentKey]) -> Any:
        looked_up.update(keys := list(keys))
        return looks(self, keys)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryCollection, "content_hashes", content_hashes)
        patch.delattr(MemoryCollection, "hashes")
        assert (await followed(source, target, client, since)).documents == 3
    assert looked_up == wanted
    assert held(target) == held(source)


def test_what_came_while_gone_ones_were_looked_for_stays():
    """Another rebuild of the same generation may have copied it already."""
    rng = np.random.default_rng(3)
    target = MemoryCollection.alone(SPEC)

    class Busy(MemoryCollection):
        def hashes(self) -> Iterator[Mapping[DocumentKey, str]]:
            yield from super().hashes()
            for each in (self, target):
                each.replace([document_rows(rng, "late")])

    target.replace([document_rows(rng, "gone")])
    assert rebuilding._gone(Busy.alone(SPEC), target, None) == [key("gone")]
