"""An OpenAI-compatible speech server in the test's own event loop: espeak-ng speaks, or it misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import subprocess
import wave
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.pieces_server import Piece, PiecesServer, Request

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


class SpeechServer(PiecesServer[Request]):
    """`POST /v1/audio/speech` and `GET /v1/models`; espeak-ng speaks where there are no `answers`.

    `events`: speech comes as server-sent events. `pace`: seconds between two pieces of 100 ms.
    """

    path = "/audio/speech"

    def __init__(self) -> None:
        skip_without_espeak()
        super().__init__("speaker", f"audio/pcm;rate={RATE}")
        self.pace = 0.0
        self.events = False

    @property
    def _kind(self) -> str:
        return "text/event-stream" if self.events else self.kind

    @property
    def texts(self) -> list[str]:
        """The texts that it was asked to speak, in order."""
        return [one.fields["input"] for one in self.requests]

    def _read(self, headers: dict[str, str], body: bytes) -> Request:
        return Request(json.loads(body), headers)

    async def _pieces(self, asked: Request) -> list[Piece]:
        return await asyncio.to_thread(self._spoken, asked.fields["input"])

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
