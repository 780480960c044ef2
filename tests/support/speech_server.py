"""An OpenAI-compatible speech server in the test's own event loop: espeak-ng speaks, or it misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import shutil
import subprocess
import wave
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

# espeak-ng's own rate
RATE = 22_050
Piece = str | bytes | float | None


def espeak(text: str, voice: str = "en") -> NDArray[np.int16]:
    """Speak a text. Returns samples of 16 bits at `RATE`."""
    program = shutil.which("espeak-ng")
    assert program, "install espeak-ng (Debian package of the same name)"
    made = subprocess.run(
        [program, "-v", voice, "--stdin", "--stdout"],
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
class Asked:
    """One request for sound."""

    fields: dict[str, Any]
    headers: dict[str, str]
    # The client hung up before the end.
    closed_early: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class SpeechServer:
    """`POST /v1/audio/speech` and `GET /v1/models`.

    `answers`: pieces of the body, sent one by one in place of speech; a number is a pause in
    seconds, and None breaks the connection. `events`: speech comes as server-sent events. `pace`:
    seconds between two pieces of 100 ms. `endless` is repeated for ever. `status` and `refused`
    (fields answered with 400) steer the rest.
    """

    def __init__(self) -> None:
        self.port = 0
        self.models: list[str] | None = ["speaker"]
        self.key = ""
        self.status = 200
        self.kind = f"audio/pcm;rate={RATE}"
        self.events = False
        self.pace = 0.0
        self.answers: list[Piece] | None = None
        self.endless: bytes | None = None
        self.refused: set[str] = set()
        self.names_refused = True
        self.extra: list[str] = []
        self.requests: list[Asked] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def texts(self) -> list[str]:
        """The texts that it was asked to speak, in order."""
        return [one.fields["input"] for one in self.requests]

    async def __aenter__(self) -> SpeechServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
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
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return await self._reply(writer, 401, b"{}")
        if (method, path) == ("GET", "/v1/models"):
            if self.models is None:
                return await self._reply(writer, 404, b"{}")
            data = [{"id": name} for name in self.models]
            return await self._reply(writer, 200, json.dumps({"data": data}).encode())
        if (method, path) != ("POST", "/v1/audio/speech"):
            return await self._reply(writer, 404, b"{}")
        asked = Asked(json.loads(body), headers)
        self.requests.append(asked)
        for name in sorted(self.refused & asked.fields.keys()):
            text = f"Unrecognized request argument supplied: {name if self.names_refused else '?'}"
            return await self._reply(writer, 400, json.dumps({"error": {"message": text}}).encode())
        if self.status != 200:
            return await self._reply(writer, self.status, b'{"error": {"message": "secret words"}}')
        try:
            await self._answer(asked, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            asked.closed_early = True
            raise
        finally:
            asked.done.set()
        return False

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        kind = "text/event-stream" if self.events else self.kind
        head = ["HTTP/1.1 200 OK", f"content-type: {kind}", "connection: close", *self.extra]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        answers = self.answers
        if answers is None:
            answers = await asyncio.to_thread(self._spoken, asked.fields["input"])
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

    def _spoken(self, text: str) -> list[Piece]:
        """Return speech in pieces of 100 ms; the border between two falls within a sample."""
        sound = espeak(text).tobytes()
        pieces: list[Piece] = []
        size = RATE // 5 + 1
        for at in range(0, len(sound), size):
            part = sound[at : at + size]
            pieces.append(_delta(part) if self.events else part)
            pieces.append(self.pace)
        if self.events:
            pieces.append('data: {"type": "speech.audio.done"}\n\n')
        return pieces

    async def _reply(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> bool:
        head = [f"HTTP/1.1 {status} Fake", "content-type: application/json", *self.extra]
        head.append(f"content-length: {len(body)}")
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode() + body)
        await writer.drain()
        return True


def _delta(part: bytes) -> str:
    data = {
        "type": "speech.audio.delta",
        "audio": base64.b64encode(part).decode(),
        "sample_rate": RATE,
    }
    return f"data: {json.dumps(data)}\n\n"


class SpeechSocketServer:
    """vLLM-Omni's `/v1/audio/speech/stream`, with espeak-ng.

    `answers`: messages in place of speech; a number is a pause, and None breaks the connection.
    """

    def __init__(self) -> None:
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
