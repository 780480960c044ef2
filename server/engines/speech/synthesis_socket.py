"""Words to sound over vLLM-Omni's WebSocket `/v1/audio/speech/stream`.

The client sends `session.config`, `input.text` and `input.done`; the server sends `audio.start` with
the rate, the sound in binary messages, `audio.done` and `session.done`. A connection is for one
piece of text: a server works on one flush at a time.
"""

from __future__ import annotations

import asyncio
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

from server.engines.openai import upstream
from server.engines.speech.base import VoiceChunk
from server.engines.speech.pcm import NotPcm, PcmReader
from server.engines.speech.refusals import Refusals
from server.engines.speech.synthesis import LANGUAGES, SOUND_BYTES, VoiceLimits

PATH = "/audio/speech/stream"
# A message has some seconds of sound at most.
_MESSAGE_BYTES = 1024 * 1024
_MOST_MESSAGES = 8192
# A message costs time, however small it is: it counts for at least so many bytes.
_LEAST_MESSAGE = 64
# Messages between which other tasks have their turn
_MESSAGES_AT_A_TIME = 64
# Statuses of servers without this address; uvicorn answers 403 to a socket at an unknown one.
_NOT_OFFERED = (400, 403, 404, 405, 426, 501)


class NotOffered(Exception):
    """The server has no such address. Outside the tree of errors: `ServerVoice` takes HTTP then."""


class _Connect(connect):
    """A connection to the configured address and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class SynthesisSocket:
    """One server's address, such as http://127.0.0.1:8091/v1."""

    def __init__(self, address: str, api_key: str, voice: str, limits: VoiceLimits) -> None:
        self._limits = limits
        self._voice = voice
        self._refusals = Refusals("speech server", "SPEECH", address, PATH)
        self._url = address.replace("http", "ws", 1) + PATH
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # It logs messages at lower levels.
        logging.getLogger("websockets.client").setLevel(logging.WARNING)

    async def speak(
        self, text: str, *, model: str, language: str | None
    ) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`. Raises NotOffered before any sound."""
        config: dict[str, Any] = {
            "type": "session.config",
            "response_format": "pcm",
            "stream_audio": True,
        }
        if model:
            config["model"] = model
        if self._voice:
            config["voice"] = self._voice
        if name := LANGUAGES.get((language or "").partition("-")[0].lower()):
            config["language"] = name
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.total
        due = min(deadline, now() + self._limits.first)
        reader, spent, count = PcmReader(), 0, 0
        async with self._connected() as socket:
            try:
                async with asyncio.timeout_at(due):
                    for message in (
                        config,
                        {"type": "input.text", "text": text},
                        {"type": "input.done"},
                    ):
                        await socket.send(json.dumps(message))
                while True:
                    async with asyncio.timeout_at(due):
                        raw = await socket.recv()
                    count += 1
                    spent += max(len(raw), _LEAST_MESSAGE)
                    if spent > SOUND_BYTES or count > _MOST_MESSAGES:
                        raise self._refusals.garbage(f"sends more than {SOUND_BYTES:,} bytes")
                    if count % _MESSAGES_AT_A_TIME == 0:
                        await asyncio.sleep(0)
                    if isinstance(raw, bytes):
                        if (chunk := reader.take(raw)) is not None:
                            yield chunk
                            due = min(deadline, now() + self._limits.between)
                    elif self._event(raw, reader):
                        return
            except TimeoutError:
                raise self._refusals.too_slow() from None
            except NotPcm as exc:
                raise self._refusals.garbage(str(exc)) from None
            except ConnectionClosed:
                raise self._refusals.broken() from None

    def _event(self, raw: str, reader: PcmReader) -> bool:
        """Act on a text message. Return True for the end. Raises SpeechError and NotPcm."""
        try:
            event = json.loads(raw)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise self._refusals.garbage()
        kind = event.get("type")
        if kind == "error" or event.get("error"):
            raise self._refusals.of_status(upstream.event_status(event.get("error")))
        if kind == "audio.start" and "sample_rate" in event:
            reader.set_rate(event["sample_rate"])
        return kind in ("audio.done", "session.done")

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
            # No closing handshake: it stops the work there at once, and holds nobody up.
            socket.transport.abort()
            await socket.wait_closed()
