"""Voices of answers: an OpenAI-compatible server, over vLLM-Omni's socket if SPEECH_SOCKET is set, else over HTTP;
or a local model in a worker process (see `worker`). The settings choose one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
from websockets.exceptions import ConnectionClosed

from server.core.sound import USUAL_RATE, NotPcm, PcmReader, VoiceChunk, check_rate
from server.features.voice_out.sentences import Sentences
from server.features.voice_out.settings import VoiceOutSettings
from server.features.voice_out.speaking import CrossFade
from server.features.voice_out.worker.streaming import get_language_name
from server.models.openai.discovery import get_display_address
from server.models.openai.events import EventStream
from server.shared.processes.wire import WorkerMessage
from server.shared.services import Recogniser
from server.shared.speech import (
    BoundedSocket,
    Refusals,
    SocketBounds,
    SocketNotOffered,
    SpeechFailed,
    SpeechLimits,
    SpeechRefused,
    SpeechServer,
    SpeechTimeout,
    SpeechUnavailable,
    SpeechWorker,
    describe_speech,
    find_models_python,
)

if TYPE_CHECKING:
    from server.app.api import Api

log = logging.getLogger(__name__)
# Time limits of a voice, after which the browser's voice continues. `first`: until the server begins to answer
# its first text; a CPU may take up to `between` for sound; `total`: for all sound of a text.
LIMITS = SpeechLimits(first=2.0, between=10.0, total=120.0)


# Synthesis over vLLM-Omni's WebSocket `/v1/audio/speech/stream`. The client sends
# `session.config`, `input.text` and `input.done`; the server sends `audio.start` with the rate,
# the sound in binary messages, `audio.done` and `session.done`. One connection per piece of text,
# because a server handles one flush at a time.

PATH = "/audio/speech/stream"

# Synthesis over HTTP: `POST /v1/audio/speech` of an OpenAI-compatible server, streamed. The sound is
# raw PCM, a WAV file, or server-sent events (`speech.audio.delta`, base64). The Content-Type decides,
# because versions of servers disagree about the meaning of `stream`.

SPEECH_PATH = "/audio/speech"
# 170 s at 24 kHz, or 125 s in base64; a piece of text has about 20 s of speech.
SOUND_BYTES = 8 * 1024 * 1024
# Bytes of a message (at most some seconds of sound), messages, and bytes in total
_SOCKET = SocketBounds(1024 * 1024, 8192, SOUND_BYTES)
# Frames (80 ms) of the first chunk of models like Qwen3-TTS: the fewer, the sooner it arrives.
_FIRST_FRAMES = 2

_RATE = re.compile(r"\brate\s*=\s*\"?(\d{4,6})\b", re.IGNORECASE)
_PCM_KINDS = re.compile(r"(audio/(x-)?(pcm|l16|raw|wav|wave)|application/octet-stream)\b", re.I)
# RFC 6838, section 4.2, and no longer than any in use
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w.+-]{0,30}/[A-Za-z0-9][\w.+-]{0,30}", re.ASCII)


def parse_rate(content_type: str) -> int:
    """Return the sample rate in a Content-Type, Hz; else the usual one. Raises NotPcm for other formats."""
    if content_type and _PCM_KINDS.match(content_type.strip()) is None:
        kind = content_type.partition(";")[0].strip()
        # The text is logged: include nothing but a valid media type.
        shown = f"'{kind}'" if _MEDIA_TYPE.fullmatch(kind) else "another sound format"
        raise NotPcm(f"sends {shown} instead of the requested PCM")
    found = _RATE.search(content_type)
    return check_rate(int(found[1])) if found else USUAL_RATE


class ServerVoice(SpeechServer):
    """Voice on a server; see `Voice`. `model` "": the first one listed; `voice` "": the model's default.

    `socket`: try vLLM-Omni's socket first.

    Bounds of sound of a speech server: 8 MiB for a piece of text; more is refused.
    """

    what = "voice"
    most_bytes = SOUND_BYTES
    optional = frozenset(("stream", "stream_format", "language", "initial_codec_chunk_frames"))

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str = "",
        model: str = "",
        voice: str = "",
        socket: bool = False,
        machines: Mapping[str, str] = MappingProxyType({}),
        limits: SpeechLimits = LIMITS,
    ) -> None:
        self._voice = voice
        # Time limit until the server begins to answer, seconds: short for the first text only
        self._first = limits.first
        by_socket, by_http = (
            Refusals("speech server", "SPEECH", get_display_address(base_url), path)
            for path in (PATH, SPEECH_PATH)
        )
        self._socket = BoundedSocket(by_socket, api_key, limits.connect, _SOCKET)
        super().__init__(by_http, api_key, limits, model=model, socket=socket, machines=machines)

    async def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """Speak a text; see `Voice.speak`. An unreachable server is not ready until a probe succeeds."""
        ways = (
            (self.speak_by_socket, self.speak_by_http)
            if self.tries_socket
            else (self.speak_by_http,)
        )
        try:
            for way in ways:
                try:
                    async with self.working_on(way(text, language)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    return
                except SocketNotOffered as exc:
                    self.socket_failed(exc)
        except SpeechUnavailable as error:
            self.failed(error.message)
            raise
        finally:
            self._first = self.limits.between

    def _make_voice_fields(self, language: str | None) -> dict[str, str]:
        """Return the request's fields for model, voice and language, without empty ones."""
        named = {"model": self.model, "voice": self._voice, "language": get_language_name(language)}
        return {field: name for field, name in named.items() if name}

    async def speak_by_socket(
        self, text: str, language: str | None
    ) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`. Raises SocketNotOffered before any sound."""
        refusals = self._socket.refusals
        config = {
            "type": "session.config",
            "response_format": "pcm",
            "stream_audio": True,
            **self._make_voice_fields(language),
        }
        now = asyncio.get_running_loop().time
        deadline = now() + self.limits.total
        due = min(deadline, now() + self._first)
        reader = PcmReader()
        async with self._socket.open() as exchange:
            try:
                async with asyncio.timeout_at(due):
                    await exchange.send(config)
                    await exchange.send({"type": "input.text", "text": text})
                    await exchange.send({"type": "input.done"})
                due = min(deadline, now() + self.limits.between)
                while True:
                    async with asyncio.timeout_at(due):
                        found = await exchange.next()
                    if isinstance(found, bytes):
                        if (chunk := reader.take(found)) is not None:
                            yield chunk
                            due = min(deadline, now() + self.limits.between)
                    elif found.get("type") in ("audio.done", "session.done"):
                        return
                    elif found.get("type") == "audio.start" and "sample_rate" in found:
                        reader.set_rate(found["sample_rate"])
            except TimeoutError:
                raise refusals.make_timeout_error() from None
            except NotPcm as exc:
                raise refusals.make_invalid_answer_error(str(exc)) from None
            except ConnectionClosed:
                raise refusals.interrupted() from None

    async def speak_by_http(
        self, text: str, language: str | None
    ) -> AsyncGenerator[VoiceChunk, None]:
        """Speak a text over HTTP; see `Voice.speak`. Refused fields are omitted from then on."""
        now = asyncio.get_running_loop().time
        deadline = now() + self.limits.total
        due = min(deadline, now() + self._first)
        fields = {
            "input": text,
            "response_format": "pcm",
            "stream": True,
            "stream_format": "audio",
            "initial_codec_chunk_frames": _FIRST_FRAMES,
            **self._make_voice_fields(language),
        }
        async with AsyncExitStack() as stack:
            with self.errors():
                async with asyncio.timeout_at(due):
                    answer = await self.send(fields, stack)
                due = min(deadline, now() + self.limits.between)
                chunks = _Chunks(answer, self.refusals)
                stack.push_async_callback(chunks.aclose)
                any_sound = False
                while (chunk := await chunks.read_next(due)) is not None:
                    if len(chunk.samples):
                        any_sound = True
                        yield chunk
                    due = min(deadline, now() + self.limits.between)
                if not any_sound:
                    raise self.refusals.make_invalid_answer_error("sent no sound")


class _Chunks:
    """Chunks of a response whose body is sound or a stream of events."""

    def __init__(self, answer: httpx2.Response, refusals: Refusals) -> None:
        kind = answer.headers.get("content-type", "")
        streamed = kind.startswith("text/event-stream")
        self._stream = EventStream(answer) if streamed else None
        self._bytes = answer.aiter_bytes()
        self._reader = PcmReader() if self._stream is not None else PcmReader(parse_rate(kind))
        self._refusals = refusals

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()

    async def read_next(self, due: float) -> VoiceChunk | None:
        """Return the next chunk; None at the end. `due`: loop time, seconds.

        Raises NotPcm, TimeoutError, SpeechError, BrokenStream and httpx2's.
        """
        while (data := await self._read_sound(due)) is not None:
            if (chunk := self._reader.take(data)) is not None:
                return chunk
        return None

    async def _read_sound(self, due: float) -> bytes | None:
        """Return the next bytes of sound, possibly empty; None at the end."""
        if self._stream is None:
            async with asyncio.timeout_at(due):
                return await anext(self._bytes, None)
        event = await self._stream.next(due)
        if event is None:
            if not self._stream.done:
                raise self._refusals.interrupted()
            return None
        data = self._refusals.event(event)
        if data.get("type") == "speech.audio.done":
            return None
        if isinstance(rate := data.get("sample_rate", data.get("sample_rate_hz")), int):
            self._reader.set_rate(rate)
        audio = data.get("audio", data.get("delta"))
        try:
            return base64.b64decode(audio, validate=True) if isinstance(audio, str) else b""
        except (binascii.Error, ValueError):
            raise self._refusals.make_invalid_answer_error() from None


# Large weights may load from a slow disk, and compiling takes minutes.
LOAD_SECONDS = 1800.0
# Time limit to the first sound, and between two chunks: a CPU takes seconds.
CHUNK_SECONDS = 60.0


class LocalVoice(SpeechWorker):
    """Model in a worker process, one text at a time; see `Voice`. `start` loads it in the background.

    Bounds of a local voice's process: one text at a time.
    """

    def __init__(
        self,
        folder: Path,
        python: str,
        *,
        options: str = "",
        voice: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`options`: see `SynthesisOptions.read`; `voice`: a name, a description, or the path of a recording."""
        super().__init__(
            "voice",
            (
                *(python, "-m", "server.features.voice_out.worker"),
                *("--model", str(folder), "--options", options, "--voice", voice),
            ),
            env or {},
            load_seconds=LOAD_SECONDS,
            remedy="Set SPEECH_PYTHON to a Python that has qwen-tts.",
        )
        self._rate = 0
        # The worker's notes about options that it could not apply
        self.notes: list[str] = []

    async def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """Speak a text in the worker; see `Voice.speak`."""
        now = asyncio.get_running_loop().time
        asked = {"type": "speak", "text": text, "language": language}
        try:
            async with self.job(asked) as job:
                while True:
                    message = await job.next(now() + CHUNK_SECONDS)
                    if message is None:
                        raise SpeechFailed("The local voice's process ended while it spoke.")
                    if message.type == "error":
                        raise SpeechRefused(str(message.header["message"]))
                    if message.type == "end":
                        return
                    samples = np.frombuffer(message.payload, "<i2").astype(np.int16)
                    if len(samples):
                        yield VoiceChunk(samples, self._rate)
        except TimeoutError:
            raise SpeechTimeout(
                f"The local voice produced no sound for {CHUNK_SECONDS:g} s. Choose a smaller model, or a GPU."
            ) from None

    def on_loaded(self, header: Mapping[str, Any]) -> None:
        self._rate = int(header["rate"])

    def on_message(self, message: WorkerMessage) -> None:
        if message.type == "note":
            note = str(message.header["text"])
            self.notes.append(note)
            log.warning("local voice reported a problem", extra={"reason": note})


class VoiceService:
    """Owner of the voice shared by all sessions. `python`: interpreter of the models' environment."""

    def __init__(
        self, settings: VoiceOutSettings, python: Path | None, machines: Mapping[str, str]
    ) -> None:
        """`machines`: see `get_other_machine`."""
        # None: pages read the answers
        self.voice: ServerVoice | LocalVoice | None = None
        if settings.speech_local_model is not None:
            self.voice = LocalVoice(
                settings.speech_local_model,
                find_models_python(settings.speech_python or python),
                options=settings.speech_local_options,
                voice=settings.speech_voice,
            )
        elif settings.speech_base_url:
            self.voice = ServerVoice(
                base_url=settings.speech_base_url,
                api_key=settings.speech_api_key.get_secret_value(),
                model=settings.speech_model,
                voice=settings.speech_voice,
                socket=settings.speech_socket,
                machines=machines,
            )

    @property
    def ready(self) -> bool:
        """True if there is a voice that can take text."""
        return self.voice is not None and self.voice.ready

    @property
    def elsewhere(self) -> str:
        """Name of the other machine that gets the texts; "" if they stay on this one."""
        return self.voice.elsewhere if self.voice is not None else ""

    async def read_aloud(
        self, text: AsyncIterator[str], *, language: str | None
    ) -> AsyncGenerator[VoiceChunk, None]:
        """Stream the sound of an answer while it is written, sentence by sentence. Raises SpeechError."""
        sentences = Sentences()
        async for part in text:
            for piece in sentences.add(part):
                async for chunk in self._sentence(piece.text, language):
                    yield chunk
        for piece in sentences.end():
            async for chunk in self._sentence(piece.text, language):
                yield chunk

    async def _sentence(self, text: str, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        if self.voice is None:
            raise SpeechUnavailable("There is no voice. The answer is in the text.")
        fade, rate = CrossFade(), USUAL_RATE
        async with aclosing(self.voice.speak(text, language=language)) as chunks:
            async for chunk in chunks:
                rate = chunk.rate
                yield VoiceChunk(fade.add(chunk.samples), rate)
        yield VoiceChunk(fade.end(), rate)

    def seen(self) -> dict[str, Any]:
        """Return the voice's description for operators."""
        return {"voice": describe_speech(self.voice)}

    def start(self) -> None:
        """Load the voice, or start probing its server."""
        if self.voice is not None:
            self.voice.start()

    async def close(self) -> None:
        if self.voice is not None:
            await self.voice.close()


def add_routes(api: Api, service: VoiceService) -> None:
    router = api.make_operator_router("/api/operator/speech")

    @router.get("")
    async def seen() -> dict[str, Any]:
        """Return the recognisers and the voice.

        `recogniser` and `voice` of the settings (`name`, `state`: `ready`, `unreachable`, or
        `loading` for a local one, `detail`: a sentence; `null` without one), and `chosen`, the local
        recogniser chosen by an operator (`folder`: its name, `state`, `detail`; `null` without one).
        """
        found = {"recogniser": None, "chosen": None} | service.seen()
        if (other := api.get_service(Recogniser)) is not None:
            found |= other.seen()
        return found
