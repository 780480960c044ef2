"""A stand-in for vLLM-Omni with Qwen3-Omni's duplex interface, beside the chat interface of `FakeOpenAI`.

It follows release 0.30.0: entrypoints/duplex/serving.py (sessions, their end, those that wait for
their client), engine/duplex (realtime_commands, realtime_events, session/control, session/runner,
session/manager), and the plugin and deploy/qwen3_omni_duplex.yaml of the model. What that refuses,
this refuses with the same code.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from server.voice.wav import wav
from tests.support.omni_socket import Answer, OmniServer, Socket, Talk, give

SOCKET = "/v1/realtime?duplex=1"
RATE = 24_000
# engine/duplex/session/control.py, protocol/realtime/items.py
MOST_PICTURES = 8
MOST_CHARS = 4 * 1024 * 1024
MOST_PICTURE_CHARS = 4_000_000
# entrypoints/duplex/websocket.py
MOST_EVENT = 15 * 1024 * 1024
# protocol/realtime/formats.py
FORMATS_IN = {"pcm16", "pcm_s16le", "s16le", "pcm_f32le", "g711_ulaw", "g711_alaw"}
FORMATS_OUT = {"pcm16", "pcm_s16le", "s16le", "wav", "pcm", "g711_ulaw", "g711_alaw"}
# engine/duplex/config.py: sound below it is silence
SILENCE_RMS = 0.003


@dataclass(eq=False)
class Session(Talk):
    """One session. It holds a place at the engine from its beginning to `session.close`."""

    payload: dict[str, Any] = field(default_factory=dict)
    # Characters of the pictures, as data URLs
    chars: int = 0
    # Sound that is not committed
    buffer: bytes = b""
    responses: int = 0


class OmniDuplexServer(OmniServer[Session]):
    """See `OmniServer`.

    `sees` False: as at commit 2003b438, sessions take no pictures. `most_sessions` as in the release's
    own configuration. `opening`: messages in place of a session.
    """

    socket = SOCKET
    # api_server.py
    not_deployed: ClassVar[dict[str, Any]] = {
        "type": "error",
        "code": "unsupported",
        "error": "VAD realtime is not enabled",
    }

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.opening: list[Answer] | None = None
        self.sees = True

    def _new(self, authorization: str | None) -> Session:
        return Session(authorization)

    async def _take(self, talk: Session, message: dict[str, Any], socket: Socket) -> bool:
        kind = talk.kinds[-1]
        if not talk.payload:
            return await self._open(talk, message, socket)
        if kind == "session.close":
            talk.held = False
            event = {"type": "session.closed", "session_id": "s", "reason": "client_close"}
            await socket.put(event)
            return False
        if kind == "response.create" and (refusal := _no_response(talk)):
            await socket.put(_error(refusal))
        elif kind == "response.create":
            talk.responses += 1
            self._begin(talk, socket)
        else:
            for event in _events(talk, kind, message):
                await socket.put(event)
        return True

    async def _open(self, session: Session, message: dict[str, Any], socket: Socket) -> bool:
        """Open a session with the client's first message; False ends the connection."""
        if self.opening is not None:
            session.payload = {"refused": True}
            for answer in self.opening:
                await give(answer, socket)
            return True
        payload = message.get("session") if message["type"] == "session.update" else None
        session.payload = dict(payload or {"model": None})
        if (wrong := _wrong(session.payload)) is not None:
            await socket.put(_error(*wrong))
            return False
        if self.held >= self.most_sessions:
            text = f"duplex_session_capacity_exhausted: limit={self.most_sessions}"
            await socket.put(_error("resource_exhausted", text))
            return False
        session.held = True
        shown = {
            "id": "duplex-1",
            "instructions": session.payload.get("instructions"),
            "capabilities": {"supports_image_input": self.sees, "supports_input_append": True},
        }
        created = {"type": "session.created", "session": shown, "resume_token": "t"}
        await socket.put(created | {"attachment_generation": 1})
        await socket.put({"type": "session.updated", "session": shown})
        return True

    def _said(self, talk: Session) -> list[Answer]:
        """Return the messages of an answer, in the order of realtime_events.py."""
        text = "".join(self.pieces)
        data = [
            base64.b64encode(wav(half.tobytes(), RATE)).decode()
            for half in np.split(self.samples, 2)
        ]
        item = {"id": "item_r", "type": "message", "role": "assistant"}
        words = "response.output_audio_transcript"
        sound: list[Answer] = [{"type": "response.speak", "item_id": "item_r", "metadata": {}}]
        for one in data:
            # Text and sound come apart, and each sound has an empty text behind it.
            sound += [
                {"type": "response.output_audio.delta", "delta": one, "format": "wav"},
                {"type": f"{words}.delta", "delta": ""},
            ]
        return [
            STARTED,
            {"type": "conversation.item.added", "item": item},
            {"type": "conversation.item.created", "item": item},
            {"type": "response.output_item.added", "item": item},
            {"type": "response.content_part.added", "part": {"type": "audio"}},
            *({"type": f"{words}.delta", "delta": piece} for piece in self.pieces),
            *sound,
            {"type": "response.output_audio.done"},
            {"type": f"{words}.done", "transcript": text},
            {"type": "response.content_part.done"},
            {"type": "response.output_item.done", "item": item},
            {"type": "conversation.item.done", "item": item},
            done("completed"),
            {"type": "rate_limits.updated", "rate_limits": []},
        ]


STARTED: Answer = {"type": "response.created", "response": {"id": "r", "status": "in_progress"}}


def done(status: str) -> Answer:
    """The end of a response."""
    return {"type": "response.done", "response": {"id": "r", "status": status, "output": []}}


def _error(code: str, message: str = "secret words") -> dict[str, Any]:
    return {"type": "error", "error": {"type": "x", "code": code, "message": message}}


def _wrong(payload: dict[str, Any]) -> tuple[str, str] | None:
    """Return the refusal of a session; None for one that is taken."""
    if payload.get("input_audio_format", "pcm16") not in FORMATS_IN:
        return "invalid_session_config", "Unsupported input_audio_format"
    if payload.get("output_audio_format", "wav") not in FORMATS_OUT:
        return "invalid_session_config", "Unsupported output_audio_format"
    detection = payload.get("turn_detection")
    if detection is not None and detection.get("type") != "server_vad":
        return "invalid_session_config", "turn_detection.type must be 'server_vad'"
    return None


def _no_response(session: Session) -> str:
    """Return the code of a refused `response.create`; "" for one that is answered."""
    if session.responses:
        return "response_already_active"
    heard = session.sound or session.words or session.jpegs
    return "" if heard else "response_create_without_input"


def _events(session: Session, kind: str, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the server says to a message."""
    if len(str(message).encode()) > MOST_EVENT:
        yield _error("event_too_large")
    elif kind == "conversation.item.create":
        yield from _item(session, message.get("item"))
    elif kind == "input_audio_buffer.append":
        yield from _append(session, message)
    elif kind == "input_audio_buffer.commit":
        if not session.buffer:
            yield _error("input_audio_buffer_empty")
            return
        session.sound, session.buffer = session.buffer, b""
        item = {"id": "item_a", "role": "user", "content": [{"type": "input_audio"}]}
        yield {"type": "input_audio_buffer.speech_stopped", "item_id": "item_a"}
        yield {"type": "conversation.item.added", "item": item}
        yield {"type": "conversation.item.created", "item": item}
        yield {"type": "input_audio_buffer.committed", "item_id": "item_a", "event": {}}
        yield {"type": "conversation.item.done", "item": item}
    else:
        yield _error("unknown_event")


def _item(session: Session, item: object) -> Iterator[dict[str, Any]]:
    if not isinstance(item, dict):
        yield _error("bad_event")
        return
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    # It is said to be there before it is looked at.
    yield {"type": "conversation.item.added", "item": item}
    yield {"type": "conversation.item.created", "item": item}
    urls = [part.get("image_url") for part in parts if part.get("type") == "input_image"]
    for url in urls:
        if not isinstance(url, str) or not _is_picture(url):
            yield _error("invalid_image")
            return
    chars = session.chars + sum(map(len, urls))
    if len(session.jpegs) + len(urls) > MOST_PICTURES or chars > MOST_CHARS:
        yield _error("input_backpressure")
        return
    session.chars = chars
    session.jpegs += [base64.b64decode(url.partition(",")[2]) for url in urls]
    session.words += [part["text"] for part in parts if part.get("type") == "input_text"]
    yield {"type": "conversation.item.done", "item": {**item, "status": "completed"}}


def _is_picture(url: str) -> bool:
    head, comma, data = url.partition(",")
    if not comma or head not in ("data:image/jpeg;base64", "data:image/png;base64"):
        return False
    begin = base64.b64decode(data[:64] + "=" * (-len(data[:64]) % 4))
    return len(data) <= MOST_PICTURE_CHARS and begin.startswith((b"\xff\xd8", b"\x89PNG"))


def _append(session: Session, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not isinstance(message.get("audio"), str) or "video_frames" in message:
        yield _error("bad_event")
        return
    sound = base64.b64decode(message["audio"], validate=True)
    samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32768
    loud = bool(len(samples)) and float(np.sqrt(np.mean(np.square(samples)))) >= SILENCE_RMS
    if not message.get("is_speech", loud):
        # It is left out.
        yield {"type": "response.listen", "response": {"status": "listening"}}
        return
    if not session.buffer:
        yield {"type": "input_audio_buffer.speech_started", "item_id": "item_a"}
    session.buffer += sound
