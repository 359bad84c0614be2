"""What vanished from a source leaves the collection, and nothing else ever does."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sharding import Shard
from ingest.sources import Parsed, Place, Reject
from ingest.syncing import MaxDeletes, Reading, Sync
from m3.errors import InvalidInput, NotSynced
from m3.types import Document, DocumentKey
from store.contract import Collection
from store.memory import MemoryCollection
from store.spec import Chunking
from tests.ingest.fakes import CountingClient, run, spec

pytestmark = pytest.mark.anyio


def parsed(*ids: str, source: str = "site", tenant: str = "acme") -> list[Parsed]:
    documents = (Document(name, f"text of {name}", source=source, tenant=tenant) for name in ids)
    return [Parsed(document, Place("a.jsonl", n)) for n, document in enumerate(documents)]


def ids(count: int) -> list[str]:
    return [f"d{i}" for i in range(count)]


def synced(
    collection: Collection,
    items: Iterable[Parsed | Reject],
    limit: str = "100%",
    shard: Shard | None = None,
) -> list[str]:
    """Read it all, and delete."""
    reading = Reading(items, shard)
    list(reading)
    sync = Sync(reading, "acme", "site", MaxDeletes.parsed(limit))
    vanished = sync.vanished(collection)
    sync.delete(collection, vanished)
    return sorted(key.id for key in vanished)


@pytest.fixture
async def filled(client: CountingClient, collection: Collection) -> Collection:
    others = [*parsed("d1", "x", source="other"), *parsed("d2", "x", tenant="two")]
    await run([*parsed(*ids(20)), *others], collection, client)
    return collection


async def test_what_vanished_is_deleted_from_this_source_of_this_tenant_alone(filled: Collection):
    assert synced(filled, parsed(*ids(18))) == ["d18", "d19"]
    assert {key.id for key in filled.keys("acme", "site")} == set(ids(18))
    assert filled.status().documents == 18 + 4
    assert synced(filled, parsed(*ids(18))) == []


@pytest.mark.parametrize("limit", ["10%", "2", "14.9%"])
async def test_above_the_limit_nothing_is_deleted(filled: Collection, limit: str):
    with pytest.raises(NotSynced, match=r"3 of 20 documents .* allows 2; raise it"):
        synced(filled, parsed(*ids(17)), limit)
    assert filled.status().documents == 24


@pytest.mark.parametrize("limit", ["15%", "3"])
async def test_at_the_limit_it_is(filled: Collection, limit: str):
    assert len(synced(filled, parsed(*ids(17)), limit)) == 3


async def test_an_empty_source_is_not_taken_at_its_word(filled: Collection):
    with pytest.raises(NotSynced, match="20 of 20"):
        synced(filled, [], "10%")


async def test_after_a_partly_unreadable_read_nothing_is_deleted(filled: Collection):
    items = [*parsed(*ids(19)), Reject(Place("b.pdf"), "encrypted")]
    with pytest.raises(NotSynced, match=r"b\.pdf could not be read"):
        synced(filled, items)
    assert filled.status().documents == 24


async def test_after_an_interrupted_read_nothing_is_deleted(filled: Collection):
    reading = Reading(parsed(*ids(20)))
    for _, _ in zip(range(19), reading, strict=False):
        pass
    with pytest.raises(NotSynced, match="not read to its end"):
        Sync(reading, "acme", "site", MaxDeletes(share=1)).vanished(filled)


async def test_a_document_that_fails_later_has_not_vanished(
    client: CountingClient, filled: Collection
):
    """It is there, only not in a form that can be stored; the older one stays."""
    document = Document("d0", " ", source="site", tenant="acme")
    reading = Reading([*parsed(*ids(20)[1:]), Parsed(document, Place("a.jsonl", 99))])
    rejects: list[Reject] = []
    await run(reading, filled, client, rejects)
    assert [reject.stage for reject in rejects] == ["chunk"]
    assert Sync(reading, "acme", "site", MaxDeletes()).vanished(filled) == []


async def test_a_shard_deletes_its_own_alone(filled: Collection):
    shards = [Shard(i, 3) for i in range(3)]
    mine = {name for name in ids(20) if shards[1].has(DocumentKey("acme", "site", name))}
    assert 0 < len(mine) < 20
    gone = set(list(mine)[:2]) | {next(name for name in ids(20) if name not in mine)}
    left = parsed(*(name for name in ids(20) if name not in gone))
    assert set(synced(filled, left, shard=shards[1])) == gone & mine
    with pytest.raises(NotSynced):
        synced(filled, [*left, Reject(Place("b.pdf"), "of another shard, maybe")], shard=shards[1])


async def test_shards_at_once_end_as_one_run(client: CountingClient):
    one, four = (MemoryCollection.alone(spec(Chunking(64, 0))) for _ in range(2))
    items = parsed(*ids(400))
    await run(items, one, client)
    async with anyio.create_task_group() as tasks:
        for i in range(4):
            tasks.start_soon(run, list(Shard(i, 4).select(items)), four, client)
    assert dict(next(four.hashes())) == dict(next(one.hashes()))


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=40), st.integers(1, 9))
def test_every_document_and_every_failure_falls_to_one_shard(names: list[str], count: int):
    items: list[Parsed | Reject] = [*parsed(*names)]
    items += [Reject(Place(name, 3), "broken") for name in names]
    parts = [list(Shard(i, count).select(items)) for i in range(count)]
    assert sum(map(len, parts)) == len(items)
    assert [item for item in items if item in [one for part in parts for one in part]] == items


def test_shards_are_of_about_one_size():
    parts = [len(list(Shard(i, 4).select(parsed(*ids(4000))))) for i in range(4)]
    assert min(parts) > 850


@pytest.mark.parametrize("given", ["", "1", "4/4", "-1/4", "1/0", "a/b", "0/4/8", "1.0/4"])
def test_what_is_no_shard_is_refused(given: str):
    with pytest.raises(InvalidInput, match="I from 0 to N-1"):
        Shard.parsed(given)


@pytest.mark.parametrize("given", ["", "ten", "101%", "-1", "1.5", "%"])
def test_what_is_no_limit_is_refused(given: str):
    with pytest.raises(InvalidInput, match="--max-deletes"):
        MaxDeletes.parsed(given)
