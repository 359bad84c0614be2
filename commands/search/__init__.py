"""m3-search: the search API, its quality, its keys and its Milvus. A command is a file here."""

from __future__ import annotations

import typer

from commands import console
from commands.search import (
    analyse,
    compare,
    engine,
    evaluate,
    judge_sheet,
    keys,
    mcp,
    query,
    recipe,
    serve,
    tune,
)

app = typer.Typer(
    help="The search API: queries to hits, by dense, sparse and ColBERT.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
for _command in (
    serve,
    query,
    mcp,
    evaluate,
    compare,
    tune,
    analyse,
    judge_sheet,
    recipe,
    engine,
    keys,
):
    _command.add(app)


def main() -> None:
    """The entry point."""
    console.run(app)
