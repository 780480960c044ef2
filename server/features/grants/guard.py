"""Authentication of programs by an `Authorization: Bearer` header, and the MCP endpoint."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from server.auth import TokenRefused, get_bearer
from server.core.addresses import Limiter, get_limiter_key
from server.core.aio import cancel_and_wait
from server.core.errors import (
    Elsewhere,
    NotFound,
    QwenCameraError,
    RateLimited,
    RequestError,
    Unauthorized,
)
from server.core.messages import make_error_body
from server.features.grants.grants import Grant, make_access_ended_error, read_token
from server.features.grants.programs import SessionPrograms, get_programs
from server.session.session import Session
from server.session_manager import REPLICA_UNAVAILABLE
from server.web.middleware import ErrorForm
from server.web.request_guard import RequestGuard, Services

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

# Key of the `ProgramAccess` in a request's state
ACCESS_KEY = "program"
_MISSING = (
    "This request needs a program's access token. Ask the person with the camera for one, and send it"
    " as Authorization: Bearer <token>."
)


@dataclass(frozen=True, slots=True)
class ProgramAccess:
    """The session and the grant of a program's request."""

    session: Session
    grant: Grant

    @property
    def programs(self) -> SessionPrograms:
        """All programs of the session."""
        return get_programs(self.session)


class ProgramGuard:
    """Checks origin, token and process of a program's request. A grant gives access to one session, not to the person's routes.

    Bounds of refused tokens of programs: RATE_LIMIT_PER_MINUTE for an address, apart from those of people; 10,000 addresses,
    the least recently used is dropped.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._guard = RequestGuard(services)
        # Separate from people's limits: an assistant whose access has ended keeps asking, and must not lock out people
        # at the same address.
        self._refusals = Limiter(services.access.settings.rate_limit_per_minute)

    async def enter(
        self, request: HTTPConnection, session_id: str | None = None, token: str | None = None
    ) -> ProgramAccess:
        """Return the session and the grant of the token of a request or a socket.

        `session_id`: from the path; None if the path has none. `token`: None for the one in the header `Authorization`.
        `SessionPrograms` checks the program's rights with each call. Raise Forbidden for a page of another site, Unauthorized, RateLimited for too many wrong tokens, and
        Elsewhere for the session of another process.
        """
        self._guard.check_origin(request)
        try:
            return self._get_access(request, session_id, token)
        except Unauthorized as error:
            raise self._count_refusal(request, error) from None

    def _get_access(
        self, request: HTTPConnection, session_id: str | None, token: str | None
    ) -> ProgramAccess:
        try:
            read = read_token(token or get_bearer(request.headers.get("authorization")))
        except TokenRefused:
            raise Unauthorized(_MISSING) from None
        if read is None:
            raise Unauthorized(_MISSING)
        named, digest = read
        if session_id is not None and session_id != named:
            raise make_access_ended_error()
        self._check_home(request, named, session_id)
        session = self._services.sessions.get(named)
        if session is None:
            raise make_access_ended_error()
        return ProgramAccess(session, get_programs(session).find(digest))

    def _check_home(self, request: HTTPConnection, session_id: str, named: str | None) -> None:
        if self._services.sessions.replicas.is_home(session_id):
            return
        if named is not None or request.query_params.get("session") == session_id:
            # The load balancer knows the session's process but could not reach it.
            raise NotFound(REPLICA_UNAVAILABLE)
        raise Elsewhere(f"{request.url.path}?session={quote(session_id)}")

    def _count_refusal(self, request: HTTPConnection, error: QwenCameraError) -> QwenCameraError:
        """Count a refusal for the client's address; return its error, or RateLimited after too many."""
        self._services.metrics.auth_failures.labels("program").inc()
        address = get_limiter_key(self._guard.get_address(request))
        wait = self._refusals.take(address, time.monotonic())
        if wait is None:
            return error
        return RateLimited(
            "Too many requests without a valid access token came from this address. Wait a moment, then try again.",
            retry_after=max(1.0, wait),
        )


async def run_until_disconnect(receive: Receive, answer: Coroutine[Any, Any, None]) -> None:
    """Run `answer` until its end, or cancel it if the client disconnects. Raise what `answer` raises."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    answering = asyncio.create_task(answer, name="program")
    leaving = asyncio.create_task(left(), name="program/left")
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = answering.done()
        await cancel_and_wait((answering, leaving))
    if done:
        answering.result()


def _make_rpc_error(error: QwenCameraError) -> dict[str, Any]:
    """Return the body of a JSON-RPC error, without an id, since the request may not have been parsed."""
    code = -32600 if isinstance(error, RequestError) else -32603
    data = make_error_body(error)["error"]
    return {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": code, "message": data["message"], "data": data},
    }


MCP_ERRORS = ErrorForm(re.compile(r"(?:/at/[^/]*)?/mcp/?$"), _make_rpc_error)
# The paths at which clients look for OAuth after a 401 (RFC 7591, 8414 and 9728)
SIGN_IN_ERRORS = ErrorForm(
    re.compile(r"/register$|(?:/at/[^/]*)?(?:/mcp)?/\.well-known/(?:oauth-|openid-configuration)"),
    lambda _: {
        "error": "invalid_request",
        "error_description": "This server does not support OAuth. Ask the person with the camera for an access token.",
    },
)


class McpEndpoint:
    """The MCP endpoint (streamable HTTP). Accepts only `POST` with a program's token."""

    # The Model Context Protocol at `/mcp` and `/at/<session>/mcp`, an ASGI application. `run` has to be entered while it
    # serves. Each POST has its own token; no state is kept between two of them.

    def __init__(self, guard: ProgramGuard) -> None:
        self._guard = guard
        # Set by the first request
        self._wanted = asyncio.Event()
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve within this context."""
        self._manager = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(self._serve(self._manager), name="mcp")
        try:
            yield
        finally:
            await cancel_and_wait((serving,))
            self._manager.cancel()

    async def _serve(self, manager: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        """Load the MCP package at the first request, and run the server until cancelled."""
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
        """Return both routes: one without and one with the session in the path."""
        return [Route("/mcp", self), Route("/at/{session_id}/mcp", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        access = await self._guard.enter(request, scope["path_params"].get("session_id"))
        # Count every message, so that lists and invalid requests are limited, too.
        access.programs.count_message(access.grant)
        if request.method != "POST":
            # The server sends nothing on its own (GET), and there is no protocol session to end (DELETE).
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
        inner["state"] = {**scope.get("state", {}), ACCESS_KEY: access}
        try:
            await run_until_disconnect(receive, manager.handle_request(inner, whole, send))
        finally:
            gone.set()
