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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from server.voice.wav import wav
from tests.support.omni_socket import Answer, OmniServer, Socket, give

SOCKET = "/v1/video/chat/stream"
RATE = 24_000


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


class OmniVideoServer(OmniServer):
    """See `OmniServer`.

    `answers`: messages in place of an answer's; `deployed` False: it has the socket, and no model for
    it. `spelling` of its events: "first", that of the commit, "0.30.0", and "realtime", as OpenAI's
    realtime interface has them.
    """

    socket = SOCKET

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.asked: list[Asked] = []
        self.pieces = ["A red ", "cup."]
        self.samples = np.arange(-6000, 6000).astype(np.int16)
        self.answers: list[Answer] | None = None
        self.endless: Answer = None
        self.deployed = True
        self.spelling = "first"
        # It accepts a connection's messages and never answers.
        self.deaf = False

    async def __aenter__(self) -> OmniVideoServer:
        await self.start()
        return self

    async def _talk(self, headers: dict[str, str], socket: Socket) -> None:
        asked = Asked(headers.get("authorization"))
        self.asked.append(asked)
        try:
            await self._answer_all(asked, socket)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client went away.
        finally:
            asked.closed.set()

    async def _answer_all(self, asked: Asked, socket: Socket) -> None:
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

    async def _respond(self, asked: Asked, socket: Socket) -> None:
        speaks = "audio" in asked.config["modalities"]
        with contextlib.suppress(ConnectionError):
            for answer in self.answers if self.answers is not None else self._said(speaks):
                await give(answer, socket)
            while self.endless is not None:
                await give(self.endless, socket)

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
