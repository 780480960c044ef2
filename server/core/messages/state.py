"""Messages to a client about its session: settings, camera, sender, pictures, errors."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field

from server.core.errors import QwenCameraError
from server.core.frames import Hint, Length, Subject
from server.core.messages.base import (
    MAX_MESSAGE_BYTES,
    MAX_QUESTION_CHARS,
    PROTOCOL,
    ServerMessage,
)


class Limits(BaseModel):
    question_chars: int = MAX_QUESTION_CHARS
    message_bytes: int = MAX_MESSAGE_BYTES
    max_tokens: int
    context_length: int | None = None
    visual_tokens: int
    visual_tokens_high: int
    session_timeout: int
    # Bounds of the pictures of the recent past; 0 where the server keeps none.
    recall_seconds: int = 0
    recall_bytes: int = 0


class EngineCapabilities(BaseModel):
    images: bool
    video: bool
    audio_in: bool
    speech_out: bool
    grounding: bool
    json_schema: bool
    streaming: bool


class Ready(ServerMessage):
    type: Literal["ready"] = "ready"
    newest_only: ClassVar[bool] = True
    # The number of the protocol that this server speaks
    protocol: int = PROTOCOL
    session_id: str
    # Start of the session, milliseconds since the epoch: another time with the same id means a new session.
    began_at: float
    engine: str
    model: str
    # ready | loading | unreachable | busy | misconfigured, and a sentence about it for visitors
    engine_state: str
    engine_detail: str = ""
    operator_detail: str = Field(default="", exclude=True)
    capabilities: EngineCapabilities
    limits: Limits
    # The session's settings, so that a page that reconnects can show them.
    describe: bool = False
    length: Length = Length.SHORT
    sensitivity: float = 1.0
    held: bool = False
    # The other machine to which the engine sends pictures, "" when they stay on the server's; and True when the visitor
    # has confirmed it: without that nothing is sent there.
    elsewhere: str = ""
    confirmed: bool = True
    # The server reads a text on over several pictures.
    reads: bool = True
    # The server has a voice for answers; the other machine to which it sends their texts, "" when they stay on the
    # server's. Without a voice, or while it fails, pages read with the browser's own.
    voice: bool = False
    voice_elsewhere: str = ""
    speak: bool = False
    # The server makes words of speech; and the other machine to which it sends sound for that, "" when it stays.
    recogniser: bool = False
    sound_elsewhere: str = ""
    # True: the server can guide; see `Settings.guidance`.
    guides: bool = False
    # The server takes a microphone.
    microphone: bool = False
    # The features that are on, each with what a page needs to know of it from the start
    features: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def for_operators(self) -> Self:
        return self.model_copy(update={"engine_detail": self.operator_detail})


class Status(ServerMessage):
    type: Literal["status"] = "status"
    newest_only: ClassVar[bool] = True
    # None while no camera was offered yet
    camera: str | None = None
    # Sender: page, or whip for another device; None without one.
    source: str | None = None
    dark: bool | None = None
    blurred: bool | None = None
    # Nothing can be seen: covered, or without any light
    black: bool | None = None
    width: int | None = None
    height: int | None = None
    # Frames per second over the last 3 s
    fps: float | None = None
    # True: the camera's clock contradicts itself or the page's, so capture times are by the server's clock
    clock_doubted: bool = False
    held: bool = False
    queue_depth: int
    engine: str
    engine_state: str
    engine_detail: str = ""
    operator_detail: str = Field(default="", exclude=True)

    def for_operators(self) -> Self:
        return self.model_copy(update={"engine_detail": self.operator_detail})


class SenderProfile(BaseModel):
    """Parameters for RTCRtpSender.setParameters: bit/s and frames/s."""

    max_framerate: int
    max_bitrate: int
    degradation_preference: str = "maintain-resolution"
    content_hint: str = "detail"


class RampStep(BaseModel):
    """From `at_ms` after waking, or after falling back to idle, `max_bitrate` (bit/s) applies."""

    at_ms: int
    max_bitrate: int


class Sender(ServerMessage):
    """Limits for the camera's sender (also part of the offer's answer)."""

    type: Literal["sender"] = "sender"
    newest_only: ClassVar[bool] = True
    idle: SenderProfile
    awake: SenderProfile
    # Bit rates after waking; empty when the path allows the full rate at once.
    ramp: list[RampStep] = Field(default_factory=list)
    # Bit rates after falling back to idle; the last one is the idle rate.
    settle: list[RampStep] = Field(default_factory=list)
    # Time from the last key press or wake-up to falling back to idle.
    awake_ms: int = 1500
    # Wake now for this time, because the server waits for a frame. None: no change.
    wake_ms: int | None = None


class Recalled(ServerMessage):
    """The pictures of the recent past that are kept now."""

    type: Literal["recall"] = "recall"
    newest_only: ClassVar[bool] = True
    pictures: int
    bytes: int
    # Capture time of the oldest, milliseconds since the epoch by the server's clock; None without any
    oldest_at: float | None = None


class AimHint(ServerMessage):
    """An advice to move the camera, so that print or a face is wholly in its picture."""

    type: Literal["aim"] = "aim"
    newest_only: ClassVar[bool] = True
    hint: Hint
    # None: about the whole picture
    about: Subject | None = None
    # Milliseconds since the epoch by the server's clock
    at: float


class ReadingState(ServerMessage):
    """A hint that helps to read a text on, or its end."""

    type: Literal["reading"] = "reading"
    newest_only: ClassVar[bool] = True
    # The question's
    id: str
    hint: Hint | None = None
    # Nothing new has come, so the text is read.
    over: bool = False


class Handover(ServerMessage):
    """The chat, signed, for `Resume`; a newer one replaces it."""

    type: Literal["handover"] = "handover"
    newest_only: ClassVar[bool] = True
    handover: str


class Resumed(ServerMessage):
    """The chat of an earlier session was taken over."""

    type: Literal["resumed"] = "resumed"
    # Questions with their answers that are remembered
    turns: int


class Moved(ServerMessage):
    """This part of the server is about to stop: begin a new session now, which another has room for."""

    type: Literal["moved"] = "moved"


class Still(ServerMessage):
    """A recent picture of the camera, after the privacy filters."""

    type: Literal["still"] = "still"
    newest_only: ClassVar[bool] = True
    # JPEG data URL, at most 640 px, and 36 KiB before base64; None when a filter withheld it
    image: str | None = None
    # Resolution of the camera
    width: int | None = None
    height: int | None = None
    withheld: bool = False
    # A further camera's id; None for the session's own
    camera: str | None = None


class CameraInfo(BaseModel):
    id: str
    name: str
    # As in `Status`; None: nothing was sent yet
    state: str | None = None
    # Questions are about it.
    asked: bool = False


class CameraList(ServerMessage):
    """The cameras of a session with more than its own, that one first."""

    type: Literal["cameras"] = "cameras"
    newest_only: ClassVar[bool] = True
    cameras: list[CameraInfo]


class Error(ServerMessage):
    type: Literal["error"] = "error"
    id: str | None = None
    code: str
    message: str
    retryable: bool
    retry_after: float | None = None
    operator_message: str = Field(default="", exclude=True)

    def for_operators(self) -> Self:
        return self.model_copy(update={"message": self.operator_message or self.message})

    @classmethod
    def of(cls, error: QwenCameraError, id: str | None = None) -> Error:
        return cls(
            id=id,
            code=error.code,
            message=error.visitor_message,
            operator_message=error.message,
            retryable=error.retryable,
            retry_after=error.retry_after,
        )


class Pong(ServerMessage):
    type: Literal["pong"] = "pong"
    # Milliseconds since the epoch by the server's clock
    at: float


def error_body(error: QwenCameraError, *, operator: bool = False) -> dict[str, Any]:
    """Build the body of an HTTP error. `operator`: the request had the operator token."""
    text = error.message if operator else error.visitor_message
    return {
        "error": {"code": error.code, "message": text, "retryable": error.retryable},
        "detail": text,
    }
