"""Words to sound over HTTP: `POST /v1/audio/speech` of an OpenAI-compatible server, streamed.

The sound comes as raw PCM, as a WAV file, or in server-sent events (`speech.audio.delta`, base64):
what comes is read by its Content-Type, because servers changed their minds about what `stream`
means.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import math
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2

from server.engines.openai import upstream
from server.engines.openai.bounded_http import AnswerRefused, BoundedTransport, Bounds
from server.engines.openai.chat_stream import BrokenStream, ChatStream
from server.engines.speech.base import VoiceChunk
from server.engines.speech.pcm import NotPcm, PcmReader, rate_of
from server.engines.speech.refusals import Refusals

log = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True)
class VoiceLimits:
    """Seconds."""

    connect: float = 3.0
    # From sending the text to the first sound
    first: float = 10.0
    between: float = 5.0
    # All of a text's sound
    total: float = 120.0
    probe: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"The time limit {name} is {value}; it must be more than 0 seconds."
                )


class Synthesis:
    """One server. `voice` "" leaves the choice to it. `transport` replaces the network, in tests."""

    def __init__(
        self,
        address: str,
        api_key: str,
        voice: str,
        limits: VoiceLimits,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._limits = limits
        self._voice = voice
        self._address = address
        self._refusals = Refusals("speech server", "SPEECH", address, PATH)
        self._optional = set(_OPTIONAL)
        # They log addresses and headers at lower levels.
        for library in ("httpx2", "httpcore2"):
            logging.getLogger(library).setLevel(logging.WARNING)
        network = transport or httpx2.AsyncHTTPTransport(
            trust_env=False, limits=httpx2.Limits(max_connections=64, keepalive_expiry=4.0)
        )
        self._client = httpx2.AsyncClient(
            transport=BoundedTransport(network, self._bounds),
            # Texts go to the configured address and nowhere else: no proxy, no redirect.
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=limits.connect, write=10.0, pool=1.0),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        )

    async def models(self) -> tuple[int, list[str]]:
        """List its models. Returns the HTTP status with the names, 0 when nothing answers."""
        try:
            answer = await self._client.get(f"{self._address}/models")
            data = json.loads(answer.content) if answer.status_code == 200 else {}
        except httpx2.HTTPError:
            return 0, []
        except (ValueError, RecursionError):
            return 200, []
        listed = data.get("data") if isinstance(data, dict) else None
        cards = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        names = [one["id"] for one in cards if isinstance(one.get("id"), str) and one["id"]]
        return answer.status_code, [name for name in names if len(name) <= 1024]

    async def speak(
        self, text: str, *, model: str, language: str | None
    ) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`. Fields that the server refuses are left out from then on."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.total
        due = min(deadline, now() + self._limits.first)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(due):
                    answer = await self._send(text, model, language, stack)
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
            except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout):
                raise self._refusals.too_slow() from None
            except (NotPcm, AnswerRefused) as exc:
                raise self._refusals.garbage(str(exc)) from None
            except (BrokenStream, httpx2.ReadError, httpx2.RemoteProtocolError):
                raise self._refusals.broken() from None
            except httpx2.HTTPError:
                raise self._refusals.unreachable() from None

    async def _send(
        self, text: str, model: str, language: str | None, stack: AsyncExitStack
    ) -> httpx2.Response:
        """Send until it is taken. Raises SpeechError and httpx2's errors."""
        guessed: set[str] = set()
        while True:
            fields: dict[str, object] = {
                "input": text,
                "response_format": "pcm",
                "stream": True,
                "stream_format": "audio",
                "initial_codec_chunk_frames": _FIRST_FRAMES,
            }
            if name := LANGUAGES.get((language or "").partition("-")[0].lower()):
                fields["language"] = name
            fields = {k: v for k, v in fields.items() if k in self._optional or k not in _OPTIONAL}
            if model:
                fields["model"] = model
            if self._voice:
                fields["voice"] = self._voice
            request = self._client.build_request("POST", f"{self._address}{PATH}", json=fields)
            answer = await self._client.send(request, stream=True)
            if answer.status_code < 300:
                stack.push_async_callback(answer.aclose)
                return answer
            try:
                body = await _body(answer)
            finally:
                await answer.aclose()
            sent = self._optional & fields.keys()
            named = (
                upstream.refused_fields(body, sent) if answer.status_code in (400, 422) else set()
            )
            if not named and not guessed and sent and answer.status_code in (400, 422):
                # Some do not say what they refuse.
                named = guessed = sent
            if not named:
                self._optional |= guessed
                wait = answer.headers.get("retry-after", "")
                raise self._refusals.of_status(
                    answer.status_code,
                    min(float(wait), 600.0) if wait.isascii() and wait.isdecimal() else None,
                )
            self._optional -= set(named)
            for name in named:
                log.info("the speech server refuses a field", extra={"field": name})

    def _bounds(self, request: httpx2.Request) -> Bounds:
        if request.url.path.endswith(PATH):
            return Bounds(SOUND_BYTES, self._limits.total)
        return Bounds(seconds=self._limits.probe)

    async def close(self) -> None:
        await self._client.aclose()


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
        """As `_Body.next`; raises SpeechError and BrokenStream, too."""
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


async def _body(answer: httpx2.Response) -> object:
    """Return the body of a refusal, for comparing only."""
    try:
        return json.loads(await answer.aread())
    except (ValueError, RecursionError):
        return None
