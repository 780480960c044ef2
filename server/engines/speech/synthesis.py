"""Words to sound over HTTP: `POST /v1/audio/speech` of an OpenAI-compatible server, streamed.

The sound comes as raw PCM, as a WAV file, or in server-sent events (`speech.audio.delta`, base64).
Its Content-Type decides, because versions of servers disagree about the meaning of `stream`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import httpx2

from server.engines.openai import upstream
from server.engines.openai.chat_stream import ChatStream
from server.engines.speech.http_client import SpeechHttp
from server.engines.speech.limits import SpeechLimits
from server.engines.speech.refusals import Refusals
from server.voice.pcm import PcmReader, VoiceChunk, rate_of

PATH = "/audio/speech"
# A piece of text has 20 s of speech; this is 170 s at 24 kHz, or 125 s in base64.
SOUND_BYTES = 8 * 1024 * 1024
# Fields that a server may refuse by name: they are left out from then on.
_OPTIONAL = ("stream", "stream_format", "language", "initial_codec_chunk_frames")
# Frames of the first chunk of a model like Qwen3-TTS, 80 ms each: the fewer, the sooner it comes.
_FIRST_FRAMES = 2
# Names of languages as Qwen3-TTS has them
LANGUAGES = {
    "zh": "Chinese", "en": "English", "ja": "Japanese", "ko": "Korean", "de": "German",
    "fr": "French", "ru": "Russian", "pt": "Portuguese", "es": "Spanish", "it": "Italian",
}  # fmt: skip


def language_name(tag: str | None) -> str:
    """Return the name of a BCP 47 tag's language as Qwen3-TTS has it; "" for one that it has not."""
    return LANGUAGES.get((tag or "").partition("-")[0].lower(), "")


class Synthesis:
    """One server. `voice` "" leaves the choice to it. `transport` replaces the network, in tests.

    Bounds of sound of a speech server: 8 MiB for a piece of text; more is refused.
    """

    def __init__(
        self,
        address: str,
        api_key: str,
        voice: str,
        limits: SpeechLimits,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._limits = limits
        self._voice = voice
        self._refusals = Refusals("speech server", "SPEECH", address, PATH)
        self.http = SpeechHttp(
            self._refusals,
            api_key,
            limits,
            most_bytes=SOUND_BYTES,
            optional=_OPTIONAL,
            guess=True,
            transport=transport,
        )

    async def speak(
        self, text: str, *, model: str, language: str | None
    ) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`. Fields that the server refuses are left out from then on."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.total
        due = min(deadline, now() + self._limits.first)
        async with AsyncExitStack() as stack:
            with self.http.errors():
                async with asyncio.timeout_at(due):
                    answer = await self.http.send(self._fields(text, model, language), stack)
                kind = answer.headers.get("content-type", "")
                chunks = (
                    _Events(answer, self._refusals)
                    if kind.startswith("text/event-stream")
                    else _Body(answer, rate_of(kind))
                )
                any_sound = False
                while (chunk := await chunks.next(due)) is not None:
                    if len(chunk.samples):
                        any_sound = True
                        yield chunk
                    due = min(deadline, now() + self._limits.between)
                if not any_sound:
                    raise self._refusals.garbage("sent no sound")

    def _fields(self, text: str, model: str, language: str | None) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "input": text,
            "response_format": "pcm",
            "stream": True,
            "stream_format": "audio",
            "initial_codec_chunk_frames": _FIRST_FRAMES,
        }
        if name := language_name(language):
            fields["language"] = name
        if model:
            fields["model"] = model
        if self._voice:
            fields["voice"] = self._voice
        return fields

    async def close(self) -> None:
        await self.http.close()


class _Body:
    """The chunks of a body that is sound."""

    def __init__(self, answer: httpx2.Response, rate: int) -> None:
        self._bytes = answer.aiter_bytes()
        self._reader = PcmReader(rate)

    async def next(self, due: float) -> VoiceChunk | None:
        """Return the next chunk, None at the end. `due` is loop time. Raises NotPcm, TimeoutError and httpx2's."""
        while True:
            try:
                async with asyncio.timeout_at(due):
                    data = await anext(self._bytes)
            except StopAsyncIteration:
                return None
            if (chunk := self._reader.take(data)) is not None:
                return chunk


class _Events:
    """The chunks of a stream of events."""

    def __init__(self, answer: httpx2.Response, refusals: Refusals) -> None:
        self._stream = ChatStream(answer.aiter_bytes())
        self._refusals = refusals
        self._reader = PcmReader()

    async def next(self, due: float) -> VoiceChunk | None:
        """See `_Body.next`; raises SpeechError and BrokenStream, too."""
        while (event := await self._stream.next(due)) is not None:
            try:
                data = json.loads(event)
            except (ValueError, RecursionError):
                raise self._refusals.garbage() from None
            if not isinstance(data, dict):
                raise self._refusals.garbage()
            if data.get("error") or data.get("type") == "speech.audio.error":
                raise self._refusals.of_status(upstream.event_status(data.get("error")))
            if data.get("type") == "speech.audio.done":
                return None
            if isinstance(rate := data.get("sample_rate", data.get("sample_rate_hz")), int):
                self._reader.set_rate(rate)
            audio = data.get("audio", data.get("delta"))
            if isinstance(audio, str) and audio:
                try:
                    sound = base64.b64decode(audio, validate=True)
                except (binascii.Error, ValueError):
                    raise self._refusals.garbage() from None
                if (chunk := self._reader.take(sound)) is not None:
                    return chunk
        if not self._stream.done:
            raise self._refusals.broken()
        return None
