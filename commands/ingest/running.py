"""`m3-ingest run`: sources, node and store put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
from anyio import to_thread

from commands.ingest.interrupting import Reason, Stop, interruptible
from commands.ingest.progress import Display, display
from commands.ingest.speed import tokens_per_second
from commands.opened import store_and_nodes
from embedder.client import EmbedderClient
from ingest.cutting.chunkers import Chunkers
from ingest.cutting.chunking import Chunker
from ingest.deadletters import DeadLetters, Origin
from ingest.running.limits import MaxErrors
from ingest.running.pipeline import ingest, survey
from ingest.running.report import Report
from ingest.sources import Parsed, Reject
from ingest.syncing import Sync
from m3.errors import AlreadyExists, InvalidInput, ModelMismatch, NotFound, NotSynced
from m3.settings import Settings
from m3.types import Context, Tenancy
from serving.memory import keep_large_buffers
from store.checks import check_pooling
from store.contract import Collection, Store
from store.filters import FieldType
from store.spec import Chunking, CollectionSpec

_SHOWN_REJECTS = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What the flags say of the collection; None is whatever it has, or else the default.

    Attributes:
        fields: metadata fields to filter on, by name.
        tenant: whose documents they are, where all of them are one tenant's.
        made: whether the collection is there already; one that is not is refused.
    """

    collection: str
    max_tokens: int | None = None
    overlap: int | None = None
    whole: bool = False
    fields: Mapping[str, FieldType] = field(default_factory=dict[str, FieldType])
    context: Context | None = None
    tenancy: Tenancy | None = None
    tenant: str | None = None
    pooling: int | None = None
    made: bool = False

    def __post_init__(self) -> None:
        if self.whole and (self.max_tokens, self.overlap) != (None, None):
            raise InvalidInput("--whole does not cut: leave out --max-tokens and --overlap")
        if self.pooling is not None:
            check_pooling(self.pooling)

    def chunking(self, model_tokens: int) -> Chunking:
        """Of a collection that is made now."""
        default = Chunking()
        tokens = self.max_tokens if self.max_tokens is not None else default.max_tokens
        if self.max_tokens is None:
            tokens = min(tokens, model_tokens)
        overlap = self.overlap if self.overlap is not None else min(default.overlap, tokens // 2)
        return Chunking(tokens, overlap, self.whole, self.context or default.context)

    @property
    def owner(self) -> str | None:
        """Of a collection that is made now."""
        return self.tenant if self.tenancy == "own" else None

    def check(self, spec: CollectionSpec) -> None:
        """Raises InvalidInput where a flag contradicts the collection that is there."""
        made = spec.chunking
        fits = {
            "--max-tokens": self.max_tokens in (None, made.max_tokens),
            "--overlap": self.overlap in (None, made.overlap),
            "--whole": not self.whole or made.whole,
            "--context": self.context in (None, made.context),
            "--field": not self.fields or self.fields == spec.fields,
            "--tenancy": self.tenancy in (None, spec.tenancy),
            "--pooling": self.pooling in (None, spec.pooling),
        }
        for flag in (flag for flag, fit in fits.items() if not fit):
            raise InvalidInput(
                f"collection {self.collection!r} was made with another {flag}: leave the flag "
                "out, or name another collection"
            )
        if self.tenant is not None and not spec.admits(self.tenant):
            raise InvalidInput(
                f"collection {self.collection!r} is the own one of tenant {spec.owner!r}: "
                f"say --tenant {spec.owner}, or name another collection"
            )


@dataclass(frozen=True, slots=True)
class Feed:
    """What a run reads.

    Attributes:
        bytes: of all items together, where that is known.
        origin: which run a failed document is of, so that it can be retried.
        sync: what may be deleted once all is read, unset nothing.
    """

    items: Iterable[Parsed | Reject]
    bytes: int | None
    origin: Callable[[Reject], Origin]
    sync: Sync | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run, with what model, and where its dead letters are, if there are any.

    Attributes:
        stopped: why it ended before all was read.
        tokens_per_second: of the nodes, as they measured it, for a dry run.
        deleted: documents that had vanished from the source; None where that was not asked.
        not_synced: why none of them was deleted.
    """

    report: Report
    spec: CollectionSpec
    dead_letters: Path | None = None
    stopped: Reason | None = None
    tokens_per_second: float | None = None
    deleted: int | None = None
    not_synced: str | None = None


async def run_ingest(
    feed: Feed,
    wish: Wish,
    settings: Settings,
    *,
    dry_run: bool = False,
    max_errors: MaxErrors | None = None,
    defer_index: bool = False,
) -> Outcome:
    """Open or make the collection and bring the documents into it.

    Args:
        defer_index: into its table alone, for a publication that comes later.

    Raises:
        InvalidInput: a flag contradicts the collection.
        NotFound: it should be there already.
        ModelMismatch: the collection holds vectors of a model that no node serves.
        M3Error: as `ingest.running.pipeline.ingest`.
    """
    # Answers of megabytes come and go for as long as the run lasts: had from the system anew each
    # time, zeroed page by page, they take a quarter of its CPU.
    keep_large_buffers()
    pa.set_memory_pool(pa.system_memory_pool())
    async with store_and_nodes(settings, defer_index=defer_index) as (store, client):
        collection = await to_thread.run_sync(_existing, store, wish)
        spec = await _spec(collection, wish, client, settings)
        chunkers = Chunkers(client)
        chunker = await chunkers.of(spec)
        with display(feed.bytes, settings) as screen:
            if dry_run:
                report = await _surveyed(feed, collection, chunker, screen)
                rate = await to_thread.run_sync(tokens_per_second, settings)
                outcome = Outcome(report, spec, tokens_per_second=rate)
                return await _synced(outcome, feed, collection, dry_run=True)
            target = collection or await to_thread.run_sync(_made, store, wish.collection, spec)
            with DeadLetters(settings.home, wish.collection) as letters:
                rejects = _Rejects(letters, screen, feed.origin)
                stop = Stop()

                def on_progress(report: Report) -> None:
                    screen.update(report)
                    if max_errors and max_errors.exceeded(report):
                        stop.set("max_errors")

                with interruptible(stop, screen):
                    report = await ingest(
                        feed.items,
                        target,
                        client,
                        chunkers=chunkers,
                        on_reject=rejects.add,
                        on_progress=on_progress,
                        on_note=screen.note,
                        patience=settings.embedder_patience,
                        stop=stop.event,
                    )
                    outcome = Outcome(report, spec, letters.path, stop.reason)
                    return await _synced(outcome, feed, target)


async def _synced(
    outcome: Outcome, feed: Feed, collection: Collection | None, *, dry_run: bool = False
) -> Outcome:
    if feed.sync is None or collection is None:
        return outcome
    try:
        vanished = await to_thread.run_sync(feed.sync.vanished, collection)
        if not dry_run:
            await to_thread.run_sync(feed.sync.delete, collection, vanished)
    except NotSynced as error:
        return replace(outcome, deleted=0, not_synced=error.message)
    return replace(outcome, deleted=len(vanished))


async def _surveyed(
    feed: Feed, collection: Collection | None, chunker: Chunker, screen: Display
) -> Report:
    return await survey(
        feed.items,
        collection,
        chunker,
        on_reject=lambda reject: screen.note(_line(reject)),
        on_progress=screen.update,
    )


class _Rejects:
    """Every failed document goes to the dead letters, the first few are shown too."""

    def __init__(
        self, letters: DeadLetters, screen: Display, origin: Callable[[Reject], Origin]
    ) -> None:
        self._letters = letters
        self._screen = screen
        self._origin = origin
        self._left = _SHOWN_REJECTS

    def add(self, reject: Reject) -> None:
        self._letters.add(reject, self._origin(reject))
        if self._left:
            self._left -= 1
            more = "" if self._left else " (further ones are not shown)"
            self._screen.note(_line(reject) + more)


def _line(reject: Reject) -> str:
    document = f" (document {reject.document!r})" if reject.document else ""
    return f"failed: {reject.place}: {reject.reason}{document}"


def _existing(store: Store, wish: Wish) -> Collection | None:
    try:
        collection = store.open(wish.collection)
    except NotFound:
        if wish.made:
            raise
        return None
    wish.check(collection.spec)
    return collection


def _made(store: Store, name: str, spec: CollectionSpec) -> Collection:
    try:
        return store.create(name, spec)
    except AlreadyExists:
        # Another run was quicker; it is as good if it made the same.
        collection = store.open(name)
        if collection.spec != spec:
            raise
        return collection


async def _spec(
    collection: Collection | None, wish: Wish, client: EmbedderClient, settings: Settings
) -> CollectionSpec:
    """The collection's, which a node has to serve the model of; or one for the node's model."""
    if collection is None:
        model = await client.model()
        return CollectionSpec.of(
            model,
            codec=settings.codec,
            chunking=wish.chunking(model.max_tokens),
            fields=wish.fields,
            owner=wish.owner,
            pooling=1 if wish.pooling is None else wish.pooling,
        )
    spec = collection.spec
    try:
        await client.model(spec.fingerprint)
    except ModelMismatch as error:
        raise ModelMismatch(
            f"collection {wish.collection!r} holds vectors of {spec.model}: {error}"
        ) from error
    return spec
