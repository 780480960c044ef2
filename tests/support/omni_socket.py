"""The WebSocket of a stand-in for vLLM-Omni: the chat interface of `FakeOpenAI`, and one socket beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.support.fakes_openai import FakeOpenAI, HttpRequest
from tests.support.timing import NEVER_SECONDS

MODEL = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
PATHS: dict[str, Any] = {"/v1/models": {}, "/v1/chat/completions": {}, "/v1/audio/speech": {}}
# A message of the server: its fields, its raw text, or bytes; a number is a pause, and None breaks the
# connection.
Answer = dict[str, Any] | str | bytes | float | None


@dataclass(eq=False)
class Talk:
    """One connection, as far as the client came."""

    authorization: str | None
    # The kinds of the client's messages
    kinds: list[str] = field(default_factory=list)
    # What it has for a question: pictures, words, and sound
    jpegs: list[bytes] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    sound: bytes = b""
    answering: asyncio.Task[None] | None = None
    # It keeps something when the client is gone.
    held: bool = False
    # The client is gone.
    closed: asyncio.Event = field(default_factory=asyncio.Event)


T = TypeVar("T", bound=Talk)


class OmniServer(FakeOpenAI, ABC, Generic[T]):
    """Everything public may be changed while it runs.

    `offered` False: it has no such socket; `redirect`: the place that it sends the client to.
    `deployed` False: it has the socket, and no model for it. `answers`: messages in place of an
    answer's; `endless`: one that follows them without an end. `deaf`: it takes all messages and never
    answers. `most_sessions` at a time, where it keeps some.
    """

    socket: ClassVar[str]
    not_deployed: ClassVar[dict[str, Any]]

    def __init__(self, **changes: Any) -> None:
        super().__init__(model=MODEL, **changes)
        self.others = {"/openapi.json": {"paths": PATHS}}
        self.talks: list[T] = []
        self.pieces = ["A red ", "cup."]
        self.samples = np.arange(-6000, 6000).astype(np.int16)
        self.answers: list[Answer] | None = None
        self.endless: Answer = None
        self.offered = self.deployed = True
        self.redirect = ""
        self.deaf = False
        self.most_sessions = 1

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    @property
    def held(self) -> int:
        """The connections of which it keeps something when their clients are gone."""
        return sum(one.held for one in self.talks)

    async def gone(self, at: int = -1) -> None:
        """Wait until a client has left."""
        async with asyncio.timeout(NEVER_SECONDS):
            await self.talks[at].closed.wait()

    async def _answer(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        headers = request.headers
        if request.path != self.socket or headers.get("upgrade", "").lower() != "websocket":
            return await super()._answer(request, reader, writer)
        if self.redirect:
            writer.write(
                f"HTTP/1.1 307 Moved\r\nLocation: {self.redirect}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return False
        if not self.offered:
            return await self._json(writer, 403, {"detail": "Forbidden"})
        await self._talk(headers, Socket(request.path, headers, reader, writer))
        return False

    async def _talk(self, headers: dict[str, str], socket: Socket) -> None:
        talk = self._new(headers.get("authorization"))
        self.talks.append(talk)
        try:
            if not self.deployed:
                await socket.put(self.not_deployed)
                return
            async for message in socket.messages():
                talk.kinds.append(str(message.get("type")))
                if not await self._take(talk, message, socket):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client went away.
        finally:
            if talk.answering is not None:
                talk.answering.cancel()
                await asyncio.wait([talk.answering])
            talk.closed.set()

    @abstractmethod
    def _new(self, authorization: str | None) -> T:
        """Begin to note what a client sends."""

    @abstractmethod
    async def _take(self, talk: T, message: dict[str, Any], socket: Socket) -> bool:
        """Take one message of a client; false ends the connection."""

    @abstractmethod
    def _said(self, talk: T) -> list[Answer]:
        """Return the messages of an answer."""

    def _begin(self, talk: T, socket: Socket) -> None:
        """Begin to answer."""
        if not self.deaf:
            talk.answering = asyncio.create_task(self._respond(talk, socket))

    async def _respond(self, talk: T, socket: Socket) -> None:
        with contextlib.suppress(ConnectionError):
            for answer in self.answers if self.answers is not None else self._said(talk):
                await give(answer, socket)
            while self.endless is not None:
                await give(self.endless, socket)
                # The client reads meanwhile: else there are megabytes on the way when it has enough.
                await asyncio.sleep(0)


async def give(answer: Answer, socket: Socket) -> None:
    """Send one message of the server."""
    if answer is None:
        socket.abort()
    elif isinstance(answer, dict | str | bytes):
        await socket.put(answer)
    else:
        await asyncio.sleep(answer)


class Socket:
    """A WebSocket on a connection whose request has been read."""

    def __init__(
        self,
        path: str,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._reader, self._writer = reader, writer
        # As large as uvicorn's
        self._protocol = ServerProtocol(max_size=16 * 1024 * 1024)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._protocol.receive_data(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        (request,) = self._protocol.events_received()
        assert isinstance(request, Request)
        self._protocol.send_response(self._protocol.accept(request))

    async def put(self, message: dict[str, Any] | str | bytes) -> None:
        if isinstance(message, bytes):
            self._protocol.send_binary(message)
        else:
            text = message if isinstance(message, str) else json.dumps(message)
            self._protocol.send_text(text.encode())
        await self._flush()

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        # Reading goes on while the client does not read, as with uvicorn.
        self._write()
        while data := await self._reader.read(65_536):
            self._protocol.receive_data(data)
            self._write()
            for frame in self._protocol.events_received():
                assert isinstance(frame, Frame)
                if frame.opcode is Opcode.CLOSE:
                    return
                assert frame.opcode is Opcode.TEXT
                assert frame.fin
                yield json.loads(bytes(frame.data))

    def abort(self) -> None:
        self._writer.transport.abort()

    def _write(self) -> None:
        for data in self._protocol.data_to_send():
            self._writer.write(data)

    async def _flush(self) -> None:
        self._write()
        await self._writer.drain()
