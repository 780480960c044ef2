"""Words to sound over vLLM-Omni's WebSocket `/v1/audio/speech/stream`.

The client sends `session.config`, `input.text` and `input.done`; the server sends `audio.start` with
the rate, the sound in binary messages, `audio.done` and `session.done`. A connection is for one
piece of text: a server works on one flush at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from websockets.exceptions import ConnectionClosed

from server.engines.openai.bounded_socket import BoundedSocket, SocketBounds
from server.engines.speech.limits import SpeechLimits
from server.engines.speech.refusals import Refusals
from server.engines.speech.synthesis import SOUND_BYTES, language_name
from server.voice.pcm import NotPcm, PcmReader, VoiceChunk

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
