"""`m3-ingest compact` and `purge`: fewer files, less disk, and nothing left of what was deleted."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import print_json
from commands.ingest.options import Name, opened_store
from commands.options import Home, Json
from m3.errors import InvalidInput

if TYPE_CHECKING:
    from store.reports import Compaction

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add(app: typer.Typer) -> None:
    app.command(epilog="Example:\n\n`m3-ingest compact docs --retention 1h`")(compact)
    app.command(epilog="Example:\n\n`m3-ingest purge docs`")(purge)


def compact(
    name: Name,
    *,
    retention: Annotated[
        str,
        typer.Option(
            help="Old versions stay for so long: 30m, 12h, 7d. Longer than anyone reads one.",
            metavar="TIME",
        ),
    ] = "7d",
    json: Json = False,
    home: Home = None,
) -> None:
    """Make many small files of a collection few large ones, and free what old versions hold.

    Searches and writers go on. A run that leaves many small files does this at its end by itself.
    """
    kept = _duration(retention)
    with opened_store(home) as store:
        done = store.open(name).compact(kept)
    _show(name, done, json=json)


def purge(
    name: Name,
    *,
    json: Json = False,
    home: Home = None,
) -> None:
    """Erase for good what was deleted or replaced: its bytes leave the disk, in every generation.

    Searches and writers go on; copies and rebuilds that run meanwhile have to be run again.
    """
    from store.generations.erasing import erase  # noqa: PLC0415 - keeps --help quick

    with opened_store(home) as store:
        done = erase(store, name)
    _show(name, done, json=json)


def _show(name: str, done: Compaction, *, json: bool) -> None:
    if json:
        print_json({"collection": name, **asdict(done)})
    else:
        typer.echo(
            f"{name}: {done.fragments_before:,} files of rows are {done.fragments:,} now; "
            f"{done.bytes_freed:,} bytes freed"
        )


def _duration(text: str) -> timedelta:
    parts = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if parts is None:
        raise InvalidInput(f"--retention {text}: expected a number and s, m, h or d, such as 7d")
    return timedelta(**{_UNITS[parts[2]]: int(parts[1])})
