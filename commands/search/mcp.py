"""`m3-search mcp`: the tools for agents, to a client that starts this command."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Annotated

import typer

from commands.options import EmbedderUrl, Home
from m3.errors import InvalidConfiguration
from m3.settings import Settings, load_settings

_EXAMPLES = (
    "Examples:\n\n`m3-search mcp --url http://127.0.0.1:8000`\n\n`m3-search mcp --home ./state`"
)


def add(app: typer.Typer) -> None:
    app.command(epilog=_EXAMPLES)(mcp)


def mcp(
    *,
    url: Annotated[
        str | None,
        typer.Option(help="Ask this running search API, with M3_API_KEY.", show_default=False),
    ] = None,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Tools for agents (search, fetch_document, list_collections) over stdin and stdout.

    A running search API has them at /mcp.
    """
    if find_spec("mcp") is None:
        raise InvalidConfiguration("this needs the package mcp: `pip install 'm3-retrieval[mcp]'`")
    from serving.logs import configure  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(embedder_url=embedder_url, home=home)
    configure(settings)
    asyncio.run(_of_api(url, settings) if url else _of_machine(settings))


async def _of_api(url: str, settings: Settings) -> None:
    from search.client import AsyncSearchClient  # noqa: PLC0415
    from search.mcp import stdio  # noqa: PLC0415
    from search.mcp.remote import RemoteLibrary  # noqa: PLC0415

    async with AsyncSearchClient.from_settings(url, settings) as client:
        await stdio.serve(RemoteLibrary(client))


async def _of_machine(settings: Settings) -> None:
    from commands.search.parts import open_service  # noqa: PLC0415
    from search.mcp import stdio  # noqa: PLC0415
    from search.mcp.local import LocalLibrary  # noqa: PLC0415
    from serving.keys.caller import owner  # noqa: PLC0415

    async with open_service(settings) as (service, _):
        await stdio.serve(LocalLibrary(service, owner()))
