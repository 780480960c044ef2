"""The MCP server (Model Context Protocol) over streamable HTTP, at `/mcp` and `/at/<session>/mcp`.

Each POST carries its own token and depends on no earlier one: nothing is kept between two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from server.core.aio import cancel_and_wait
from server.features.grants.guard import ProgramGuard, until_left

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

# The key of a request's state under which its program's `Pass` stands
PASS = "program"


class McpEndpoint:
    """MCP over streamable HTTP: `POST` alone; needs a program's token."""

    # An ASGI application; `run` has to be entered while it serves.

    def __init__(self, guard: ProgramGuard) -> None:
        self._guard = guard
        # Set by the first program
        self._wanted = asyncio.Event()
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        self._manager = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(self._serve(self._manager), name="mcp")
        try:
            yield
        finally:
            await cancel_and_wait((serving,))
            self._manager.cancel()

    async def _serve(self, manager: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        """Load the server for the first program, and run it until cancelled."""
        await self._wanted.wait()
        try:
            loaded = await asyncio.to_thread(import_module, "server.features.grants.tools")
        except ImportError as error:
            manager.set_exception(error)
            return
        made = loaded.create_manager()
        async with made.run():
            manager.set_result(made)
            await asyncio.Event().wait()

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
        assert self._manager is not None
        self._wanted.set()
        manager = await asyncio.shield(self._manager)
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
        inner["state"] = {**scope.get("state", {}), PASS: entered}
        try:
            await until_left(receive, manager.handle_request(inner, whole, send))
        finally:
            gone.set()
