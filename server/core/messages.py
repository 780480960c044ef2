"""WebSocket messages in both directions (client/live/messages.js mirrors them for the page)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.core.errors import BadRequest, QwenCameraError, TooLong, UnknownType
from server.core.frames import LEAST_SENSITIVITY, MOST_SENSITIVITY, Detail, Length, Route

MAX_QUESTION_CHARS = 4000
MAX_MESSAGE_BYTES = 64 * 1024

Identifier = Annotated[str, Field(max_length=64, pattern=r"^[\w.:-]*$")]
DayMinute = Annotated[int, Field(ge=0, le=1439)]


class ClientMessage(BaseModel):
    # Unknown fields are ignored, so that a newer page can talk to an older server.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Auth(ClientMessage):
    type: Literal["auth"]
    token: str = Field(max_length=4096)


class Chat(ClientMessage):
    type: Literal["chat"]
    # `parse` checks MAX_QUESTION_CHARS; any bound here makes pydantic refuse lone surrogates, which UTF-8 cannot encode.
    content: str = Field(max_length=MAX_MESSAGE_BYTES)
    id: Identifier | None = None
    # Milliseconds since the epoch by the page's clock: performance.timeOrigin + performance.now().
    sent_at: float | None = None
    detail: Detail = Detail.AUTO
    # Where to look; None: the words of the question decide.
    route: Route | None = None


class Cancel(ClientMessage):
    type: Literal["cancel"]
    id: Identifier | None = None


class Hold(ClientMessage):
    type: Literal["hold"]


class Release(ClientMessage):
    type: Literal["release"]


class Settings(ClientMessage):
    """Change settings of the session; fields that are absent keep their value."""

    type: Literal["settings"]
    describe: bool | None = None
    # Question of the running description; empty for the default.
    prompt: str | None = Field(default=None, max_length=MAX_QUESTION_CHARS)
    sample_rate: float | None = Field(default=None, ge=0.1, le=30)
    max_tokens: int | None = Field(default=None, ge=1, le=4096)
    # BCP 47, such as "de" or "pt-BR"; empty: the language of the question.
    language: str | None = Field(
        default=None, max_length=35, pattern=r"^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$"
    )
    thumbnails: bool | None = None
    # Length of a description; see `Length`.
    length: Length | None = None
    # How small a change leads to a description: more finds smaller and weaker ones. 1 is the measured default.
    sensitivity: float | None = Field(default=None, ge=LEAST_SENSITIVITY, le=MOST_SENSITIVITY)
    # A `change` message at each look at the scene
    changes: bool | None = None
    # One picture per second, for a page whose camera is another device.
    stills: bool | None = None
    # Keep pictures of the recent past; false drops them, too.
    recall: bool | None = None


class Forget(ClientMessage):
    """Drop the pictures of the recent past."""

    type: Literal["forget"]


class Typing(ClientMessage):
    type: Literal["typing"]


class Ping(ClientMessage):
    type: Literal["ping"]


class Confirm(ClientMessage):
    """The visitor agrees that pictures go to this machine (`Ready.elsewhere`)."""

    type: Literal["confirm"]
    host: str = Field(max_length=253)


class Watch(ClientMessage):
    """Begin a watch, in place of one with the same id."""

    type: Literal["watch"]
    id: Identifier = Field(min_length=1)
    # The person's words; the session checks them, so that its error has the id.
    condition: str = Field(max_length=MAX_MESSAGE_BYTES)
    # True: ring each time that it begins; False: once
    repeat: bool = False
    # Seconds after the end of a seen event in which nothing rings
    cooldown: float = Field(default=60, ge=0, le=86_400)
    # Seconds until it ends by itself; None: never
    expires: float | None = Field(default=None, gt=0, le=31_536_000)
    # First and last minute of the day in the person's time; may go over midnight; None: always
    hours: tuple[DayMinute, DayMinute] | None = None
    # The person's time, in minutes east of UTC
    zone: int | None = Field(default=None, ge=-840, le=840)


class Unwatch(ClientMessage):
    """End a watch."""

    type: Literal["unwatch"]
    id: Identifier


class Heard(ClientMessage):
    """The page has shown a ring; the next one that it missed may follow."""

    type: Literal["heard"]
    id: Identifier


class Wrong(ClientMessage):
    """A ring was false: the bar of its watch rises."""

    type: Literal["wrong"]
    id: Identifier


class Operator(ClientMessage):
    """Request `engine` and `log` messages on this socket until it closes."""

    type: Literal["operator"]
    token: str = Field(max_length=4096)


AnyClientMessage = (
    Auth
    | Chat
    | Cancel
    | Hold
    | Release
    | Settings
    | Forget
    | Typing
    | Ping
    | Confirm
    | Watch
    | Unwatch
    | Heard
    | Wrong
    | Operator
)
_BY_TYPE: dict[str, type[AnyClientMessage]] = {
    "auth": Auth,
    "chat": Chat,
    "cancel": Cancel,
    "hold": Hold,
    "release": Release,
    "settings": Settings,
    "forget": Forget,
    "typing": Typing,
    "ping": Ping,
    "confirm": Confirm,
    "watch": Watch,
    "unwatch": Unwatch,
    "heard": Heard,
    "wrong": Wrong,
    "operator": Operator,
}


def parse(raw: str) -> AnyClientMessage:
    """Parse one text message.

    Raises BadRequest, UnknownType or TooLong; none of them quotes the message.
    """
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest("This message is not JSON. Send one JSON object per message.") from None
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise BadRequest(
            'A message is a JSON object with a "type", like {"type":"chat","content":"What do you see?"}.'
        )
    model = _BY_TYPE.get(data["type"])
    if model is None:
        raise UnknownType(f"This message's type is unknown. Known types: {', '.join(_BY_TYPE)}.")
    try:
        message = model.model_validate(data)
    except ValidationError as exc:
        problem = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "message"
        raise BadRequest(
            f'"{where}" of a {model.__name__.lower()} message: {problem["msg"]}.'
        ) from None
    if isinstance(message, Chat):
        if not message.content.strip():
            raise BadRequest('"content" of a chat message is empty. Put the question there.')
        if len(message.content) > MAX_QUESTION_CHARS:
            raise TooLong(
                f"The question has {len(message.content)} characters; at most {MAX_QUESTION_CHARS} are allowed. Shorten it."
            )
    return message


class ServerMessage(BaseModel):
    model_config = ConfigDict(frozen=True)

    def encode(self) -> str:
        return self.model_dump_json(exclude_none=True)

    def for_operators(self) -> Self:
        """Return the message with the operator's text where it has one for visitors and one for operators."""
        return self


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

    def for_operators(self) -> Self:
        return self.model_copy(update={"engine_detail": self.operator_detail})


class Status(ServerMessage):
    type: Literal["status"] = "status"
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
    idle: SenderProfile
    awake: SenderProfile
    # Bit rates after waking; empty when the path allows the full rate at once.
    ramp: list[RampStep] = []
    # Bit rates after falling back to idle; the last one is the idle rate.
    settle: list[RampStep] = []
    # Time from the last key press or wake-up to falling back to idle.
    awake_ms: int = 1500
    # Wake now for this time, because the server waits for a frame. None: no change.
    wake_ms: int | None = None


class FrameInfo(BaseModel):
    id: str
    # Milliseconds since the epoch by the sender's clock if its reports give it, else by the server's.
    captured_at: float
    # Age when the model got it.
    age_ms: float
    # Resolution of the camera
    source_width: int
    source_height: int
    # Resolution of the model's picture
    width: int
    height: int
    visual_tokens: int
    held: bool = False
    # Milliseconds since the epoch: the model has had this picture since then, and the camera showed the same at
    # `captured_at`.
    unchanged_since: float | None = None
    dark: bool | None = None
    blurred: bool | None = None
    # JPEG data URL
    thumbnail: str | None = None


class EarlierFrame(BaseModel):
    """A picture of the recent past that a question looked at."""

    # As in the answer's text: [1]
    number: int
    id: str
    captured_at: float
    # The answer names it.
    cited: bool = False
    # JPEG data URL
    picture: str | None = None


class Timings(BaseModel):
    """Milliseconds."""

    wait_frame_ms: float
    prepare_ms: float
    queue_ms: float
    first_token_ms: float | None = None
    total_ms: float


class UsageInfo(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


class Waiting(ServerMessage):
    """A question waits longer than usual for a frame captured after it; `started` or `error` follows."""

    type: Literal["waiting"] = "waiting"
    id: str
    # Always "frame"
    what: str = "frame"


class Started(ServerMessage):
    type: Literal["started"] = "started"
    id: str
    kind: str
    frame: FrameInfo
    # Where a question looks: now | detail | past | where; None for a description
    route: str | None = None
    # The pictures of the past that it looks at, oldest first; None without any
    frames: list[EarlierFrame] | None = None


class DeltaMessage(ServerMessage):
    type: Literal["delta"] = "delta"
    id: str
    text: str


class Thinking(ServerMessage):
    """A part of the model's reasoning before its answer; not part of the answer."""

    type: Literal["thinking"] = "thinking"
    id: str
    text: str


class Unchanged(ServerMessage):
    """The scene has changed, but the description with this id still holds."""

    type: Literal["unchanged"] = "unchanged"
    id: str
    # Milliseconds since the epoch by the server's clock
    looked_at: float


class SceneChange(ServerMessage):
    """The comparison of a frame with the one last described."""

    type: Literal["change"] = "change"
    # The strongest evidence relative to its rule; a change at 1 and above
    value: float
    # same | first | view | scene | object | slight | color | print
    why: str
    # Left, top, right and bottom of what changed, as shares of the picture; None without a change
    region: list[float] | None = None
    # Share of the picture that always moves, in which only a stronger change counts
    busy: float
    # True when the frame goes to the engine
    asks: bool


class FoundBox(BaseModel):
    """A thing that a question asked for, in pixels of the camera's frame."""

    label: str
    # Left, top, right, bottom; None for a point
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None
    # The model's certainty, 0 to 1; None where it gives none
    sure: float | None = None


class Response(ServerMessage):
    type: Literal["response"] = "response"
    text: str
    # The model's reasoning, as far as it was sent; None without any
    thinking: str | None = None
    # Seconds in the engine
    inference_time: float
    id: str
    kind: str
    engine: str
    model: str
    # None when it ended before a frame was available
    frame: FrameInfo | None = None
    # As in `Started`
    route: str | None = None
    # As in `Started`, with pictures of those that the answer names, or of all when it names none
    frames: list[EarlierFrame] | None = None
    timings: Timings
    usage: UsageInfo
    # stop | length | content_filter | cancelled | replaced
    finish_reason: str
    # The places of what the question asked for; None unless it asked where something is and the engine can tell
    boxes: list[FoundBox] | None = None


class Recalled(ServerMessage):
    """The pictures of the recent past that are kept now."""

    type: Literal["recall"] = "recall"
    pictures: int
    bytes: int
    # Capture time of the oldest, milliseconds since the epoch by the server's clock; None without any
    oldest_at: float | None = None


class Still(ServerMessage):
    """A recent picture of the camera, after the privacy filters."""

    type: Literal["still"] = "still"
    # JPEG data URL, at most 640 px, and 36 KiB before base64; None when a filter withheld it
    image: str | None = None
    # Resolution of the camera
    width: int | None = None
    height: int | None = None
    withheld: bool = False


class WatchInfo(BaseModel):
    """One watch as a person reads it."""

    id: str
    condition: str
    repeat: bool
    # looking | seen | paused | expired | cannot
    state: str
    # True: it rings no more, since it was to ring once and has, or its time is up
    over: bool = False
    # The reason of the state, or the last answer's; may be empty
    reason: str
    # Milliseconds since the epoch; None before the first look, and for a watch without an end
    looked_at: float | None = None
    expires_at: float | None = None
    # First and last minute of the day
    hours: list[int] | None = None
    # The confidence that an answer needs
    bar: float


class WatchList(ServerMessage):
    """All watches of the session, oldest first."""

    type: Literal["watches"] = "watches"
    watches: list[WatchInfo]
    # The most that a session may have
    most: int


class Ring(ServerMessage):
    """A watch's condition holds, with the frame that proves it. A repeated id has newer words."""

    type: Literal["ring"] = "ring"
    id: str
    watch: str
    condition: str
    # Milliseconds since the epoch at which the frame was captured
    at: float
    # 0 to 1
    sure: float
    reason: str
    # The frame's id
    frame: str
    # JPEG data URL, at most 640 px, and 36 KiB before base64; None when a filter withheld it, and with newer words
    image: str | None = None
    # Left, top, right and bottom as shares of the picture; None for the whole one
    region: list[float] | None = None
    # True when a page has shown it before
    heard: bool = False


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


class LoadingProgress(BaseModel):
    phase: str
    percent: float | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None


class ReleasedMemory(BaseModel):
    """Memory freed by the previous model, in bytes. None: unknown."""

    # Main memory: freed, and still held by its processes
    memory_bytes: int | None = None
    left_bytes: int | None = None
    # Freed GPU memory
    gpu_bytes: int | None = None


class Answering(BaseModel):
    """The engine that answers visitors now."""

    # vllm | builtin | local
    engine: str
    model: str = ""
    # The kind of model server if known, and its host and port; empty for an engine in this server
    server: str = ""
    where: str = ""


class EngineReport(ServerMessage):
    """State of the engine that the operator manages; sent to operators only."""

    type: Literal["engine"] = "engine"
    # idle | loading | ready | stopping | failed
    state: str
    model: str | None = None
    model_type: str | None = None
    mode: str | None = None
    progress: LoadingProgress | None = None
    # Main memory and GPU memory that it uses; None: unknown
    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    # Memory freed by the previous model, if there was one
    released: ReleasedMemory | None = None
    # The command that runs, with secrets masked, quoted for a shell
    command: str | None = None
    # The failure, and the remedy
    error: str | None = None
    # True when it answers visitors, rather than another engine
    answers: bool = False
    # The engine that answers visitors, None for none; and the reason why no better one does, with the remedy
    answering: Answering | None = None
    why: str | None = None


class LogLines(ServerMessage):
    """Lines of an engine's output, secrets removed; sent to operators only."""

    type: Literal["log"] = "log"
    # Oldest first
    lines: list[str]
    # Lines before these that were dropped because the buffer was full
    dropped: int = 0


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
