"""`m3-ingest bulk write` and `bulk import`: a first load on a cluster, past the upserts."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import print_json
from commands.ingest.options import Name
from commands.options import Home, Json
from m3.settings import load_settings

if TYPE_CHECKING:
    from m3.settings import Settings
    from store.bulk.load import Bulk

_bulk = typer.Typer(
    help="A first load on a Milvus cluster: Parquet files, and the server's own import.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


def add(app: typer.Typer) -> None:
    _bulk.command(
        epilog="Examples:\n\n`m3-ingest bulk write docs s3://milvus-bucket/docs`\n\n"
        "`m3-ingest bulk write docs s3://milvus-bucket/docs-0 --shard 0/4`"
    )(write)
    _bulk.command(
        "import",
        epilog="Examples:\n\n`m3-ingest bulk import docs s3://milvus-bucket/docs`\n\n"
        "`m3-ingest bulk import docs ./files --at docs`",
    )(import_)
    app.add_typer(_bulk, name="bulk")


def write(
    name: Name,
    folder: Annotated[
        str,
        typer.Argument(help="A folder, or s3://bucket/prefix, made for these.", metavar="FOLDER"),
    ],
    *,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Only part I of N, counted from 0; each part into a folder of its own.",
            metavar="I/N",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """Write all rows as Parquet files for an empty index in Milvus, and read all of them back.

    Of the newest version, published or not. Refused where the index has rows. Exit code 4 where
    a file differs from the table.
    """
    from commands.counting import counted  # noqa: PLC0415 - keeps --help quick
    from ingest.sharding import Shard  # noqa: PLC0415

    part = Shard.parsed(shard) if shard else Shard(0, 1)
    with _opened(load_settings(home=home), name) as bulk:
        written = bulk.write(folder, counted, part=part.index, parts=part.count)
    at = "" if folder.startswith("s3://") else " --at PREFIX"
    if json:
        print_json({**asdict(written), "folder": folder, "rows": written.rows})
    else:
        typer.echo(
            f"{name}: {written.rows:,} rows of version {written.version} in {len(written.files):,} "
            f"files, {written.bytes:,} bytes, read back and equal\n"
            f"next: m3-ingest bulk import {name} {folder}{at}"
        )


def import_(
    name: Name,
    folders: Annotated[
        list[str],
        typer.Argument(
            help="What `bulk write` wrote: a folder or s3://bucket/prefix, or all parts'.",
            metavar="FOLDER",
        ),
    ],
    *,
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="Where in its own storage Milvus finds a FOLDER; as often as there are folders, "
            "in their order.  [a bucket's prefix]",
            metavar="PREFIX",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """Have a Milvus server import files into an empty index, check it, and publish.

    Writers wait meanwhile. Once a run was interrupted, the same command goes on when the
    server's job has ended.
    """
    from commands.counting import counted  # noqa: PLC0415 - keeps --help quick
    from store.bulk.jobs import ImportJobs  # noqa: PLC0415

    settings = load_settings(home=home)
    jobs = ImportJobs.of(settings, name)
    with _opened(settings, name) as bulk:
        loaded = bulk.load(folders, at or (), jobs, counted)
    if json:
        print_json({"collection": name, **asdict(loaded)})
    else:
        typer.echo(f"{name}: {loaded.rows:,} rows imported, version {loaded.version} published")


@contextmanager
def _opened(settings: Settings, name: str) -> Generator[Bulk]:
    from store.opening import open_store  # noqa: PLC0415 - keeps --help quick

    store = open_store(settings)
    try:
        yield store.bulk(name)
    finally:
        store.close()
