"""Which documents need writing, and what of them the model has to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ingest.cutting.chunking import Chunker, Passage
from ingest.running.seen import Seen
from ingest.sources import Parsed, Place, Reject
from m3.errors import InvalidInput
from m3.types import Document, DocumentKey
from store.contract import Collection


@dataclass(frozen=True, slots=True)
class Work:
    """A document that is not in the collection as it is now, cut.

    Attributes:
        stored: whether an older version is there, whose vectors may serve again.
    """

    parsed: Parsed
    content_hash: str
    passages: Sequence[Passage]
    stored: bool

    @property
    def document(self) -> Document:
        return self.parsed.document

    @property
    def tokens(self) -> int:
        return sum(passage.tokens for passage in self.passages)


@dataclass(slots=True)
class Plan:
    """What is to be done about some documents.

    Attributes:
        again: whether they were planned before, for an earlier generation.
    """

    changed: list[Work] = field(default_factory=list[Work])
    unchanged: list[Parsed] = field(default_factory=list[Parsed])
    rejects: list[Reject] = field(default_factory=list[Reject])
    again: bool = False


class Planner:
    """Compares documents with the collection and cuts those that differ.

    Args:
        collection: None is one without documents.
    """

    def __init__(self, collection: Collection | None) -> None:
        self._collection = collection
        self._seen = Seen()

    def plan(self, items: Iterable[Parsed | Reject], chunker: Chunker) -> Plan:
        """Blocks on the store and on the tokenizer."""
        rejects: list[Reject] = []
        found: list[Parsed] = []
        for item in items:
            if isinstance(item, Reject):
                rejects.append(item)
            elif (first := self._first_place(item)) is not None:
                error = InvalidInput(f"id {item.document.id!r} was given before, at {first}")
                rejects.append(replace(item.reject("parse", error), first=first))
            else:
                found.append(item)
        plan = self.again(found, chunker)
        return Plan(plan.changed, plan.unchanged, rejects + plan.rejects)

    def again(self, found: Sequence[Parsed], chunker: Chunker) -> Plan:
        """As `plan`, for documents that this run has met before."""
        plan = Plan(again=True)
        stored = self._stored([item.document.key for item in found])
        for item in found:
            _one(item, stored.get(item.document.key), chunker, plan)
        return plan

    def _stored(self, keys: Sequence[DocumentKey]) -> dict[DocumentKey, str]:
        return self._collection.content_hashes(keys) if self._collection and keys else {}

    def _first_place(self, item: Parsed) -> Place | None:
        """Where this run has met the document's key before."""
        key = bytes.fromhex(item.document.key.digest())
        return self._seen.first(key, item.place)


def _one(item: Parsed, stored: str | None, chunker: Chunker, plan: Plan) -> None:
    try:
        content_hash = item.document.content_hash()
    except TypeError as error:
        unwritable = InvalidInput(f"it cannot be written as JSON: {error}")
        plan.rejects.append(item.reject("parse", unwritable))
        return
    if stored == content_hash:
        plan.unchanged.append(item)
        return
    try:
        passages = chunker.passages(item.document)
    except InvalidInput as error:
        plan.rejects.append(item.reject("chunk", error))
    else:
        plan.changed.append(Work(item, content_hash, passages, stored is not None))
