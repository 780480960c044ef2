"""A stand-in for vLLM-Omni: the chat interface of `FakeOpenAI`, and its socket for streamed video.

It follows vLLM-Omni's docs/serving/video_stream_api.md (commit 1ac1c380) and
entrypoints/openai/serving_video_stream.py (commit 01205914), and video_stream_base.py of its release
0.30.0: the first message configures; frames and sound are kept for the connection; a question takes
the sound away and needs a frame; whatever the client does wrong is an `error`; sound is WAV files of
24 kHz; the end of the sound comes only after sound; `session.done` follows `video.done`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from server.voice.wav import wav
from tests.support.fakes_openai import FakeOpenAI

SOCKET = "/v1/video/chat/stream"
MODEL = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
RATE = 24_000
PATHS: dict[str, Any] = {"/v1/models": {}, "/v1/chat/completions": {}, "/v1/audio/speech": {}}
# A message of the server: its fields, or its raw text; a number is a pause, and None breaks the
# connection.
Answer = dict[str, Any] | str | float | None


@dataclass(eq=False)
class Asked:
    """One connection, as far as the client came."""

    authorization: str | None
    config: dict[str, Any] = field(default_factory=dict)
    frames: list[bytes] = field(default_factory=list)
    sound: bytes = b""
    queries: list[str] = field(default_factory=list)
    done: bool = False
    # The client is gone.
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class OmniVideoServer(FakeOpenAI):
    """Everything public may be changed while it runs.

    `answers`: messages in place of an answer's; `offered` False: it has no such socket; `deployed`
    False: it has one, and no model for it. `spelling` of its events: "first", that of the commit,
    "0.30.0", and "realtime", as OpenAI's realtime interface has them.
    """

    def __init__(self, **changes: Any) -> None:
        super().__init__(model=MODEL, **changes)
        self.others = {"/openapi.json": {"paths": PATHS}}
        self.asked: list[Asked] = []
        self.pieces = ["A red ", "cup."]
        self.samples = np.arange(-6000, 6000).astype(np.int16)
        self.answers: list[Answer] | None = None
        self.endless: Answer = None
        self.offered = self.deployed = True
        self.redirect = ""
        self.spelling = "first"
        # It accepts a connection's messages and never answers.
        self.deaf = False

    async def __aenter__(self) -> OmniVideoServer:
        await self.start()
        return self

    async def _answer(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if path != SOCKET or headers.get("upgrade", "").lower() != "websocket":
            return await super()._answer(method, path, headers, body, reader, writer)
        if self.redirect:
            writer.write(
                f"HTTP/1.1 307 Moved\r\nLocation: {self.redirect}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return False
        if not self.offered:
            return await self._json(writer, 403, {"detail": "Forbidden"})
        asked = Asked(headers.get("authorization"))
        self.asked.append(asked)
        try:
            await self._talk(asked, _Socket(path, headers, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client went away.
        finally:
            asked.closed.set()
        return False

    async def _talk(self, asked: Asked, socket: _Socket) -> None:
        if not self.deployed:
            await socket.put({"type": "error", "message": "Streaming video is not available"})
            return
        answering: asyncio.Task[None] | None = None
        try:
            async for message in socket.messages():
                kind = message["type"]
                if not asked.config:
                    if kind != "session.config":
                        await socket.put({"type": "error", "message": "Expected session.config"})
                        return
                    asked.config = message
                elif kind == "video.frame":
                    asked.frames.append(base64.b64decode(message["data"], validate=True))
                elif kind == "audio.chunk":
                    asked.sound += base64.b64decode(message["data"], validate=True)
                elif kind == "video.query" and not asked.frames:
                    await socket.put({"type": "error", "message": "No frames buffered"})
                elif kind == "video.query":
                    asked.queries.append(message["text"])
                    if not self.deaf:
                        answering = asyncio.create_task(self._respond(asked, socket))
                elif kind == "video.done":
                    asked.done = True
                    if answering is not None:
                        await answering
                    await socket.put({"type": "session.done"})
                    return
                else:
                    await socket.put({"type": "error", "message": f"Unknown type: {kind}"})
        finally:
            if answering is not None:
                answering.cancel()
                await asyncio.wait([answering])

    async def _respond(self, asked: Asked, socket: _Socket) -> None:
        speaks = "audio" in asked.config["modalities"]
        with contextlib.suppress(ConnectionError):
            for answer in self.answers if self.answers is not None else self._said(speaks):
                await self._give(answer, socket)
            while self.endless is not None:
                await self._give(self.endless, socket)

    async def _give(self, answer: Answer, socket: _Socket) -> None:
        if answer is None:
            socket.abort()
        elif isinstance(answer, dict | str):
            await socket.put(answer)
        else:
            await asyncio.sleep(answer)

    def _said(self, speaks: bool) -> list[Answer]:
        """Return the messages of an answer: the text, and its sound where that is wanted."""
        text = "".join(self.pieces)
        sounds = [wav(half.tobytes(), RATE) for half in np.split(self.samples, 2)] if speaks else []
        data = [base64.b64encode(sound).decode() for sound in sounds]
        if self.spelling == "realtime":
            words = "response.output_audio_transcript" if speaks else "response.output_text"
            return [
                {"type": "video.frame.ack", "accepted": True},
                {"type": "response.created"},
                *({"type": f"{words}.delta", "delta": piece} for piece in self.pieces),
                *({"type": "response.output_audio.delta", "data": one} for one in data),
                *([{"type": "response.output_audio.done"}] if speaks else []),
                {"type": f"{words}.done", "transcript" if speaks else "text": text},
            ]
        audio = "response.audio" if self.spelling == "first" else "response.output_audio"
        return [
            {"type": "response.start"},
            *({"type": "response.text.delta", "delta": piece} for piece in self.pieces),
            {"type": "response.text.done", "text": text},
            *({"type": f"{audio}.delta", "data": one, "format": "wav"} for one in data),
            *([{"type": f"{audio}.done"}] if data else []),
        ]


class _Socket:
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

    async def put(self, message: dict[str, Any] | str) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self._protocol.send_text(text.encode())
        await self._flush()

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        await self._flush()
        while data := await self._reader.read(65_536):
            self._protocol.receive_data(data)
            await self._flush()
            for frame in self._protocol.events_received():
                assert isinstance(frame, Frame)
                if frame.opcode is Opcode.CLOSE:
                    return
                assert frame.opcode is Opcode.TEXT
                assert frame.fin
                yield json.loads(bytes(frame.data))

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._writer.write(data)
        await self._writer.drain()
