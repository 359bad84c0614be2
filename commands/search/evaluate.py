"""`m3-search eval`: what a judged collection's rankings are worth."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from commands.console import SOME_FAILED, print_json
from commands.options import EmbedderUrl, Home, Json
from m3.settings import load_settings

_EXAMPLES = (
    "Examples:\n\n`m3-search eval ./scifact`\n\n"
    "`m3-search eval ./scifact --methods dense,fusion --json`"
)


def add(app: typer.Typer) -> None:
    app.command("eval", epilog=_EXAMPLES)(evaluate)


def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="corpus.jsonl, queries.jsonl, qrels/test.tsv.", metavar="DIR")
    ],
    *,
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", help="In place of its own.", show_default=False),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated.  [all]", metavar="M,M,…", show_default=False),
    ] = None,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Measure retrieval quality on a judged collection in BEIR layout.

    Its documents are ingested, one chunk each up to the model's limit; every judged query is
    searched 200 candidates deep with each method.
    """
    from commands.search.measuring import measure_folder, show_quality  # noqa: PLC0415

    settings = load_settings(embedder_url=embedder_url, home=home)
    chosen = methods.split(",") if methods is not None else None
    measured = asyncio.run(measure_folder(folder, settings, collection, chosen))
    if json:
        print_json(measured.quality)
    else:
        show_quality(measured.quality, measured.collection)
    if measured.failed:
        raise typer.Exit(SOME_FAILED)
