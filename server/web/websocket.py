"""`/ws/{session_id}`: checks a client's origin, token and process, and serves its socket."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from server.access.operator_guard import OperatorGuard
from server.access.request_order import Attempt
from server.auth import Claims, TokenRefused, bearer
from server.core import messages as wire
from server.core.errors import Close, NotFound, QwenCameraError
from server.core.metrics import Metrics
from server.session.part import Operators
from server.web.connections import PROVEN
from server.web.request_guard import ConnectionGuard
from server.web.session_socket import Closing, SessionSocket, SocketState, closing_for

if TYPE_CHECKING:
    from server.session.session import Session
    from server.session_manager import SessionManager

log = logging.getLogger(__name__)

AUTH_SECONDS = 5.0
SOCKETS_PER_MINUTE = 8
# Sockets that may wait for their token at a time; beyond that the oldest is closed. A page never
# waits: it sends the token with the upgrade.
MAX_KNOCKING = 256
PROTOCOL = "qwen-camera"


class SocketGate:
    """Limits the sockets that a session opens within a minute.

    Bounded by the number of sessions.

    Bounds of sockets of a session: 8 a minute per session; 256 sockets may wait for their token.
    """

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


class SocketServer:
    """The endpoint. It accepts every upgrade, and closes a refused socket with a code.

    A browser cannot read the status of a refused upgrade.
    """

    def __init__(
        self,
        *,
        sessions: SessionManager,
        connections: ConnectionGuard,
        metrics: Metrics,
        guard: OperatorGuard | None = None,
        messages: wire.Parser | None = None,
    ) -> None:
        """`guard` is None for a server without operators; `messages` for the core's alone."""
        self._messages = messages or wire.Parser()
        self._guard = guard
        self.operators = Operators()
        self._sessions = sessions
        self._connections = connections
        self._metrics = metrics
        self.gate = SocketGate()
        # Deadlines of the sockets that have not sent a token yet, oldest first
        self._knocking: dict[asyncio.Timeout, None] = {}

    def turn_away(self) -> None:
        """Stop waiting for tokens, because the server drains."""
        for deadline in self._knocking:
            deadline.reschedule(asyncio.get_running_loop().time())

    async def serve(self, websocket: WebSocket, session_id: str) -> None:
        offered = websocket.scope.get("subprotocols") or []
        socket = SessionSocket(websocket, self._messages)
        try:
            await socket.accept(PROTOCOL if PROTOCOL in offered else None)
            closing = await self._serve(websocket, socket, session_id, offered)
        except Closing as exc:
            closing = exc
        except QwenCameraError as error:
            closing = closing_for(error)
        except WebSocketDisconnect:
            closing = None
        await socket.close(closing)

    async def _serve(
        self, websocket: WebSocket, socket: SessionSocket, session_id: str, offered: list[str]
    ) -> Closing | None:
        self._connections.origin(websocket)
        query = websocket.query_params
        attempt = Attempt.read(query.get("page"), query.get("attempt"))
        claims = await self._authenticate(websocket, socket, session_id, offered)
        if self._sessions.draining:
            raise Closing(Close.DRAINING, "the server is about to stop")
        if not self._sessions.replicas.is_home(session_id):
            # The balancer did not reach the process of the session.
            raise Closing(Close.NO_SESSION, "its part of the server has gone")
        session = await self._sessions.admit(session_id, claims.auth_time, claims.device)
        # Before the gate: after a stall of the network all late attempts arrive at once.
        session.sockets.take(attempt)
        # After admission: the gate holds existing sessions only, and forgets them when they end.
        if not self.gate.take(session_id, time.monotonic()):
            self._metrics.auth_failures.labels("rate").inc()
            raise Closing(Close.TOO_MANY, f"more than {SOCKETS_PER_MINUTE} sockets a minute")
        socket.open()
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
            code = int(closing.code if closing is not None else Close.NORMAL)
            log.info("socket closed", extra={"session": session_id, "code": code})

    async def _welcome(
        self, websocket: WebSocket, session: Session, socket: SessionSocket, token: str
    ) -> None:
        if self._guard is None:
            raise NotFound("This server has no operator functions.")
        await self._guard.check(token, self._connections.address(websocket))
        if socket.state is not SocketState.OPEN:
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
        if token is None and (header := websocket.headers.get("authorization")):
            try:
                token = bearer(header)
            except TokenRefused:
                token = ""
        if token is None:
            try:
                if len(self._knocking) >= MAX_KNOCKING:
                    # End the wait of the oldest one.
                    oldest = next(iter(self._knocking))
                    oldest.reschedule(asyncio.get_running_loop().time())
                    del self._knocking[oldest]
                async with asyncio.timeout(AUTH_SECONDS) as deadline:
                    self._knocking[deadline] = None
                    try:
                        token = await self._first_message(socket)
                    finally:
                        self._knocking.pop(deadline, None)
            except TimeoutError:
                if self._sessions.draining:
                    raise Closing(Close.DRAINING, "the server is about to stop") from None
                self._metrics.auth_failures.labels("missing").inc()
                raise Closing(
                    Close.UNAUTHORIZED, f"no token within {AUTH_SECONDS:.0f} seconds"
                ) from None
        claims = self._connections.verify(token, session_id=session_id)
        extensions = websocket.scope.get("extensions") or {}
        if PROVEN in extensions:
            extensions[PROVEN]["tell"]()
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
            raise Closing(Close.UNAUTHORIZED, "the first message has to carry the token")
        return message.token
