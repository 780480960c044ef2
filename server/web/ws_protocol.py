"""uvicorn's WebSocket connection, bounded in time and in frames.

uvicorn answers pings whether or not the client reads, keeps fragments without number, and waits for
ever for a client to take what was sent. `tests/project/test_dependencies.py` fails when its class
changes underneath.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from server.core.addresses import Bucket
from server.core.errors import Close
from server.web.connections import PROVEN, Connections

# Time for a client to read the sent data and the close code, and to answer with its own.
CLOSE_SECONDS = 10.0
# Frames that a client may send a second over time, and at once. The application has tighter bounds
# for messages, with words (`websocket.MESSAGE_RATE`); these hold for what never reaches it,
# and for many frames in one packet.
FRAME_RATE, FRAME_BURST = 128.0, 1024
# Pings and pongs; browsers send no pings, and others one in many seconds.
CONTROL_RATE, CONTROL_BURST = 8.0, 64
# Pieces of one message.
MAX_FRAGMENTS = 256


class BoundedFrames(ServerProtocol):
    """The frames of one connection: each is counted before it is kept or answered.

    Bounds of frames of a socket before the application has them: 1,024 at once, 128 a second, 256
    fragments per message; beyond, the socket closes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        now = time.monotonic()
        self._frames = Bucket(FRAME_RATE, FRAME_BURST, now)
        self._control = Bucket(CONTROL_RATE, CONTROL_BURST, now)
        self._fragments = 0
        # True when the connection was closed for too many frames
        self.flooded = False

    def recv_frame(self, frame: Frame) -> None:
        now = time.monotonic()
        if frame.opcode is Opcode.CONT:
            self._fragments += 1
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            # Control frames may stand between the pieces of a message (RFC 6455, 5.4).
            self._fragments = 0
        within = self._frames.take(now)
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            within = self._control.take(now) and within
        if not within or self._fragments > MAX_FRAGMENTS:
            self.flooded = True
            self.fail(Close.TOO_MANY, "too many frames")
            # Ends the parser, which reads nothing of what else came.
            raise ProtocolError("too many frames")
        super().recv_frame(frame)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection. `limits` is set by `protocol_class`."""

    limits: Connections

    # None until its end was asked for, and again once it came.
    _deadline: asyncio.TimerHandle | None = None
    # The client does not read: more waits for it than the transport likes.
    _write_paused = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn: BoundedFrames = BoundedFrames(
            max_size=self.config.ws_max_size, logger=self.logger
        )

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.conn.handshake_exc is None:
            # The task that the application runs in begins after this.
            self.scope["extensions"][PROVEN] = {"tell": lambda: self.limits.proven(self.transport)}

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.flooded:
            self.limits.flooded += 1
        if self.conn.flooded or self.transport.is_closing():
            self._end_in_time()

    def handle_ping(self) -> None:
        # uvicorn writes a pong whenever; the close code is the last that a client hears.
        if self.close_sent:
            self.conn.data_to_send()
        else:
            super().handle_ping()

    def pause_writing(self) -> None:
        """Nothing is answered that nobody reads: what the client sends waits with the client."""
        super().pause_writing()
        self._write_paused = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_paused = False
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()
        if self._write_paused and not self.transport.is_closing():
            self.transport.pause_reading()
        return message

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            # uvicorn would log a traceback for each message that is no UTF-8.
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.conn.fail(CloseCode.INVALID_DATA)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self._end_in_time()
            # One small frame more behind what waits already.
            self.writable.set()
        await super().send(message)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._end_in_time()

    def shutdown(self) -> None:
        super().shutdown()
        self._end_in_time()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._end_in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self.limits.lost(self.transport)
        super().connection_lost(exc)

    def _end_in_time(self) -> None:
        """`close` of a transport waits until everything was read, for ever."""
        if self._deadline is None and not self.disconnected:
            self._deadline = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)


def protocol_class(limits: Connections) -> type[WebSocketProtocol]:
    """Return the class for uvicorn, which makes one object of it for each connection."""
    return type("CountedWebSocketProtocol", (WebSocketProtocol,), {"limits": limits})
