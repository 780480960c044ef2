"""A stand-in for vLLM-Omni: the chat interface of `FakeOpenAI`, and its socket for streamed video.

It follows vLLM-Omni's docs/serving/video_stream_api.md (commit 1ac1c380) and
entrypoints/openai/serving_video_stream.py (commit 01205914), and video_stream_base.py of its release
0.30.0: the first message configures; frames and sound are kept for the connection; a question takes
the sound away and needs a frame; whatever the client does wrong is an `error`; sound is WAV files of
24 kHz; the end of the sound comes only after sound; `session.done` follows `video.done`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from server.voice.wav import wav
from tests.support.omni_socket import Answer, OmniServer, Socket, Talk

SOCKET = "/v1/video/chat/stream"
RATE = 24_000


def _error(message: str) -> dict[str, Any]:
    return {"type": "error", "message": message}


@dataclass(eq=False)
class Asked(Talk):
    """One connection, with its configuration."""

    config: dict[str, Any] = field(default_factory=dict)


class OmniVideoServer(OmniServer[Asked]):
    """See `OmniServer`.

    `spelling` of its events: "first", that of the commit, "0.30.0", and "realtime", as OpenAI's
    realtime interface has them.
    """

    socket = SOCKET
    not_deployed = _error("Streaming video is not available")

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.spelling = "first"

    def _new(self, authorization: str | None) -> Asked:
        return Asked(authorization)

    async def _take(self, talk: Asked, message: dict[str, Any], socket: Socket) -> bool:
        kind = message["type"]
        if not talk.config:
            if kind != "session.config":
                await socket.put(_error("Expected session.config"))
                return False
            talk.config = message
        elif kind == "video.frame":
            talk.jpegs.append(base64.b64decode(message["data"], validate=True))
        elif kind == "audio.chunk":
            talk.sound += base64.b64decode(message["data"], validate=True)
        elif kind == "video.query" and not talk.jpegs:
            await socket.put(_error("No frames buffered"))
        elif kind == "video.query":
            talk.words.append(message["text"])
            self._begin(talk, socket)
        elif kind == "video.done":
            if talk.answering is not None:
                await talk.answering
            await socket.put({"type": "session.done"})
            return False
        else:
            await socket.put(_error(f"Unknown type: {kind}"))
        return True

    def _said(self, talk: Asked) -> list[Answer]:
        """Return the messages of an answer: the text, and its sound where that is wanted."""
        speaks = "audio" in talk.config["modalities"]
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
