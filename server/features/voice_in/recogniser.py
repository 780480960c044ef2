"""Speech recognisers: an OpenAI-compatible server, over its realtime socket or HTTP; or a local model in a
worker process (see `worker`), named by the settings or chosen by an operator.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from websockets.exceptions import ConnectionClosed

from server.core.errors import Draining
from server.core.sound import SOUND_RATE, Sound, encode_wav
from server.models.openai.discovery import get_display_address, get_objects
from server.models.openai.events import EventStream
from server.shared.speech import (
    BoundedSocket,
    Exchange,
    Refusals,
    SocketBounds,
    SocketNotOffered,
    SpeechError,
    SpeechFailed,
    SpeechLimits,
    SpeechRefused,
    SpeechServer,
    SpeechTimeout,
    SpeechUnavailable,
    SpeechWorker,
)

# Maximum length of a sound, seconds
MOST_SOUND_SECONDS = 60.0
# Maximum length of a transcription
MOST_WORDS_CHARS = 4000


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word and its time, in seconds from the beginning of the sound."""

    word: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Transcription:
    """The complete text recognised so far."""

    text: str
    # True: the last transcription
    final: bool
    # In order; empty if the recogniser returns none
    times: tuple[WordTime, ...] = ()


class SpeechRecogniser(Protocol):
    """Interface of a speech recogniser. Methods raise SpeechError and nothing else."""

    @property
    def ready(self) -> bool:
        """True if it can take sound, as far as is known without a request."""
        ...

    @property
    def elsewhere(self) -> str:
        """Name of the other machine that receives the sound; "" if it stays on this one."""
        ...

    def recognise(
        self, sound: AsyncIterator[Sound], *, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        """Stream the text so far, then the whole text once with `final`.

        `sound`: pieces, while it is spoken; without speech the text is empty. `language`: BCP 47;
        None lets the recogniser decide. Closing the generator (`aclose`) or cancelling its consumer
        stops the work at once. Raises SpeechError.
        """
        ...

    async def close(self) -> None: ...


class Pieces:
    """Iterator over pieces of sound that keeps them, at most `MOST_SOUND_SECONDS`.

    A second iteration continues after the last piece. Raises SpeechRefused beyond the maximum.

    Bounds of sound on its way to a recogniser: 60 s, 1.9 MB; more is refused. The stream of words: 4
    MiB, 4,096 messages of 64 KiB on the socket, and 4,000 characters of words.
    """

    def __init__(self, sound: AsyncIterator[Sound]) -> None:
        self._source = sound
        self._kept: list[Sound] = []
        self._samples = 0
        # The source exceeded the maximum.
        self.too_long = False

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Sound:
        while not len((piece := await anext(self._source)).samples):
            pass
        self._samples += len(piece.samples)
        if self._samples > MOST_SOUND_SECONDS * SOUND_RATE:
            self.too_long = True
            raise SpeechRefused(
                f"A recogniser takes at most {MOST_SOUND_SECONDS:g} s of sound at once.",
                visitors=f"The question was longer than {MOST_SOUND_SECONDS:g} seconds. Ask in a shorter sentence.",
            )
        self._kept.append(piece)
        return piece

    async def read_all(self) -> Sound | None:
        """Consume the source and return everything as one sound; None without any samples."""
        async for _ in self:
            pass
        if len(self._kept) < 2:
            return self._kept[0] if self._kept else None
        samples = np.concatenate([piece.samples for piece in self._kept])
        return Sound(samples, self._kept[0].captured)


# Streaming recognition: the WebSocket `/v1/realtime` of vLLM (since 0.16). The client sends `session.update`, `input_audio_buffer.commit` (begin), the sound in
# `input_audio_buffer.append` (PCM16, 16 kHz, base64) and a `commit` with `final`; the server
# sends `session.created`, `transcription.delta`, `transcription.done` and `error`.

PATH = "/realtime"
# Bytes of an event (some hundred bytes each; the last one has the whole text), events of a minute of
# speech (some hundred words), and bytes in total
_SOCKET = SocketBounds(64 * 1024, 4096, 4 * 1024 * 1024)

# Recognition over HTTP: `POST /v1/audio/transcriptions` of an OpenAI-compatible server. The
# response is a stream of events or one document. Three event formats are in use:
# `transcript.text.delta` (OpenAI), `transcription.chunk` (vLLM), and segments without a type (Speaches).

TRANSCRIPTIONS_PATH = "/audio/transcriptions"
# The text of a minute has a few kilobytes; a stream adds an event around each word.
_STREAM_BYTES = 4 * 1024 * 1024
_MOST_TIMES = 1000
LIMITS = SpeechLimits()


class ServerRecogniser(SpeechServer):
    """SpeechRecogniser on a server; see `SpeechRecogniser`. `model` "": the first recogniser that it lists.

    `realtime`: try the socket first. If it fails before any words, send the sound over HTTP.
    """

    what = "recogniser"
    most_bytes = _STREAM_BYTES
    optional = frozenset(("stream", "language", "temperature"))

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str = "",
        model: str = "",
        realtime: bool = False,
        machines: Mapping[str, str] = MappingProxyType({}),
        limits: SpeechLimits = LIMITS,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = "realtime" if realtime else "transcriptions"
        by_socket, by_http = (
            Refusals("transcription server", "TRANSCRIPTION", get_display_address(base_url), path)
            for path in (PATH, TRANSCRIPTIONS_PATH)
        )
        self._socket = BoundedSocket(by_socket, api_key, limits.connect, _SOCKET)
        super().__init__(
            by_http,
            api_key,
            limits,
            model=model,
            socket=realtime,
            machines=machines,
            on_change=on_change,
        )

    async def recognise(
        self, sound: AsyncIterator[Sound], *, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        """See `SpeechRecogniser.recognise`."""
        pieces = Pieces(sound)
        if self.tries_socket:
            said = False
            try:
                async with self.working_on(self.send_by_socket(pieces)) as found:
                    async for words in found:
                        said = True
                        yield words
                return
            except (SocketNotOffered, SpeechError) as exc:
                if said or pieces.too_long:
                    raise
                self.socket_failed(exc)
        whole = await pieces.read_all()
        if whole is None:
            yield Transcription("", True)
            return
        async with self.working_on(self.send_by_http(whole, language)) as found:
            async for words in found:
                yield words

    async def send_by_socket(
        self, pieces: AsyncIterator[Sound]
    ) -> AsyncGenerator[Transcription, None]:
        """Send the pieces as they arrive; see `SpeechRecogniser.recognise`.

        Raises SocketNotOffered, before it consumes a piece, if the server has no such socket.
        """
        refusals = self._socket.refusals
        async with self._socket.open() as socket:
            exchange = _Recognition(socket, self.limits)
            try:
                await exchange.begin(self.model)
            except ConnectionClosed:
                raise SocketNotOffered from None
            except TimeoutError:
                raise refusals.make_timeout_error() from None
            sending = asyncio.create_task(exchange.send(pieces), name="realtime")
            try:
                text = ""
                while True:
                    event = await exchange.read_next()
                    kind, delta = event.get("type"), event.get("delta")
                    if kind == "transcription.delta" and isinstance(delta, str):
                        text = (text + delta)[:MOST_WORDS_CHARS]
                        if delta and text.strip():
                            yield Transcription(text.strip(), False)
                    elif isinstance(kind, str) and kind.startswith("response."):
                        raise refusals.make_invalid_answer_error("answers in place of transcribing")
                    elif kind == "transcription.done":
                        whole = event.get("text")
                        text = whole if isinstance(whole, str) else text
                        yield Transcription(text.strip()[:MOST_WORDS_CHARS], True)
                        return
            except TimeoutError:
                raise refusals.make_timeout_error() from None
            except ConnectionClosed:
                if exchange.failure is not None:
                    raise exchange.failure from None
                raise refusals.interrupted() from None
            finally:
                sending.cancel()
                await asyncio.wait([sending])

    async def send_by_http(
        self, sound: Sound, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        """Send the whole sound; see `SpeechRecogniser.recognise`. Refused fields are omitted from then on."""
        now = asyncio.get_running_loop().time
        deadline = now() + self.limits.total
        due = min(deadline, now() + self.limits.first)
        fields = {"response_format": "json", "stream": "true", "temperature": "0"}
        if language:
            # ISO 639-1, which all servers expect
            fields["language"] = language.partition("-")[0].lower()
        if self.model:
            fields["model"] = self.model
        file = encode_wav(sound.samples.tobytes(), SOUND_RATE)
        async with AsyncExitStack() as stack:
            with self.errors():
                async with asyncio.timeout_at(due):
                    answer = await self.send(fields, stack, file=file)
                stream = EventStream(answer)
                stack.push_async_callback(stream.aclose)
                reading = _Reading(self.refusals)
                while (event := await stream.next(due)) is not None:
                    words = reading.take(event, whole=bool(stream.whole))
                    if words is not None:
                        yield words
                        if words.final:
                            return
                    due = min(deadline, now() + self.limits.between)
                if not (stream.done or reading.ended):
                    raise self.refusals.interrupted()
                yield reading.end()


class _Recognition:
    """One recognition over the socket, with its deadlines."""

    def __init__(self, exchange: Exchange, limits: SpeechLimits) -> None:
        self._exchange = exchange
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        # The server's time limit begins at the end of the speech.
        self._latest = self._now() + MOST_SOUND_SECONDS + limits.total
        self._due = self._latest
        self._sent = False
        self._waiting: asyncio.Timeout | None = None
        # Error of the sound's source, after which the socket is closed
        self.failure: Exception | None = None

    async def begin(self, model: str) -> None:
        """Open the session. Raises SpeechError, TimeoutError and ConnectionClosed."""
        async with asyncio.timeout(self._limits.connect):
            while (await self._exchange.event()).get("type") != "session.created":
                pass
            await self._exchange.send({"type": "session.update", "model": model})
            await self._exchange.send({"type": "input_audio_buffer.commit", "final": False})

    async def send(self, pieces: AsyncIterator[Sound]) -> None:
        """Send the sound, then its end. Never raises: on errors it sets `failure` and closes the socket."""
        try:
            async for piece in pieces:
                audio = base64.b64encode(piece.samples.tobytes()).decode("ascii")
                await self._exchange.send({"type": "input_audio_buffer.append", "audio": audio})
            await self._exchange.send({"type": "input_audio_buffer.commit", "final": True})
        except ConnectionClosed:
            return
        except Exception as exc:  # noqa: BLE001
            # `read_next` raises it.
            self.failure = exc
            self._exchange.abort()
            return
        self._sent = True
        self._due = min(self._latest, self._now() + self._limits.first)
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(self._due)

    async def read_next(self) -> dict[str, Any]:
        """Return the next event. Raises SpeechError, TimeoutError and ConnectionClosed."""
        try:
            async with asyncio.timeout_at(self._due) as self._waiting:
                event = await self._exchange.event()
        finally:
            self._waiting = None
        if self._sent:
            self._due = min(self._latest, self._now() + self._limits.between)
        return event


# Beginning of a segment that needs no space before it: white space, Thai, Lao, Burmese, Khmer, Japanese or
# Chinese. A first segment that begins with a space shows that the server sends its own spaces.
_SPACES = re.compile(r"[\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff]")


class _Reading:
    """Parser of one response: the words so far."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._text = ""
        # True: the end of the body ends the words regularly
        self.ended = False
        # True: all segments are marked as silence; None: the response has no segments
        self._silent: bool | None = None

    def take(self, event: bytes, *, whole: bool) -> Transcription | None:
        """Parse an event, or a `whole` response. Return None without new words. Raises SpeechError."""
        data = self._refusals.event(event)
        kind = data.get("type")
        for segment in get_objects(data, "segments"):
            self._silent = self._silent is not False and _is_silence(segment)
        if kind == "transcript.text.delta":
            return self._append_piece(data.get("delta"))
        if isinstance(text := data.get("text"), str) and kind in (None, "transcript.text.done"):
            if kind or whole:
                self._text = text
                return self.end(_parse_times(data.get("words")))
            self.ended = True
            return self._add_segment(text)
        if isinstance(choices := data.get("choices"), list):
            choice = choices[0] if choices and isinstance(choices[0], dict) else {}
            self.ended = self.ended or isinstance(choice.get("finish_reason"), str)
            delta = choice.get("delta")
            return self._append_piece(delta.get("content") if isinstance(delta, dict) else delta)
        if whole:
            raise self._refusals.make_invalid_answer_error()
        return None

    def end(self, times: tuple[WordTime, ...] = ()) -> Transcription:
        text = "" if self._silent else self._text.strip()
        return Transcription(text[:MOST_WORDS_CHARS], True, times)

    def _add_segment(self, text: str) -> Transcription | None:
        """Append a segment, or replace the text by a segment that begins with all of it."""
        if text.strip().startswith(self._text.strip()):
            self._text = ""
        elif text and not (_SPACES.match(self._text) or _SPACES.match(text)):
            text = f" {text}"
        return self._append_piece(text)

    def _append_piece(self, piece: object) -> Transcription | None:
        if not isinstance(piece, str) or not piece:
            return None
        self._text += piece
        if len(self._text) >= MOST_WORDS_CHARS:
            return self.end()
        text = self._text.strip()
        return Transcription(text, False) if text else None


def _is_silence(segment: Mapping[str, Any]) -> bool:
    """Return True if a segment has no speech by Whisper's own rule."""
    silence, certainty = segment.get("no_speech_prob"), segment.get("avg_logprob")
    if not isinstance(silence, int | float) or not isinstance(certainty, int | float):
        return False
    return silence > 0.6 and certainty < -1


def _parse_times(words: Any) -> tuple[WordTime, ...]:
    """Parse the words' times. Return () for a malformed list."""
    try:
        found = tuple(
            WordTime(one["word"].strip()[:100], float(one["start"]), float(one["end"]))
            for one in words[:_MOST_TIMES]
        )
    except (TypeError, ValueError, LookupError, AttributeError):
        return ()
    return found if all(0 <= one.begin <= one.end <= 3600 for one in found) else ()


# Large weights may load from a slow disk.
LOAD_SECONDS = 600.0
# Maximum time from the end of the sound to its words
WORDS_SECONDS = 60.0


class LocalRecogniser(SpeechWorker):
    """Model in a worker process, one sound at a time; see `SpeechRecogniser`. `start` loads it in the background.

    `chosen`: chosen by an operator, not named by the settings.

    Bounds of a local recogniser's worker: one sound at a time, 60 s each for sound and words; its
    log like an engine's.
    """

    def __init__(
        self,
        folder: Path,
        python: str,
        *,
        env: Mapping[str, str] | None = None,
        chosen: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            "recogniser",
            (python, "-m", "server.features.voice_in.worker", "--model", str(folder)),
            env or {},
            load_seconds=LOAD_SECONDS,
            remedy="Set ENGINE_PYTHON to a Python with torch and transformers.",
            again=(
                "Load it again in the operator's panel." if chosen else "Start the server again."
            ),
            on_change=on_change,
        )
        self._folder, self._chosen = folder, chosen

    def explain_load_failure(self, reason: str) -> str:
        remedy = "Set TRANSCRIPTION_LOCAL_MODEL to the folder of another one."
        if self._chosen:
            remedy = "Load another one in the operator's panel."
        return f"The speech model {self._folder.name} could not be loaded ({reason}). {remedy}"

    async def recognise(
        self, sound: AsyncIterator[Sound], *, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        """Return the words after the end of the sound; see `SpeechRecogniser.recognise`."""
        whole = await Pieces(sound).read_all()
        if whole is None:
            yield Transcription("", True)
            return
        header = {"type": "recognise", "language": language}
        async with self.job(header, whole.samples.tobytes()) as job:
            try:
                message = await job.next(asyncio.get_running_loop().time() + WORDS_SECONDS)
            except TimeoutError:
                raise SpeechTimeout(
                    f"The local recogniser did not finish within {WORDS_SECONDS:g} s. Choose a smaller model, or a GPU."
                ) from None
        if message is None:
            raise SpeechFailed("The local recogniser's process ended while it worked.")
        if message.type == "error":
            raise SpeechFailed("The local recogniser failed. The log has the error's name.")
        found = message.header
        times = tuple(WordTime(str(w), float(b), float(e)) for w, b, e in found["times"])
        yield Transcription(str(found["text"])[:MOST_WORDS_CHARS], True, times)


class ChosenRecogniser:
    """Owner of the settings' recogniser and of the one chosen by an operator; see `SpeechRecogniser`.

    The chosen one is used once it is loaded; before that, and if it fails, the settings' recogniser is used.

    Bounds of the recogniser that an operator chose: one; another one replaces it after its process
    has ended. The one of the settings is kept, and used until the chosen one is loaded.
    """

    def __init__(
        self,
        settled: ServerRecogniser | LocalRecogniser | None,
        make: Callable[[Path], LocalRecogniser],
        on_change: Callable[[], None],
    ) -> None:
        """`settled`: the recogniser of the settings; `make(folder)`: return a local one, not started yet."""
        self.settled = settled
        self._make = make
        self._on_change = on_change
        # The chosen one with the name of its folder; None if there is none
        self.chosen: tuple[str, LocalRecogniser] | None = None
        self._choosing = asyncio.Lock()
        self._closed = False

    @property
    def now(self) -> ServerRecogniser | LocalRecogniser | None:
        """The recogniser in use; None if there is none."""
        if self.chosen is not None and self.chosen[1].ready:
            return self.chosen[1]
        return self.settled

    @property
    def ready(self) -> bool:
        return self.now is not None and self.now.ready

    @property
    def elsewhere(self) -> str:
        return self.now.elsewhere if self.now is not None else ""

    def recognise(
        self, sound: AsyncIterator[Sound], *, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        """See `SpeechRecogniser.recognise`."""
        if (now := self.now) is None:
            raise SpeechUnavailable("No recogniser is set: TRANSCRIPTION_BASE_URL is empty.")
        return now.recognise(sound, language=language)

    def start(self) -> None:
        """Load the model of the settings, or start probing its server."""
        if self.settled is not None:
            self.settled.start()

    async def choose(self, folder: Path) -> None:
        """Start loading the model of a folder, replacing the previous choice. Raises Draining."""
        async with self._choosing:
            await self._end()
            if self._closed:
                raise Draining("The server is stopping and loads no more models.")
            chosen = self._make(folder)
            self.chosen = folder.name, chosen
            chosen.start()

    async def forget(self) -> None:
        """Stop the chosen recogniser and free its memory."""
        async with self._choosing:
            await self._end()

    async def _end(self) -> None:
        if self.chosen is not None:
            # `chosen` is cleared only afterwards: if this is cancelled, the next call closes it.
            await self.chosen[1].close()
            self.chosen = None
            if not self._closed:
                self._on_change()

    async def close(self) -> None:
        """Stop both; later calls load nothing. Safe to call twice."""
        self._closed = True
        async with AsyncExitStack() as stack:
            if self.settled is not None:
                stack.push_async_callback(self.settled.close)
            stack.push_async_callback(self.forget)
