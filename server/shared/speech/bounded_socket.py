"""The WebSocket connections to one model server: opened where they are offered, within bounds."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from server.models.openai import upstream
from server.models.openai.bounded_http import read_json
from server.shared.speech.speech_server import Refusals

# Messages between which other tasks have their turn
_MESSAGES_AT_A_TIME = 64
# A message costs time, however small it is: it counts for at least so many bytes.
_LEAST_MESSAGE = 64
# Statuses of servers without this address; uvicorn answers 403 to a socket at an unknown one.
_NOT_OFFERED = (400, 403, 404, 405, 426, 501)


class NotOffered(Exception):
    """The server has no such address. Outside the tree of errors: HTTP is used then."""


@dataclass(frozen=True, slots=True)
class SocketBounds:
    """The limits of one exchange: bytes of a message, messages, and bytes of all."""

    message_bytes: int
    messages: int
    total_bytes: int


class _Connect(connect):
    """A connection to the configured address and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class BoundedSocket:
    """One server's socket, at the address and path of `errors`."""

    def __init__(
        self, errors: Refusals, api_key: str, connect_seconds: float, bounds: SocketBounds
    ) -> None:
        self._errors = errors
        self._connect_seconds = connect_seconds
        self._bounds = bounds
        self._url = errors.address.replace("http", "ws", 1) + errors.path
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # It logs messages at lower levels.
        logging.getLogger("websockets.client").setLevel(logging.WARNING)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Exchange]:
        """Connect. Raises NotOffered and the errors of `Refusals`."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                socket = await _Connect(
                    self._url,
                    additional_headers=self._headers,
                    user_agent_header=None,
                    compression=None,
                    proxy=None,
                    max_size=self._bounds.message_bytes,
                    max_queue=16,
                    open_timeout=None,
                    ping_interval=None,
                    close_timeout=1.0,
                )
        except InvalidStatus as exc:
            if exc.response.status_code in _NOT_OFFERED:
                raise NotOffered from None
            raise self._errors.of_status(exc.response.status_code) from None
        except InvalidHandshake:
            raise NotOffered from None
        except TimeoutError:
            raise self._errors.too_slow() from None
        except (OSError, WebSocketException):
            raise self._errors.unreachable() from None
        try:
            yield Exchange(socket, self._errors, self._bounds)
        finally:
            # No closing handshake: it stops the work there at once, and holds nobody up.
            socket.transport.abort()
            await socket.wait_closed()


class Exchange:
    """The messages of one socket in both directions, within bounds."""

    def __init__(self, socket: ClientConnection, errors: Refusals, bounds: SocketBounds) -> None:
        self._socket = socket
        self._errors = errors
        self._bounds = bounds
        self._count = 0
        self._spent = 0

    async def put(self, message: Mapping[str, Any]) -> None:
        """Send a message as JSON. Raises ConnectionClosed."""
        await self._socket.send(json.dumps(message, separators=(",", ":")))

    async def next(self) -> dict[str, Any] | bytes:
        """Return the next event, or the bytes of a binary message.

        Raises the errors of `Refusals` for an event of an error, for what is no event, and for
        too much of all; ConnectionClosed.
        """
        if self._count % _MESSAGES_AT_A_TIME == 0:
            await asyncio.sleep(0)
        raw = await self._socket.recv()
        self._count += 1
        self._spent += max(len(raw), _LEAST_MESSAGE)
        most = self._bounds
        if self._count > most.messages:
            raise self._errors.garbage(f"sends more than {most.messages:,} messages")
        if self._spent > most.total_bytes:
            raise self._errors.garbage(f"sends more than {most.total_bytes:,} bytes")
        return raw if isinstance(raw, bytes) else self._event(raw)

    async def event(self) -> dict[str, Any]:
        """Return the next event as `next` does; a binary message is none."""
        found = await self.next()
        if isinstance(found, bytes):
            raise self._errors.garbage()
        return found

    def abort(self) -> None:
        """Break the connection; a reader that waits gets ConnectionClosed."""
        self._socket.transport.abort()

    def _event(self, raw: str) -> dict[str, Any]:
        try:
            event = read_json(raw)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise self._errors.garbage()
        if event.get("type") == "error" or event.get("error"):
            raise self._errors.of_status(upstream.event_status(event.get("error")))
        return event
