"""m3-ingest: documents into collections, and what is in them. A command is a file here."""

from __future__ import annotations

import typer

from commands import console
from commands.ingest import (
    backup,
    bulk,
    compact,
    copy,
    delete,
    export,
    metrics,
    plan,
    rebuild,
    restore,
    retry,
    run,
    status,
    verify,
)

app = typer.Typer(
    help="Documents into collections: cut, embedded, written.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
for _command in (
    run,
    retry,
    status,
    verify,
    delete,
    rebuild,
    compact,
    export,
    metrics,
    plan,
    bulk,
    copy,
    backup,
    restore,
):
    _command.add(app)


def main() -> None:
    """The entry point."""
    console.run(app)
