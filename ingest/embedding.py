"""Planned documents to rows: vectors as stored where the text is the same, else the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anyio import to_thread

from embedder.client import EmbedderClient
from ingest.planning import Work
from m3.types import Representation, text_hash
from store.contract import Collection, DocumentRows


@dataclass(frozen=True, slots=True)
class Embedded:
    """A document ready to be written; `reused` of its chunks have vectors that were stored."""

    work: Work
    rows: DocumentRows
    reused: int


async def embed(
    works: Sequence[Work], collection: Collection, client: EmbedderClient
) -> tuple[list[Embedded], int]:
    """Rows of these documents, and how many tokens the model read for them.

    Equal texts are read once.

    Raises:
        InvalidInput: the model refuses a text of one of them.
    """
    stored: dict[str, Representation] = {}
    for work in works:
        if work.stored:
            stored |= await to_thread.run_sync(_stored, work, collection)
    texts = {passage.text: None for work in works for passage in work.passages}
    missing = [text for text in texts if text not in stored]
    fresh, tokens = await _encoded(missing, collection, client)
    return [_embedded(work, stored, fresh) for work in works], tokens


def _stored(work: Work, collection: Collection) -> dict[str, Representation]:
    """Vectors of the document's older version, by the passage they fit now."""
    known = collection.embeddings_by_text(work.document.key)
    # The store names a text by the title in full, whatever of it the model was given.
    names = (
        (passage.text, text_hash(passage.chunk.model_text(work.document.title)))
        for passage in work.passages
    )
    return {text: known[name] for text, name in names if name in known}


async def _encoded(
    texts: Sequence[str], collection: Collection, client: EmbedderClient
) -> tuple[dict[str, Representation], int]:
    if not texts:
        return {}, 0
    spec = collection.spec
    batch = await client.encode(texts, "passage", codec=spec.codec, fingerprint=spec.fingerprint)
    return dict(zip(texts, batch, strict=True)), int(batch.tokens.sum())


def _embedded(
    work: Work, stored: dict[str, Representation], fresh: dict[str, Representation]
) -> Embedded:
    rows = DocumentRows(
        document=work.document,
        content_hash=work.content_hash,
        chunks=[passage.chunk for passage in work.passages],
        embeddings=[
            stored[passage.text] if passage.text in stored else fresh[passage.text]
            for passage in work.passages
        ],
    )
    return Embedded(work, rows, sum(passage.text in stored for passage in work.passages))
