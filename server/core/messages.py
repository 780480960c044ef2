"""The WebSocket's messages, both ways (mirrored for the page in client/live/messages.js)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.core.errors import BadRequest, QwenCameraError, TooLong, UnknownType
from server.core.frames import Detail

MAX_QUESTION_CHARS = 4000
MAX_MESSAGE_BYTES = 64 * 1024

Identifier = Annotated[str, Field(max_length=64, pattern=r"^[\w.:-]*$")]


class ClientMessage(BaseModel):
    # Unknown fields are ignored, so that a newer page can talk to an older server.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Auth(ClientMessage):
    type: Literal["auth"]
    token: str = Field(max_length=4096)


class Chat(ClientMessage):
    type: Literal["chat"]
    # `parse` says what is too long; with any bound here pydantic refuses lone surrogates, which no UTF-8 can hold.
    content: str = Field(max_length=MAX_MESSAGE_BYTES)
    id: Identifier | None = None
    # Milliseconds since the epoch by the page's clock: performance.timeOrigin + performance.now().
    sent_at: float | None = None
    detail: Detail = Detail.AUTO


class Cancel(ClientMessage):
    type: Literal["cancel"]
    id: Identifier | None = None


class Hold(ClientMessage):
    type: Literal["hold"]


class Release(ClientMessage):
    type: Literal["release"]


class Settings(ClientMessage):
    """Only the fields that are given change."""

    type: Literal["settings"]
    describe: bool | None = None
    # What a running description is asked; empty for the default.
    prompt: str | None = Field(default=None, max_length=MAX_QUESTION_CHARS)
    sample_rate: float | None = Field(default=None, ge=0.1, le=30)
    max_tokens: int | None = Field(default=None, ge=1, le=4096)
    # BCP 47, like "de" or "pt-BR"; empty lets the question decide.
    language: str | None = Field(
        default=None, max_length=35, pattern=r"^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$"
    )
    thumbnails: bool | None = None
    # A picture a second, for a page whose camera is another device.
    stills: bool | None = None


class Typing(ClientMessage):
    type: Literal["typing"]


class Ping(ClientMessage):
    type: Literal["ping"]


class Confirm(ClientMessage):
    """The person has seen that pictures go to this machine from now on (`Ready.elsewhere`)."""

    type: Literal["confirm"]
    host: str = Field(max_length=253)


class Operator(ClientMessage):
    """Ask for `engine` and `log` messages on this socket, for as long as it is open."""

    type: Literal["operator"]
    token: str = Field(max_length=4096)


AnyClientMessage = (
    Auth | Chat | Cancel | Hold | Release | Settings | Typing | Ping | Confirm | Operator
)
_BY_TYPE: dict[str, type[AnyClientMessage]] = {
    "auth": Auth,
    "chat": Chat,
    "cancel": Cancel,
    "hold": Hold,
    "release": Release,
    "settings": Settings,
    "typing": Typing,
    "ping": Ping,
    "confirm": Confirm,
    "operator": Operator,
}


def parse(raw: str) -> AnyClientMessage:
    """Read one text message.

    Raises BadRequest, UnknownType or TooLong; none of them repeats what was in the message.
    """
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest("This message is not JSON. Send one JSON object a message.") from None
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise BadRequest(
            'A message is a JSON object with a "type", like {"type":"chat","content":"What do you see?"}.'
        )
    model = _BY_TYPE.get(data["type"])
    if model is None:
        raise UnknownType(f"This message's type is not known. Known are: {', '.join(_BY_TYPE)}.")
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
        """The same with the operator's text where there are two."""
        return self


class Limits(BaseModel):
    question_chars: int = MAX_QUESTION_CHARS
    message_bytes: int = MAX_MESSAGE_BYTES
    max_tokens: int
    context_length: int | None = None
    visual_tokens: int
    visual_tokens_high: int
    session_timeout: int


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
    # When the session began, milliseconds since the epoch: another one of the same id is a new one.
    began_at: float
    engine: str
    model: str
    # ready | loading | unreachable | busy | misconfigured, and a sentence on it for visitors
    engine_state: str
    engine_detail: str = ""
    operator_detail: str = Field(default="", exclude=True)
    capabilities: EngineCapabilities
    limits: Limits
    # What is kept of the settings of this session, so that a page that comes back can show it.
    describe: bool = False
    held: bool = False
    # The other machine that the engine's pictures go to, "" while they stay on the server's own; and whether this
    # session may send them there: until it is confirmed nothing goes.
    elsewhere: str = ""
    confirmed: bool = True

    def for_operators(self) -> Self:
        return self.model_copy(update={"engine_detail": self.operator_detail})


class Status(ServerMessage):
    type: Literal["status"] = "status"
    # None while no camera was offered yet
    camera: str | None = None
    # Who sends it: page, or whip for another device. None while nobody does.
    source: str | None = None
    dark: bool | None = None
    blurred: bool | None = None
    width: int | None = None
    height: int | None = None
    # Frames a second that arrived lately
    fps: float | None = None
    # The camera's clock contradicts itself, or the page's: frames' times are told by the server's
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
    """What the page gives to RTCRtpSender.setParameters. Bit/s and frames/s."""

    max_framerate: int
    max_bitrate: int
    degradation_preference: str = "maintain-resolution"
    content_hint: str = "detail"


class RampStep(BaseModel):
    """`at_ms` after waking, or after falling back to idle, `max_bitrate` (bit/s) holds from then on."""

    at_ms: int
    max_bitrate: int


class Sender(ServerMessage):
    """How the camera should send (also in the offer's answer)."""

    type: Literal["sender"] = "sender"
    idle: SenderProfile
    awake: SenderProfile
    # Bit rates on the way up after waking; empty when the path is wide enough to go there at once.
    ramp: list[RampStep] = []
    # Bit rates on the way down after falling back; the last one is the idle one.
    settle: list[RampStep] = []
    # Fall back to idle this long after the last key press or wake.
    awake_ms: int = 1500
    # Wake now, for this long: the server is waiting for a frame. None: no change.
    wake_ms: int | None = None


class FrameInfo(BaseModel):
    id: str
    # Milliseconds since the epoch, by the sender's clock where its reports tell it, else by the server's.
    captured_at: float
    # Age when the model got it.
    age_ms: float
    # The camera's own resolution...
    source_width: int
    source_height: int
    # ...and the picture's that the model saw.
    width: int
    height: int
    visual_tokens: int
    held: bool = False
    dark: bool | None = None
    blurred: bool | None = None
    # JPEG data URL
    thumbnail: str | None = None


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
    """A question waits for a frame captured after it, longer than usual; `started` or an `error` follows."""

    type: Literal["waiting"] = "waiting"
    id: str
    # What it waits for: frame
    what: str = "frame"


class Started(ServerMessage):
    type: Literal["started"] = "started"
    id: str
    kind: str
    frame: FrameInfo


class DeltaMessage(ServerMessage):
    type: Literal["delta"] = "delta"
    id: str
    text: str


class Thinking(ServerMessage):
    """The model's thoughts before its answer; no part of the answer."""

    type: Literal["thinking"] = "thinking"
    id: str
    text: str


class Response(ServerMessage):
    type: Literal["response"] = "response"
    text: str
    # What the model thought before, as far as it was told; None when it did not
    thinking: str | None = None
    # Seconds in the engine
    inference_time: float
    id: str
    kind: str
    engine: str
    model: str
    # None when it ended before a frame was there
    frame: FrameInfo | None = None
    timings: Timings
    usage: UsageInfo
    # stop | length | content_filter | cancelled | replaced
    finish_reason: str


class Still(ServerMessage):
    """What the camera sees about now, after the privacy filters."""

    type: Literal["still"] = "still"
    # JPEG data URL of at most 640 px and 36 KiB before its base64; None when a filter withheld it
    image: str | None = None
    # The camera's own resolution
    width: int | None = None
    height: int | None = None
    withheld: bool = False


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
    """Bytes. None: not known."""

    # Of main memory: that came back, and that its processes hold still
    memory_bytes: int | None = None
    left_bytes: int | None = None
    # Of the GPUs'
    gpu_bytes: int | None = None


class Answering(BaseModel):
    """The engine that answers visitors now."""

    # vllm | builtin | local
    engine: str
    model: str = ""
    # What kind of server that is, where it is known, and its host and port; empty where it is none
    server: str = ""
    where: str = ""


class EngineReport(ServerMessage):
    """The engine that the operator manages; to operators only."""

    type: Literal["engine"] = "engine"
    # idle | loading | ready | stopping | failed
    state: str
    model: str | None = None
    model_type: str | None = None
    mode: str | None = None
    progress: LoadingProgress | None = None
    # That it takes of this machine's main memory and of the GPUs'; None: not known
    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    # By the model before it, when there was one
    released: ReleasedMemory | None = None
    # Exactly what runs, secrets masked, quoted for a shell
    command: str | None = None
    # What went wrong, and what to do
    error: str | None = None
    # Whether visitors are answered by it, rather than by another engine
    answers: bool = False
    # What they are answered by, None by nothing; and why no better engine answers, and what to do
    answering: Answering | None = None
    why: str | None = None


class LogLines(ServerMessage):
    """An engine's own words, secrets removed; to operators only."""

    type: Literal["log"] = "log"
    # Oldest first
    lines: list[str]
    # Lines between these and the ones sent before that went for want of room
    dropped: int = 0


class Pong(ServerMessage):
    type: Literal["pong"] = "pong"
    # Milliseconds since the epoch by the server's clock
    at: float


def error_body(error: QwenCameraError, *, operator: bool = False) -> dict[str, Any]:
    """The body of every HTTP error. `operator`: for whoever has brought the operator's token."""
    text = error.message if operator else error.visitor_message
    return {
        "error": {"code": error.code, "message": text, "retryable": error.retryable},
        "detail": text,
    }
