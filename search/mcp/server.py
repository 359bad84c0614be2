"""The tools as a server of the Model Context Protocol; its transports are elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import structlog
from mcp import MCPError, types
from mcp.server.lowlevel import Server

from m3.errors import M3Error
from search.mcp import fetching, finding, listing
from search.mcp.library import Library
from search.mcp.tool import Tool

Context = Any
"""The SDK's, of a request; its own type has parameters that say nothing here."""
LibraryOf = Callable[[Context], Library]
"""The library of whoever a request is from."""

_INSTRUCTIONS = (
    "Collections of documents, cut into chunks. Find passages with search, read on with "
    "fetch_document; quote documents by document_id and title."
)
_TOOLS = {each.name: each for each in (finding.TOOL, fetching.TOOL, listing.TOOL)}
_log = structlog.stdlib.get_logger("m3.mcp")


def serving(library_of: LibraryOf) -> Server[Any]:
    """A server that reads what `library_of` says; it changes nothing anywhere."""

    async def list_tools(
        _: Context, __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_told(tool) for tool in _TOOLS.values()])

    async def call_tool(
        context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = _TOOLS.get(params.name)
        if tool is None:
            raise MCPError(
                types.INVALID_PARAMS, f"no tool {params.name!r}; there are: {', '.join(_TOOLS)}"
            )
        try:
            answer = await tool.run(library_of(context), params.arguments or {})
        except M3Error as error:
            return _result(error.message, is_error=True)
        except Exception as error:  # noqa: BLE001 - the last handler there is
            _log.error("unexpected", tool=tool.name, exc_info=error)
            return _result("this is a bug in m3-retrieval: its log has it", is_error=True)
        return _result(answer.text, structured=answer.structured())

    return Server(
        "m3-retrieval",
        version=version("m3-retrieval"),
        title="m3-retrieval",
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _told(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.arguments),
        output_schema=tool.answer_schema(),
        annotations=types.ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )


def _result(
    text: str, *, structured: dict[str, Any] | None = None, is_error: bool = False
) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=structured,
        is_error=is_error,
    )
