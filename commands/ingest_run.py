"""`m3-ingest run`: sources, node and store put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anyio import to_thread

from commands.ingest_progress import Display, display
from embedder.client import EmbedderClient
from ingest.chunking import Chunker
from ingest.deadletters import DeadLetters
from ingest.pipeline import ingest, open_chunker, survey
from ingest.report import Report
from ingest.sources import Fields, Found, Reject, read
from m3.errors import AlreadyExists, InvalidInput, ModelMismatch, NotFound
from m3.settings import Settings
from m3.types import ModelInfo
from store.contract import Chunking, Collection, CollectionSpec, Store
from store.filters import FieldType
from store.opening import open_store

_SHOWN_REJECTS = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What the flags say of the collection; None is whatever it has, or the default.

    Attributes:
        fields: metadata fields to filter on, by name.
    """

    collection: str
    max_tokens: int | None = None
    overlap: int | None = None
    whole: bool = False
    fields: Mapping[str, FieldType] = field(default_factory=dict[str, FieldType])

    def chunking(self, model_tokens: int) -> Chunking:
        """For a collection that is made now."""
        default = Chunking()
        if self.whole:
            return Chunking(whole=True)
        max_tokens = self.max_tokens or min(default.max_tokens, model_tokens)
        overlap = self.overlap if self.overlap is not None else default.overlap
        return Chunking(max_tokens, min(overlap, max_tokens // 2), whole=False)

    def check(self, spec: CollectionSpec) -> None:
        """Raises InvalidInput where a flag contradicts the collection that is there."""
        kept = spec.chunking
        asked = {
            "--max-tokens": self.max_tokens in (None, kept.max_tokens),
            "--overlap": self.overlap in (None, kept.overlap),
            "--whole": self.whole in (False, kept.whole),
            "--field": not self.fields or dict(self.fields) == dict(spec.fields),
        }
        for flag, fits in asked.items():
            if not fits:
                raise InvalidInput(
                    f"collection {self.collection!r} was made with another {flag}: "
                    "leave the flag out, or take another collection"
                )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run, and where its dead letters are, if there are any."""

    report: Report
    dead_letters: Path | None
    stand_in: bool


async def run_ingest(
    found: Found, fields: Fields, wish: Wish, settings: Settings, *, dry_run: bool
) -> Outcome:
    """Open or make the collection and bring the documents into it.

    Raises:
        ModelMismatch: the collection holds vectors of a model that no node serves.
        M3Error: as `ingest.pipeline.ingest`.
    """
    async with EmbedderClient.from_settings(settings) as client:
        store = await to_thread.run_sync(open_store, settings)
        try:
            with display(found.bytes) as screen:
                run = _dry_run if dry_run else _run
                return await run(found, fields, wish, settings, client, store, screen)
        finally:
            await to_thread.run_sync(store.close)
