"""`m3-ingest rebuild`, `promote`, `rollback`, `generations`: another model or other chunks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.console import print_json
from commands.ingest.options import ContextOption, Name, PoolingOption, TenancyOption, opened_store
from commands.options import EmbedderUrl, Home, Json
from m3.settings import load_settings

if TYPE_CHECKING:
    from commands.ingest.switching import Switch
    from m3.settings import Settings
    from store.reports import Generations


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest rebuild docs --max-tokens 256`\n\n"
        "`m3-ingest rebuild docs --embedder-url http://new:7860,http://old:7860`"
    )(rebuild)
    app.command(epilog="Example:\n\n`m3-ingest promote docs`")(promote)
    app.command(epilog="Example:\n\n`m3-ingest rollback docs`")(rollback)
    app.command(epilog="Example:\n\n`m3-ingest generations docs --discard 2`")(generations)


def rebuild(
    name: Name,
    *,
    max_tokens: Annotated[
        int | None, typer.Option(help="Of a chunk.  [as now]", metavar="N", show_default=False)
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Tokens that neighbouring chunks share.  [as now]", metavar="N", show_default=False
        ),
    ] = None,
    context: ContextOption = None,
    tenancy: TenancyOption = None,
    tenant: Annotated[
        str | None,
        typer.Option(help="With --tenancy own, whose.  [default]", show_default=False),
    ] = None,
    pooling: PoolingOption = None,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Make the next generation of a collection while the present one serves and takes writes.

    Of the model that the first embedder URL serves, from the documents' own texts, which the
    collection keeps. It can be stopped and run again. Nothing changes for searches before
    `m3-ingest promote`.
    """
    from commands.ingest.switching import Recut, run_rebuild  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(home=home, embedder_url=embedder_url)
    recut = Recut(max_tokens, overlap, context, tenancy, tenant, pooling)
    _run(run_rebuild, name, settings, recut, json=json)
    if not json:
        typer.echo(f"to have it serve: m3-ingest promote {name}")


def promote(
    name: Name, *, json: Json = False, embedder_url: EmbedderUrl = None, home: Home = None
) -> None:
    """Have the generation serve that `rebuild` made, with all that was written meanwhile.

    The one that served is kept, for `m3-ingest rollback`.
    """
    from commands.ingest.switching import run_promote  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(home=home, embedder_url=embedder_url)
    _run(run_promote, name, settings, json=json)


def rollback(
    name: Name, *, json: Json = False, embedder_url: EmbedderUrl = None, home: Home = None
) -> None:
    """Have the generation serve again that served before, with all that was written since."""
    from commands.ingest.switching import run_rollback  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(home=home, embedder_url=embedder_url)
    _run(run_rollback, name, settings, json=json)


def generations(
    name: Name,
    *,
    discard: Annotated[
        int | None, typer.Option(help="Take one out that does not serve.", metavar="NUMBER")
    ] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """The generations of a collection: which one serves, is being made, served before."""
    with opened_store(home) as store:
        if discard is not None:
            store.discard(name, discard)
        found = store.generations(name)
    if json:
        print_json(found)
        return
    for number in sorted(found.specs):
        typer.echo(f"{number}: {_role(found, number)}, {_described(found, number)}")


def _run(
    work: Callable[..., Awaitable[Switch]], name: str, settings: Settings, *more: Any, json: bool
) -> None:
    import anyio  # noqa: PLC0415 - keeps --help quick

    typer.echo(f"state directory {settings.home}", err=True)
    _show(anyio.run(work, name, settings, *more), json=json)


def _show(switch: Switch, *, json: bool) -> None:
    if json:
        print_json(asdict(switch))
        return
    report = switch.report
    typer.echo(
        f"{switch.collection}: generation {switch.generation} {switch.what}; {report.written:,} "
        f"documents written, {report.chunks:,} chunks, {report.tokens:,} tokens in "
        f"{report.seconds:,.1f} s{_waited(switch)}"
    )


def _waited(switch: Switch) -> str:
    if switch.writers_waited is None:
        return ""
    return f"; writers waited {switch.writers_waited:,.1f} s at most"


def _role(found: Generations, number: int) -> str:
    roles = {
        found.previous: "served before",
        found.building: "being made",
        found.current: "serves",
    }
    return roles.get(number, "not in use")


def _described(found: Generations, number: int) -> str:
    spec = found.specs[number]
    chunking = spec.chunking
    cut = "whole documents" if chunking.whole else f"chunks of {chunking.max_tokens} tokens"
    pooled = f", {spec.pooling} tokens a vector" if spec.pooling > 1 else ""
    return f"{spec.model} ({spec.fingerprint[:12]}), {cut}{pooled}"
