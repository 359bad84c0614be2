from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer

from embedder.client import EmbedderClient
from ingest.cutting.chunkers import Chunkers
from ingest.pooling import pooled
from ingest.running.pipeline import Item, survey
from ingest.sources import Parsed, Place, Reject
from m3.types import Codec, Document, text_hash
from store.contract import Collection
from store.filters import FieldType
from store.memory import MemoryStore
from store.spec import Chunking, CollectionSpec
from tests.ingest.fakes import (
    FORBIDDEN,
    PARAGRAPH,
    CountingClient,
    counts,
    docs,
    key,
    representation,
    run,
    spec,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unhurried")]


async def test_documents_are_written_with_their_vectors(
    client: CountingClient, collection: Collection
):
    text = " ".join(f"Sentence {i}. {PARAGRAPH}" for i in range(20))
    long = Document("long", text, "Long", {"lang": "en"}, "site", "acme")
    report = await run([*docs(3), long], collection, client)
    assert counts(report) == (4, 4, 0, 0)
    stored = collection.document(long.key)
    assert stored is not None
    assert (stored.title, stored.metadata, stored.key) == ("Long", {"lang": "en"}, long.key)
    assert report.chunks == 3 + len(stored.chunks) == collection.status().chunks
    assert [chunk.position for chunk in stored.chunks] == list(range(len(stored.chunks)))
    for chunk in stored.chunks:
        assert chunk.text == long.text[chunk.start : chunk.end]
    assert len(client.texts) == report.chunks
    tokenizer = Tokenizer.from_str(client.tokenizer_json)
    assert report.tokens == sum(len(tokenizer.encode(text).ids) for text in client.texts)
    vectors = collection.embeddings_by_text([long.key])
    expected = {representation(chunk.model_text()).codes.tobytes() for chunk in stored.chunks}
    assert {row.codes.tobytes() for row in vectors.values()} == expected


async def test_tokens_are_pooled_once_and_stored_so(client: CountingClient):
    collection = MemoryStore().create("pooled", replace(spec(Chunking(40, 10)), pooling=2))
    text = " ".join(f"Sentence {i}. {PARAGRAPH}" for i in range(9))
    await run([Document("a", text)], collection, client)
    await run([Document("a", f"{text} And more.")], collection, client)
    assert len(client.texts) == len(set(client.texts)), "what was stored has served again"
    stored = collection.document(key("a"))
    assert stored is not None
    vectors = collection.embeddings_by_text([key("a")])
    for chunk in stored.chunks:
        expected = pooled(representation(chunk.model_text()), 2)
        found = vectors[text_hash(chunk.model_text())]
        assert (found.codes.tobytes(), len(found.codes)) == (expected.codes.tobytes(), 2)
        assert found.groups is not None
        assert expected.groups is not None
        assert found.groups.tolist() == expected.groups.tolist()


async def test_a_rerun_asks_the_model_nothing(client: CountingClient, collection: Collection):
    await run(docs(50), collection, client)
    version = collection.status().version
    client.texts.clear()
    report = await run(docs(50), collection, client)
    assert counts(report) == (50, 0, 50, 0)
    assert (client.texts, report.tokens, report.chunks) == ([], 0, 0)
    assert collection.status().version == version


@pytest.mark.parametrize(
    "change",
    [{"title": "Other"}, {"metadata": {"n": 99}}, {"text": "other text"}],
    ids=["title", "metadata", "text"],
)
async def test_a_change_of_anything_is_a_change(
    client: CountingClient, collection: Collection, change: dict[str, Any]
):
    first = {"id": "d", "text": "text", "title": "Title", "metadata": {"n": 1}}
    await run([Document(**first)], collection, client)
    report = await run([Document(**{**first, **change})], collection, client)
    assert counts(report) == (1, 1, 0, 0)


async def test_a_changed_document_is_replaced_whole_and_keeps_known_vectors(
    client: CountingClient, collection: Collection
):
    parts = [f"Part {i}. {PARAGRAPH}" for i in range(8)]
    text = "\n\n".join(parts)
    await run([Document("d", text, "T")], collection, client)
    before = collection.document(key("d"))
    assert before is not None
    client.texts.clear()
    changed = text.replace("Part 5.", "Chapter five.") + "\n\nAdded at the end."
    report = await run([Document("d", changed, "T")], collection, client)
    after = collection.document(key("d"))
    assert after is not None
    assert "".join(chunk.text for chunk in after.chunks).replace(" ", "").replace("\n", "") == (
        changed.replace(" ", "").replace("\n", "")
    )
    known = {chunk.text for chunk in before.chunks}
    new = [chunk for chunk in after.chunks if chunk.text not in known]
    assert 0 < len(new) < len(after.chunks)
    assert sorted(client.texts) == sorted(chunk.model_text() for chunk in new)
    assert report.reused == len(after.chunks) - len(new)
    for chunk, row in zip(
        after.chunks, collection.embeddings_by_text([key("d")]).values(), strict=True
    ):
        assert row.codes.tobytes() == representation(chunk.model_text()).codes.tobytes()


async def test_only_metadata_changed_costs_no_embedding(
    client: CountingClient, collection: Collection
):
    await run([Document("d", PARAGRAPH * 10, "T", {"v": 1})], collection, client)
    client.texts.clear()
    report = await run([Document("d", PARAGRAPH * 10, "T", {"v": 2})], collection, client)
    assert report.written == 1
    assert report.reused == report.chunks
    assert client.texts == []
    stored = collection.document(key("d"))
    assert stored is not None
    assert stored.metadata == {"v": 2}


async def test_vectors_are_found_again_under_a_title_that_is_cut(
    client: CountingClient, collection: Collection
):
    title = "an endless title " * 40
    await run([Document("d", PARAGRAPH * 4, title, {"v": 1})], collection, client)
    client.texts.clear()
    await run([Document("d", PARAGRAPH * 4, title, {"v": 2})], collection, client)
    assert client.texts == []


async def test_equal_texts_are_read_once(client: CountingClient, collection: Collection):
    report = await run([Document(f"d{i}", "the same") for i in range(20)], collection, client)
    assert (report.written, client.texts) == (20, ["the same"])


async def test_markdown_is_cut_as_markdown(client: CountingClient, collection: Collection):
    text = f"# One\n\n{PARAGRAPH * 3}\n\n# Two\n\n{PARAGRAPH * 3}"
    await run([Parsed(Document("d", text, markdown=True), Place("d.md"))], collection, client)
    stored = collection.document(key("d"))
    assert stored is not None
    assert {chunk.heading for chunk in stored.chunks} == {("One",), ("Two",)}
    plain = await run([Parsed(Document("d", text), Place("d"))], collection, client)
    assert plain.written == 1, "cut another way, the document has changed"


async def test_the_second_of_an_id_is_rejected_and_names_the_first(
    client: CountingClient, collection: Collection
):
    items = [
        Parsed(Document("d", "first"), Place("a.jsonl", 3)),
        Parsed(Document("d", "other source", source="b"), Place("a.jsonl", 4)),
        *(Parsed(Document(f"n{i}", "x"), Place("a.jsonl", 5 + i)) for i in range(600)),
        Parsed(Document("d", "second"), Place("b.jsonl", 9), size=7),
    ]
    rejects: list[Reject] = []
    report = await run(items, collection, client, rejects)
    assert counts(report) == (603, 602, 0, 1)
    [reject] = rejects
    assert (reject.place, reject.stage, reject.document) == (Place("b.jsonl", 9), "parse", "d")
    assert reject.reason == "id 'd' was given before, at a.jsonl:3"
    assert reject.first == Place("a.jsonl", 3)
    assert reject.size == 7
    stored = collection.document(key("d"))
    assert stored is not None
    assert stored.chunks[0].text == "first"


async def test_bad_documents_fail_alone(client: CountingClient):
    collection = MemoryStore().create("docs", spec(Chunking(64, 0), year=FieldType.INT))
    items: list[Item] = [
        Reject(Place("a.jsonl", 1), "invalid JSON"),
        *docs(5),
        Document("refused", f"a {FORBIDDEN} text"),
        Document("blank", " "),
        Document("typed", "text", metadata={"year": "not a year"}),
        Document("half", "a surrogate \ud800"),
        *docs(10, "more")[5:],
    ]
    rejects: list[Reject] = []
    report = await run(items, collection, client, rejects)
    assert counts(report) == (15, 10, 0, 5)
    assert {(reject.stage, reject.document) for reject in rejects} == {
        ("parse", None),
        ("parse", "half"),
        ("embed", "refused"),
        ("chunk", "blank"),
        ("write", "typed"),
    }
    assert collection.status().documents == 10
    assert "year" in next(reject.reason for reject in rejects if reject.stage == "write")


async def test_a_truncated_document_is_counted(client: CountingClient):
    collection = MemoryStore().create("docs", spec(Chunking(whole=True)))
    report = await run([Document("long", PARAGRAPH * 100), *docs(2)], collection, client)
    assert (report.truncated, report.chunks) == (1, 3)
    stored = collection.document(key("long"))
    assert stored is not None
    assert stored.chunks[0].text == PARAGRAPH * 100


async def test_a_survey_writes_and_embeds_nothing(client: CountingClient, collection: Collection):
    await run(docs(5), collection, client)
    client.texts.clear()
    fake: Any = client
    chunker = await Chunkers(fake).of(collection.spec)
    rejects: list[Reject] = []
    items = [*docs(3), Document("long", PARAGRAPH * 30), Document("long", "again")]
    report = await survey(items, collection, chunker, on_reject=rejects.append)
    assert counts(report) == (5, 1, 3, 1)
    assert report.chunks > 5
    assert (client.texts, collection.status().documents) == ([], 5)
    nothing_yet = await survey(items, None, chunker, on_reject=rejects.append)
    assert counts(nothing_yet) == (5, 4, 0, 1)


async def test_a_real_node_and_the_same_numbers(node: str, wordpiece: str):
    """The counts that passages were cut by are the node's own."""
    async with EmbedderClient([node]) as client:
        model = await client.model()
        wanted = CollectionSpec.of(model, codec=Codec.INT8, chunking=Chunking(128, 32))
        chunker = await Chunkers(client).of(wanted)
        document = Document("d", PARAGRAPH * 60 + "中文 ünïcode 👩‍👩‍👧 " * 50, "A title")
        passages = chunker.passages(document)
        batch = await client.encode([passage.text for passage in passages], "passage")
    assert model.max_tokens == 512
    assert batch.tokens.tolist() == [passage.tokens for passage in passages]
    assert not batch.truncated.any()
