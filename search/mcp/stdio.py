"""The tools over standard input and output: one client, which started this process."""

from __future__ import annotations

from mcp.server.stdio import stdio_server

from search.mcp.library import Library
from search.mcp.server import serving


async def serve(library: Library) -> None:
    """Answer until the client closes its end. Nothing else may write to standard output."""
    server = serving(lambda _: library)
    async with stdio_server() as (received, sent):
        await server.run(received, sent, server.create_initialization_options())
