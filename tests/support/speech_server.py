"""OpenAI-compatible servers of speech and of its words in the test's own event loop, which misbehave on request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import wave
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.http_stand_in import HttpRequest, HttpStandIn

EVENTS = "text/event-stream"
Piece = str | bytes | float | None
_PART = re.compile(rb'name="([^"]+)".*?\r\n\r\n(.*)', re.S)
# espeak-ng's own rate
RATE = 22_050


def skip_without_espeak() -> None:
    """Skip the test where the program that speaks is not installed."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed; bash scripts/test.sh installs it where it may.")


def espeak(text: str) -> NDArray[np.int16]:
    """Speak a text. Returns samples of 16 bits at `RATE`."""
    program = shutil.which("espeak-ng")
    assert program, "install espeak-ng (Debian package of the same name)"
    made = subprocess.run(
        [program, "-v", "en", "--stdin", "--stdout"],
        input=text.encode(),
        capture_output=True,
        check=True,
        timeout=20,
    )
    # The header of a stream has no true length.
    with wave.open(io.BytesIO(made.stdout)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
    return np.frombuffer(made.stdout[44 : len(made.stdout) // 2 * 2], "<i2")


@dataclass
class Request:
    """One request, as far as the server knows it; `file`: the sound that came with it."""

    fields: dict[str, Any]
    headers: dict[str, str]
    file: bytes = b""
    # The client hung up before the end.
    closed_early: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class PiecesServer(HttpStandIn):
    """`POST /v1` with `path`, and `GET /v1/models`; `/v1/realtime` answers with `upgrade`.

    `answers`: pieces of the body, sent one by one; a number is a pause in seconds, and None breaks
    the connection. `endless` is repeated for ever. `status`, `kind` and `refused` (fields answered
    with 400) steer the rest.
    """

    def __init__(self, path: str, model: str, kind: str) -> None:
        super().__init__()
        self.path = path
        # Names, or whole entries of the list; None: there is no list
        self.models: list[str | dict[str, str]] | None = [model]
        self.key = ""
        self.status = 200
        # Seconds before it answers at all
        self.wait = 0.0
        self.kind = kind
        self.answers: list[Piece] | None = None
        self.endless: bytes | None = None
        self.refused: set[str] = set()
        self.extra: list[str] = []
        # The status of the realtime address, or the events that it sends; with none it closes
        self.upgrade: int | list[Any] = 403
        self.upgrades = 0
        self.requests: list[Request] = []

    async def _json(self, writer: asyncio.StreamWriter, status: int, body: bytes = b"{}") -> bool:
        return await self._reply(writer, status, body, "application/json", *self.extra)

    @abstractmethod
    async def _pieces(self, asked: Request) -> list[Piece]:
        """Return the answer where the test sets none."""

    async def _upgraded(
        self, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        self.upgrades += 1
        if isinstance(self.upgrade, int):
            return await self._json(writer, self.upgrade)
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

    async def _answer(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        method, path, headers, body = request
        if headers.get("upgrade"):
            return await self._upgraded(headers, reader, writer)
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return await self._json(writer, 401)
        if (method, path) == ("GET", "/v1/models"):
            if self.models is None:
                return await self._json(writer, 404)
            data = [{"id": one} if isinstance(one, str) else one for one in self.models]
            return await self._json(writer, 200, json.dumps({"data": data}).encode())
        if (method, path) != ("POST", f"/v1{self.path}"):
            return await self._json(writer, 404)
        kind = headers["content-type"]
        form = (json.loads(body), b"") if kind == "application/json" else _form(kind, body)
        asked = Request(form[0], headers, form[1])
        self.requests.append(asked)
        await asyncio.sleep(self.wait)
        for name in sorted(self.refused & asked.fields.keys()):
            text = f"Unrecognized request argument supplied: {name}"
            return await self._json(writer, 400, json.dumps({"error": {"message": text}}).encode())
        if self.status != 200:
            return await self._json(writer, self.status, b'{"error": {"message": "secret words"}}')
        try:
            await self._send(asked, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            asked.closed_early = True
            raise
        finally:
            asked.done.set()
        return False

    async def _send(
        self, asked: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = ["HTTP/1.1 200 OK", f"content-type: {self.kind}", "connection: close", *self.extra]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        answers = self.answers if self.answers is not None else await self._pieces(asked)
        gone = asyncio.create_task(reader.read(1))
        try:
            for piece in answers:
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


class SpeechServer(PiecesServer):
    """The server of `/v1/audio/speech`; espeak-ng speaks where there are no `answers`.

    With `kind` EVENTS it comes as server-sent events. `pace`: seconds between two pieces of 100 ms.
    """

    def __init__(self) -> None:
        skip_without_espeak()
        super().__init__("/audio/speech", "speaker", f"audio/pcm;rate={RATE}")
        self.pace = 0.0

    @property
    def texts(self) -> list[str]:
        """The texts that it was asked to speak, in order."""
        return [one.fields["input"] for one in self.requests]

    async def _pieces(self, asked: Request) -> list[Piece]:
        return await asyncio.to_thread(self._spoken, asked.fields["input"])

    def _spoken(self, text: str) -> list[Piece]:
        """Return speech in pieces of 100 ms; the border between two falls within a sample."""
        sound = espeak(text).tobytes()
        pieces: list[Piece] = []
        size = RATE // 5 + 1
        for at in range(0, len(sound), size):
            part = sound[at : at + size]
            pieces.append(_delta(part) if self.kind == EVENTS else part)
            pieces.append(self.pace)
        if self.kind == EVENTS:
            pieces.append('data: {"type": "speech.audio.done"}\n\n')
        return pieces


def _delta(part: bytes) -> str:
    data = {
        "type": "speech.audio.delta",
        "audio": base64.b64encode(part).decode(),
        "sample_rate": RATE,
    }
    return f"data: {json.dumps(data)}\n\n"


class TranscriptionServer(PiecesServer):
    """The server of `/v1/audio/transcriptions`."""

    def __init__(self) -> None:
        super().__init__("/audio/transcriptions", "whisper", "application/json")

    async def _pieces(self, asked: Request) -> list[Piece]:
        return ['{"text": " What is this? "}']


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


class SpeechSocketServer:
    """vLLM-Omni's `/v1/audio/speech/stream`, with espeak-ng.

    `answers`: messages in place of speech; a number is a pause, and None breaks the connection.
    """

    def __init__(self) -> None:
        skip_without_espeak()
        self.port = 0
        self.messages: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.answers: list[str | bytes | float | None] | None = None
        self.endless: bytes | None = None
        self.closed = asyncio.Event()
        self._server: Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> SpeechSocketServer:
        self._server = await serve(self._serve, "127.0.0.1", 0)
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        assert socket.request.path == "/v1/audio/speech/stream"
        self.headers.append(socket.request.headers.get("authorization"))
        try:
            text = ""
            while True:
                message = json.loads(await socket.recv())
                self.messages.append(message)
                text += message.get("text", "")
                if message["type"] == "input.done":
                    break
            for answer in self.answers if self.answers is not None else self._spoken(text):
                if answer is None:
                    socket.transport.abort()
                elif isinstance(answer, float | int):
                    await asyncio.sleep(answer)
                else:
                    await socket.send(answer)
            while self.endless is not None:
                await socket.send(self.endless)
            await socket.wait_closed()
        except ConnectionClosed:
            pass  # The client went away.
        finally:
            self.closed.set()

    @staticmethod
    def _spoken(text: str) -> list[str | bytes | float | None]:
        sound = espeak(text).tobytes()
        start = json.dumps({"type": "audio.start", "sample_rate": RATE, "sentence_index": 0})
        parts = [sound[at : at + 8000] for at in range(0, len(sound), 8000)]
        return [start, *parts, json.dumps({"type": "audio.done"}), '{"type": "session.done"}']
