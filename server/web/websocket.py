"""The endpoint `/ws/{session_id}`: checks of origin, token and process, and the session's socket."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from server.auth import Claims
from server.core import messages as wire
from server.core.aio import Bucket, cancel_and_wait
from server.core.errors import (
    BadRequest,
    Busy,
    Conflict,
    Draining,
    Forbidden,
    NotFound,
    QwenCameraError,
    RateLimited,
    RequestError,
    SocketCloseCode,
    Unauthorized,
)
from server.session.part import Operators
from server.session.request.outbox import OutboxClosed, OutboxOverflowed, Reader
from server.session.session import SOCKETS_PER_MINUTE, Attempt, Session
from server.web.request_guard import RequestGuard, Services, get_bearer_token

log = logging.getLogger(__name__)

AUTH_SECONDS = 5.0
# Maximum number of sockets without a token; beyond, the oldest is closed. The page sends its token with
# the upgrade.
MAX_UNAUTHENTICATED = 256
PROTOCOL = "qwen-camera"
# Messages a second on a socket, and their burst. Further messages get an error, and after MAX_REFUSED
# errors the socket is closed.
MESSAGE_RATE, MESSAGE_BURST = 20.0, 60
MAX_REFUSED = 100
# Pause before the next message, as a multiple of the handling time of the last one, so that a socket takes at
# most a fifth of the event loop's time.
PAUSE = 4.0
# Time limit to send a message, seconds
SEND_SECONDS = 10.0
# The id of errors about an `operator` message
OPERATOR = "operator"

Welcome = Callable[[str], Awaitable[None]]


class Closing(Exception):
    """The close of a socket with a code and a reason.

    Not a QwenCameraError: the client gets no error message.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


# Close codes by error; the first matching class applies.
_CLOSINGS: tuple[tuple[type[QwenCameraError], int, str], ...] = (
    (Forbidden, SocketCloseCode.FORBIDDEN_ORIGIN, "this origin is not allowed"),
    (BadRequest, SocketCloseCode.POLICY, "page and attempt are invalid"),
    (Unauthorized, SocketCloseCode.UNAUTHORIZED, "not authorised"),
    (NotFound, SocketCloseCode.NO_SESSION, "no such session"),
    (Draining, SocketCloseCode.DRAINING, "the server is about to stop"),
    (Busy, SocketCloseCode.TOO_MANY, "the server is full"),
    (Conflict, SocketCloseCode.REPLACED, "its page has opened a newer socket"),
)


def get_closing(error: QwenCameraError) -> Closing:
    """Return the close for an error that refuses a socket."""
    for kind, code, reason in _CLOSINGS:
        if isinstance(error, kind):
            return Closing(code, reason)
    return Closing(SocketCloseCode.INTERNAL, "internal error")


class SessionSocket:
    """One socket, from its upgrade to its close."""

    def __init__(self, websocket: WebSocket, messages: wire.Parser) -> None:
        self._websocket = websocket
        self._messages = messages
        # Set when a close is requested; the first request applies
        self._closing: Closing | None = None
        self._wake = asyncio.Event()

    @property
    def closing(self) -> bool:
        """True once a close was requested."""
        return self._closing is not None

    async def receive(self) -> str | None:
        """Return the next text message; None after a disconnect.

        Raises Closing if the message is binary or too long.
        """
        try:
            event = await self._websocket.receive()
        except RuntimeError:
            # Starlette's error for a socket that was closed meanwhile
            return None
        if event["type"] == "websocket.disconnect":
            return None
        text = event.get("text")
        if text is None:
            raise Closing(SocketCloseCode.UNSUPPORTED, "text messages only")
        if len(text) > wire.MAX_MESSAGE_BYTES or len(text.encode()) > wire.MAX_MESSAGE_BYTES:
            raise Closing(
                SocketCloseCode.TOO_LARGE, f"messages have at most {wire.MAX_MESSAGE_BYTES} bytes"
            )
        assert isinstance(text, str)
        return text

    def close_soon(self, code: int, reason: str) -> None:
        """Request the close."""
        if self._closing is None:
            self._closing = Closing(code, reason)
            self._wake.set()

    async def run(self, session: Session, welcome: Welcome) -> Closing | None:
        """Serve until the client disconnects (None), an error occurs, or `close_soon` is called.

        `welcome(token)` handles an operator's token.
        """
        outbox = session.outbox.attach()
        # Not under `supervise`: an exception closes the socket, and the page opens a new one.
        reader = asyncio.create_task(self._read(session, welcome), name="socket/read")
        writer = asyncio.create_task(self._write(outbox), name="socket/write")
        asked = asyncio.create_task(self._wake.wait(), name="socket/close")
        tasks = (reader, writer, asked)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._closing is not None and self._closing.code == SocketCloseCode.DRAINING:
                await self._flush(session)
            for task in (reader, writer):
                if task.done() and not task.cancelled() and task.exception() is not None:
                    exc = task.exception()
                    if isinstance(exc, Closing):
                        return exc
                    if not isinstance(exc, WebSocketDisconnect | OSError):
                        log.error("socket failed", extra={"error": type(exc).__name__})
                        return Closing(SocketCloseCode.INTERNAL, "internal error")
            return self._closing
        finally:
            await cancel_and_wait(tasks)
            for task in (reader, writer):
                if not task.cancelled():
                    # Retrieve the exception, which asyncio would log otherwise.
                    task.exception()
            outbox.detach()

    async def _flush(self, session: Session) -> None:
        """Wait at most a second until all waiting messages are sent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while not session.outbox.empty:
                    await asyncio.sleep(0.01)

    async def _read(self, session: Session, welcome: Welcome) -> None:
        bucket = Bucket(MESSAGE_RATE, MESSAGE_BURST, time.monotonic())
        while (raw := await self.receive()) is not None:
            began = time.monotonic()
            token = self._handle(session, bucket, raw)
            await asyncio.sleep(PAUSE * (time.monotonic() - began))
            if token is not None:
                await welcome(token)

    def _handle(self, session: Session, bucket: Bucket, raw: str) -> str | None:
        """Handle a message. Return the token in an `operator` message. Raises Closing after too many messages."""
        if not bucket.take(time.monotonic()):
            if bucket.refused > MAX_REFUSED:
                raise Closing(SocketCloseCode.TOO_MANY, "too many messages")
            session.send_error(
                RateLimited(
                    f"This message was ignored: more than {MESSAGE_RATE:.0f} messages a second (limit). "
                    "Send fewer, and send this one again.",
                    retry_after=1,
                )
            )
            return None
        try:
            message = self._messages.parse(raw)
        except RequestError as error:
            session.send_error(error)
            return None
        if isinstance(message, wire.Operator):
            return message.token
        session.handle(message)
        return None

    async def _send(self, text: str) -> None:
        try:
            await self._websocket.send_text(text)
        except RuntimeError:
            # Starlette's error for a socket that was closed meanwhile
            raise WebSocketDisconnect from None

    async def _write(self, reader: Reader) -> None:
        while True:
            try:
                text = await reader.get()
                async with asyncio.timeout(SEND_SECONDS):
                    await self._send(text)
            except OutboxClosed:
                return
            except (OutboxOverflowed, TimeoutError):
                raise Closing(SocketCloseCode.TOO_MANY, "the client reads too slowly") from None


class SocketServer:
    """The endpoint. It accepts every upgrade and closes refused sockets with a code, because browsers cannot read the
    status of a refused upgrade.

    Bounds of sockets of a session: 8 a minute per session; 256 sockets may wait for their token.
    """

    def __init__(self, services: Services, messages: wire.Parser) -> None:
        self._messages = messages
        self.operators = Operators()
        self._sessions = services.sessions
        self._guard = RequestGuard(services)
        self._metrics = services.metrics
        # Deadlines of the sockets that have not sent a token yet, oldest first
        self._unauthenticated: dict[asyncio.Timeout, None] = {}

    def close_unauthenticated(self, most: int = 0) -> None:
        """Close the oldest sockets without a token beyond `most`."""
        while len(self._unauthenticated) > most:
            deadline = next(iter(self._unauthenticated))
            del self._unauthenticated[deadline]
            # `reschedule` raises for an expired deadline whose task has not run yet.
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())

    async def serve(self, websocket: WebSocket, session_id: str) -> None:
        offered = websocket.scope.get("subprotocols") or []
        socket = SessionSocket(websocket, self._messages)
        try:
            await websocket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
            closing = await self._serve(websocket, socket, session_id, offered)
        except Closing as exc:
            closing = exc
        except QwenCameraError as error:
            closing = get_closing(error)
        except WebSocketDisconnect:
            closing = None
        # Unless the client has disconnected
        if closing is not None and websocket.application_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, OSError, WebSocketDisconnect):
                await websocket.close(closing.code, closing.reason)

    async def _serve(
        self, websocket: WebSocket, socket: SessionSocket, session_id: str, offered: list[str]
    ) -> Closing | None:
        self._guard.check_origin(websocket)
        attempt = Attempt.read(websocket.query_params)
        claims = await self._authenticate(websocket, socket, session_id, offered)
        if self._sessions.capacity.draining:
            raise Closing(SocketCloseCode.DRAINING, "the server is about to stop")
        if not self._sessions.replicas.is_home(session_id):
            # The load balancer did not reach the session's process.
            raise Closing(SocketCloseCode.NO_SESSION, "replica unavailable")
        session = await self._sessions.admit(session_id, claims.auth_time, claims.device)
        # Before the rate limit: after a network stall, late attempts arrive together.
        session.sockets.take(attempt)
        if not session.gate.take(time.monotonic()):
            self._metrics.auth_failures.labels("rate").inc()
            raise Closing(
                SocketCloseCode.TOO_MANY, f"more than {SOCKETS_PER_MINUTE} sockets a minute"
            )
        # Before this socket reads, because waiting messages may be for an operator
        self.operators.dismiss(session.outbox)
        self._sessions.attach(session, socket)
        session.greet()
        log.info("socket opened", extra={"session": session_id})
        closing: Closing | None = None
        try:
            closing = await socket.run(
                session, lambda token: self._send_welcome(websocket, session, socket, token)
            )
            return closing
        finally:
            self.operators.leave(socket)
            self._sessions.detach(session, socket)
            code = int(closing.code if closing is not None else SocketCloseCode.NORMAL)
            log.info("socket closed", extra={"session": session_id, "code": code})

    async def _send_welcome(
        self, websocket: WebSocket, session: Session, socket: SessionSocket, token: str
    ) -> None:
        session.touch()
        try:
            await self._guard.check_operator(websocket, token)
        except RequestError as error:
            session.send_error(error, OPERATOR)
            return
        if socket.closing:
            return  # A newer socket reads now.
        self.operators.join(socket, session.outbox)
        # Again, with the texts for operators
        session.greet()
        log.info("operator connected", extra={"session": session.id})

    async def _authenticate(
        self, websocket: WebSocket, socket: SessionSocket, session_id: str, offered: list[str]
    ) -> Claims:
        token = next((p.removeprefix("bearer.") for p in offered if p.startswith("bearer.")), None)
        token = token or websocket.query_params.get("token")
        if token is None and websocket.headers.get("authorization"):
            token = get_bearer_token(websocket) or ""
        if token is None:
            try:
                self.close_unauthenticated(MAX_UNAUTHENTICATED - 1)
                async with asyncio.timeout(AUTH_SECONDS) as deadline:
                    self._unauthenticated[deadline] = None
                    try:
                        token = await self._read_first_message(socket)
                    finally:
                        self._unauthenticated.pop(deadline, None)
            except TimeoutError:
                if self._sessions.capacity.draining:
                    raise Closing(SocketCloseCode.DRAINING, "the server is about to stop") from None
                self._metrics.auth_failures.labels("missing").inc()
                raise Closing(
                    SocketCloseCode.UNAUTHORIZED, f"no token within {AUTH_SECONDS:.0f} seconds"
                ) from None
        claims = self._guard.verify(token, session_id=session_id)
        websocket.state.proven = True
        return claims

    async def _read_first_message(self, socket: SessionSocket) -> str:
        raw = await socket.receive()
        if raw is None:
            raise WebSocketDisconnect
        try:
            message = self._messages.parse(raw)
        except QwenCameraError:
            message = None
        if not isinstance(message, wire.Auth):
            self._metrics.auth_failures.labels("missing").inc()
            raise Closing(SocketCloseCode.UNAUTHORIZED, "the first message must contain the token")
        return message.token
