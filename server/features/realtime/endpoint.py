"""The sockets at /v1/realtime and /at/<session>/v1/realtime: access, limits, and the events in and out."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from server.core.aio import Bucket, cancel_and_wait, log_failure
from server.core.errors import (
    BadRequest,
    Internal,
    QwenCameraError,
    RateLimited,
    SocketCloseCode,
    Unauthorized,
)
from server.core.messages import Parser
from server.core.metrics import Metrics
from server.features.grants.grants import Grant, Scope
from server.features.grants.guard import ProgramAccess, ProgramGuard
from server.features.openai_api.errors import make_error_body
from server.features.realtime.connection import Connection, ConnectionTools, check_model
from server.features.realtime.conversation import new_id
from server.features.realtime.events import SoundAppend, event_id, read_event
from server.shared.sound.line import VoiceLine
from server.web.middleware import get_error_form, make_error_response
from server.web.websocket import Closing, SessionSocket

log = logging.getLogger(__name__)

PROTOCOL = "realtime"
# The subprotocol in which browsers send the token
KEY = "openai-insecure-api-key."
# Most sockets of one program
MAX_SOCKETS = 2
# Events a second on a socket, sound included, and their burst. After MAX_REFUSED errors the socket is closed.
EVENT_RATE, EVENT_BURST = 100.0, 200
MAX_REFUSED = 100
# Pause before the next event, as a multiple of the time that the last one took
PAUSE = 4.0
# Seconds within which a client has to take an event, and a call's channel has to open
SEND_SECONDS = 10.0
# Most characters that wait for a client, and those beyond which no more sound is made
MOST_WAITING, MOST_SOUND_WAITING = 2 * 1024 * 1024, 512 * 1024


class EventQueue:
    """The events that wait for a client.

    Bounds of events that wait for a client: 2 MiB; when full, the socket closes.
    """

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self.size = 0
        self._changed = asyncio.Event()

    def send(self, type: str, **fields: Any) -> None:
        """Add an event. Never blocks or raises."""
        if self.size <= MOST_WAITING:
            event = {"type": type, "event_id": new_id("event"), **fields}
            text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            self._waiting.append(text)
            self.size += len(text)
        self._changed.set()

    async def next(self) -> str:
        """Return the next event as JSON. Raise Closing if the client reads too slowly."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        if self.size > MOST_WAITING:
            raise Closing(SocketCloseCode.TOO_MANY, "the client reads too slowly")
        text = self._waiting.popleft()
        self.size -= len(text)
        return text


class Client(Protocol):
    """The transport of a client's events, as JSON."""

    async def receive(self) -> str | None:
        """Return the next event; None at the end. Raise Closing for a message that is not text, or too long."""

    async def send(self, text: str) -> None:
        """Send an event. Raise OSError at the end."""


class SocketClient:
    """The events of a WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.receive = SessionSocket(websocket, Parser()).receive

    async def send(self, text: str) -> None:
        try:
            await self._websocket.send_text(text)
        except (RuntimeError, WebSocketDisconnect):
            raise ConnectionError from None


class ClientSession:
    """One client, from its first event to its last."""

    def __init__(
        self,
        client: Client,
        access: ProgramAccess,
        tools: ConnectionTools,
        metrics: Metrics,
        line: VoiceLine | None = None,
    ) -> None:
        """`line`: the sound of a call; None if sound comes and goes as events."""
        self._client = client
        self._access = access
        self._metrics = metrics
        self._out = EventQueue()
        self._connection = Connection(
            access, tools, self._out.send, lambda: self._out.size < MOST_SOUND_WAITING, line
        )
        self._refused = 0

    async def run(self, first: str | None = None) -> Closing | None:
        """Serve until the client disconnects (None), the access ends, or a limit is exceeded.

        `first`: an event to handle before those that the client sends.
        """
        grant = self._access.grant
        reader = asyncio.create_task(self._read(first), name="realtime/read")
        writer = asyncio.create_task(self._write(), name="realtime/write")
        # The end of the access cancels it, as it does with a program's waits for alerts.
        grant.waits.add(reader)
        try:
            self._connection.greet()
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if reader.cancelled():
                return Closing(SocketCloseCode.UNAUTHORIZED, "the access has ended")
            for task in (reader, writer):
                if task.done() and (error := task.exception()) is not None:
                    if isinstance(error, Closing):
                        return error
                    if not isinstance(error, OSError):
                        log_failure("realtime", error, "connection failed")
                        return Closing(SocketCloseCode.INTERNAL, "internal error")
            return None
        finally:
            grant.waits.discard(reader)
            await cancel_and_wait((reader, writer))
            await self._connection.close()

    async def _read(self, first: str | None) -> None:
        bucket = Bucket(EVENT_RATE, EVENT_BURST, time.monotonic())
        raw = first
        while raw is not None or (raw := await self._client.receive()) is not None:
            began, pause = time.monotonic(), PAUSE
            try:
                if not bucket.take(began):
                    raise RateLimited(
                        f"This event was ignored: more than {EVENT_RATE:.0f} events a second (limit). Send fewer.",
                        retry_after=1,
                    )
                event = read_event(raw)
                if not isinstance(event, SoundAppend):
                    # Sound comes far more often, and has its own limit.
                    self._access.programs.count_message(self._access.grant)
                await self._connection.handle(event)
                if isinstance(event, SoundAppend):
                    # Another thread works on it; a pause would keep back the sound that follows.
                    pause = 0.0
            except Unauthorized:
                raise Closing(SocketCloseCode.UNAUTHORIZED, "the access has ended") from None
            except QwenCameraError as error:
                self._refuse(error, raw)
            except Exception as error:  # noqa: BLE001 - log a bug without its text, and go on
                log_failure("realtime", error, "event failed")
                self._refuse(Internal("Something went wrong in the server. Try again."), raw)
            raw = None
            await asyncio.sleep(pause * min(0.05, time.monotonic() - began))

    def _refuse(self, error: QwenCameraError, raw: str) -> None:
        """Send an error. Raise Closing after too many."""
        self._metrics.errors.labels(error.code).inc()
        self._refused += 1
        if self._refused > MAX_REFUSED:
            raise Closing(SocketCloseCode.TOO_MANY, "too many events were refused")
        said = make_error_body(error)["error"] | {"event_id": event_id(raw)}
        self._out.send("error", error=said)

    async def _write(self) -> None:
        while True:
            text = await self._out.next()
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._client.send(text)
            except TimeoutError:
                raise Closing(SocketCloseCode.TOO_MANY, "the client reads too slowly") from None


class RealtimeEndpoint:
    """The sockets of all programs.

    A refused upgrade is answered with the status and the error of the chat interface.

    Bounds of sockets of a program: two; a third is refused.
    """

    def __init__(self, guard: ProgramGuard, tools: ConnectionTools, metrics: Metrics) -> None:
        self._guard = guard
        self._tools = tools
        self._metrics = metrics
        # Number of open sockets by grant
        self._open: dict[Grant, int] = {}

    def routes(self) -> list[WebSocketRoute]:
        """Return both routes: one without and one with the session in the path."""
        return [
            WebSocketRoute("/v1/realtime", self.serve),
            WebSocketRoute("/at/{session_id}/v1/realtime", self.serve),
        ]

    async def serve(self, websocket: WebSocket) -> None:
        """Speak OpenAI's Realtime protocol (docs/realtime.md); needs a program's token."""
        offered: list[str] = websocket.scope.get("subprotocols") or []
        try:
            access = await self._enter(websocket, offered)
        except QwenCameraError as error:
            self._metrics.errors.labels(error.code).inc()
            form = get_error_form(websocket.scope)
            await websocket.send_denial_response(make_error_response(error, form=form))
            return
        grant = access.grant
        self._open[grant] = self._open.get(grant, 0) + 1
        websocket.state.proven = True
        try:
            await websocket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
            log.info("program connected", extra={"session": access.session.id})
            client = SocketClient(websocket)
            closing = await ClientSession(client, access, self._tools, self._metrics).run()
            if closing is not None:
                with suppress(RuntimeError, OSError, WebSocketDisconnect):
                    await websocket.close(closing.code, closing.reason)
        finally:
            self._open[grant] -= 1
            if not self._open[grant]:
                del self._open[grant]

    async def _enter(self, websocket: WebSocket, offered: list[str]) -> ProgramAccess:
        key = next((one.removeprefix(KEY) for one in offered if one.startswith(KEY)), None)
        access = await self._guard.enter(websocket, websocket.path_params.get("session_id"), key)
        access.programs.count_call(access.grant, Scope.LOOK)
        if websocket.query_params.get("call_id"):
            raise BadRequest(
                '"call_id" is not supported: the events of a call use its data channel. Connect with "model" instead.'
            )
        check_model(websocket.query_params.get("model"), access)
        if self._open.get(access.grant, 0) >= MAX_SOCKETS:
            raise RateLimited(
                f"This program already has {MAX_SOCKETS} open sockets, the maximum. Close one, then connect again.",
                retry_after=5,
            )
        return access
