"""A transcription server in the test's own event loop, over real sockets, that misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

_PART = re.compile(rb'name="([^"]+)"(?:; filename="[^"]*")?(?:\r\n[^\r]+)*\r\n\r\n(.*)', re.S)


@dataclass
class Heard:
    """One request for words."""

    fields: dict[str, str]
    file: bytes
    headers: dict[str, str]
    # The client hung up before the end.
    closed_early: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class TranscriptionServer:
    """`POST /v1/audio/transcriptions` and `GET /v1/models`; `/v1/realtime` answers with `upgrade`.

    `answers`: pieces of the body, sent one by one; a number is a pause in seconds, and None breaks
    the connection. `status`, `kind` and `refused` (fields answered with 400) steer the rest.
    """

    def __init__(self) -> None:
        self.port = 0
        self.models: list[str] | None = ["whisper"]
        self.key = ""
        self.status = 200
        self.kind = "application/json"
        self.answers: list[str | bytes | float | None] = ['{"text": " What is this? "}']
        self.endless: bytes | None = None
        self.refused: set[str] = set()
        self.extra: list[str] = []
        self.requests: list[Heard] = []
        # The status of the realtime address, or the events that it sends; with none it closes
        self.upgrade: int | list[Any] = 403
        self.upgrades = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> TranscriptionServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client went away, or the server ends.
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("upgrade"):
            self.upgrades += 1
            return await self._realtime(headers, reader, writer)
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return await self._reply(writer, 401, b"{}")
        if (method, path) == ("GET", "/v1/models"):
            if self.models is None:
                return await self._reply(writer, 404, b"{}")
            data = [{"id": name} for name in self.models]
            return await self._reply(writer, 200, json.dumps({"data": data}).encode())
        if (method, path) != ("POST", "/v1/audio/transcriptions"):
            return await self._reply(writer, 404, b"{}")
        heard = Heard(*_form(headers["content-type"], body), headers)
        self.requests.append(heard)
        for name in sorted(self.refused & heard.fields.keys()):
            text = f"Unexpected field: {name}"
            return await self._reply(writer, 400, json.dumps({"error": {"message": text}}).encode())
        if self.status != 200:
            return await self._reply(writer, self.status, b'{"error": {"message": "secret words"}}')
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            heard.closed_early = True
            raise
        finally:
            heard.done.set()
        return False

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = ["HTTP/1.1 200 OK", f"content-type: {self.kind}", "connection: close", *self.extra]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        gone = asyncio.create_task(reader.read(1))
        try:
            for piece in self.answers:
                if piece is None:
                    writer.transport.abort()
                    return
                if isinstance(piece, float | int):
                    await asyncio.wait([gone], timeout=piece)
                else:
                    writer.write(piece.encode() if isinstance(piece, str) else piece)
                    await writer.drain()
                if gone.done():
                    raise ConnectionError
            while self.endless is not None:
                writer.write(self.endless)
                await writer.drain()
        finally:
            gone.cancel()

    async def _reply(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> bool:
        head = [f"HTTP/1.1 {status} Fake", "content-type: application/json", *self.extra]
        head.append(f"content-length: {len(body)}")
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode() + body)
        await writer.drain()
        return True

    async def _realtime(
        self,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if isinstance(self.upgrade, int):
            return await self._reply(writer, self.upgrade, b"{}")
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = hashlib.sha1((headers["sec-websocket-key"] + guid).encode()).digest()
        accept = base64.b64encode(digest).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        for event in self.upgrade:
            text = json.dumps(event).encode()
            writer.write(bytes([0x81, len(text)]) + text)
        await writer.drain()
        while self.upgrade and await reader.read(4096):
            pass
        return False


def _form(kind: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """Return the fields and the file of a multipart form."""
    boundary = re.search("boundary=(.+)", kind)
    assert boundary
    fields, file = {}, b""
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        found = _PART.search(part)
        assert found
        value = found[2].removesuffix(b"\r\n")
        if found[1] == b"file":
            file = value
        else:
            fields[found[1].decode()] = value.decode()
    return fields, file
