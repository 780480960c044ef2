"""Questions over vLLM-Omni's WebSocket for streamed video, `/v1/video/chat/stream`.

The client sends `session.config`, the pictures in `video.frame` (base64 JPEG), sound in
`audio.chunk` (base64 PCM16, 16 kHz), and the question in `video.query`; the server sends
`response.start`, `response.text.delta` and `.done`, `response.audio.delta` (a WAV file each) and
`.done`, `error`, and `session.done` after `video.done`. Newer servers spell some of them as OpenAI's
realtime interface does. The server keeps frames, sound and turns as long as the connection is open.

Source: vLLM-Omni's docs/serving/video_stream_api.md (commit 1ac1c380) and
entrypoints/openai/serving_video_stream.py (commit 01205914).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from server.core.frames import Kind
from server.engines import prompts
from server.engines.base import Chunk, EngineRequest
from server.engines.openai.answer_socket import (
    AnswerSocket,
    InARow,
    NotTaken,
    Settings,
    SocketAnswer,
)

_TEXT = (
    "response.text.delta",
    "response.output_text.delta",
    "response.output_audio_transcript.delta",
)
_TEXT_DONE = (
    "response.text.done",
    "response.output_text.done",
    "response.output_audio_transcript.done",
)
_SOUND = ("response.audio.delta", "response.output_audio.delta")
_SOUND_DONE = ("response.audio.done", "response.output_audio.done")


class VideoStream(AnswerSocket):
    """One server's socket for streamed video."""

    path = "/video/chat/stream"

    def _fits(self, request: EngineRequest) -> bool:
        """Take a person's question with pictures of the past or with sound.

        Answers in a form, places, and pictures with names have no field here.
        """
        return (
            request.kind is Kind.CHAT
            and (bool(request.earlier) or request.sound is not None)
            and all(one.number for one in request.earlier)
            and not (request.caption or request.where or request.reading)
            and request.schema is None
            and request.conversation is None
        )

    def _asked(self, request: EngineRequest, settings: Settings) -> SocketAnswer:
        return _Answer(InARow.of(request, settings.most), settings)


def _messages(row: InARow, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield all of a question, one message after the other."""
    asked = row.request
    count = len(asked.earlier) + 1
    # The first of its stages writes the text.
    limits = {"max_tokens": asked.max_tokens}
    warmth = {} if settings.temperature is None else {"temperature": settings.temperature}
    yield {
        "type": "session.config",
        "model": settings.model,
        "modalities": ["text", "audio"] if asked.speak else ["text"],
        "num_frames": count,
        "max_frames": count,
        # Pictures that look alike go to the model, too.
        "enable_frame_filter": False,
        "system_prompt": prompts.system_text(asked.language, asked.verbosity),
        "sampling_params_list": [limits | warmth],
        **({"speaker": settings.voice} if settings.voice and asked.speak else {}),
    }
    for picture in row.pictures():
        yield {"type": "video.frame", "data": picture}
    for part in row.sound():
        yield {"type": "audio.chunk", "data": part}
    yield {"type": "video.query", "text": prompts.in_a_row(asked, settings.tokens)}


class _Answer(SocketAnswer):
    def __init__(self, row: InARow, settings: Settings) -> None:
        super().__init__(row, settings.tokens)
        self._sound_done = False
        self._send(_messages(row, settings))

    def _read(self, kind: str, event: dict[str, Any]) -> list[Chunk]:
        found: list[Chunk] = []
        if kind in _TEXT:
            found = self._text(kind, event.get("delta"))
        elif kind in _TEXT_DONE:
            if not self._words:
                found = self._text(kind, event.get("text", event.get("transcript")))
            if self._speak and not self.whole:
                # The end of an answer without sound shows in nothing else.
                self._send([{"type": "video.done"}])
            self.whole = True
        elif kind in _SOUND:
            found = self._sound(event.get("data", event.get("delta")))
        elif kind == "video.frame.ack" and event.get("accepted") is False and not self.begun:
            raise NotTaken("does not take a picture")
        self.started = self.started or kind == "response.start"
        self._sound_done = self._sound_done or kind in _SOUND_DONE
        spoken = self._sound_done or not self._speak
        self.over = kind == "session.done" or (self.whole and spoken)
        return found
