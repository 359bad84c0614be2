"""Rebuilding and switching generations: store, nodes and ingest put together."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from anyio import to_thread

from commands.ingest.progress import display
from commands.opened import store_and_nodes
from embedder.client import EmbedderClient
from ingest.rebuilding import follow
from ingest.running.report import Progress, Report
from ingest.sources import Reject
from m3.errors import InvalidInput, SnapshotGone, StoredDataError
from m3.settings import Settings
from m3.types import DEFAULT_TENANT, Context, Tenancy
from store.candidates import Snapshot
from store.contract import Collection, Store
from store.spec import Chunking, CollectionSpec

_FEW = 8
"""Documents that may be left until writers wait: those that never rest always leave some."""

_SHORTER = 0.9
"""Of the time that a pass took, what the next one may take at most for another to be worth it."""


@dataclass(frozen=True, slots=True)
class Recut:
    """What the next generation does otherwise; None is as the one that serves does.

    Attributes:
        tenant: whose own it is to be, where `tenancy` says that.
    """

    max_tokens: int | None = None
    overlap: int | None = None
    context: Context | None = None
    tenancy: Tenancy | None = None
    tenant: str | None = None
    pooling: int | None = None

    def __post_init__(self) -> None:
        if self.tenant is not None and self.tenancy != "own":
            raise InvalidInput("--tenant says whose own it is to be: say --tenancy own too")

    def owner(self, spec: CollectionSpec) -> str | None:
        """Of the next generation."""
        if self.tenancy is None:
            return spec.owner
        return (self.tenant or DEFAULT_TENANT) if self.tenancy == "own" else None

    def of(self, chunking: Chunking, model_tokens: int) -> Chunking:
        """Raises InvalidInput for sizes where whole documents are not cut."""
        if chunking.whole and (self.max_tokens, self.overlap) != (None, None):
            raise InvalidInput("the collection holds whole documents: they are not cut")
        tokens = min(self.max_tokens or chunking.max_tokens, model_tokens)
        overlap = chunking.overlap if self.overlap is None else self.overlap
        context = self.context or chunking.context
        return replace(
            chunking, max_tokens=tokens, overlap=min(overlap, tokens // 2), context=context
        )


@dataclass(frozen=True, slots=True)
class Switch:
    """What was done with a generation, and what had to be copied for it.

    Attributes:
        writers_waited: seconds at most, where another generation serves for it.
    """

    collection: str
    generation: int
    what: str
    report: Report
    writers_waited: float | None = None


async def run_rebuild(name: str, settings: Settings, recut: Recut) -> Switch:
    """Begin the next generation, or go on with the one that is being made.

    Raises:
        InvalidInput: it would be what serves already, flags that contradict the one being made, or
            one tenant's own where there are documents of others.
        M3Error: as `ingest.rebuilding.follow`.
    """
    async with store_and_nodes(settings) as (store, client):
        serving = await to_thread.run_sync(store.open, name)
        spec = await _wanted(serving.spec, client, settings, recut)
        await to_thread.run_sync(_refuse_foreign, serving, spec)
        number = await to_thread.run_sync(_begun, store, name, spec)
        target = await to_thread.run_sync(store.open, name, number)
        report = await _Following(serving, target, client).nearly()
        return Switch(name, number, "is built", report)


async def run_promote(name: str, settings: Settings) -> Switch:
    """Switch to the generation that was built.

    Raises:
        InvalidInput: none was.
    """
    async with store_and_nodes(settings) as (store, client):
        number = (await to_thread.run_sync(store.generations, name)).building
        if number is None:
            raise InvalidInput(f"nothing was built for {name!r}: run m3-ingest rebuild {name}")
        return await _switched(store, client, name, number)


async def run_rollback(name: str, settings: Settings) -> Switch:
    """Switch to the generation that served before.

    Raises:
        InvalidInput: none is kept.
    """
    async with store_and_nodes(settings) as (store, client):
        number = (await to_thread.run_sync(store.generations, name)).previous
        if number is None:
            raise InvalidInput(f"{name!r} has no generation that served before")
        return await _switched(store, client, name, number)


async def _switched(store: Store, client: EmbedderClient, name: str, number: int) -> Switch:
    serving = await to_thread.run_sync(store.open, name, store.generations(name).current)
    target = await to_thread.run_sync(store.open, name, number)
    following = _Following(serving, target, client)
    report = await following.nearly()
    began = time.monotonic()
    with store.closing(name, number):
        # Writers wait now: what is left is what they had begun.
        left = await following.wholly()
        await to_thread.run_sync(store.serve, name, number)
    waited = round(time.monotonic() - began, 3)
    return Switch(name, number, "serves", report + left, waited)


class _Following:
    """Passes that bring a generation up to the one that serves.

    The first looks at all documents, further ones at what changed since the one before began.
    """

    def __init__(self, serving: Collection, target: Collection, client: EmbedderClient) -> None:
        self._serving = serving
        self._target = target
        self._client = client
        self._since: Snapshot | None = None

    async def nearly(self) -> Report:
        """Until a pass found little, or took as long as the one before: writers may never rest."""
        total, before = Report(), math.inf
        with display(None) as screen:
            while True:
                began = time.monotonic()
                report = await self._pass(screen.update)
                took = time.monotonic() - began
                total += report
                if report.documents <= _FEW or took > _SHORTER * before:
                    return total
                before = took

    async def wholly(self) -> Report:
        """Until a pass found nothing."""
        total = Report()
        with display(None) as screen:
            while (report := await self._pass(screen.update)).documents:
                total += report
        return total + report

    async def _pass(self, on_progress: Progress) -> Report:
        began_at = await to_thread.run_sync(self._serving.snapshot)
        try:
            report = await self._follow(self._since, on_progress)
        except SnapshotGone:
            report = await self._follow(None, on_progress)
        self._since = began_at
        return report

    async def _follow(self, since: Snapshot | None, on_progress: Progress) -> Report:
        rejected: list[Reject] = []
        report = await follow(
            self._serving,
            self._target,
            self._client,
            on_reject=rejected.append,
            on_progress=on_progress,
            since=since,
        )
        if rejected:
            raise StoredDataError(
                f"document {rejected[0].document!r} cannot be rebuilt: {rejected[0].reason}; "
                "delete it, or ingest it again"
            )
        return report


async def _wanted(
    spec: CollectionSpec, client: EmbedderClient, settings: Settings, recut: Recut
) -> CollectionSpec:
    model = await client.model()
    wanted = CollectionSpec.of(
        model,
        codec=settings.codec,
        chunking=recut.of(spec.chunking, model.max_tokens),
        fields=dict(spec.fields),
        owner=recut.owner(spec),
        pooling=spec.pooling if recut.pooling is None else recut.pooling,
    )
    if wanted == spec:
        raise InvalidInput(
            "it would be what serves already: name the new model's node first (--embedder-url), "
            "or other chunks (--max-tokens, --overlap, --context), another --tenancy or --pooling"
        )
    return wanted


def _refuse_foreign(serving: Collection, spec: CollectionSpec) -> None:
    if spec.owner in (None, serving.spec.owner):
        return
    tenants = {key.tenant for some in serving.hashes() for key in some}
    foreign = next((tenant for tenant in sorted(tenants) if not spec.admits(tenant)), None)
    if foreign is not None:
        raise InvalidInput(
            f"{serving.name!r} has documents of tenant {foreign!r} too: it can be the own one of "
            f"{spec.owner!r} once they are deleted"
        )


def _begun(store: Store, name: str, spec: CollectionSpec) -> int:
    """The generation that is being made, if it is the one that is wanted, or a fresh one."""
    known = store.generations(name)
    if known.building is None:
        return store.begin(name, spec)
    if known.specs[known.building] != spec:
        raise InvalidInput(
            f"generation {known.building} is being made with other settings: finish it with those, "
            f"or take it out: m3-ingest generations {name} --discard {known.building}"
        )
    return known.building
