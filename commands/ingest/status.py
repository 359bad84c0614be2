"""`m3-ingest status` and `collections`: what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from commands.console import print_json
from commands.ingest.options import Name, opened_store
from commands.options import Home, Json

if TYPE_CHECKING:
    from store.contract import Status


def add(app: typer.Typer) -> None:
    app.command(epilog="Example:\n\n`m3-ingest status docs --json`")(status)
    app.command(epilog="Example:\n\n`m3-ingest collections --json`")(collections)


def status(name: Name, *, json: Json = False, home: Home = None) -> None:
    """What a collection holds, of which model."""
    with opened_store(home) as store:
        found = store.open(name).status()
    if json:
        print_json(found)
    else:
        _show_status(found)


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


def _show_status(status: Status) -> None:
    spec = status.spec
    chunking = spec.chunking
    cut = "whole" if chunking.whole else f"{chunking.max_tokens}, {chunking.overlap} shared"
    facts = {
        "documents": f"{status.documents:,}",
        "chunks": f"{status.chunks:,}",
        "bytes": f"{status.bytes:,}",
        "model": f"{spec.model} ({'English-only stand-in, ' * spec.stand_in}{spec.precision})",
        "fingerprint": spec.fingerprint,
        "vectors": f"{spec.dimension} dimensions, {spec.codec}",
        "chunk tokens": cut,
        "context": chunking.context,
        "tenancy": f"{spec.tenancy}{f', {spec.owner}' if spec.owner else ''}",
        "fields": ", ".join(f"{name}:{kind}" for name, kind in spec.fields.items()) or "none",
        "generation": status.generation,
        "version": f"{status.version} ({status.unpublished} commits wait for the index)",
    }
    typer.echo(status.name)
    for name, fact in facts.items():
        typer.echo(f"  {name:12} {fact}")
