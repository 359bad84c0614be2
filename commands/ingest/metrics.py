"""`m3-ingest metrics`: what collections hold and whether they are whole, for Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.ingest.options import opened_store
from commands.options import Home
from m3.errors import InvalidInput, StorageFull, Unreachable
from m3.settings import load_settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

JOB = "m3-checks"
"""What a Pushgateway keeps the metrics under; each push replaces them all."""


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest metrics`\n\n"
        "`m3-ingest metrics --verify --to /var/lib/node_exporter/m3.prom`\n\n"
        "`m3-ingest metrics --verify --push http://pushgateway:9091`"
    )(metrics)


def metrics(
    *,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Hold index against table too; reads every row."),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            help="A file, replaced at once: for node_exporter's textfile collector.",
            metavar="FILE",
        ),
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="The address of a Pushgateway.", metavar="URL")
    ] = None,
    home: Home = None,
) -> None:
    """Show what all collections hold as Prometheus reads it, on stdout unless told where to.

    Commands end, so that Prometheus cannot ask them: run this from cron.
    """
    from prometheus_client import (  # noqa: PLC0415 - keeps --help quick
        generate_latest,
        push_to_gateway,  # pyright: ignore[reportUnknownVariableType]
        write_to_textfile,
    )

    if to and push:
        raise InvalidInput("--to and --push: choose one")
    registry = _collected(home, verify=verify)
    if to:
        try:
            write_to_textfile(str(to), registry)
        except OSError as error:
            raise StorageFull(f"cannot write {to}: {error.strerror}") from error
    elif push:
        try:
            push_to_gateway(push, JOB, registry)
        except OSError as error:
            raise Unreachable(f"{push} does not take metrics: {error}") from error
    else:
        typer.echo(generate_latest(registry), nl=False)


def _collected(home: Path | None, *, verify: bool) -> CollectorRegistry:
    from ingest.deadletters import waiting  # noqa: PLC0415 - keeps --help quick
    from ingest.metrics import CollectionMetrics  # noqa: PLC0415

    found = CollectionMetrics(waiting(load_settings(home=home).home))
    with opened_store(home) as store:
        for name in store.names():
            collection = store.open(name)
            found.hold(collection.status())
            if verify:
                found.check(name, collection.verify())
    return found.registry
