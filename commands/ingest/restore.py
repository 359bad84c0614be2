"""`m3-ingest restore`: collections out of a backup, with indexes of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.ingest.copying import All, Names, chosen, copy_all, told
from commands.options import Home, Json
from m3.errors import InvalidInput
from m3.settings import load_settings


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest restore docs --from /backups/monday`\n\n"
        "`m3-ingest restore docs --from s3://bucket/backups/2026-07-01 --as docs-before`"
    )(restore)


def restore(
    names: Names = None,
    *,
    from_: Annotated[
        str, typer.Option("--from", help="A folder, or s3://bucket/prefix.", metavar="PLACE")
    ],
    as_: Annotated[
        str | None,
        typer.Option("--as", help="One collection's new name.  [the same]", metavar="NEW"),
    ] = None,
    every: All = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Bring collections back from a backup, every row checked; nothing is embedded."""
    from store.opening import collections_at, copying_to  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(home=home)
    source = collections_at(from_)
    names = chosen(names, source, every=every)
    if as_ is not None and len(names) > 1:
        raise InvalidInput("--as renames one collection: name one")
    with copying_to(settings) as target:
        done = copy_all(
            source,
            target,
            {name: as_ or name for name in names},
            doing="restoring",
            if_taken="say --as NEW, or take it out first, m3-ingest drop NAME",
        )
    told(done, f"at {settings.tables_path}", json=json)
