"""Collections of this machine's settings: what they are, how they do, and what may be done."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from admin.table import Table
from commands.ingest.switching import run_promote, run_rollback
from embedder.client import EmbedderClient
from m3.errors import M3Error
from m3.settings import Settings
from store.contract import Store
from store.index.engine import Engine
from store.opening import open_store
from store.reports import Status

_SECONDS = 3.0
_MB = 1e6


@contextmanager
def opened(settings: Settings) -> Generator[Store]:
    """The store for the length of a block."""
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def overview(settings: Settings) -> Table:
    """All collections, a row each."""
    with opened(settings) as store:
        found = [store.open(name).status() for name in store.names()]
    columns = ("collection", "documents", "chunks", "MB", "model", "codec", "generation", "waiting")
    return Table(
        columns,
        [
            (
                each.name,
                each.documents,
                each.chunks,
                round(each.bytes / _MB, 1),
                _model(each),
                each.spec.codec.value,
                each.generation,
                each.unpublished,
            )
            for each in found
        ],
        "waiting: commits that searches do not see yet",
    )


def inspect(settings: Settings, name: str) -> Table:
    """One collection, a fact a row. Raises NotFound."""
    with opened(settings) as store:
        status, generations = store.open(name).status(), store.generations(name)
    spec, chunking = status.spec, status.spec.chunking
    published = status.published_at
    facts = {
        "documents": status.documents,
        "chunks": status.chunks,
        "bytes": status.bytes,
        "bytes a chunk": status.bytes // max(status.chunks, 1),
        "model": f"{_model(status)}, {spec.precision}",
        "fingerprint": spec.fingerprint,
        "vectors": f"{spec.dimension} dimensions, {spec.codec.value}",
        "chunks are": "whole documents"
        if chunking.whole
        else f"up to {chunking.max_tokens} tokens",
        "fields": ", ".join(f"{field}: {kind}" for field, kind in spec.fields.items()) or "none",
        "generation": f"{generations.current} serves",
        "being built": generations.building or "none",
        "to go back to": generations.previous or "none",
        "published": published.isoformat(timespec="seconds") if published else "not noted",
        "lag": f"{status.lag_seconds:,.0f} s",
    }
    return Table(("", name), list(facts.items()))


async def health(settings: Settings) -> Table:
    """Whether nodes, Milvus and disk are as they should be."""
    rows = [await _node(url, settings) for url in settings.embedder_url]
    rows.append(_milvus(settings))
    if settings.tables is None:
        rows.append(_disk(settings.home))
    return Table(("part", "state", "where"), rows)


def verify(settings: Settings, name: str) -> Table:
    """Index against table, row by row, and rows against their checksums; nothing is repaired."""
    with opened(settings) as store:
        found = store.open(name).verify()
    rows = [
        ("chunks", found.chunks),
        ("lacking in the index", found.missing),
        ("too many in the index", found.stale),
        ("corrupt", len(found.corrupt)),
        ("consistent", found.consistent),
    ]
    return Table(("", name), rows)


async def promote(settings: Settings, name: str, *, confirm: str) -> str:
    """Switch to the generation that was built. Raises InvalidInput where none was."""
    if confirm != name:
        return _unconfirmed(name, "promotes what was built")
    switch = await run_promote(name, settings)
    return f"{name}: generation {switch.generation} {switch.what}"


async def roll_back(settings: Settings, name: str, *, confirm: str) -> str:
    """Switch to the generation that served before. Raises InvalidInput where none is kept."""
    if confirm != name:
        return _unconfirmed(name, "rolls back")
    switch = await run_rollback(name, settings)
    return f"{name}: generation {switch.generation} {switch.what}"


def delete(settings: Settings, name: str, *, confirm: str) -> str:
    """Take out a collection, its documents and their vectors, for good. Raises NotFound."""
    if confirm != name:
        return _unconfirmed(name, "deletes it for good")
    with opened(settings) as store:
        store.drop(name)
    return f"{name} is gone"


def _unconfirmed(name: str, what: str) -> str:
    return f'nothing was done: this {what}; set CONFIRM = "{name}" and run the cell again'


def _model(status: Status) -> str:
    return "English-only stand-in" if status.spec.stand_in else status.spec.model


async def _node(url: str, settings: Settings) -> tuple[str, str, str]:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=_SECONDS) as http:
            ready = (await http.get(f"{url}/readyz")).is_success
        async with EmbedderClient([url], timeout=_SECONDS, api_key=settings.client_key) as client:
            model = await client.model()
    except (httpx.HTTPError, M3Error) as error:
        return "embedder node", f"does not answer: {error}", url
    which = "English-only stand-in" if model.stand_in else model.id
    state = "ready" if ready else "loading or draining"
    return "embedder node", f"{state}: {which}, {model.precision}", url


def _milvus(settings: Settings) -> tuple[str, str, str]:
    if settings.milvus_uri is not None:
        return "Milvus", "a server; verify asks it", settings.milvus_uri
    engine = Engine.of(settings).status()
    state = f"runs, process {engine.pid}" if engine.running else "rests until it is needed"
    return "Milvus", f"embedded: {state}", engine.directory


def _disk(home: Path) -> tuple[str, str, str]:
    there = next(path for path in (home, *home.parents) if path.exists())
    usage = shutil.disk_usage(there)
    return "disk", f"{usage.free / 1e9:,.1f} of {usage.total / 1e9:,.1f} GB free", str(home)
