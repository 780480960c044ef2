"""`/ws/{session_id}`: who may listen, the reading and the writing loop, and every close code."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from server.access.operator_guard import OperatorGuard
from server.access.request_order import Attempt
from server.auth import Claims
from server.core import messages as wire
from server.core.aio import cancel_and_wait
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
    Unauthorized,
)
from server.core.metrics import Metrics
from server.core.token_bucket import Bucket
from server.listen.connections import PROVEN
from server.session.operator_feed import OperatorDesk
from server.session.outbox import OutboxClosed, OutboxOverflowed, Reader
from server.session.session import Session
from server.session_manager import SessionManager
from server.web.connection_guard import ConnectionGuard

log = logging.getLogger(__name__)

UNAUTHORIZED, FORBIDDEN_ORIGIN, NO_SESSION = 4401, 4403, 4404
IDLE, REPLACED, TOO_MANY = 4408, 4409, 4429
TOO_LARGE, UNSUPPORTED, POLICY, INTERNAL, DRAINING = 1009, 1003, 1008, 1011, 1013

AUTH_SECONDS = 5.0
SOCKETS_PER_MINUTE = 8
# Sockets that may wait for their token at a time; beyond, the oldest goes. A page brings it with the upgrade and never waits.
MAX_KNOCKING = 256
# Messages a second that a socket may send over time, and how many at once; past that each gets an error,
# and a client that goes on regardless loses its socket.
MESSAGE_RATE, MESSAGE_BURST = 20.0, 60
MAX_REFUSED = 100
# A reader that has not taken a message after this long is gone.
SEND_SECONDS = 10.0
PROTOCOL = "qwen-camera"
# The id of an error that answers an `operator` message
OPERATOR = "operator"


class Closing(Exception):
    """Close the socket with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


# The first that fits counts.
_CLOSINGS: tuple[tuple[type[QwenCameraError], int, str], ...] = (
    (Forbidden, FORBIDDEN_ORIGIN, "this origin is not allowed"),
    (BadRequest, POLICY, "page and attempt are not as they have to be"),
    (Unauthorized, UNAUTHORIZED, "not authorised"),
    (NotFound, NO_SESSION, "no such session"),
    (Draining, DRAINING, "the server is about to stop"),
    (Busy, TOO_MANY, "all places are taken"),
    (Conflict, REPLACED, "its page has opened a newer socket"),
)


def closing_for(error: QwenCameraError) -> Closing:
    """The end of a socket that is not let in for this error."""
    for kind, code, reason in _CLOSINGS:
        if isinstance(error, kind):
            return Closing(code, reason)
    return Closing(INTERNAL, "internal error")


class SocketGate:
    """How many sockets each session opened within the last minute. Bounded by the sessions that there are."""

    def __init__(self) -> None:
        self._opened: dict[str, deque[float]] = {}

    def __len__(self) -> int:
        return len(self._opened)

    def take(self, session_id: str, now: float) -> bool:
        times = self._opened.setdefault(session_id, deque(maxlen=SOCKETS_PER_MINUTE))
        if len(times) == SOCKETS_PER_MINUTE and now - times[0] < 60:
            return False
        times.append(now)
        return True

    def forget(self, session_id: str) -> None:
        self._opened.pop(session_id, None)


class SessionSocket:
    """One accepted socket of a session."""

    def __init__(
        self, websocket: WebSocket, welcome: Callable[[str], Awaitable[None]] | None = None
    ) -> None:
        """`welcome` takes an operator's token; it raises a QwenCameraError for one that is not right."""
        self._websocket = websocket
        self._welcome = welcome
        self._closing: Closing | None = None
        self._wake = asyncio.Event()

    @property
    def closing(self) -> bool:
        return self._closing is not None

    def close_soon(self, code: int, reason: str) -> None:
        """Ask for the end; the first reason counts."""
        if self._closing is None:
            self._closing = Closing(code, reason)
            self._wake.set()

    async def run(self, session: Session) -> Closing | None:
        """Serve until the client leaves (None) or somebody asks for the end."""
        outbox = session.outbox.attach()
        reader = asyncio.create_task(self._read(session), name="socket/read")
        writer = asyncio.create_task(self._write(outbox), name="socket/write")
        asked = asyncio.create_task(self._wake.wait(), name="socket/close")
        tasks = (reader, writer, asked)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._closing is not None and self._closing.code == DRAINING:
                await self._flush(session)
            for task in (reader, writer):
                if task.done() and not task.cancelled() and task.exception() is not None:
                    exc = task.exception()
                    if isinstance(exc, Closing):
                        return exc
                    if not isinstance(exc, WebSocketDisconnect | OSError):
                        log.error("socket failed", extra={"error": type(exc).__name__})
                        return Closing(INTERNAL, "internal error")
            return self._closing
        finally:
            await cancel_and_wait(tasks)
            for task in (reader, writer):
                if not task.cancelled():
                    # Looked at: of two that failed one was told above, and asyncio would log the other.
                    task.exception()
            outbox.detach()

    async def _flush(self, session: Session) -> None:
        """What waits to be told goes out before the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while not session.outbox.empty:
                    await asyncio.sleep(0.01)

    async def _read(self, session: Session) -> None:
        bucket = Bucket(MESSAGE_RATE, MESSAGE_BURST, time.monotonic())
        while True:
            raw = await receive_text(self._websocket)
            if raw is None:
                return
            if not bucket.take(time.monotonic()):
                if bucket.refused > MAX_REFUSED:
                    raise Closing(TOO_MANY, "too many messages")
                session.tell(
                    RateLimited(
                        f"More than {MESSAGE_RATE:.0f} messages a second. This one was not looked at; "
                        "send fewer.",
                        retry_after=1,
                    )
                )
                continue
            try:
                message = wire.parse(raw)
                if isinstance(message, wire.Operator) and self._welcome is not None:
                    await self._welcome_operator(session, message.token, self._welcome)
                else:
                    session.handle(message)
            except RequestError as error:
                session.tell(error)

    async def _welcome_operator(
        self, session: Session, token: str, welcome: Callable[[str], Awaitable[None]]
    ) -> None:
        session.touch()
        try:
            await welcome(token)
        except RequestError as error:
            session.tell(error, OPERATOR)

    async def _send(self, text: str) -> None:
        try:
            await self._websocket.send_text(text)
        except RuntimeError:
            # Starlette's word for a socket that was closed meanwhile.
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
                raise Closing(TOO_MANY, "the client reads too slowly") from None


async def receive_text(websocket: WebSocket) -> str | None:
    """The next text message; None when the client has left. Raises Closing for a binary one."""
    try:
        event = await websocket.receive()
    except RuntimeError:
        # Starlette's word for a socket that was closed meanwhile.
        return None
    if event["type"] == "websocket.disconnect":
        return None
    text = event.get("text")
    if text is None:
        raise Closing(UNSUPPORTED, "text messages only")
    if len(text) > wire.MAX_MESSAGE_BYTES or len(text.encode()) > wire.MAX_MESSAGE_BYTES:
        raise Closing(TOO_LARGE, f"messages have at most {wire.MAX_MESSAGE_BYTES} bytes")
    assert isinstance(text, str)
    return text


class SocketServer:
    """The endpoint. The upgrade is always accepted and then closed with a code, since a browser cannot read
    the status of a refused upgrade."""

    def __init__(
        self,
        *,
        sessions: SessionManager,
        connections: ConnectionGuard,
        metrics: Metrics,
        guard: OperatorGuard | None = None,
        desk: OperatorDesk | None = None,
    ) -> None:
        """Without a guard and a desk there are no operators."""
        self._guard, self._desk = guard, desk
        self._sessions = sessions
        self._connections = connections
        self._metrics = metrics
        self.gate = SocketGate()
        # The deadlines of those that have not brought their token yet, oldest first.
        self._knocking: dict[asyncio.Timeout, None] = {}

    def turn_away(self) -> None:
        """The server drains: do not wait for tokens any longer."""
        for deadline in self._knocking:
            deadline.reschedule(asyncio.get_running_loop().time())

    async def serve(self, websocket: WebSocket, session_id: str) -> None:
        offered = websocket.scope.get("subprotocols") or []
        try:
            await websocket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
            closing = await self._serve(websocket, session_id, offered)
        except Closing as exc:
            closing = exc
        except QwenCameraError as error:
            closing = closing_for(error)
        except WebSocketDisconnect:
            closing = None
        if closing is not None and websocket.application_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, OSError, WebSocketDisconnect):
                await websocket.close(closing.code, closing.reason)

    async def _serve(
        self, websocket: WebSocket, session_id: str, offered: list[str]
    ) -> Closing | None:
        self._connections.origin(websocket)
        query = websocket.query_params
        attempt = Attempt.read(query.get("page"), query.get("attempt"))
        claims = await self._authenticate(websocket, session_id, offered)
        if self._sessions.draining:
            raise Closing(DRAINING, "the server is about to stop")
        if not self._connections.home_process.is_home(session_id):
            # The balancer did not reach the process that the session lived in.
            raise Closing(NO_SESSION, "its part of the server has gone")
        session = await self._sessions.admit(session_id, claims.auth_time, claims.device)
        # Before the gate: those that a link held back all come at once when it lets go.
        session.sockets.take(attempt)
        # Only now: the gate holds sessions that there are, and forgets them when they end.
        if not self.gate.take(session_id, time.monotonic()):
            self._metrics.auth_failures.labels("rate").inc()
            raise Closing(TOO_MANY, f"more than {SOCKETS_PER_MINUTE} sockets a minute")
        socket = SessionSocket(
            websocket, lambda token: self._welcome(websocket, session, socket, token)
        )
        if self._desk is not None:
            # Before this one reads: what waits there may be an operator's.
            self._desk.dismiss(session.outbox)
        self._sessions.attach(session, socket)
        session.greet()
        log.info("socket opened", extra={"session": session_id})
        closing: Closing | None = None
        try:
            closing = await socket.run(session)
            return closing
        finally:
            if self._desk is not None:
                self._desk.leave(socket)
            self._sessions.detach(session, socket)
            code = closing.code if closing is not None else 1000
            log.info("socket closed", extra={"session": session_id, "code": code})

    async def _welcome(
        self, websocket: WebSocket, session: Session, socket: SessionSocket, token: str
    ) -> None:
        if self._guard is None or self._desk is None:
            raise NotFound("This server has no operator functions.")
        await self._guard.check(token, self._connections.address(websocket))
        if socket.closing:
            return  # a newer one reads now
        self._desk.join(socket, session.outbox)
        # Once more, with the operator's texts.
        session.greet()
        log.info("an operator listens", extra={"session": session.id})

    async def _authenticate(
        self, websocket: WebSocket, session_id: str, offered: list[str]
    ) -> Claims:
        token = next((p.removeprefix("bearer.") for p in offered if p.startswith("bearer.")), None)
        token = token or websocket.query_params.get("token")
        if token is None:
            try:
                if len(self._knocking) >= MAX_KNOCKING:
                    # The one that has waited longest makes room.
                    oldest = next(iter(self._knocking))
                    oldest.reschedule(asyncio.get_running_loop().time())
                    del self._knocking[oldest]
                async with asyncio.timeout(AUTH_SECONDS) as deadline:
                    self._knocking[deadline] = None
                    try:
                        token = await self._first_message(websocket)
                    finally:
                        self._knocking.pop(deadline, None)
            except TimeoutError:
                if self._sessions.draining:
                    raise Closing(DRAINING, "the server is about to stop") from None
                self._metrics.auth_failures.labels("missing").inc()
                raise Closing(UNAUTHORIZED, f"no token within {AUTH_SECONDS:.0f} seconds") from None
        claims = self._connections.verify(token, session_id=session_id)
        extensions = websocket.scope.get("extensions") or {}
        if PROVEN in extensions:
            extensions[PROVEN]["tell"]()
        return claims

    async def _first_message(self, websocket: WebSocket) -> str:
        raw = await receive_text(websocket)
        if raw is None:
            raise WebSocketDisconnect
        try:
            message = wire.parse(raw)
        except QwenCameraError:
            message = None
        if not isinstance(message, wire.Auth):
            self._metrics.auth_failures.labels("missing").inc()
            raise Closing(UNAUTHORIZED, "the first message has to carry the token")
        return message.token
