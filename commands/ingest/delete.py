"""`m3-ingest delete` and `drop`: documents, or a whole collection, taken out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from commands.console import print_json
from commands.ingest.options import Name, Source, Tenant, Yes, opened_store
from commands.options import Home, Json
from m3.errors import InvalidInput
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT, DocumentKey

if TYPE_CHECKING:
    from store.filters import Filter
    from store.spec import CollectionSpec

_SHOWN = 20


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest delete docs --id guide.md --id faq.md`\n\n"
        "`m3-ingest delete docs --dry-run "
        """--filter '{"field": "year", "op": "lt", "value": 2020}'`"""
    )(delete)
    app.command(epilog="Example:\n\n`m3-ingest drop docs --yes`")(drop)


def delete(
    name: Name,
    *,
    id_: Annotated[
        list[str] | None,
        typer.Option("--id", help="Of a document. Repeatable.", metavar="ID", show_default=False),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", help="Of a tenant's documents, as in a search.", metavar="JSON"),
    ] = None,
    source: Source = DEFAULT_SOURCE,
    tenant: Tenant = DEFAULT_TENANT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which documents, and leave them.")
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Take documents out of a collection, by id within a source, or by filter in all sources.

    Their bytes stay on disk until `m3-ingest purge`.
    """
    if (id_ is None) == (filter_ is None):
        raise InvalidInput("say which documents: --id ID, or --filter JSON")
    with opened_store(home) as store:
        collection = store.open(name)
        keys = [DocumentKey(tenant, source, each) for each in dict.fromkeys(id_ or ())]
        if filter_ is not None:
            keys = collection.find(_filter(filter_, collection.spec), tenant)
        there = sorted(collection.content_hashes(keys), key=lambda key: (key.source, key.id))
        if not dry_run:
            collection.delete(there)
            collection.settle()
    _show_deleted(there, len(keys) - len(there), dry_run=dry_run, json=json)


def _filter(text: str, spec: CollectionSpec) -> Filter:
    from store.filters import parse  # noqa: PLC0415 - keeps --help quick

    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--filter is not JSON: {error}") from error
    return parse(body, spec.fields)


def _show_deleted(keys: Sequence[DocumentKey], absent: int, *, dry_run: bool, json: bool) -> None:
    if json:
        counts: dict[str, Any] = {"deleted": 0 if dry_run else len(keys), "not_found": absent}
        if dry_run:
            counts["would_delete"] = [{"source": key.source, "id": key.id} for key in keys]
        print_json(counts)
        return
    for key in keys[:_SHOWN] if dry_run else ():
        typer.echo(f"{key.source}/{key.id}")
    if dry_run and len(keys) > _SHOWN:
        typer.echo(f"… and {len(keys) - _SHOWN:,} more")
    would = "would be " if dry_run else ""
    typer.echo(f"{len(keys):,} documents {would}deleted, {absent:,} were not there")


def drop(
    name: Name,
    *,
    yes: Yes = False,
    home: Home = None,
) -> None:
    """Take out a collection, its documents and their vectors."""
    with opened_store(home) as store:
        documents = store.open(name).status().documents
        if not yes and not sys.stdin.isatty():
            raise InvalidInput(f"this deletes {documents:,} documents for good: say --yes")
        if not yes and not typer.confirm(f"Delete {name!r} and its {documents:,} documents?"):
            return
        store.drop(name)
    typer.echo(f"{name} is gone")
