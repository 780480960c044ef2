"""The server of the Model Context Protocol: its name, its tools, and the program that calls them.

Loading its package takes a quarter of a second, so `mcp_endpoint` imports this for the first program.
"""

from __future__ import annotations

from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from starlette.requests import Request

from server import __version__
from server.features.grants import tools
from server.features.grants.guard import Pass
from server.features.grants.mcp_endpoint import PASS
from server.web.middleware import MAX_BODY_BYTES


def create_manager() -> StreamableHTTPSessionManager:
    """Create what reads and answers requests; nothing is kept between two of them."""
    server: Server[Any] = Server(
        "qwen-camera",
        version=__version__,
        title="A person's live camera",
        instructions=tools.INSTRUCTIONS,
        on_list_tools=_list,
        on_call_tool=_call,
    )
    # Origin and host are checked by the guard, as for every route.
    return StreamableHTTPSessionManager(
        server, json_response=True, stateless=True, max_request_body_size=MAX_BODY_BYTES
    )


async def _list(
    context: ServerRequestContext[Any, Request], params: PaginatedRequestParams | None
) -> ListToolsResult:
    return ListToolsResult(tools=tools.listed())


async def _call(
    context: ServerRequestContext[Any, Request], params: CallToolRequestParams
) -> CallToolResult:
    request = context.request
    assert request is not None
    entered: Pass = request.scope["state"][PASS]
    return await tools.call(entered, params.name, params.arguments)
