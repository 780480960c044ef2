"""A voice on an OpenAI-compatible server: over vLLM-Omni's socket where that is wanted, else over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx2
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed

from server.core.errors import SpeechTimeout, SpeechUnavailable
from server.engines.openai.bounded_socket import BoundedSocket, NotOffered, SocketBounds
from server.engines.openai.discovery import address_of
from server.engines.speech.limits import SpeechLimits, VoiceLimits
from server.engines.speech.refusals import Refusals
from server.engines.speech.server_state import SpeechServer
from server.engines.speech.synthesis import SOUND_BYTES, Synthesis, language_name
from server.voice.pcm import NotPcm, PcmReader, VoiceChunk

# Seconds between two looks at a server that answers, and at one that does not
PROBE_SECONDS = 10.0
_RETRY_SECONDS = 5.0


class ServerVoice(SpeechServer):
    """One server; see `Voice`. `model` "" takes the first one that it lists, `voice` "" its own.

    `socket`: vLLM-Omni's socket is tried first. `transport` replaces the network of HTTP, in tests.
    """

    name = "server"

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr | str = "",
        model: str = "",
        voice: str = "",
        socket: bool = False,
        limits: SpeechLimits | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        limits = limits or VoiceLimits()
        key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        address = address_of(base_url)
        self._http = Synthesis(address, key, voice, limits, transport)
        self._socket = SynthesisSocket(address, key, voice, limits)
        super().__init__(
            "speech server",
            base_url,
            self._http.http,
            model=model,
            socket=socket,
            seconds=limits.probe,
        )

    async def probe(self) -> float:
        """Find whether the server answers, and its model. Returns seconds until the next look."""
        return PROBE_SECONDS if await self._state.probe() else _RETRY_SECONDS

    async def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`. A server that does not answer is not ready until it is found to answer again."""
        try:
            async with aclosing(self._speak(text, language)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (SpeechUnavailable, SpeechTimeout) as error:
            self._state.failed(error.message)
            raise

    async def _speak(self, text: str, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        model = self._state.model
        if self._state.tries_socket:
            try:
                asking = self._socket.speak(text, model=model, language=language)
                async with aclosing(asking) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except NotOffered as exc:
                self._state.socket_failed(exc)
        asking = self._http.speak(text, model=model, language=language)
        async with aclosing(asking) as chunks:
            async for chunk in chunks:
                yield chunk


# Words to sound over vLLM-Omni's WebSocket `/v1/audio/speech/stream`.  The client sends
# `session.config`, `input.text` and `input.done`; the server sends `audio.start` with the rate,
# the sound in binary messages, `audio.done` and `session.done`. A connection is for one piece of
# text: a server works on one flush at a time.

PATH = "/audio/speech/stream"


# A message has some seconds of sound at most.
_MESSAGE_BYTES = 1024 * 1024

_MOST_MESSAGES = 8192


class SynthesisSocket:
    """One server's address, such as http://127.0.0.1:8091/v1."""

    def __init__(self, address: str, api_key: str, voice: str, limits: SpeechLimits) -> None:
        self._limits = limits
        self._voice = voice
        self._refusals = Refusals("speech server", "SPEECH", address, PATH)
        bounds = SocketBounds(_MESSAGE_BYTES, _MOST_MESSAGES, SOUND_BYTES)
        self._socket = BoundedSocket(self._refusals, address, PATH, api_key, limits.connect, bounds)

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
        if name := language_name(language):
            config["language"] = name
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.total
        due = min(deadline, now() + self._limits.first)
        reader = PcmReader()
        async with self._socket.opened() as exchange:
            try:
                async with asyncio.timeout_at(due):
                    await exchange.put(config)
                    await exchange.put({"type": "input.text", "text": text})
                    await exchange.put({"type": "input.done"})
                while True:
                    async with asyncio.timeout_at(due):
                        found = await exchange.next()
                    if isinstance(found, bytes):
                        if (chunk := reader.take(found)) is not None:
                            yield chunk
                            due = min(deadline, now() + self._limits.between)
                    elif found.get("type") in ("audio.done", "session.done"):
                        return
                    elif found.get("type") == "audio.start" and "sample_rate" in found:
                        reader.set_rate(found["sample_rate"])
            except TimeoutError:
                raise self._refusals.too_slow() from None
            except NotPcm as exc:
                raise self._refusals.garbage(str(exc)) from None
            except ConnectionClosed:
                raise self._refusals.broken() from None
