"""`m3-search engine`: the embedded Milvus, started, stopped and looked at."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from commands.console import print_json
from commands.options import Home, Json
from m3.errors import InvalidInput
from m3.settings import Settings, load_settings

if TYPE_CHECKING:
    from store.index.engine import EngineStatus

engine = typer.Typer(
    help="The embedded Milvus: a process that all commands of one state directory share.",
    no_args_is_help=True,
)


def add(app: typer.Typer) -> None:
    app.add_typer(engine, name="engine")


@engine.command("start", epilog="Example:\n\n`m3-search engine start --home ./state`")
def engine_start(*, home: Home = None, json: Json = False) -> None:
    """Start it, if it does not run; unused, it ends by itself after M3_ENGINE_IDLE seconds."""
    from store.index.engine import Engine  # noqa: PLC0415 - keeps --help quick

    started = Engine.of(_embedded(home))
    started.attach()
    _show_engine(started.status(), json=json)


@engine.command("stop", epilog="Example:\n\n`m3-search engine stop`")
def engine_stop(*, home: Home = None, json: Json = False) -> None:
    """End it, whoever uses it; the next command that needs it starts it again."""
    from store.index.engine import Engine  # noqa: PLC0415 - keeps --help quick

    stopped = Engine.of(_embedded(home)).stop()
    if json:
        print_json({"stopped": stopped})
    else:
        typer.echo("stopped" if stopped else "it was not running")


@engine.command("status", epilog="Example:\n\n`m3-search engine status --json`")
def engine_status(*, home: Home = None, json: Json = False) -> None:
    """Whether it runs, and where."""
    from store.index.engine import Engine  # noqa: PLC0415 - keeps --help quick

    _show_engine(Engine.of(_embedded(home)).status(), json=json)


def _embedded(home: Path | None) -> Settings:
    settings = load_settings(home=home)
    if settings.milvus_uri is not None:
        raise InvalidInput(
            f"M3_MILVUS_URI is set ({settings.milvus_uri}): there is no embedded Milvus to run"
        )
    return settings


def _show_engine(status: EngineStatus, *, json: bool) -> None:
    if json:
        print_json(asdict(status))
        return
    typer.echo("running" if status.running else "not running")
    for name in ("address", "pid", "directory", "log"):
        if (value := getattr(status, name)) is not None:
            typer.echo(f"  {name:10} {value}")
