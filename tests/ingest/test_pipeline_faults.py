"""What a run makes of nodes that come and go, texts they refuse, and generations that change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from embedder.client import EmbedderClient
from ingest.running import embedding, passes
from ingest.running.pipeline import Item
from ingest.sources import Reject
from m3.errors import (
    EmbedderUnreachable,
    M3Error,
    ModelMismatch,
    NotComputed,
    NotReady,
    Overloaded,
    WorkerLost,
)
from m3.types import Document, EmbeddingBatch
from store.chunks import DocumentRows
from store.contract import Collection
from store.memory import MemoryCollection, MemoryStore
from store.spec import Chunking, CollectionSpec
from tests.ingest.fakes import PARAGRAPH, CountingClient, counts, docs, run, spec
from tests.processes import COMMANDS, running, wait_for_server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unhurried")]


@dataclass
class FlakyClient(CountingClient):
    """Its nodes fail as scripted, one failure a request, or refuse a word for good."""

    script: list[M3Error] = field(default_factory=list[M3Error])
    refuses: tuple[str, M3Error] | None = None
    calls: int = 0

    async def encode(self, texts: Sequence[str], kind: str, **more: Any) -> EmbeddingBatch:
        self.calls += 1
        if self.script:
            raise self.script.pop(0)
        if self.refuses and any(self.refuses[0] in text for text in texts):
            raise self.refuses[1]
        return await super().encode(texts, kind, **more)


@pytest.fixture
def flaky(wordpiece: str) -> FlakyClient:
    return FlakyClient(wordpiece)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_PAUSE_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "error", [EmbedderUnreachable("gone"), Overloaded("full"), NotReady("draining")]
)
async def test_nodes_that_are_away_are_waited_for(
    flaky: FlakyClient, collection: Collection, error: M3Error
):
    notes: list[str] = []
    flaky.script = [error] * 9
    report = await run(docs(300), collection, flaky, patience=60, on_note=notes.append)
    assert counts(report) == (300, 300, 0, 0)
    assert len(flaky.texts) == 300, "nothing is read twice"
    assert notes == [
        f"waiting for the embedder, 1 minutes at most: {error}",
        "the embedder answers again",
    ]


@pytest.mark.usefixtures("quick")
async def test_nodes_that_stay_away_end_the_run_with_all_that_was_embedded_written(
    flaky: FlakyClient, collection: Collection
):
    flaky.failure, flaky.fails_after = EmbedderUnreachable("gone"), 1000
    began = time.monotonic()
    with anyio.fail_after(120), pytest.raises(EmbedderUnreachable, match="gone"):
        await run(docs(3000), collection, flaky, patience=0.5)
    assert time.monotonic() - began >= 0.5
    assert collection.status().documents == len(flaky.texts) >= 1000


@pytest.mark.parametrize("error", [NotComputed("no numbers"), WorkerLost("it ended a worker")])
async def test_a_text_that_no_node_computes_fails_alone(
    flaky: FlakyClient, collection: Collection, error: M3Error
):
    flaky.refuses = ("poison", error)
    rejects: list[Reject] = []
    long = PARAGRAPH * 9 + "poison " + PARAGRAPH * 9
    items = [*docs(200), Document("bad", long), Document("bad too", long)]
    report = await run(items, collection, flaky, rejects)
    assert counts(report) == (202, 200, 0, 2)
    assert {(reject.document, reject.stage, reject.reason) for reject in rejects} == {
        ("bad", "embed", error.message),
        ("bad too", "embed", error.message),
    }
    assert flaky.calls < 30, "found by halves, not one by one"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "error", [NotComputed("input[0]: no numbers"), NotComputed("no device"), WorkerLost("lost")]
)
async def test_a_node_that_computes_nothing_costs_no_document(
    flaky: FlakyClient, collection: Collection, error: M3Error
):
    """Until another one is asked, or it is mended."""
    notes: list[str] = []
    flaky.script = [error] * 20
    report = await run(docs(50), collection, flaky, patience=60, on_note=notes.append)
    assert counts(report) == (50, 50, 0, 0)
    assert "the embedder computes nothing" in notes[0]
    flaky.refuses = ("", error)
    with pytest.raises(EmbedderUnreachable, match="computes nothing"):
        await run(docs(100)[50:], collection, flaky, patience=0.05)
    assert collection.status().documents == 50


async def test_a_text_that_leaves_no_worker_is_not_sent_again(
    flaky: FlakyClient, collection: Collection
):
    flaky.script = [WorkerLost("it ended two workers"), NotReady("loading")]
    rejects: list[Reject] = []
    await run(docs(1), collection, flaky, rejects, patience=0)
    assert [reject.reason for reject in rejects] == ["it ended two workers"]
    assert (flaky.script, flaky.texts) == ([], [])


async def test_a_refusal_that_names_its_text_costs_one_more_request(
    client: CountingClient, collection: Collection
):
    items = [*docs(100), Document("bad", "a forbidden text"), *docs(200)[100:]]
    await run(items, collection, client, [])
    assert len(client.requests) == 2
    assert collection.status().documents == 200


async def test_another_generation_takes_the_run_over(
    client: CountingClient, monkeypatch: pytest.MonkeyPatch
):
    """What was cut for the one before is cut anew, nothing fails, and nothing is written twice."""
    monkeypatch.setattr(passes, "_WRITE_CHUNKS", 256)
    store = MemoryStore()
    collection = store.create("docs", spec(Chunking(64, 0)))
    other = spec(Chunking(16, 0))

    def items() -> Iterator[Item]:
        for i, document in enumerate(docs(1000)):
            if i == 600:
                _until(lambda: collection.status().documents > 0)
                number = store.begin("docs", other)
                with store.closing("docs", number):
                    store.serve("docs", number)
            yield Document(document.id, f"{document.text}. {PARAGRAPH}")

    report = await run(items(), collection, client)
    written = collection.status()
    assert written.spec == other
    assert (report.documents, report.failed, report.unchanged) == (1000, 0, 0)
    assert report.written == 1000
    before = store.open("docs", 1).status().documents
    assert 0 < before < 1000
    assert written.documents == 1000 - before
    for key in collection.keys("default", "default"):
        stored = collection.document(key)
        assert stored is not None
        assert len(stored.chunks) > 1, "cut by the rules of the generation that it is in"
    again = await run(docs(1000), collection, client)
    assert again.failed == 0


def _until(check: Any) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Switching(MemoryCollection):
    """Begins to serve another model as soon as the old one's nodes are asked."""

    other: CollectionSpec | None = None

    @property
    def spec(self) -> CollectionSpec:
        return self.other or super().spec

    def replace(
        self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
    ) -> None:
        super().replace(documents)


async def test_an_old_model_that_is_switched_off_after_a_switch_fails_nothing(flaky: FlakyClient):
    collection = Switching.alone(spec(Chunking(64, 0)))
    flaky.script = [ModelMismatch("no embedder serves that model")]
    with pytest.raises(ModelMismatch):
        await run(docs(20), collection, flaky)
    flaky.script = [ModelMismatch("no embedder serves that model")]

    def items() -> Iterator[Item]:
        yield from docs(20)
        collection.other = spec(Chunking(32, 0))

    assert counts(await run(items(), collection, flaky)) == (20, 20, 0, 0)


@pytest.mark.drill
async def test_a_node_killed_and_started_again_costs_no_document(
    stand_in: Path, collection: Collection
):
    """A real node on one port: kill -9 while requests are under way, and another in its place."""
    command = [COMMANDS / "m3-embedder", "serve", "--model", stand_in, "--precision", "fp32"]
    items = [Document(f"d{i}", f"{i}. {PARAGRAPH * 3}") for i in range(1500)]
    at_kill: list[int] = []
    with running([*command, "--port", "0"]) as first:
        url = wait_for_server(first)
        async with EmbedderClient([url]) as client:
            model = await client.model()
            real = MemoryCollection.alone(
                CollectionSpec(
                    model.id,
                    model.fingerprint,
                    model.precision,
                    model.dimension,
                    chunking=Chunking(64, 0),
                )
            )

            def kill() -> None:
                _until(lambda: httpx.get(f"{url}/readyz", trust_env=False).is_success)
                _until(lambda: real.status().documents > 0)
                at_kill.append(real.status().documents)
                first.kill()

            killer = threading.Thread(target=kill)
            killer.start()

            async def replaced() -> None:
                await anyio.to_thread.run_sync(killer.join)
                with running([*command, "--port", url.rsplit(":", 1)[1]]) as second:
                    await anyio.to_thread.run_sync(wait_for_server, second)
                    await done.wait()

            done = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(replaced)
                report = await run(items, real, client, patience=60)
                assert counts(report) == (1500, 1500, 0, 0)
                done.set()
    assert 0 < at_kill[0] < 1500
    assert real.status().documents == 1500
