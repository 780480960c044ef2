"""`/ws/{session_id}`: checks a client's origin, token and process, and serves its socket."""

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
from server.web.request_guard import RequestGuard, Services, given_token

log = logging.getLogger(__name__)

AUTH_SECONDS = 5.0
# Sockets that may wait for their token at a time; beyond that the oldest is closed. A page never
# waits: it sends the token with the upgrade.
MAX_UNAUTHENTICATED = 256
PROTOCOL = "qwen-camera"
# Messages a second that a socket may send over time, and how many at once; past that each gets an
# error, and a client that goes on regardless loses its socket.
MESSAGE_RATE, MESSAGE_BURST = 20.0, 60
MAX_REFUSED = 100
# A socket is read again after so many times the seconds that its last message took: its messages, many of
# which may arrive together, take a fifth of the event loop's time at most.
PAUSE = 4.0
# A client that has not taken a message after this long is gone.
SEND_SECONDS = 10.0
# The id of an error that answers an `operator` message
OPERATOR = "operator"

Welcome = Callable[[str], Awaitable[None]]


class Closing(Exception):
    """Close the socket with this code and reason.

    Outside the tree of errors: the client gets no message.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


# The first matching class decides.
_CLOSINGS: tuple[tuple[type[QwenCameraError], int, str], ...] = (
    (Forbidden, SocketCloseCode.FORBIDDEN_ORIGIN, "this origin is not allowed"),
    (BadRequest, SocketCloseCode.POLICY, "page and attempt are not as they have to be"),
    (Unauthorized, SocketCloseCode.UNAUTHORIZED, "not authorised"),
    (NotFound, SocketCloseCode.NO_SESSION, "no such session"),
    (Draining, SocketCloseCode.DRAINING, "the server is about to stop"),
    (Busy, SocketCloseCode.TOO_MANY, "the server is full"),
    (Conflict, SocketCloseCode.REPLACED, "its page has opened a newer socket"),
)


def closing_for(error: QwenCameraError) -> Closing:
    """Return the close code for an error that refuses a socket."""
    for kind, code, reason in _CLOSINGS:
        if isinstance(error, kind):
            return Closing(code, reason)
    return Closing(SocketCloseCode.INTERNAL, "internal error")


class SessionSocket:
    """One socket, from its upgrade to its close."""

    def __init__(self, websocket: WebSocket, messages: wire.Parser) -> None:
        self._websocket = websocket
        self._messages = messages
        # Set once the close was asked for; the first reason counts.
        self._closing: Closing | None = None
        self._wake = asyncio.Event()

    @property
    def closing(self) -> bool:
        """True once its close was asked for."""
        return self._closing is not None

    async def receive(self) -> str | None:
        """Return the next text message; None when the client has left.

        Raises Closing for a binary message and for one that is too long.
        """
        try:
            event = await self._websocket.receive()
        except RuntimeError:
            # Starlette raises it for a socket that was closed meanwhile.
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
        """Serve until the client leaves (None), an error occurs, or `close_soon` is called.

        `welcome` takes an operator's token.
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
                    # Retrieve it: asyncio would log the exception of the second task that failed.
                    task.exception()
            outbox.detach()

    async def _flush(self, session: Session) -> None:
        """Let the waiting messages be sent, for a second at most."""
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
        """Handle a message; return the token of an operator's. Raises Closing after too many messages."""
        if not bucket.take(time.monotonic()):
            if bucket.refused > MAX_REFUSED:
                raise Closing(SocketCloseCode.TOO_MANY, "too many messages")
            session.send_error(
                RateLimited(
                    f"More than {MESSAGE_RATE:.0f} messages a second. This one was not read; "
                    "send fewer.",
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
            # Starlette raises it for a socket that was closed meanwhile.
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
    """The endpoint. It accepts every upgrade, and closes a refused socket with a code.

    A browser cannot read the status of a refused upgrade.

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
        """Stop waiting for the tokens of the oldest sockets beyond `most`: of all when the server drains."""
        while len(self._unauthenticated) > most:
            deadline = next(iter(self._unauthenticated))
            del self._unauthenticated[deadline]
            # `reschedule` raises for one that is expiring, whose task has not run yet.
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
            closing = closing_for(error)
        except WebSocketDisconnect:
            closing = None
        # Unless the client has left
        if closing is not None and websocket.application_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, OSError, WebSocketDisconnect):
                await websocket.close(closing.code, closing.reason)

    async def _serve(
        self, websocket: WebSocket, socket: SessionSocket, session_id: str, offered: list[str]
    ) -> Closing | None:
        self._guard.origin(websocket)
        attempt = Attempt.read(websocket.query_params)
        claims = await self._authenticate(websocket, socket, session_id, offered)
        if self._sessions.capacity.draining:
            raise Closing(SocketCloseCode.DRAINING, "the server is about to stop")
        if not self._sessions.replicas.is_home(session_id):
            # The balancer did not reach the process of the session.
            raise Closing(SocketCloseCode.NO_SESSION, "its part of the server has gone")
        session = await self._sessions.admit(session_id, claims.auth_time, claims.device)
        # Before the gate: after a stall of the network all late attempts arrive at once.
        session.sockets.take(attempt)
        if not session.gate.take(time.monotonic()):
            self._metrics.auth_failures.labels("rate").inc()
            raise Closing(
                SocketCloseCode.TOO_MANY, f"more than {SOCKETS_PER_MINUTE} sockets a minute"
            )
        # Before this socket reads: waiting messages may be meant for an operator.
        self.operators.dismiss(session.outbox)
        self._sessions.attach(session, socket)
        session.greet()
        log.info("socket opened", extra={"session": session_id})
        closing: Closing | None = None
        try:
            closing = await socket.run(
                session, lambda token: self._welcome(websocket, session, socket, token)
            )
            return closing
        finally:
            self.operators.leave(socket)
            self._sessions.detach(session, socket)
            code = int(closing.code if closing is not None else SocketCloseCode.NORMAL)
            log.info("socket closed", extra={"session": session_id, "code": code})

    async def _welcome(
        self, websocket: WebSocket, session: Session, socket: SessionSocket, token: str
    ) -> None:
        session.touch()
        try:
            await self._guard.operator(websocket, token)
        except RequestError as error:
            session.send_error(error, OPERATOR)
            return
        if socket.closing:
            return  # a newer one reads now
        self.operators.join(socket, session.outbox)
        # Again, with the operator's texts
        session.greet()
        log.info("an operator listens", extra={"session": session.id})

    async def _authenticate(
        self, websocket: WebSocket, socket: SessionSocket, session_id: str, offered: list[str]
    ) -> Claims:
        token = next((p.removeprefix("bearer.") for p in offered if p.startswith("bearer.")), None)
        token = token or websocket.query_params.get("token")
        if token is None and websocket.headers.get("authorization"):
            token = given_token(websocket) or ""
        if token is None:
            try:
                self.close_unauthenticated(MAX_UNAUTHENTICATED - 1)
                async with asyncio.timeout(AUTH_SECONDS) as deadline:
                    self._unauthenticated[deadline] = None
                    try:
                        token = await self._first_message(socket)
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

    async def _first_message(self, socket: SessionSocket) -> str:
        raw = await socket.receive()
        if raw is None:
            raise WebSocketDisconnect
        try:
            message = self._messages.parse(raw)
        except QwenCameraError:
            message = None
        if not isinstance(message, wire.Auth):
            self._metrics.auth_failures.labels("missing").inc()
            raise Closing(SocketCloseCode.UNAUTHORIZED, "the first message has to carry the token")
        return message.token
