"""Spoken questions over vLLM-Omni's duplex interface for Qwen3-Omni, `/v1/realtime?duplex=1`.

The client opens a session (`session.update`), creates items with the pictures and the words
(`conversation.item.create`), sends the sound (`input_audio_buffer.append`, PCM16 at 16 kHz, base64),
and asks (`input_audio_buffer.commit`, `response.create`). The server sends `session.created`,
`response.created`, the text in `response.output_audio_transcript.delta`, the sound in
`response.output_audio.delta` (a WAV file each, since the session asks for it), `response.done`, and
`error`. It sends each item back three times. It speaks every answer, wanted or not.

A session outlives its connection for half a minute, so that a client may come back to it: before a
connection is left, `session.close` ends it.

Source: vLLM-Omni 0.30.0, entrypoints/duplex/serving.py, engine/duplex (realtime_commands,
realtime_events, session/runner, session/control, session/model_channel), and
model_executor/models/qwen3_omni/duplex/plugin.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from server.core.frames import Detail, Kind
from server.core.sound import SOUND_RATE
from server.engines import prompts
from server.engines.base import Chunk, EngineRequest
from server.engines.openai.answer_socket import (
    AnswerSocket,
    Broken,
    InARow,
    NotTaken,
    Settings,
    SocketAnswer,
)

# Pictures of a session, and bytes of all of them: as data URLs they have 4 MiB, and one has 4,000,000 characters.
_MOST_PICTURES = 8
_MOST_BYTES = 2_900_000
_URL = "data:image/jpeg;base64,"
_TEXT = ("response.output_audio_transcript.delta", "response.output_text.delta")
_TEXT_DONE = ("response.output_audio_transcript.done", "response.output_text.done")
_SOUND = "response.output_audio.delta"
_ENDS = ("session.closed", "session.expired", "session.replaced")


class Duplex(AnswerSocket):
    """One server's duplex interface, with a session for each question."""

    path = "/realtime?duplex=1"
    farewell: ClassVar[Mapping[str, Any] | None] = {"type": "session.close"}

    def _fits(self, request: EngineRequest) -> bool:
        """Take a person's spoken question whose answer is to be spoken.

        The model gets small pictures there, and fields are missing as at the socket for video.
        """
        return (
            request.kind is Kind.CHAT
            and request.speak
            and request.sound is not None
            and request.sound_is_question
            and all(one.number for one in request.earlier)
            and not (request.caption or request.where or request.reading)
            and request.detail is not Detail.HIGH
            and request.schema is None
            and request.conversation is None
            and len(request.picture.jpeg or b"") <= _MOST_BYTES
        )

    def _asked(self, request: EngineRequest, settings: Settings) -> SocketAnswer:
        most = _MOST_PICTURES if settings.most is None else min(settings.most, _MOST_PICTURES)
        return _Answer(InARow.of(request, most, _MOST_BYTES), settings)


def _session(asked: EngineRequest, settings: Settings) -> dict[str, Any]:
    """Return the message that opens a session for one question."""
    return {
        "type": "session.update",
        "session": {
            "model": settings.model,
            "modalities": ["text", "audio"],
            "instructions": prompts.system_text(asked.language, asked.verbosity),
            # The turn is over: nobody has to find out when.
            "turn_detection": None,
            "input_audio_format": "pcm16",
            "sample_rate_hz": SOUND_RATE,
            "output_audio_format": "wav",
            "max_output_tokens": asked.max_tokens,
            **({} if settings.temperature is None else {"temperature": settings.temperature}),
            **({"voice": settings.voice} if settings.voice else {}),
        },
    }


def _question(row: InARow, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the messages of a question; each comes back, so that a picture has one of its own."""
    for picture in row.pictures():
        yield _item({"type": "input_image", "image_url": _URL + picture})
    yield _item({"type": "input_text", "text": prompts.in_a_row(row.request, settings.tokens)})
    for part in row.sound():
        # Else its pauses would be left out.
        yield {"type": "input_audio_buffer.append", "audio": part, "is_speech": True}
    yield {"type": "input_audio_buffer.commit"}
    yield {"type": "response.create"}


def _item(part: dict[str, Any]) -> dict[str, Any]:
    item = {"type": "message", "role": "user", "content": [part]}
    return {"type": "conversation.item.create", "item": item}


class _Answer(SocketAnswer):
    def __init__(self, row: InARow, settings: Settings) -> None:
        super().__init__(row, settings.tokens)
        self._row, self._settings = row, settings
        self._opened = False
        self._send([_session(row.request, settings)])

    def _read(self, kind: str, event: dict[str, Any]) -> list[Chunk]:
        found: list[Chunk] = []
        if kind == "session.created" and not self._opened:
            # Before any picture goes to a session that refuses them
            if not _sees(event.get("session")):
                raise NotTaken("takes no pictures there")
            self._opened = True
            self._send(_question(self._row, self._settings))
        elif kind in _TEXT:
            found = self._text(kind, event.get("delta"))
        elif kind in _TEXT_DONE and not self._words:
            found = self._text(kind, event.get("transcript", event.get("text")))
        elif kind == _SOUND:
            found = self._sound(event.get("delta"))
        elif kind == "response.listen":
            raise Broken("does not answer what it heard")
        elif kind == "response.done":
            if _status(event.get("response")) != "completed":
                raise Broken("does not complete its answer")
            self.whole = self.over = True
        elif kind in _ENDS:
            raise Broken("ends the session")
        self.started = self.started or kind == "response.created"
        return found


def _sees(session: object) -> bool:
    """Find whether the session says that it takes pictures."""
    abilities = session.get("capabilities") if isinstance(session, dict) else None
    return isinstance(abilities, dict) and abilities.get("supports_image_input") is True


def _status(response: object) -> object:
    return response.get("status") if isinstance(response, dict) else None
