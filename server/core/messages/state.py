"""Messages to a client about its session: settings, camera, sender, pictures, errors."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field

from server.core.errors import QwenCameraError
from server.core.frames import CameraState
from server.core.messages.base import MAX_MESSAGE_BYTES, MAX_QUESTION_CHARS, PROTOCOL, ServerMessage


class Limits(BaseModel):
    """Bounds of this session."""

    # Longest question, in characters
    question_chars: int = MAX_QUESTION_CHARS
    # Longest message of a client, in bytes
    message_bytes: int = MAX_MESSAGE_BYTES
    # Longest answer
    max_tokens: int
    # Tokens that the model takes; absent: unknown
    context_length: int | None = None
    # Of a picture at low detail
    visual_tokens: int
    # Of a picture at high detail
    visual_tokens_high: int
    # Seconds without activity after which the session ends
    session_timeout: int


class EngineCapabilities(BaseModel):
    """The abilities of the engine."""

    # It takes pictures.
    images: bool
    # It takes the recent past as a video.
    video: bool
    # It hears sound.
    audio_in: bool
    # It speaks its answers itself.
    speech_out: bool
    # It tells where in a picture something is.
    grounding: bool
    # It keeps to a form that is given.
    json_schema: bool
    # Its answers come piece by piece.
    streaming: bool
    # It calls tools, once the setting `tools` lets it.
    tools: bool


class RoleEngine(BaseModel):
    """The engine that does the work of a role."""

    # Its name
    engine: str
    # Name of its model
    model: str


class Ready(ServerMessage):
    """The session, its engine and its settings: the first message of a socket, and again when the
    engine changes.
    """

    type: Literal["ready"] = "ready"
    newest_only: ClassVar[bool] = True
    # The number of the protocol that this server speaks
    protocol: int = PROTOCOL
    # The session's id, as the token's answer has it
    session_id: str
    # Start of the session; another time with the same id means a new session.
    began_at: float
    # Name of the engine that answers
    engine: str
    # Name of its model
    model: str
    # `ready`, `loading`, `unreachable`, `busy` or `misconfigured`
    engine_state: str
    # A sentence about the state for visitors; may be empty
    engine_detail: str = ""
    operator_detail: str = Field(default="", exclude=True)
    # A sentence while an engine does the work of one that does not answer; may be empty
    stands_in: str = ""
    # The engines of `watches` and `reads`, where they are other ones than the engine that answers
    roles: dict[str, RoleEngine] = Field(default_factory=dict)
    # What the engine can do
    capabilities: EngineCapabilities
    # Bounds of this session
    limits: Limits
    # As in `settings`
    sensitivity: float = 1.0
    # A frame is held.
    held: bool = False
    # Host of the other machine to which pictures go, with commas between several; empty: they stay on
    # the server's.
    elsewhere: str = ""
    # The person has agreed to all of them; nothing is sent to another one.
    confirmed: bool = True
    # The features that are on: an object for each, with what a client needs to know of it from the
    # start. `things` of `builtin`: it names them. `allowed` of `grants`: the person may let other programs look. `describe`: whether it is
    # `on`, and its `length`. `pointing`: whether the server's own detector `finds` boxes for an engine that
    # gives none. `recall`: the most `seconds` and `bytes` that are kept; 0: nothing is.
    # `voice_out`: whether the server has a `voice` for answers (without one, or while it fails, clients
    # read with their own), `elsewhere`: host of the other machine to which that sends their texts (empty:
    # they stay on the server's), and `speak` as in `settings`. `voice_in`: whether the server takes a
    # `microphone`, whether its `recogniser` makes words of speech, and `elsewhere`: host of the other
    # machine to which sound goes for that (empty: it stays on the server's).
    features: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def for_operators(self) -> Self:
        return self.model_copy(update={"engine_detail": self.operator_detail})


class Status(ServerMessage):
    """The state of the camera, the queue and the engine."""

    type: Literal["status"] = "status"
    newest_only: ClassVar[bool] = True
    # Absent before the first offer
    camera: CameraState | None = None
    # The sender: `whip` is another device; absent without one
    source: Literal["page", "whip"] | None = None
    # The picture is dark.
    dark: bool | None = None
    # The picture is blurred.
    blurred: bool | None = None
    # Nothing can be seen: covered, or without any light
    black: bool | None = None
    # Pixels of the camera's picture
    width: int | None = None
    # Pixels of the camera's picture
    height: int | None = None
    # Frames a second over the last 3 s
    fps: float | None = None
    # The camera's clock contradicts itself or the client's, so capture times are by the server's
    # clock.
    clock_doubted: bool = False
    # A frame is held.
    held: bool = False
    # Questions and descriptions that wait
    queue_depth: int
    # As in `ready`
    engine: str
    # As in `ready`
    engine_state: str
    # As in `ready`
    engine_detail: str = ""
    operator_detail: str = Field(default="", exclude=True)

    def for_operators(self) -> Self:
        return self.model_copy(update={"engine_detail": self.operator_detail})


class SenderProfile(BaseModel):
    """Parameters for RTCRtpSender.setParameters."""

    # Frames a second
    max_framerate: int
    # Bit/s
    max_bitrate: int
    # As WebRTC has it
    degradation_preference: str = "maintain-resolution"
    # Of the track, as WebRTC has it
    content_hint: str = "detail"


class RampStep(BaseModel):
    """A bit rate, and from when on it applies."""

    # Milliseconds after waking, or after falling back to idle
    at_ms: int
    # Bit/s
    max_bitrate: int


class Sender(ServerMessage):
    """Limits for the camera's sender; the offer's answer has the same. A client that ignores it works,
    with older frames and more traffic.
    """

    type: Literal["sender"] = "sender"
    newest_only: ClassVar[bool] = True
    # While nobody asks
    idle: SenderProfile
    # Around a question
    awake: SenderProfile
    # Bit rates after waking; empty when the path allows the full rate at once
    ramp: list[RampStep] = Field(default_factory=list)
    # Bit rates after falling back to idle; the last one is the idle rate.
    settle: list[RampStep] = Field(default_factory=list)
    # Time from the last key press or wake-up to falling back to idle
    awake_ms: int = 1500
    # Wake now for this time, because the server waits for a frame
    wake_ms: int | None = None


class Error(ServerMessage):
    """Something failed. It does not close the socket."""

    type: Literal["error"] = "error"
    # The question's, or the watch's; `operator` for an `operator` message
    id: str | None = None
    # See the page of errors
    code: str
    # The cause, what is allowed, and the remedy
    message: str
    # The same request may succeed later.
    retryable: bool
    # Seconds after which to try again; absent: unknown
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
    """The answer to `ping`."""

    type: Literal["pong"] = "pong"
    # Time by the server's clock
    at: float


def error_body(error: QwenCameraError, *, operator: bool = False) -> dict[str, Any]:
    """Build the body of an HTTP error. `operator`: the request had the operator token."""
    text = error.message if operator else error.visitor_message
    return {
        "error": {"code": error.code, "message": text, "retryable": error.retryable},
        "detail": text,
    }
