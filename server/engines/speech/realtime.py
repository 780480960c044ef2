"""Sound to words while it is spoken: the WebSocket `/v1/realtime` of vLLM (since 0.16).

The client sends `session.update`, `input_audio_buffer.commit` (begin), the sound in
`input_audio_buffer.append` (PCM16, 16 kHz, base64) and a `commit` with `final`; the server sends
`session.created`, `transcription.delta`, `transcription.done` and `error`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    WebSocketException,
)

from server.core.sound import Sound
from server.engines.openai import upstream
from server.engines.speech.base import MOST_SOUND_SECONDS, MOST_WORDS_CHARS, Words
from server.engines.speech.refusals import Refusals
from server.engines.speech.transcriptions import SpeechLimits

PATH = "/realtime"
# An event has some hundred bytes; the last one all words.
_MESSAGE_BYTES = 64 * 1024
# A minute of speech has some hundred words, with an event each.
_MOST_MESSAGES = 4096
# Messages between which other tasks have their turn
_MESSAGES_AT_A_TIME = 64
# Statuses of servers without this address; uvicorn answers 403 to a socket at an unknown one.
_NOT_OFFERED = (400, 403, 404, 405, 426, 501)


class NotOffered(Exception):
    """The server has no such address. No sound was taken.

    Outside the tree of errors: `ServerRecogniser` takes the other way then.
    """


class _Connect(connect):
    """A connection to the configured address and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Realtime:
    """One server's address, such as ws://127.0.0.1:8001/v1."""

    def __init__(self, address: str, api_key: str, limits: SpeechLimits) -> None:
        self._limits = limits
        self._refusals = Refusals("transcription server", "TRANSCRIPTION", address, PATH)
        self._url = address.replace("http", "ws", 1) + PATH
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # It logs messages at lower levels.
        logging.getLogger("websockets.client").setLevel(logging.WARNING)

    async def recognise(
        self, pieces: AsyncIterator[Sound], *, model: str
    ) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`; the sound's pieces go out as they come.

        Raises NotOffered before it takes any.
        """
        refusals = self._refusals
        async with self._connected() as socket:
            exchange = _Exchange(socket, refusals, self._limits)
            try:
                await exchange.begin(model)
            except ConnectionClosed:
                raise NotOffered from None
            except TimeoutError:
                raise refusals.too_slow() from None
            sending = asyncio.create_task(exchange.send(pieces), name="realtime")
            try:
                text = ""
                while True:
                    event = await exchange.next()
                    kind, delta = event.get("type"), event.get("delta")
                    if kind == "transcription.delta" and isinstance(delta, str):
                        text = (text + delta)[:MOST_WORDS_CHARS]
                        if delta and text.strip():
                            yield Words(text.strip(), False)
                    elif kind == "transcription.done":
                        whole = event.get("text")
                        text = whole if isinstance(whole, str) else text
                        yield Words(text.strip()[:MOST_WORDS_CHARS], True)
                        return
            except TimeoutError:
                raise refusals.too_slow() from None
            except ConnectionClosed:
                if exchange.failure is not None:
                    raise exchange.failure from None
                raise refusals.broken() from None
            finally:
                sending.cancel()
                await asyncio.wait([sending])

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientConnection]:
        try:
            async with asyncio.timeout(self._limits.connect):
                socket = await _Connect(
                    self._url,
                    additional_headers=self._headers,
                    user_agent_header=None,
                    compression=None,
                    proxy=None,
                    max_size=_MESSAGE_BYTES,
                    max_queue=16,
                    open_timeout=None,
                    ping_interval=None,
                    close_timeout=1.0,
                )
        except InvalidStatus as exc:
            if exc.response.status_code in _NOT_OFFERED:
                raise NotOffered from None
            raise self._refusals.of_status(exc.response.status_code) from None
        except InvalidHandshake:
            raise NotOffered from None
        except TimeoutError:
            raise self._refusals.too_slow() from None
        except (OSError, WebSocketException):
            raise self._refusals.unreachable() from None
        try:
            yield socket
        finally:
            # No closing handshake: a server that does not answer it must not hold anybody up.
            socket.transport.abort()
            await socket.wait_closed()


class _Exchange:
    """The messages of one socket in both directions, within bounds."""

    def __init__(self, socket: ClientConnection, refusals: Refusals, limits: SpeechLimits) -> None:
        self._socket = socket
        self._refusals = refusals
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        # Speech takes as long as it takes; the server's time begins with its end.
        self._latest = self._now() + MOST_SOUND_SECONDS + limits.total
        self._due = self._latest
        self._sent = False
        self._waiting: asyncio.Timeout | None = None
        self._count = 0
        # The sound's own error, after which the socket is closed
        self.failure: Exception | None = None

    async def begin(self, model: str) -> None:
        """Open the session. Raises SpeechError, TimeoutError and ConnectionClosed."""
        async with asyncio.timeout(self._limits.connect):
            while self._event(await self._socket.recv()).get("type") != "session.created":
                pass
            await self._put({"type": "session.update", "model": model})
            await self._put({"type": "input_audio_buffer.commit", "final": False})

    async def send(self, pieces: AsyncIterator[Sound]) -> None:
        """Send the sound, then its end. Never raises: the socket closes, and `failure` says why."""
        try:
            async for piece in pieces:
                audio = base64.b64encode(piece.samples.tobytes()).decode("ascii")
                await self._put({"type": "input_audio_buffer.append", "audio": audio})
            await self._put({"type": "input_audio_buffer.commit", "final": True})
        except ConnectionClosed:
            return
        except Exception as exc:  # noqa: BLE001
            # `next` raises it.
            self.failure = exc
            self._socket.transport.abort()
            return
        self._sent = True
        self._due = min(self._latest, self._now() + self._limits.first)
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(self._due)

    async def next(self) -> dict[str, Any]:
        """Return the next event. Raises SpeechError, TimeoutError and ConnectionClosed."""
        if self._count % _MESSAGES_AT_A_TIME == 0:
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout_at(self._due) as self._waiting:
                raw = await self._socket.recv()
        finally:
            self._waiting = None
        if self._sent:
            self._due = min(self._latest, self._now() + self._limits.between)
        return self._event(raw)

    async def _put(self, message: dict[str, Any]) -> None:
        await self._socket.send(json.dumps(message, separators=(",", ":")))

    def _event(self, raw: str | bytes) -> dict[str, Any]:
        """Read an event. Raises SpeechError for an error, and for what is no event."""
        self._count += 1
        if self._count > _MOST_MESSAGES:
            raise self._refusals.garbage(f"sends more than {_MOST_MESSAGES:,} messages")
        try:
            event = json.loads(raw)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise self._refusals.garbage()
        if event.get("type") == "error":
            raise self._refusals.of_status(upstream.event_status(event.get("error")))
        return event
