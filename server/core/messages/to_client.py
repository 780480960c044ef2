"""Messages to a client about its questions and descriptions: when they start, their text, their end."""

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

    # A newer one replaces one that still waits for its client.
    newest_only: ClassVar[bool] = False

    def outdates(self) -> Callable[[ServerMessage], bool] | None:
        """Return what finds waiting messages that nobody needs after this one; None: it leaves all."""
        return None

    def encode(self) -> str:
        return self.model_dump_json(exclude_none=True)

    def for_operators(self) -> Self:
        """Return the message with the operator's text where it has one for visitors and one for operators."""
        return self


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
    # The person has agreed to all of them. Until then they get nothing: see `confirm`.
    confirmed: bool = True
    # The features that are on: an object for each, with what a client needs to know of it from the
    # start. `things` of `builtin`: it names them. `allowed` of `grants`: the person may let other programs look. `describe`: whether it is
    # `on`, and its `length`. `pointing`: whether the server's own detector `finds` boxes for an engine that
    # gives none. `recall`: the most `seconds` and `bytes` that are kept; 0: nothing is.
    # `voice_out`: whether the server has a `voice` for answers (without one, or while it fails, clients
    # read with their own), `elsewhere`: host of the other machine to which that sends their texts (empty:
    # they stay on the server's), `confirmed`: the person has agreed to it, and `speak` as in `settings`.
    # `voice_in`: whether the server takes a `microphone`, whether its `recogniser` makes words of speech, and
    # `elsewhere` and `confirmed` as before, for sound.
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


class FrameInfo(BaseModel):
    """A frame that a model got."""

    # The frame's
    id: str
    # Time by the sender's clock if its reports give it, else by the server's
    captured_at: float
    # Age when the model got it
    age_ms: float
    # Pixels of the camera's picture
    source_width: int
    # Pixels of the camera's picture
    source_height: int
    # Pixels of the model's picture
    width: int
    # Pixels of the model's picture
    height: int
    # Tokens that the picture takes
    visual_tokens: int
    # It was held.
    held: bool = False
    # Time since which the model has had this picture; at `captured_at` the camera still showed the
    # same.
    unchanged_since: float | None = None
    # The word of a spoken question to which the frame belongs, such as "this"; absent: it is that
    # after the last word.
    word: str | None = None
    # The picture is dark.
    dark: bool | None = None
    # The picture is blurred.
    blurred: bool | None = None
    # JPEG data URL; only in `response`, with the setting `thumbnails`
    thumbnail: str | None = None
    # Id of the very picture that the model got, for `GET /api/pictures/<id>`; absent when it is not
    # kept
    picture: str | None = None
    # The camera's id, in a session with several
    camera: str | None = None
    # The camera's name at that time
    camera_name: str | None = None
    # The part of the camera's picture that it shows, in its pixels: left, top, right, bottom;
    # absent: all of it
    crop: tuple[int, int, int, int] | None = None
    # The part of the camera's picture that the question points at, as shares of it; absent: none
    part: tuple[float, float, float, float] | None = None


class FramesSent(StrEnum):
    """The form in which an engine got the pictures of the recent past."""

    # As pictures
    PICTURES = "pictures"
    # All as one video
    VIDEO = "video"
    # As pictures, because it refused the video
    REFUSED = "refused"


class AnswerSpeech(StrEnum):
    """The speaker of an answer whose model was asked to speak it itself."""

    # The model's own sound is played.
    MODEL = "model"
    # It sent none, so the server's voice speaks, or the client's.
    REFUSED = "refused"


class EarlierFrame(BaseModel):
    """A picture of the recent past that a question looked at."""

    # The answer names the picture by it, as [1].
    number: int
    # The frame's
    id: str
    # As in `FrameInfo`
    captured_at: float
    # The answer names it.
    cited: bool = False
    # JPEG data URL, at most 240 px, and 10 KiB before base64
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
    """Tokens, as the engine counts them."""

    # Of question, pictures and history
    prompt_tokens: int | None = None
    # Of the answer
    completion_tokens: int | None = None
    # Of the prompt, known to the engine from before
    cached_tokens: int | None = None


class Transcript(ServerMessage):
    """The words of a spoken question as far as they were understood; the question has this id."""

    type: Literal["transcript"] = "transcript"
    # The question's, which follows
    id: str
    # All words so far, which may change until `final`; empty when nothing was understood
    text: str
    # Nothing follows. The question is asked, unless the text is empty.
    final: bool
    # With an empty text: it was an order, which the client carries out. `again`: read the last answer
    # once more; `notable`: describe with the setting `about`, `guide_to`, `scan`, `where_was`: send a
    # `goal`, `scan`, `where_was`, `stop`: end it, `watch_off`: end all watches, all of them also for typed
    # words of a `chat` with `orders`; `guide`: hints how to move the camera; `shorter`, `longer`: the next step of `verbosity`.
    # Ignore those that you do not know.
    order: VoiceCommand | None = None
    # What to watch for, with the order `watch`; the thing, with `guide_to` and `where_was`
    condition: str | None = None
    # With an empty text: no question comes of the speech, because nothing was understood, or
    # because the next one took its place.
    lost: Literal["unclear", "replaced"] | None = None


class Waiting(ServerMessage):
    """A question waits longer than usual for a frame captured after it; `started` or `error` follows."""

    type: Literal["waiting"] = "waiting"
    # The question's
    id: str
    # Always `frame`
    what: str = "frame"


class Started(ServerMessage):
    """The model has the picture. It comes again when another engine takes over before the first
    text.
    """

    type: Literal["started"] = "started"
    # The question's, or the description's
    id: str
    # `chat` or `describe`
    kind: str
    # The frame that it is about
    frame: FrameInfo
    # Where a question looks; absent for a description
    route: QuestionMode | None = None
    # The pictures of the past that it looks at, oldest first; absent without any
    frames: list[EarlierFrame] | None = None
    # The pictures of other cameras that it looks at beside `frame`; absent without any
    others: list[FrameInfo] | None = None


class DeltaMessage(ServerMessage):
    """The next piece of an answer."""

    type: Literal["delta"] = "delta"
    # The question's, or the description's
    id: str
    # To be added to those before
    text: str


class Thinking(ServerMessage):
    """A part of the model's reasoning before its answer; not part of the answer."""

    type: Literal["thinking"] = "thinking"
    # The question's
    id: str
    # To be added to those before
    text: str


class SceneChange(ServerMessage):
    """The comparison of a frame with the one last described, or last asked about for the watches."""

    type: Literal["change"] = "change"
    newest_only: ClassVar[bool] = True
    # Whose frame it was compared with
    about: Literal["description", "watches"] = "description"
    # The strongest evidence relative to its rule; a change from 1 on
    value: float
    # `same`, `first`, `view`, `scene`, `object`, `slight`, `color` or `print`
    why: str
    # Left, top, right and bottom of what changed, as shares of the picture; absent without a change
    region: list[float] | None = None
    # Share of the picture that always moves, in which only a stronger change counts
    busy: float
    # The frame goes to the engine.
    asks: bool


class FoundBox(BaseModel):
    """A thing that a question asked for, at the time of the frame: a client that shows it later has
    to follow the thing itself.
    """

    # The thing's name, 100 characters at most
    label: str
    # Left, top, right, bottom, in pixels of the camera's picture (`source_width`, `source_height`);
    # absent for a point
    box: tuple[float, float, float, float] | None = None
    # x and y, in place of `box`
    point: tuple[float, float] | None = None
    # The model's certainty, 0 to 1; absent where it gives none
    confidence: float | None = None


class FoundCode(BaseModel):
    """A code in the picture, and its uses to a person. Nothing opens or copies it by itself."""

    model_config = ConfigDict(frozen=True)

    # `open`, or what is copied: the `password` of a Wi-Fi network, a `phone` number, an `email`
    # address, all of a `contact` or an `event`, or the `text`
    use: CodeUse
    # The address to open, of http or https, with 2,000 characters at most; or what is copied
    value: str


class CalledTool(BaseModel):
    """A tool that the model called for the person's question, whom the client shows it."""

    # `watch`, `unwatch`, `hold`, `guide_to`: the client carries it out, and lets the person undo it; a
    # watch gets an id that begins with `tool:`. `look_closer`, `recall`, `read`: the answer comes of
    # it. Ignore those that you do not know.
    name: str
    # What to watch for, what is watched for no more, or what to be led to; absent for others
    about: str | None = None
    # True: it cannot be done, so nothing is to be carried out.
    refused: bool | None = None


class SecondLook(BaseModel):
    """The comparison of an answer with a second look, at a part of its frame (`closer`).

    Where they differ, the end of the answer says so, in its language.
    """

    # `agrees`; `differs`; and where nobody can tell: `unsure`, since the two cannot be compared; `unseen`,
    # since the part did not show it; `late`; or `failed`, also because the answer was stopped
    result: Literal["agrees", "differs", "unsure", "unseen", "late", "failed"]
    # What the second look answered, 300 characters at most; absent without an answer
    text: str | None = None
    # Second looks of this session that agreed, with this one
    agreed: int
    # Those that agreed or differed
    compared: int


class Response(ServerMessage):
    """The end of an answer, with the whole of it."""

    type: Literal["response"] = "response"
    # The whole answer
    text: str
    # All reasoning, 16,000 characters at most; absent without any
    thinking: str | None = None
    # Seconds in the engine
    inference_time: float
    # The question's, or the description's
    id: str
    # `chat` or `describe`
    kind: str
    # Name of the engine that answered
    engine: str
    # Name of its model
    model: str
    # The frame that it is about; absent when it ended before there was one
    frame: FrameInfo | None = None
    # As in `started`
    route: QuestionMode | None = None
    # As in `started`; with the setting `thumbnails` those that the answer names have a picture, or
    # all when it names none.
    frames: list[EarlierFrame] | None = None
    # The form in which the engine got them; absent without any
    frames_sent: FramesSent | None = None
    # As in `started`, with thumbnails
    others: list[FrameInfo] | None = None
    # The part of `frame` that the model got beside it: of a question that points at it, or as the
    # second look at a place; absent without one
    closer: FrameInfo | None = None
    # The fate of the sound of a spoken question, or of the scene; absent where none belongs to it
    sound: SoundUse | None = None
    # Who speaks an answer whose model was asked to speak it itself; absent for others
    speech: AnswerSpeech | None = None
    # Where the time went
    timings: Timings
    # Tokens
    usage: UsageInfo
    # `stop`, `length`, `content_filter`, `cancelled` or `replaced` (by a newer question)
    finish_reason: str
    # The places of what the question asked for, 8 at most, empty when nothing was found; absent
    # unless it asked where something is and the engine can tell.
    boxes: list[FoundBox] | None = None
    # Who found them, where it was not the engine: `detector` is the built-in engine's. Absent: the engine
    boxes_by: Literal["detector"] | None = None
    # The codes in the picture, 8 at most; absent without any, or where the engine reads none
    codes: list[FoundCode] | None = None
    # The tools that the model called, 3 at most, with the setting `tools` alone; `text` may be empty
    # then. Absent without any
    calls: list[CalledTool] | None = None
    # Of the route `twice`; absent for others
    second_look: SecondLook | None = None
    # `true`: the built-in engine could not answer, and a model could. Absent otherwise
    needs_model: bool | None = None
