"""One socket of a session: its states, its reading and writing loop, each error's close code."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from server.core import messages as wire
from server.core.addresses import Bucket
from server.core.aio import cancel_and_wait
from server.core.errors import (
    BadRequest,
    Busy,
    Close,
    Conflict,
    Draining,
    Forbidden,
    NotFound,
    QwenCameraError,
    RateLimited,
    RequestError,
    Unauthorized,
)
from server.core.states import Steps
from server.session.request.outbox import OutboxClosed, OutboxOverflowed, Reader

if TYPE_CHECKING:
    from server.session.session import Session

log = logging.getLogger(__name__)

# Messages a second that a socket may send over time, and how many at once; past that each gets an
# error, and a client that goes on regardless loses its socket.
MESSAGE_RATE, MESSAGE_BURST = 20.0, 60
MAX_REFUSED = 100
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
    (Forbidden, Close.FORBIDDEN_ORIGIN, "this origin is not allowed"),
    (BadRequest, Close.POLICY, "page and attempt are not as they have to be"),
    (Unauthorized, Close.UNAUTHORIZED, "not authorised"),
    (NotFound, Close.NO_SESSION, "no such session"),
    (Draining, Close.DRAINING, "the server is about to stop"),
    (Busy, Close.TOO_MANY, "the server is full"),
    (Conflict, Close.REPLACED, "its page has opened a newer socket"),
)


def closing_for(error: QwenCameraError) -> Closing:
    """Return the close code for an error that refuses a socket."""
    for kind, code, reason in _CLOSINGS:
        if isinstance(error, kind):
            return Closing(code, reason)
    return Closing(Close.INTERNAL, "internal error")


class SocketState(StrEnum):
    """The life of a socket. `waiting`: accepted, without a valid token so far."""

    UPGRADE = "upgrade"
    WAITING = "waiting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


_STEPS = {
    SocketState.UPGRADE: (SocketState.WAITING, SocketState.CLOSED),
    SocketState.WAITING: (SocketState.OPEN, SocketState.CLOSED),
    SocketState.OPEN: (SocketState.CLOSING, SocketState.CLOSED),
    SocketState.CLOSING: (SocketState.CLOSED,),
}


class SessionSocket:
    """One socket, from its upgrade to its close."""

    def __init__(self, websocket: WebSocket, messages: wire.Parser) -> None:
        self._websocket = websocket
        self._messages = messages
        self._state = Steps(SocketState.UPGRADE, _STEPS)
        self._closing: Closing | None = None
        self._wake = asyncio.Event()

    @property
    def state(self) -> SocketState:
        return self._state.now

    async def accept(self, subprotocol: str | None) -> None:
        await self._websocket.accept(subprotocol=subprotocol)
        self._state.to(SocketState.WAITING)

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
            raise Closing(Close.UNSUPPORTED, "text messages only")
        if len(text) > wire.MAX_MESSAGE_BYTES or len(text.encode()) > wire.MAX_MESSAGE_BYTES:
            raise Closing(Close.TOO_LARGE, f"messages have at most {wire.MAX_MESSAGE_BYTES} bytes")
        assert isinstance(text, str)
        return text

    def open(self) -> None:
        """Note that the client may use the session."""
        self._state.to(SocketState.OPEN)

    def close_soon(self, code: int, reason: str) -> None:
        """Request the close; the first reason counts."""
        if self.state is SocketState.OPEN:
            self._state.to(SocketState.CLOSING)
            self._closing = Closing(code, reason)
            self._wake.set()

    async def close(self, closing: Closing | None) -> None:
        """Send the close code, unless the client has left."""
        self._state.to(SocketState.CLOSED)
        if closing is not None and self._websocket.application_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, OSError, WebSocketDisconnect):
                await self._websocket.close(closing.code, closing.reason)

    async def run(self, session: Session, welcome: Welcome) -> Closing | None:
        """Serve until the client leaves (None), an error occurs, or `close_soon` is called.

        `welcome` checks an operator's token; it raises a RequestError for a wrong one.
        """
        outbox = session.outbox.attach()
        # Not under `supervise`: an exception closes the socket, and the page opens a new one.
        reader = asyncio.create_task(self._read(session, welcome), name="socket/read")
        writer = asyncio.create_task(self._write(outbox), name="socket/write")
        asked = asyncio.create_task(self._wake.wait(), name="socket/close")
        tasks = (reader, writer, asked)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._closing is not None and self._closing.code == Close.DRAINING:
                await self._flush(session)
            for task in (reader, writer):
                if task.done() and not task.cancelled() and task.exception() is not None:
                    exc = task.exception()
                    if isinstance(exc, Closing):
                        return exc
                    if not isinstance(exc, WebSocketDisconnect | OSError):
                        log.error("socket failed", extra={"error": type(exc).__name__})
                        return Closing(Close.INTERNAL, "internal error")
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
        while True:
            raw = await self.receive()
            if raw is None:
                return
            if not bucket.take(time.monotonic()):
                if bucket.refused > MAX_REFUSED:
                    raise Closing(Close.TOO_MANY, "too many messages")
                session.send_error(
                    RateLimited(
                        f"More than {MESSAGE_RATE:.0f} messages a second. This one was not read; "
                        "send fewer.",
                        retry_after=1,
                    )
                )
                continue
            try:
                message = self._messages.parse(raw)
                if isinstance(message, wire.Operator):
                    await self._welcome_operator(session, message.token, welcome)
                else:
                    session.handle(message)
            except RequestError as error:
                session.send_error(error)

    async def _welcome_operator(self, session: Session, token: str, welcome: Welcome) -> None:
        session.touch()
        try:
            await welcome(token)
        except RequestError as error:
            session.send_error(error, OPERATOR)

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
                raise Closing(Close.TOO_MANY, "the client reads too slowly") from None
