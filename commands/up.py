"""`make up`: the embedded Milvus, one embedder node and the search API, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from commands.console import run
from commands.stack import command, stack
from m3.settings import Settings, load_settings
from store.index.engine import Engine

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def up(
    *,
    node_port: Annotated[int, typer.Option(help="Port of the embedder node.")] = 7860,
    search_port: Annotated[int, typer.Option(help="Port of the search API.")] = 8000,
) -> None:
    """Start everything on this machine, say where it is, end it all on Ctrl-C."""
    settings = load_settings()
    screen = Console()
    model, described = model_of(settings)
    logs = settings.home / "logs"
    with stack({"M3_MODEL": model}, logs) as servers:
        _say(screen, {"model": described, "state directory": settings.home, "logs": logs})
        node_command = [command("m3-embedder"), "serve", "--port", str(node_port)]
        node = servers.start("m3-embedder", node_command)
        servers.environment["M3_EMBEDDER_URL"] = node
        api_command = [command("m3-search"), "serve", "--port", str(search_port)]
        api = servers.start("m3-search", api_command)
        milvus = settings.milvus_uri or f"{Engine.of(settings).address} (embedded)"
        _say(screen, {"Milvus": milvus, "embedder node": node})
        _say(screen, {"search page": api, "search API": f"{api}/docs"})
        screen.print("Ctrl-C ends all of it.")
        servers.wait()


def _say(screen: Console, facts: Mapping[str, object]) -> None:
    for name, fact in facts.items():
        screen.print(f"{name:16} {fact}", soft_wrap=True, highlight=False)


def model_of(settings: Settings) -> tuple[str, str]:
    """The model to serve, and how to speak of it: the stand-in unless M3_MODEL names another."""
    if "model" in settings.model_fields_set:
        return settings.model, settings.model
    from embedder.stand_in import build  # noqa: PLC0415 - not needed for a real model

    folder: Path = build(settings.home / "stand-in")
    return str(folder), f"English-only stand-in at {folder} (M3_MODEL=BAAI/bge-m3 for the real one)"


if __name__ == "__main__":
    run(app)
