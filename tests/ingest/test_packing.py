"""Documents of any sizes to full requests and back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.cutting.chunking import Passage
from ingest.running.fleet import REQUEST_TEXTS, REQUEST_TOKENS
from ingest.running.packing import Embedded, Packer
from ingest.running.planning import Work
from ingest.sources import Parsed, Place
from m3.types import Chunk, Document
from tests.ingest.fakes import representation
from tests.ingest.virtual_time import BACKEND

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return BACKEND


Sizes = st.lists(st.lists(st.integers(3, 3000), min_size=1, max_size=12), min_size=1, max_size=30)


def work(name: str, texts: Sequence[tuple[str, int]]) -> Work:
    passages = [
        Passage(Chunk(i, text, 0, len(text)), text, tokens)
        for i, (text, tokens) in enumerate(texts)
    ]
    return Work(Parsed(Document(name, "text"), Place(name)), "hash", passages, stored=False)


def works(sizes: Sequence[Sequence[int]]) -> list[Work]:
    return [
        work(f"d{i}", [(f"{i}-{j}", tokens) for j, tokens in enumerate(document)])
        for i, document in enumerate(sizes)
    ]


async def taken(packer: Packer) -> list[dict[str, int]]:
    requests: list[dict[str, int]] = []
    while (request := await packer.take()) is not None:
        requests.append(request)
    return requests


def answered(packer: Packer, texts: Sequence[str]) -> list[Embedded]:
    return packer.arrived({text: representation(text) for text in texts})


@given(Sizes)
@settings(max_examples=60)
def test_requests_are_full_and_documents_come_back_whole(sizes: list[list[int]]):
    packer = Packer()
    planned = works(sizes)
    for one in planned:
        assert packer.add(one, {}) is None
    packer.end()
    requests = anyio.run(taken, packer)
    asked = [text for request in requests for text in request]
    assert asked == [passage.text for one in planned for passage in one.passages]
    for request, following in itertools.pairwise(requests):
        total = sum(request.values())
        assert total <= REQUEST_TOKENS or len(request) == 1
        one_more = next(iter(following.values()))
        assert total + one_more > REQUEST_TOKENS or len(request) == REQUEST_TEXTS
    ready = [one for request in reversed(requests) for one in answered(packer, list(request))]
    assert sorted(id(one.work) for one in ready) == sorted(map(id, planned))
    for one in ready:
        assert [row.codes.tobytes() for row in one.rows.embeddings] == [
            representation(passage.text).codes.tobytes() for passage in one.work.passages
        ]


async def test_a_text_that_many_wait_for_is_asked_once():
    packer = Packer()
    for name in "abc":
        packer.add(work(name, [("shared", 10), (name, 5)]), {})
    packer.end()
    [request] = await taken(packer)
    assert list(request) == ["shared", "a", "b", "c"]
    packer.add(work("late", [("shared", 10)]), {})
    assert await packer.take() is None, "it is on its way already"
    assert len(answered(packer, ["a", "b"])) == 0
    assert [one.work.document.id for one in answered(packer, ["shared"])] == ["a", "b", "late"]
    assert [one.work.document.id for one in answered(packer, ["c"])] == ["c"]


async def test_stored_vectors_are_not_asked_for():
    packer = Packer()
    stored = {"known": representation("known")}
    ready = packer.add(work("a", [("known", 9)]), stored)
    assert ready is not None
    assert ready.reused == 1
    packer.add(work("b", [("known", 9), ("new", 9)]), stored)
    packer.end()
    assert await taken(packer) == [{"new": 9}]
    assert [one.reused for one in answered(packer, ["new"])] == [1]


async def test_a_text_that_is_given_up_takes_its_documents_with_it():
    packer = Packer()
    packer.add(work("bad", [("refused", 10), ("shared", 5), ("own", 5)]), {})
    packer.add(work("good", [("shared", 5)]), {})
    assert [one.document.id for one in packer.given_up("refused")] == ["bad"]
    packer.end()
    [request] = await taken(packer)
    assert "own" not in request, "nobody waits for it"
    assert [one.work.document.id for one in answered(packer, ["shared"])] == ["good"]


async def test_a_few_texts_go_after_a_moment_and_an_empty_packer_waits():
    packer = Packer()
    packer.add(work("a", [("a", 5)]), {})
    with anyio.fail_after(2):
        assert await packer.take() == {"a": 5}
    with anyio.move_on_after(0.5) as scope:
        await packer.take()
    assert scope.cancelled_caught


async def test_giving_up_all_that_waits_is_not_the_end():
    packer = Packer()
    packer.add(work("a", [("refused", REQUEST_TOKENS), ("rest", 5)]), {})
    assert await packer.take() == {"refused": REQUEST_TOKENS}
    async with anyio.create_task_group() as tasks:

        async def give_up() -> None:
            await anyio.sleep(0.1)
            packer.given_up("refused")
            await anyio.sleep(0.3)
            packer.add(work("b", [("b", 5)]), {})

        tasks.start_soon(give_up)
        with anyio.fail_after(2):
            assert await packer.take() == {"b": 5}


async def test_texts_that_trickle_in_do_not_wait_for_each_other():
    packer = Packer()

    async def trickle() -> None:
        for i in range(100):
            packer.add(work(f"d{i}", [(str(i), 5)]), {})
            await anyio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trickle)
        with anyio.fail_after(1):
            assert len(await packer.take() or ()) < 20
        tasks.cancel_scope.cancel()
