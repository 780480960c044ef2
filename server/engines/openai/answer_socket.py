"""Questions over a WebSocket of a model server, with the chat interface in its place where it gives no answer.

Common to all kinds of sockets: their bounds, their times, and the pause after one that was not there or failed. A
connection is for one question, so that nothing of it stays at the server.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar

from websockets.exceptions import ConnectionClosed

from server.catalogue.control_tokens import ControlTokens
from server.core.errors import EngineError, EngineFailed, EngineTimeout
from server.engines.base import Chunk, EngineRequest, Finished
from server.engines.openai.bounded_http import STREAM_BYTES
from server.engines.openai.bounded_socket import BoundedSocket, Exchange, NotOffered, SocketBounds
from server.engines.openai.chat_client import TimeLimits
from server.engines.openai.chat_request import as_pictures, fewer_pictures
from server.engines.openai.chat_stream import MAX_EVENT_BYTES, MAX_SOUND_EVENT_BYTES
from server.engines.openai.spoken_answer import SpokenAnswer
from server.engines.reply import Piece, Reply

log = logging.getLogger(__name__)

_MOST_MESSAGES = 65_536
# Samples of sound in one message: 4 s
_SOUND_SAMPLES = 64_000
# The part of the time for the first token in which the server has to begin; the rest is for asking
# in the usual way
_BEGINNING = 1 / 3
# The socket is not tried again for so long after it was not offered or failed.
_PAUSE_SECONDS = 60.0
# The status of a server that has enough to do
_FULL = 429


class NotTaken(Exception):
    """The socket gave nothing of an answer; the question can be asked in the usual way.

    Outside the tree of errors: the engine catches it. Its text is ours, the end of a sentence on the
    server.
    """


class Broken(Exception):
    """The socket failed, before the answer or in it. Outside the tree of errors, as `NotTaken`, which it may become."""


class Full(Broken):
    """The server has enough to do: the next question may try again at once. Outside the tree of errors, as `Broken`."""


class _Errors:
    """See `SocketErrors`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def of_status(self, status: int) -> Broken:
        if status == _FULL:
            return Full("has enough to do")
        return Broken(f"reports an error ({status})" if status else "reports an error")

    def unreachable(self) -> Broken:
        return Broken("does not answer")

    def too_slow(self) -> Broken:
        return Broken("is too slow to connect to")

    def garbage(self, why: str = "") -> Broken:
        return Broken(why or f"sends something that is no answer of {self._path}")


@dataclass(frozen=True, slots=True)
class InARow:
    """A question as it goes over a socket: pictures in a row, without words between them."""

    request: EngineRequest
    # Earlier pictures that are left out
    left_out: int

    @classmethod
    def of(cls, request: EngineRequest, most: int | None, most_bytes: int | None = None) -> InARow:
        """Make it of a request; of a video the newest half of its frames, which costs as much.

        `most`: pictures that the server takes. `most_bytes`: those of all JPEGs.
        """
        count = len(request.earlier)
        if request.video:
            request = as_pictures(request, most)
        elif most is not None and most <= count:
            request = fewer_pictures(request, most)
        while most_bytes is not None and request.earlier and _bytes(request) > most_bytes:
            request = dataclasses.replace(request, earlier=request.earlier[1:])
        return cls(request, count - len(request.earlier))

    def pictures(self) -> Iterator[str]:
        """Yield each JPEG in base64, the newest last. Raises EngineFailed."""
        for picture in (*(one.picture for one in self.request.earlier), self.request.picture):
            if picture.jpeg is None:
                raise EngineFailed("The frame was not encoded for this engine. Ask again.")
            yield base64.b64encode(picture.jpeg).decode("ascii")

    def sound(self) -> Iterator[str]:
        """Yield the sound in parts: PCM of 16 bits at 16 kHz, in base64."""
        if self.request.sound is None:
            return
        samples = self.request.sound.samples.astype("<i2")
        for at in range(0, len(samples), _SOUND_SAMPLES):
            yield base64.b64encode(samples[at : at + _SOUND_SAMPLES].tobytes()).decode("ascii")


def _bytes(request: EngineRequest) -> int:
    pictures = (*(one.picture for one in request.earlier), request.picture)
    return sum(len(picture.jpeg or b"") for picture in pictures)


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the engine for a question, with the limit of pictures and the control tokens of its model."""

    model: str
    voice: str
    temperature: float | None
    # Pictures that the server takes
    most: int | None
    tokens: ControlTokens | None


class SocketAnswer(ABC):
    """One answer as it arrives, and the messages for it that go out. Pure."""

    def __init__(self, row: InARow, tokens: ControlTokens | None) -> None:
        self._left_out = row.left_out
        self._speak = row.request.speak
        self._max_tokens = row.request.max_tokens
        # A server that does not know the limit is stopped behind it.
        self._reply = Reply(tokens, most=self._max_tokens + self._speak)
        self._spoken = SpokenAnswer()
        self._outgoing: Iterator[Mapping[str, Any]] = iter(())
        # The event of the text: some servers send two with the same words.
        self._words = ""
        self._pieces = 0
        # The server has the question.
        self.started = False
        # Some of the answer has been passed on.
        self.begun = False
        # The text is complete.
        self.whole = False
        self.over = False

    def outgoing(self) -> Iterator[Mapping[str, Any]]:
        """Return the messages that have to go out now, each once."""
        found, self._outgoing = self._outgoing, iter(())
        return found

    def take(self, event: dict[str, Any]) -> list[Chunk]:
        """Return what an event has of the answer. Raises NotTaken, Broken, EngineError."""
        found = self._read(str(event.get("type")), event)
        self.over = self.over or self._reply.enough
        self.begun = self.begun or bool(found)
        return found

    def end(self) -> list[Chunk]:
        """Return the rest and the end. Raises NotTaken, EngineError."""
        cut = self._pieces >= self._max_tokens
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
                    pictures_left_out=self._left_out,
                    speech_refused=self._speak and not self._spoken.begun,
                )
                if isinstance(chunk, Finished)
                else chunk
            )
            for chunk in chunks
        ]

    @abstractmethod
    def _read(self, kind: str, event: dict[str, Any]) -> list[Chunk]:
        """Read one event; see `take`."""

    def _send(self, messages: Iterable[Mapping[str, Any]]) -> None:
        self._outgoing = iter(messages)

    def _text(self, kind: str, text: object) -> list[Chunk]:
        """Return a piece of the text."""
        self._words = self._words or kind
        if kind != self._words or not isinstance(text, str):
            return []
        self._pieces += bool(text)
        return self._reply.take(Piece(text, began=bool(text)))

    def _sound(self, data: object) -> list[Chunk]:
        """Return a piece of the sound, where some is wanted."""
        sound = self._spoken.take(data) if self._speak and isinstance(data, str) else None
        return [sound] if sound is not None else []


class AnswerSocket(ABC):
    """One server's socket of one kind. Owner of the pause after it failed.

    `engine`: its name in the log. `too_slow(began, total)` makes the error of an answer that takes too
    long. `on_result` gets true for each question that the socket answered, else false.
    """

    # The address below the server's own
    path: ClassVar[str]
    # The message before the connection is left, at any time; None for none
    farewell: ClassVar[Mapping[str, Any] | None] = None

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
                _Errors(self.path),
                address,
                self.path,
                api_key,
                limits.connect,
                SocketBounds(most, _MOST_MESSAGES, STREAM_BYTES),
                self.farewell,
            )
            for most in (MAX_EVENT_BYTES, MAX_SOUND_EVENT_BYTES)
        )
        # Loop time before which it is not tried
        self._not_before = 0.0

    def takes(self, request: EngineRequest) -> bool:
        """Find whether a question goes here now."""
        rested = asyncio.get_running_loop().time() >= self._not_before
        return rested and self._fits(request)

    @abstractmethod
    def _fits(self, request: EngineRequest) -> bool:
        """Find whether a question goes here."""

    @abstractmethod
    def _asked(self, request: EngineRequest, settings: Settings) -> SocketAnswer:
        """Return a question's answer, with the first messages. Raises EngineFailed."""

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
        settings = Settings(model, self._voice, self._temperature, most, tokens)
        answer = self._asked(request, settings)
        try:
            socket = self._speaking if request.speak else self._silent
            async with (
                socket.opened() as exchange,
                aclosing(self._exchanged(exchange, answer, deadline, due)) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk
            end = answer.end()
        except (Broken, NotOffered, ConnectionClosed, NotTaken) as exc:
            if answer.begun:
                raise EngineFailed(
                    "The connection to the model server broke in mid-answer. Ask again."
                ) from None
            why = str(exc) if isinstance(exc, Broken | NotTaken) else "has no such socket"
            self._rest(why, 0.0 if isinstance(exc, Full) else _PAUSE_SECONDS)
            raise NotTaken(why) from None
        self._on_result(True)
        for chunk in end:
            yield chunk

    async def _exchanged(
        self, exchange: Exchange, answer: SocketAnswer, deadline: float, due: float
    ) -> AsyncGenerator[Chunk, None]:
        now = asyncio.get_running_loop().time
        begin_by = min(due, now() + self._limits.first_token * _BEGINNING)
        try:
            while True:
                latest = due if answer.begun or answer.started else begin_by
                async with asyncio.timeout_at(latest):
                    for message in answer.outgoing():
                        await exchange.put(message)
                    if answer.over:
                        return
                    event = await exchange.event()
                chunks = answer.take(event)
                for chunk in chunks:
                    yield chunk
                if chunks:
                    due = min(deadline, now() + self._limits.between_tokens)
        except (ConnectionClosed, Broken):
            # Without the rest of its sound
            if not answer.whole:
                raise
        except TimeoutError:
            if not (answer.begun or answer.started):
                raise NotTaken("does not begin to answer in time") from None
            if not answer.whole:
                raise self._too_slow(answer.begun, now() >= deadline) from None

    def _rest(self, why: str, seconds: float) -> None:
        self._not_before = asyncio.get_running_loop().time() + seconds
        self._on_result(False)
        log.info(
            "a model server's socket is not used",
            extra={"engine": self._engine, "reason": f"The server {why} ({self.path})."},
        )
