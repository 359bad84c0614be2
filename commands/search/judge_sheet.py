"""`m3-search judge-sheet`: a CSV for people to fill in, that `tune` and `compare` read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from commands.options import EmbedderUrl, Home
from m3.settings import load_settings

_EXAMPLES = (
    "Example:\n\n`m3-search judge-sheet queries.txt --collection docs --out sheet.csv`\n\n"
    "`m3-search tune sheet.csv --collection docs`"
)


def add(app: typer.Typer) -> None:
    app.command("judge-sheet", epilog=_EXAMPLES)(judge_sheet)


def judge_sheet(
    queries: Annotated[Path, typer.Argument(help="A query a line, or JSONL.", metavar="QUERIES")],
    *,
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where to search.")],
    out: Annotated[Path, typer.Option(help="The CSV to write.", metavar="CSV")],
    count: Annotated[int, typer.Option(help="Queries, drawn at random.", min=1)] = 50,
    top: Annotated[
        int, typer.Option(help="Documents of each method: dense, sparse, colbert, fusion.", min=1)
    ] = 5,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Write the documents that the methods find for some queries, for a person to grade.

    0 is not relevant, 1 and above more and more so; lines without a grade are not judged. The order
    is shuffled, so that it says nothing of the system's own opinion.
    """
    from commands.search.analysing import write_sheet  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(embedder_url=embedder_url, home=home)
    lines = asyncio.run(write_sheet(queries, settings, collection, out, count=count, top=top))
    typer.echo(f"{out}: {lines:,} lines to grade, in the column 'grade'")
