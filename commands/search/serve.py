"""`m3-search serve`: the search API."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.options import EmbedderUrl, Home
from m3.settings import load_settings

_EXAMPLES = "Examples:\n\n`m3-search serve`\n\n`m3-search serve --port 0 --home ./state`"


def add(app: typer.Typer) -> None:
    app.command(epilog=_EXAMPLES)(serve)


def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve other machines without keys.")
    ] = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Serve the search API until interrupted."""
    from commands.search.serving import open_parts  # noqa: PLC0415 - keeps --help quick
    from scoring.native.cores import CORES  # noqa: PLC0415
    from search.app import create  # noqa: PLC0415
    from serving import server  # noqa: PLC0415
    from serving.logs import configure  # noqa: PLC0415
    from serving.machine import usable_cores  # noqa: PLC0415
    from serving.memory import keep_large_buffers  # noqa: PLC0415
    from serving.tracing import traced  # noqa: PLC0415

    settings = load_settings(embedder_url=embedder_url, home=home)
    configure(settings)
    # Every search reads rows of some 20 MB.
    keep_large_buffers()
    CORES.limit(usable_cores())
    with traced(settings, "m3-search"):
        server.serve(
            create(settings, lambda: open_parts(settings)),
            host=host,
            port=port,
            settings=settings,
            insecure=insecure,
            on_ready=lambda url: typer.echo(f"m3-search at {url} serves {settings.home}"),
        )
