"""`m3-ingest backup`: tables elsewhere, from which collections come back."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.ingest.copying import All, Names, chosen, copy_all, told
from commands.options import Home, Json
from m3.settings import load_settings


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest backup docs --to /backups/monday`\n\n"
        "`m3-ingest backup --all --to s3://bucket/backups/2026-07-01`"
    )(backup)


def backup(
    names: Names = None,
    *,
    to: Annotated[str, typer.Option(help="A folder, or s3://bucket/prefix.", metavar="PLACE")],
    every: All = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Copy what searches see now of collections to another place, every row checked.

    Searches and writers go on, and Milvus is not needed. Each is there once it is complete.
    """
    from store.opening import backing_up_to, collections_at  # noqa: PLC0415 - keeps --help quick

    source = collections_at(load_settings(home=home).tables_path)
    names = chosen(names, source, every=every)
    done = copy_all(
        source,
        backing_up_to(to),
        {name: name for name in names},
        doing="backing up",
        if_taken="name a place for each backup, such as one by its date",
    )
    told(done, f"at {to}", json=json)
