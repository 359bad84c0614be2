"""`m3-search recipe`: the paper's experiments on their published files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from commands.console import print_json
from commands.options import EmbedderUrl, Home, Json
from m3.settings import load_settings

_EXAMPLES = (
    "Examples:\n\n`m3-search recipe miracl ./miracl --language sw`\n\n"
    "`m3-search recipe mkqa ./mkqa --language zh_cn --json`"
)


def add(app: typer.Typer) -> None:
    app.command(epilog=_EXAMPLES)(recipe)


def recipe(
    name: Annotated[str, typer.Argument(help="miracl, mkqa or mldr.")],
    folder: Annotated[
        Path, typer.Argument(help="The published files, as they are named.", metavar="DIR")
    ],
    *,
    language: Annotated[str, typer.Option(help="Such as sw or zh_cn.", metavar="XX")],
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Run an experiment of BGE-M3's paper; its published number stands beside ours.

    Documents go into a collection of their own; every query is searched 1,000 deep in both legs.
    """
    from commands.search.reproducing import reproduce, show_outcome  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(embedder_url=embedder_url, home=home)
    found = asyncio.run(reproduce(name, folder, language, settings))
    if json:
        print_json(found)
    else:
        show_outcome(found)
