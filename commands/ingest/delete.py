"""`m3-ingest delete` and `drop`: documents, or a whole collection, taken out."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from commands.console import print_json
from commands.ingest.options import Name, Source, Tenant, Yes, opened_store
from commands.options import Home, Json
from m3.errors import InvalidInput
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT, DocumentKey


def add(app: typer.Typer) -> None:
    app.command(epilog="Example:\n\n`m3-ingest delete docs --id guide.md --id faq.md`")(delete)
    app.command(epilog="Example:\n\n`m3-ingest drop docs --yes`")(drop)


def delete(
    name: Name,
    *,
    id_: Annotated[
        list[str], typer.Option("--id", help="Of a document. Repeatable.", metavar="ID")
    ],
    source: Source = DEFAULT_SOURCE,
    tenant: Tenant = DEFAULT_TENANT,
    json: Json = False,
    home: Home = None,
) -> None:
    """Take documents out of a collection."""
    keys = [DocumentKey(tenant, source, each) for each in dict.fromkeys(id_)]
    with opened_store(home) as store:
        collection = store.open(name)
        deleted = collection.delete(keys)
        collection.settle()
    if json:
        print_json({"deleted": deleted, "not_found": len(keys) - deleted})
    else:
        typer.echo(f"{deleted} documents deleted, {len(keys) - deleted} were not there")


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
