"""Messages from the server to a client."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from server.core.errors import QwenCameraError
from server.core.frames import CameraState, CodeUse, QuestionMode, VoiceCommand
from server.core.messages.from_client import MAX_MESSAGE_BYTES, MAX_QUESTION_CHARS, PROTOCOL
from server.core.sound import SoundUse


class ServerMessage(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)

    # A newer message replaces one that is still queued for the client.
    newest_only: ClassVar[bool] = False

    def outdates(self) -> Callable[[ServerMessage], bool] | None:
        """Return a predicate for queued messages made obsolete by this one; None to keep all."""
        return None

    def encode(self) -> str:
        return self.model_dump_json(exclude_none=True)

    def for_operators(self) -> Self:
        """Return the message with the text for operators, if it differs from the one for visitors."""
        return self


class Limits(BaseModel):
    """Bounds of this session."""

    # Maximum characters of a question
    question_chars: int = MAX_QUESTION_CHARS
    # Maximum bytes of a client's message
    message_bytes: int = MAX_MESSAGE_BYTES
    # Maximum tokens of an answer
    max_tokens: int
    # Context of the model in tokens; absent: unknown
    context_length: int | None = None
    # Visual tokens of a picture at low detail
    visual_tokens: int
    # Visual tokens of a picture at high detail
    visual_tokens_high: int
    # Seconds without activity after which the session ends
    session_timeout: int


class EngineCapabilities(BaseModel):
    """The capabilities of the engine."""

    # It accepts pictures.
    images: bool
    # It accepts the recent past as a video.
    video: bool
    # It accepts sound.
    audio_in: bool
    # It generates speech for its answers.
    speech_out: bool
    # It can locate things in a picture.
    grounding: bool
    # It follows a given JSON schema.
    json_schema: bool
    # It streams its answers.
    streaming: bool
    # It can call tools, if the setting `tools` allows it.
    tools: bool


class RoleEngine(BaseModel):
    """The engine that does the work of a role."""

    # Its name
    engine: str
    # Name of its model
    model: str


class Ready(ServerMessage):
    """The session, its engine and its settings: the first message of a socket, repeated when the engine changes."""

    type: Literal["ready"] = "ready"
    newest_only: ClassVar[bool] = True
    # Version of the server's protocol
    protocol: int = PROTOCOL
    # Id of the session, as in the response with the token
    session_id: str
    # Start of the session; a different time with the same id means a new session.
    began_at: float
    # Name of the engine that answers
    engine: str
    # Name of its model
    model: str
    # `ready`, `loading`, `unreachable`, `busy` or `misconfigured`
    engine_state: str
    # A sentence for visitors about the state; may be empty
    engine_detail: str = ""
    operator_detail: str = Field(default="", exclude=True)
    # A sentence if another engine answers in place of an unavailable one; may be empty
    stands_in: str = ""
    # The engines of `watches` and `reads`, if they differ from the engine that answers
    roles: dict[str, RoleEngine] = Field(default_factory=dict)
    # Capabilities of the engine
    capabilities: EngineCapabilities
    # Bounds of this session
    limits: Limits
    # As in `settings`
    sensitivity: float = 1.0
    # A frame is held.
    held: bool = False
    # Hosts of other machines to which pictures are sent, separated by commas; empty: pictures stay
    # on the server's machine
    elsewhere: str = ""
    # The user has agreed to all of them. Until then they get nothing: see `confirm`.
    confirmed: bool = True
    # The enabled features, each with an object of the facts that a client needs from the start.
    # `builtin`: it names `things`. `grants`: giving other programs access is `allowed`. `describe`: it is `on`,
    # and its `length`. `pointing`: the server's own detector `finds` boxes for an engine without them.
    # `recall`: the maximum `seconds` and `bytes` that are kept; 0: none. `voice_out`: the server has a `voice`
    # for answers (else, or while it fails, clients use their own), `elsewhere`: host of the other machine
    # that gets the texts (empty: none), `confirmed`: the user has agreed to it, and `speak` as in `settings`.
    # `voice_in`: the server accepts a `microphone`, it has a `recogniser` of speech, and `elsewhere` and
    # `confirmed` as before, for sound.
    features: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def for_operators(self) -> Self:
        return self.model_copy(update={"engine_detail": self.operator_detail})


class Status(ServerMessage):
    """The state of the camera, the queue and the engine."""

    type: Literal["status"] = "status"
    newest_only: ClassVar[bool] = True
    # State of the camera; absent before the first offer
    camera: CameraState | None = None
    # The sender: `page`, or another device by `whip`; absent without one
    source: Literal["page", "whip"] | None = None
    # The picture is dark.
    dark: bool | None = None
    # The picture is blurred.
    blurred: bool | None = None
    # Nothing can be seen: the camera is covered, or there is no light.
    black: bool | None = None
    # Pixels of the camera's picture
    width: int | None = None
    # Pixels of the camera's picture
    height: int | None = None
    # Frames a second over the last 3 s
    fps: float | None = None
    # The camera's clock contradicts itself or the client's, so capture times are those of the
    # server's clock.
    clock_doubted: bool = False
    # A frame is held.
    held: bool = False
    # Number of waiting questions and descriptions
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
    # WebRTC's `degradationPreference`
    degradation_preference: str = "maintain-resolution"
    # WebRTC's `contentHint` of the track
    content_hint: str = "detail"


class RampStep(BaseModel):
    """A bit rate and the time from which it applies."""

    # Milliseconds after waking, or after returning to idle
    at_ms: int
    # Bit/s
    max_bitrate: int


class Sender(ServerMessage):
    """Limits for the camera's sender, also part of the offer's answer. A client may ignore it, at the cost of
    older frames and more traffic.
    """

    type: Literal["sender"] = "sender"
    newest_only: ClassVar[bool] = True
    # While no question is expected
    idle: SenderProfile
    # Around a question
    awake: SenderProfile
    # Bit rates after waking; empty when the path allows the full rate at once
    ramp: list[RampStep] = Field(default_factory=list)
    # Bit rates after returning to idle; the last one is the idle rate.
    settle: list[RampStep] = Field(default_factory=list)
    # Time from the last key press or wake-up to the return to idle
    awake_ms: int = 1500
    # Wake now for this time, because the server is waiting for a frame
    wake_ms: int | None = None


class Error(ServerMessage):
    """An error. It does not close the socket."""

    type: Literal["error"] = "error"
    # Id of the question or watch; `operator` for an `operator` message
    id: str | None = None
    # Code of the error: see the errors reference
    code: str
    # The cause, what is allowed, and the remedy
    message: str
    # The same request may succeed later.
    retryable: bool
    # Seconds to wait before a retry; absent: unknown
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
    # Time of the server's clock
    at: float


def make_error_body(error: QwenCameraError, *, operator: bool = False) -> dict[str, Any]:
    """Return the body of an HTTP error. `operator`: the request has the operator token."""
    text = error.message if operator else error.visitor_message
    return {
        "error": {"code": error.code, "message": text, "retryable": error.retryable},
        "detail": text,
    }


class FrameInfo(BaseModel):
    """A frame sent to a model."""

    # Id of the frame
    id: str
    # Capture time by the sender's clock if its reports give it, else by the server's
    captured_at: float
    # Age when sent to the model
    age_ms: float
    # Pixels of the camera's picture
    source_width: int
    # Pixels of the camera's picture
    source_height: int
    # Pixels of the model's picture
    width: int
    # Pixels of the model's picture
    height: int
    # Visual tokens of the picture
    visual_tokens: int
    # The frame was held.
    held: bool = False
    # Time since which the model has this picture; at `captured_at` the camera still showed the same.
    unchanged_since: float | None = None
    # Word of a spoken question to which the frame belongs, such as "this"; absent: the frame after
    # the last word
    word: str | None = None
    # The picture is dark.
    dark: bool | None = None
    # The picture is blurred.
    blurred: bool | None = None
    # JPEG data URL, only in `response` with the setting `thumbnails`
    thumbnail: str | None = None
    # Id of the exact picture that the model got, for `GET /api/pictures/<id>`; absent if it is not
    # kept
    picture: str | None = None
    # Id of the camera, in a session with several
    camera: str | None = None
    # Name of the camera at that time
    camera_name: str | None = None
    # The part of the camera's picture that is shown, in pixels: left, top, right, bottom; absent:
    # all of it
    crop: tuple[int, int, int, int] | None = None
    # The part of the camera's picture that the question points at, as fractions; absent: none
    part: tuple[float, float, float, float] | None = None


class FramesSent(StrEnum):
    """The form in which the pictures of the recent past were sent to an engine."""

    # As pictures
    PICTURES = "pictures"
    # As one video
    VIDEO = "video"
    # As pictures, because the engine refused the video
    REFUSED = "refused"


class AnswerSpeech(StrEnum):
    """The source of an answer's speech, if the model was asked to generate it."""

    # The model's speech is played.
    MODEL = "model"
    # The model sent none, so the voice of the server or client is used.
    REFUSED = "refused"


class EarlierFrame(BaseModel):
    """A picture of the recent past sent with a question."""

    # Number by which the answer cites the picture, as in [1]
    number: int
    # Id of the frame
    id: str
    # As in `FrameInfo`
    captured_at: float
    # The answer cites it.
    cited: bool = False
    # JPEG data URL, at most 240 px and 10 KiB before base64
    picture: str | None = None


class Timings(BaseModel):
    """Milliseconds."""

    # From the question to its frame
    wait_frame_ms: float
    # Filters, resizing, encoding
    prepare_ms: float
    # Waiting for the engine
    queue_ms: float
    # From the request to the first token
    first_token_ms: float | None = None
    # From the question to the end
    total_ms: float


class UsageInfo(BaseModel):
    """Tokens, as counted by the engine."""

    # Tokens of question, pictures and history
    prompt_tokens: int | None = None
    # Tokens of the answer
    completion_tokens: int | None = None
    # Tokens of the prompt that the engine reused from its cache
    cached_tokens: int | None = None


class Transcript(ServerMessage):
    """The recognised words of a spoken question, so far; the question will have this id."""

    type: Literal["transcript"] = "transcript"
    # Id of the question that follows
    id: str
    # All words so far, which may change until `final`; empty if nothing was understood
    text: str
    # This is the last transcript. The question is asked, unless the text is empty.
    final: bool
    # With an empty text: a voice command, to be executed by the client. `again`: repeat the last answer;
    # `notable`: describe with the setting `about`, `guide_to`, `scan`, `where_was`: send a `goal`, `scan`,
    # `where_was`, `stop`: stop it, `watch_off`: remove all watches, all of these also for typed words of a
    # `chat` with `orders`; `guide`: hints on how to move the camera; `shorter`, `longer`: the next step of
    # `verbosity`. Ignore unknown commands.
    order: VoiceCommand | None = None
    # The condition of the order `watch`; the thing of `guide_to` and `where_was`
    condition: str | None = None
    # With an empty text: the speech leads to no question, because nothing was understood, or because
    # the next one replaced it.
    lost: Literal["unclear", "replaced"] | None = None


class Waiting(ServerMessage):
    """A question is waiting longer than usual for a frame captured after it; `started` or `error` follows."""

    type: Literal["waiting"] = "waiting"
    # Id of the question
    id: str
    # Always `frame`
    what: str = "frame"


class Started(ServerMessage):
    """The model has the picture. Repeated if another engine takes over before the first text."""

    type: Literal["started"] = "started"
    # Id of the question or description
    id: str
    # `chat` or `describe`
    kind: str
    # The frame that it is about
    frame: FrameInfo
    # The pictures that a question looks at; absent for a description
    route: QuestionMode | None = None
    # The pictures of the past, oldest first; absent without any
    frames: list[EarlierFrame] | None = None
    # The pictures of other cameras beside `frame`; absent without any
    others: list[FrameInfo] | None = None


class DeltaMessage(ServerMessage):
    """The next piece of an answer."""

    type: Literal["delta"] = "delta"
    # Id of the question or description
    id: str
    # Text to append
    text: str


class Thinking(ServerMessage):
    """The next piece of the model's reasoning, which is not part of the answer."""

    type: Literal["thinking"] = "thinking"
    # Id of the question
    id: str
    # Text to append
    text: str


class SceneChange(ServerMessage):
    """The comparison of a frame with the one last described, or last sent for the watches."""

    type: Literal["change"] = "change"
    newest_only: ClassVar[bool] = True
    # The work whose last frame it was compared with
    about: Literal["description", "watches"] = "description"
    # The strongest evidence relative to its rule; 1 or more is a change.
    value: float
    # `same`, `first`, `view`, `scene`, `object`, `slight`, `color` or `print`
    why: str
    # Left, top, right and bottom of the change, as fractions of the picture; absent without a change
    region: list[float] | None = None
    # Fraction of the picture that always moves, in which only a stronger change counts
    busy: float
    # The frame is sent to the engine.
    asks: bool


class FoundBox(BaseModel):
    """The location of an object at the time of the frame; a client that shows it later has to track it."""

    # Name of the thing, at most 100 characters
    label: str
    # Left, top, right, bottom, in pixels of the camera's picture (`source_width`, `source_height`);
    # absent for a point
    box: tuple[float, float, float, float] | None = None
    # x and y, in place of `box`
    point: tuple[float, float] | None = None
    # The model's confidence, 0 to 1; absent if it gives none
    confidence: float | None = None


class FoundCode(BaseModel):
    """A code in the picture and its use. It is opened or copied by the user only."""

    model_config = ConfigDict(frozen=True)

    # `open`, or the text to copy: the `password` of a Wi-Fi network, a `phone` number, an `email`
    # address, all of a `contact` or an `event`, or the `text`
    use: CodeUse
    # The http or https URL to open, at most 2,000 characters; or the text to copy
    value: str


class AnswerFact(BaseModel):
    """The figure that a question asked for, read in the picture."""

    model_config = ConfigDict(frozen=True)

    # Kind of figure
    kind: Literal["date", "price"]
    # The figure as printed
    text: str
    # Days from today to an expiry date, negative after it; absent if unknown, or more than a year away
    days: int | None = None


class CalledTool(BaseModel):
    """A tool called by the model for the user's question; the client shows the call."""

    # `watch`, `unwatch`, `hold`, `guide_to`: the client executes it, and the user can undo it; the id
    # of a watch begins with `tool:`. `look_closer`, `recall`, `read`: the answer is based on it.
    # Ignore unknown tools.
    name: str
    # The condition to watch for or to remove, or the thing to guide to; absent for others
    about: str | None = None
    # True: the call is not possible and must not be executed.
    refused: bool | None = None


class SecondLook(BaseModel):
    """The comparison of an answer with a second look at a part of its frame (`closer`).

    If they differ, the answer ends with a note in its language.
    """

    # `agrees`, `differs`, or without a result: `unsure` if the two cannot be compared, `unseen` if the part
    # does not show it, `late`, or `failed`, also if the answer was stopped
    result: Literal["agrees", "differs", "unsure", "unseen", "late", "failed"]
    # Answer of the second look, at most 300 characters; absent without one
    text: str | None = None
    # Second looks of this session that agreed, including this one
    agreed: int
    # Second looks that agreed or differed
    compared: int


class Response(ServerMessage):
    """The end of an answer, with its whole text."""

    type: Literal["response"] = "response"
    # The whole answer
    text: str
    # All reasoning, at most 16,000 characters; absent without any
    thinking: str | None = None
    # Seconds in the engine
    inference_time: float
    # Id of the question or description
    id: str
    # `chat` or `describe`
    kind: str
    # Name of the engine that answered
    engine: str
    # Name of its model
    model: str
    # The frame that it is about; absent if it ended before there was one
    frame: FrameInfo | None = None
    # As in `started`
    route: QuestionMode | None = None
    # As in `started`; with the setting `thumbnails` the cited ones have a picture, or all if none is
    # cited
    frames: list[EarlierFrame] | None = None
    # The form in which the engine got them; absent without any
    frames_sent: FramesSent | None = None
    # As in `started`, with thumbnails
    others: list[FrameInfo] | None = None
    # A part of `frame` sent to the model beside it, for a question that points at it or as a second
    # look; absent without one
    closer: FrameInfo | None = None
    # Use of the sound of a spoken question or of the scene; absent without sound
    sound: SoundUse | None = None
    # Source of the speech, if the model was asked to generate it; else absent
    speech: AnswerSpeech | None = None
    # Durations of the steps
    timings: Timings
    # Tokens
    usage: UsageInfo
    # `stop`, `length`, `content_filter`, `cancelled` or `replaced` (by a newer question)
    finish_reason: str
    # Locations of the requested things, at most 8, empty if none was found; absent unless the question
    # asked where something is and the engine can locate it
    boxes: list[FoundBox] | None = None
    # `detector` if the built-in engine's detector found them; absent if the engine did
    boxes_by: Literal["detector"] | None = None
    # Codes in the picture, at most 8; absent without any, or if the engine reads none
    codes: list[FoundCode] | None = None
    # The figure that the question asked for; absent if the engine reads none, or is not sure
    fact: AnswerFact | None = None
    # Tools called by the model, at most 3, with the setting `tools` only; `text` may then be empty.
    # Absent without any
    calls: list[CalledTool] | None = None
    # Result of the route `twice`; absent for others
    second_look: SecondLook | None = None
    # `true`: the built-in engine could not answer, but a model could. Else absent
    needs_model: bool | None = None
