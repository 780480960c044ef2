"""The MCP server (Model Context Protocol) over streamable HTTP, at `/mcp` and `/at/<session>/mcp`.

Each POST carries its own token and depends on no earlier one: nothing is kept between two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from server import __version__
from server.core.aio import cancel_and_wait
from server.programs import tools
from server.programs.guard import Pass, ProgramGuard
from server.web.middleware import MAX_BODY_BYTES

_PASS = "program"


class McpEndpoint:
    """An ASGI application; `run` has to be entered while it serves."""

    def __init__(self, guard: ProgramGuard) -> None:
        self._guard = guard
        server: Server[Any] = Server(
            "qwen-camera",
            version=__version__,
            title="A person's live camera",
            instructions=tools.INSTRUCTIONS,
            on_list_tools=_list,
            on_call_tool=_call,
        )
        # Origin and host are checked by the guard, as for every route.
        self._manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=MAX_BODY_BYTES
        )

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with self._manager.run():
            yield

    def routes(self) -> list[Route]:
        return [Route("/mcp", self), Route("/at/{session_id}/mcp", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        entered = await self._guard.enter(request, scope["path_params"].get("session_id"))
        # Lists and rubbish cost something, too.
        entered.programs.message(entered.grant)
        if request.method != "POST":
            # Nothing is sent without a request, and there is no session to end.
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
            return
        body = await request.body()
        gone = asyncio.Event()
        read = False

        async def whole() -> Message:
            nonlocal read
            if read:
                await gone.wait()
                return {"type": "http.disconnect"}
            read = True
            return {"type": "http.request", "body": body, "more_body": False}

        inner = dict(scope)
        inner["state"] = {**scope.get("state", {}), _PASS: entered}
        serving = asyncio.create_task(
            self._manager.handle_request(inner, whole, send), name="program/mcp"
        )
        leaving = asyncio.create_task(_left(receive), name="program/left")
        try:
            await asyncio.wait((serving, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A program that has left wants no answer: the look is stopped.
            gone.set()
            leaving.cancel()
            if not serving.done():
                await cancel_and_wait((serving,))
        if not serving.cancelled():
            serving.result()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _list(
    context: ServerRequestContext[Any, Request], params: PaginatedRequestParams | None
) -> ListToolsResult:
    return ListToolsResult(tools=tools.listed())


async def _call(
    context: ServerRequestContext[Any, Request], params: CallToolRequestParams
) -> CallToolResult:
    request = context.request
    assert request is not None
    entered: Pass = request.scope["state"][_PASS]
    return await tools.call(entered, params.name, params.arguments)
