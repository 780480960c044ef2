"""Questions over vLLM-Omni's WebSocket for streamed video, `/v1/video/chat/stream`.

The client sends `session.config`, the pictures in `video.frame` (base64 JPEG), sound in
`audio.chunk` (base64 PCM16, 16 kHz), and the question in `video.query`; the server sends
`response.start`, `response.text.delta` and `.done`, `response.audio.delta` (a WAV file each) and
`.done`, `error`, and `session.done` after `video.done`. Newer servers spell some of them as OpenAI's
realtime interface does.

A connection is for one question, so that nothing of it stays there: the server keeps frames, sound
and turns as long as it is open.

Source: vLLM-Omni's docs/serving/video_stream_api.md (commit 1ac1c380) and
entrypoints/openai/serving_video_stream.py (commit 01205914).
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import ConnectionClosed

from server.catalogue.control_tokens import ControlTokens
from server.core.errors import EngineError, EngineFailed, EngineTimeout
from server.core.frames import Kind
from server.engines import prompts
from server.engines.base import Chunk, EngineRequest, Finished
from server.engines.openai.bounded_http import STREAM_BYTES
from server.engines.openai.bounded_socket import BoundedSocket, Exchange, NotOffered, SocketBounds
from server.engines.openai.chat_client import TimeLimits
from server.engines.openai.chat_request import as_pictures, fewer_pictures
from server.engines.openai.chat_stream import MAX_EVENT_BYTES, MAX_SOUND_EVENT_BYTES
from server.engines.openai.spoken_answer import SpokenAnswer
from server.engines.reply import Piece, Reply

log = logging.getLogger(__name__)

PATH = "/video/chat/stream"
_MOST_MESSAGES = 65_536
# Samples of sound in one message: 4 s
_SOUND_SAMPLES = 64_000
# The part of the time for the first token in which the server has to begin; the rest is for asking
# in the usual way
_BEGINNING = 1 / 3
# The socket is not tried again for so long after it was not offered or failed.
_PAUSE_SECONDS = 60.0
_TEXT = (
    "response.text.delta",
    "response.output_text.delta",
    "response.output_audio_transcript.delta",
)
_TEXT_DONE = (
    "response.text.done",
    "response.output_text.done",
    "response.output_audio_transcript.done",
)
_SOUND = ("response.audio.delta", "response.output_audio.delta")
_SOUND_DONE = ("response.audio.done", "response.output_audio.done")


class NotTaken(Exception):
    """The socket gave nothing of an answer; the question can be asked in the usual way.

    Outside the tree of errors: the engine catches it. Its text is ours, the end of a sentence on the
    server.
    """


class _Broken(Exception):
    """The socket failed, before the answer or in it; as `NotTaken`, which it may become."""


class _Errors:
    """See `SocketErrors`."""

    def of_status(self, status: int) -> _Broken:
        return _Broken(f"reports an error ({status})" if status else "reports an error")

    def unreachable(self) -> _Broken:
        return _Broken("does not answer")

    def too_slow(self) -> _Broken:
        return _Broken("is too slow to connect to")

    def garbage(self, why: str = "") -> _Broken:
        return _Broken(why or f"sends something that is no answer of {PATH}")


@dataclass(frozen=True, slots=True)
class Streamed:
    """A question as it goes over the socket: pictures in a row, without words between them."""

    request: EngineRequest
    # Earlier pictures that are left out
    left_out: int

    @classmethod
    def of(cls, request: EngineRequest, most: int | None) -> Streamed:
        """Make it of a request; of a video the newest half of its frames, which costs as much.

        `most`: pictures that the server takes.
        """
        count = len(request.earlier)
        if request.video:
            request = as_pictures(request, most)
        elif most is not None and most <= count:
            request = fewer_pictures(request, most)
        return cls(request, count - len(request.earlier))

    def messages(
        self, model: str, voice: str, temperature: float | None, tokens: ControlTokens | None
    ) -> Iterator[dict[str, Any]]:
        """Yield all that goes out, one after the other."""
        asked = self.request
        pictures = [*(one.picture for one in asked.earlier), asked.picture]
        # The first of its stages writes the text.
        limits = {"max_tokens": asked.max_tokens}
        warmth = {} if temperature is None else {"temperature": temperature}
        yield {
            "type": "session.config",
            "model": model,
            "modalities": ["text", "audio"] if asked.speak else ["text"],
            "num_frames": len(pictures),
            "max_frames": len(pictures),
            # Pictures that look alike go to the model, too.
            "enable_frame_filter": False,
            "system_prompt": prompts.system_text(asked.language, asked.verbosity),
            "sampling_params_list": [limits | warmth],
            **({"speaker": voice} if voice and asked.speak else {}),
        }
        for picture in pictures:
            if picture.jpeg is None:
                raise EngineFailed("The frame was not encoded for this engine. Ask again.")
            yield {"type": "video.frame", "data": base64.b64encode(picture.jpeg).decode("ascii")}
        samples = asked.sound.samples if asked.sound is not None else ()
        for at in range(0, len(samples), _SOUND_SAMPLES):
            part = samples[at : at + _SOUND_SAMPLES].astype("<i2").tobytes()  # type: ignore[union-attr]
            yield {"type": "audio.chunk", "data": base64.b64encode(part).decode("ascii")}
        yield {"type": "video.query", "text": prompts.in_a_row(asked, tokens)}


class VideoStream:
    """One server's socket. Owner of the pause after it failed.

    `engine`: its name in the log. `too_slow(began, total)` makes the error of an answer that takes too
    long. `on_result` gets true for each question that the socket answered, else false.
    """

    def __init__(
        self,
        engine: str,
        address: str,
        api_key: str,
        *,
        voice: str,
        temperature: float | None,
        limits: TimeLimits,
        too_slow: Callable[[bool, bool], EngineTimeout],
        on_result: Callable[[bool], None],
    ) -> None:
        self._engine = engine
        self._voice = voice
        self._temperature = temperature
        self._limits = limits
        self._too_slow = too_slow
        self._on_result = on_result
        self._silent, self._speaking = (
            BoundedSocket(
                _Errors(),
                address,
                PATH,
                api_key,
                limits.connect,
                SocketBounds(most, _MOST_MESSAGES, STREAM_BYTES),
            )
            for most in (MAX_EVENT_BYTES, MAX_SOUND_EVENT_BYTES)
        )
        # Loop time before which it is not tried
        self._not_before = 0.0

    def takes(self, request: EngineRequest) -> bool:
        """Find whether a question goes here: a person's, with pictures of the past or with sound.

        Answers in a form, places, and pictures with names have no field here.
        """
        return (
            request.kind is Kind.CHAT
            and (bool(request.earlier) or request.sound is not None)
            and all(one.number for one in request.earlier)
            and not (request.caption or request.where or request.reading)
            and request.schema is None
            and request.conversation is None
            and asyncio.get_running_loop().time() >= self._not_before
        )

    async def answer(
        self,
        request: EngineRequest,
        *,
        model: str,
        most: int | None,
        tokens: ControlTokens | None,
        deadline: float,
        due: float | None,
    ) -> AsyncGenerator[Chunk, None]:
        """Stream the answer; times and `Chunk`s as for `asking.Server.ask`.

        Raises NotTaken before the first chunk, and EngineError.
        """
        due = min(deadline, due or asyncio.get_running_loop().time() + self._limits.first_token)
        streamed = Streamed.of(request, most)
        answer = _Answer(request, tokens)
        try:
            socket = self._speaking if request.speak else self._silent
            async with socket.opened() as exchange:
                asking = self._exchanged(exchange, answer, streamed, (model, tokens), deadline, due)
                async with aclosing(asking) as chunks:
                    async for chunk in chunks:
                        yield chunk
            end = answer.end(streamed.left_out)
        except (_Broken, NotOffered, ConnectionClosed, NotTaken) as exc:
            if answer.begun:
                raise EngineFailed(
                    "The connection to the model server broke in mid-answer. Ask again."
                ) from None
            why = str(exc) if isinstance(exc, _Broken | NotTaken) else "has no such socket"
            self._rest(why)
            raise NotTaken(why) from None
        self._on_result(True)
        for chunk in end:
            yield chunk

    async def _exchanged(
        self,
        exchange: Exchange,
        answer: _Answer,
        streamed: Streamed,
        named: tuple[str, ControlTokens | None],
        deadline: float,
        due: float,
    ) -> AsyncGenerator[Chunk, None]:
        now = asyncio.get_running_loop().time
        begin_by = min(due, now() + self._limits.first_token * _BEGINNING)
        model, tokens = named
        try:
            async with asyncio.timeout_at(begin_by):
                for message in streamed.messages(model, self._voice, self._temperature, tokens):
                    await exchange.put(message)
            while not answer.over:
                async with asyncio.timeout_at(due if answer.begun or answer.started else begin_by):
                    event = await exchange.event()
                chunks = answer.take(event)
                for chunk in chunks:
                    yield chunk
                if chunks:
                    due = min(deadline, now() + self._limits.between_tokens)
                if answer.wants_end:
                    # The end of an answer without sound shows in nothing else.
                    answer.wants_end = False
                    async with asyncio.timeout_at(due):
                        await exchange.put({"type": "video.done"})
        except (ConnectionClosed, _Broken):
            # Without the rest of its sound
            if not answer.whole:
                raise
        except TimeoutError:
            if not (answer.begun or answer.started):
                raise NotTaken("does not begin to answer in time") from None
            if not answer.whole:
                raise self._too_slow(answer.begun, now() >= deadline) from None

    def _rest(self, why: str) -> None:
        self._not_before = asyncio.get_running_loop().time() + _PAUSE_SECONDS
        self._on_result(False)
        log.info(
            "a model server's video socket is not used",
            extra={"engine": self._engine, "reason": f"The server {why}."},
        )


class _Answer:
    """One answer as it arrives. Pure."""

    def __init__(self, request: EngineRequest, tokens: ControlTokens | None) -> None:
        self._request = request
        # A server that does not know the limit is stopped behind it.
        self._reply = Reply(tokens, most=request.max_tokens + request.speak)
        self._spoken = SpokenAnswer()
        # The event of the text: some servers send two with the same words.
        self._words = ""
        self._pieces = 0
        self._sound_done = False
        # The server has the question.
        self.started = False
        # Some of the answer has been passed on.
        self.begun = False
        # The text is complete.
        self.whole = False
        self.over = False
        # The server has to hear that there are no more questions.
        self.wants_end = False

    def take(self, event: dict[str, Any]) -> list[Chunk]:
        """Return what an event has of the answer. Raises NotTaken, EngineError."""
        kind, found = event.get("type"), []
        if kind in _TEXT:
            found = self._text(str(kind), event.get("delta"))
        elif kind in _TEXT_DONE:
            if not self._words:
                found = self._text(str(kind), event.get("text", event.get("transcript")))
            self.wants_end = self._request.speak and not self.whole
            self.whole = True
        elif kind in _SOUND and self._request.speak:
            data = event.get("data", event.get("delta"))
            sound = self._spoken.take(data) if isinstance(data, str) else None
            found = [sound] if sound is not None else []
        elif kind == "video.frame.ack" and event.get("accepted") is False and not self.begun:
            raise NotTaken("does not take a picture")
        self.started = self.started or kind == "response.start"
        self._sound_done = self._sound_done or kind in _SOUND_DONE
        spoken = self._sound_done or not self._request.speak
        self.over = kind == "session.done" or (self.whole and spoken) or self._reply.enough
        self.begun = self.begun or bool(found)
        return found

    def _text(self, kind: str, text: object) -> list[Chunk]:
        self._words = self._words or kind
        if kind != self._words or not isinstance(text, str):
            return []
        self._pieces += bool(text)
        return self._reply.take(Piece(text, began=bool(text)))

    def end(self, left_out: int) -> list[Chunk]:
        """Return the rest and the end. Raises NotTaken, EngineError."""
        request = self._request
        cut = self._pieces >= request.max_tokens
        if self.whole:
            self._reply.take(Piece(finish="length" if cut else "stop"))
        try:
            chunks = self._reply.end(whole=self.whole)
        except EngineError:
            if self.begun:
                raise
            raise NotTaken("gives no text") from None
        self.begun = True
        return [
            (
                dataclasses.replace(
                    chunk,
                    streamed=True,
                    pictures_left_out=left_out,
                    speech_refused=request.speak and not self._spoken.begun,
                )
                if isinstance(chunk, Finished)
                else chunk
            )
            for chunk in chunks
        ]
