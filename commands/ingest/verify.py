"""`m3-ingest verify`: index against table, rows against their checksums."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import print_json
from commands.ingest.options import Name, opened_store
from commands.options import Home, Json
from m3.errors import StoredDataError

if TYPE_CHECKING:
    from store.reports import Verification


def add(app: typer.Typer) -> None:
    app.command(epilog="Example:\n\n`m3-ingest verify docs --repair`")(verify)


def verify(
    name: Name,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make the index equal to the table.")
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Hold index against table, row by row, and rows against their checksums.

    Exit code 4 where they do not fit and were not repaired. Repairing embeds nothing.
    """
    with opened_store(home) as store:
        found = store.open(name).verify(repair=repair)
    if json:
        print_json({**asdict(found), "consistent": found.consistent})
    else:
        typer.echo(_verified(found))
    if found.corrupt:
        raise StoredDataError(
            f"{len(found.corrupt)} rows of {name!r} do not match their checksum: "
            "delete their documents and ingest them again"
        )
    if not found.consistent:
        raise StoredDataError(
            f"index and table of {name!r} differ: run `m3-ingest verify {name} --repair`"
        )


def _verified(found: Verification) -> str:
    repaired = ", repaired" if found.repaired and (found.missing or found.stale) else ""
    return (
        f"{found.chunks:,} chunks; the index lacks {found.missing:,} and has {found.stale:,} "
        f"too many{repaired}; {len(found.corrupt):,} corrupt"
    )
