"""`m3-ingest copy`: a collection once more, under another name, elsewhere, or both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import print_json
from commands.ingest.copying import copy_all, shown
from commands.ingest.options import Name
from commands.options import Home, Json
from m3.errors import InvalidInput
from m3.settings import load_settings

if TYPE_CHECKING:
    from m3.settings import Settings


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest copy docs --as docs-before`\n\n"
        "`m3-ingest copy docs --to s3://bucket/tables`\n\n"
        "`m3-ingest copy docs --to-home /srv/m3`"
    )(copy)


def copy(
    name: Name,
    *,
    as_: Annotated[
        str | None,
        typer.Option("--as", help="The copy's name.  [the same]", metavar="NEW"),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="Where its tables go: a folder, or s3://bucket/prefix.  [beside this one's]",
            metavar="PLACE",
            show_default=False,
        ),
    ] = None,
    to_milvus: Annotated[
        str | None,
        typer.Option(
            help="The Milvus server that gets its index, with M3_MILVUS_TOKEN.  [this one's]",
            metavar="URI",
            show_default=False,
        ),
    ] = None,
    to_home: Annotated[
        Path | None,
        typer.Option(
            help="A state directory that gets it: tables, and the index in its embedded Milvus, "
            "unless --to or --to-milvus say otherwise.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """Copy what searches of a collection see now, with an index of its own; nothing is embedded.

    Searches and writers go on. The copy is there once it is complete.
    """
    from store.opening import collections_at, copying_to  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(home=home)
    new = as_ or name
    if new == name and to is None and to_home is None:
        raise _nothing_to_copy(name, to_milvus)
    target_settings = _settings(settings, to, to_milvus, to_home)
    with copying_to(target_settings) as target:
        [copied] = copy_all(
            collections_at(settings.tables_path),
            target,
            {name: new},
            doing="copying",
            if_taken="give the copy another name, --as NEW",
        )
    if json:
        print_json(copied)
    else:
        typer.echo(shown(copied, f"at {target_settings.tables_path}"))


def _nothing_to_copy(name: str, to_milvus: str | None) -> InvalidInput:
    if to_milvus is None:
        return InvalidInput("say what the copy is called, --as NEW, or where it goes, --to PLACE")
    return InvalidInput(
        "only the index is to be elsewhere, so nothing is copied: "
        f"`M3_MILVUS_URI={to_milvus} m3-ingest verify {name} --repair` moves it there, and "
        "--as NEW makes a second collection"
    )


def _settings(
    settings: Settings, to: str | None, to_milvus: str | None, to_home: Path | None
) -> Settings:
    """Those that find the copy."""
    if to_home is not None:
        elsewhere = {"home": to_home, "tables": None, "milvus_uri": None}
        settings = settings.model_copy(update=elsewhere)
    given = {"tables": to, "milvus_uri": to_milvus}
    return settings.model_copy(update={k: v for k, v in given.items() if v is not None})
