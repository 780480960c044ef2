"""The WebSocket of a stand-in for vLLM-Omni: the chat interface of `FakeOpenAI`, and one socket beside it."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.support.fakes_openai import FakeOpenAI

MODEL = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
PATHS: dict[str, Any] = {"/v1/models": {}, "/v1/chat/completions": {}, "/v1/audio/speech": {}}
# A message of the server: its fields, its raw text, or bytes; a number is a pause, and None breaks the
# connection.
Answer = dict[str, Any] | str | bytes | float | None


class OmniServer(FakeOpenAI, ABC):
    """Everything public may be changed while it runs.

    `offered` False: it has no such socket; `redirect`: the place that it sends the client to.
    """

    socket: str

    def __init__(self, **changes: Any) -> None:
        super().__init__(model=MODEL, **changes)
        self.others = {"/openapi.json": {"paths": PATHS}}
        self.offered = True
        self.redirect = ""

    async def _answer(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if path != self.socket or headers.get("upgrade", "").lower() != "websocket":
            return await super()._answer(method, path, headers, body, reader, writer)
        if self.redirect:
            writer.write(
                f"HTTP/1.1 307 Moved\r\nLocation: {self.redirect}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return False
        if not self.offered:
            return await self._json(writer, 403, {"detail": "Forbidden"})
        await self._talk(headers, Socket(path, headers, reader, writer))
        return False

    @abstractmethod
    async def _talk(self, headers: dict[str, str], socket: Socket) -> None:
        """Talk to one client until it leaves."""


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
