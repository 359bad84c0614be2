"""`m3-ingest status` and `collections`: what is there, what waits, what is being made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from commands.console import print_json
from commands.ingest.options import Name, opened_store
from commands.options import Home, Json

if TYPE_CHECKING:
    from store.contract import Store
    from store.reports import Generations, Status
    from store.spec import CollectionSpec


@dataclass(frozen=True, slots=True)
class Building:
    """A generation that is being made.

    Attributes:
        documents: that it holds by now.
        of: that the serving one holds.
    """

    generation: int
    documents: int
    of: int


def add(app: typer.Typer) -> None:
    app.command(epilog="Example:\n\n`m3-ingest status docs --json`")(status)
    app.command(epilog="Example:\n\n`m3-ingest collections --json`")(collections)


def status(name: Name, *, json: Json = False, home: Home = None) -> None:
    """What a collection holds, of which model; what waits for the index, and what is being made."""
    with opened_store(home) as store:
        found = store.open(name).status()
        generations = store.generations(name)
        building = _building(store, found, generations)
    if json:
        print_json({**asdict(found), "building": building, "previous": generations.previous})
    else:
        _show_status(found, building, generations.previous)


def _building(store: Store, serving: Status, generations: Generations) -> Building | None:
    number = generations.building
    if number is None:
        return None
    there = store.open(serving.name, number).status().documents
    return Building(number, there, serving.documents)


def collections(*, json: Json = False, home: Home = None) -> None:
    """All collections of the state directory."""
    with opened_store(home) as store:
        found = [store.open(name).status() for name in store.names()]
    if json:
        print_json(found)
        return
    for each in found:
        typer.echo(f"{each.name}: {each.documents:,} documents, {each.chunks:,} chunks")
    if not found:
        typer.echo("there is no collection yet")


def _show_status(status: Status, building: Building | None, previous: int | None) -> None:
    spec = status.spec
    chunking = spec.chunking
    cut = "whole" if chunking.whole else f"{chunking.max_tokens}, {chunking.overlap} shared"
    facts = {
        "documents": f"{status.documents:,}",
        "chunks": f"{status.chunks:,}",
        "bytes": f"{status.bytes:,}",
        "model": f"{spec.model} ({'English-only stand-in, ' * spec.stand_in}{spec.precision})",
        "fingerprint": spec.fingerprint,
        "vectors": f"{spec.dimension} dimensions, {spec.codec}, {_tokens(spec)}",
        "chunk tokens": cut,
        "context": chunking.context,
        "tenancy": f"{spec.tenancy}{f', {spec.owner}' if spec.owner else ''}",
        "fields": ", ".join(f"{name}:{kind}" for name, kind in spec.fields.items()) or "none",
        "weights": _weights(status),
        "reranked": _reranked(status),
        "generation": _generation(status.generation, building, previous),
        "version": f"{status.version}, published {_published(status)}",
        "lag": f"{status.lag_seconds:,.0f} s ({status.unpublished} commits wait for the index)",
    }
    typer.echo(status.name)
    for name, fact in facts.items():
        typer.echo(f"  {name:12} {fact}")


def _tokens(spec: CollectionSpec) -> str:
    return "one a token" if spec.pooling == 1 else f"one for {spec.pooling} tokens"


def _weights(status: Status) -> str:
    saved = [
        f"{method} {', '.join(f'{weight:g}' for weight in weights.as_tuple())}"
        for method, weights in status.defaults.weights.items()
    ]
    return "; ".join(saved) or "the methods' own"


def _reranked(status: Status) -> str:
    depth = status.defaults.rerank_depth
    return "all candidates" if depth is None else f"{depth} candidates"


def _generation(number: int, building: Building | None, previous: int | None) -> str:
    parts = [f"{number} serves"]
    if building:
        done = f"{building.documents:,} of {building.of:,} documents"
        parts.append(f"{building.generation} is being made ({done})")
    if previous is not None:
        parts.append(f"{previous} served before")
    return ", ".join(parts)


def _published(status: Status) -> str:
    at = status.published_at
    return "at a time that was not noted" if at is None else at.isoformat(timespec="seconds")
