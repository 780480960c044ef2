"""Messages to a client about its questions and descriptions: when they start, their text, their end."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages.base import ServerMessage
from server.core.sound import SoundUse


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
    # The frame belongs to this word of a spoken question ("this"); None: to the time after its last one.
    word: str | None = None
    dark: bool | None = None
    blurred: bool | None = None
    # JPEG data URL
    thumbnail: str | None = None
    # Id of the very picture that the engine got, for GET /api/pictures/ID while the server has it
    picture: str | None = None
    # The camera's id and its name at that time, in a session with several; None in others
    camera: str | None = None
    camera_name: str | None = None
    # The part of the camera's picture that it shows, in its pixels: left, top, right, bottom; None for all of it
    crop: tuple[int, int, int, int] | None = None


class FramesSent(StrEnum):
    """The form in which an engine got the pictures of the recent past."""

    PICTURES = "pictures"
    # All as one video
    VIDEO = "video"
    # As pictures, because it refused the video
    REFUSED = "refused"


class AnswerSpeech(StrEnum):
    """The speaker of an answer whose model was asked to speak it itself."""

    # Its own sound was played.
    MODEL = "model"
    # It did not, so the voice does.
    REFUSED = "refused"


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


class HeardWords(ServerMessage):
    """The words of a spoken question as far as they were understood; the question has this id."""

    type: Literal["heard"] = "heard"
    id: str
    # All words so far; empty when nothing was understood
    text: str
    # True: nothing follows, and the question is asked unless the text is empty
    final: bool
    # With an empty text: the speech was an order, which the client carries out
    order: (
        Literal[
            "stop",
            "again",
            "describe",
            "describe_off",
            "watch",
            "hold",
            "release",
            "guide",
            "guide_off",
            "shorter",
            "longer",
            "camera_off",
        ]
        | None
    ) = None
    # The condition to watch for
    condition: str | None = None
    # With an empty text: no question comes of the speech, because nothing was understood, or because
    # the next one took its place
    lost: Literal["unclear", "replaced"] | None = None


class SpeakingState(ServerMessage):
    """The state of a spoken answer, and the piece of it that is heard now."""

    type: Literal["speaking"] = "speaking"
    newest_only: ClassVar[bool] = True
    id: str
    # speaking | lowered | paused | stopped | done
    state: str
    text: str = ""
    # The piece's first character in the answer, and the one after its last
    start: int = 0
    end: int = 0


class Say(ServerMessage):
    """A piece of an answer that the page reads with its browser's own voice."""

    type: Literal["say"] = "say"
    id: str
    text: str
    start: int
    end: int


ListeningState = Literal["off", "waiting", "speech", "silence", "recognising"]


class Listening(ServerMessage):
    """The state of the microphone at the server has changed."""

    type: Literal["listening"] = "listening"
    newest_only: ClassVar[bool] = True
    # off: no sound comes, or it is not wanted; silence: since 200 ms, the person may go on
    state: ListeningState


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
    # The pictures of other cameras that it looks at beside `frame`; None without any
    others: list[FrameInfo] | None = None


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
    """The comparison of a frame with the one last described, or last asked about for the watches."""

    type: Literal["change"] = "change"
    newest_only: ClassVar[bool] = True
    about: Literal["description", "watches"] = "description"
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
    # The form in which the engine got them; None without any
    frames_sent: FramesSent | None = None
    # As in `Started`, with thumbnails
    others: list[FrameInfo] | None = None
    # The part of `frame` that a question about a place looked at again; None without a second look
    closer: FrameInfo | None = None
    # The fate of the sound of a spoken question, or of the scene: heard | deaf | missing | empty | too_long |
    # undecodable | refused. None where none belongs to it
    sound: SoundUse | None = None
    # None where the model was not asked to speak
    speech: AnswerSpeech | None = None
    timings: Timings
    usage: UsageInfo
    # stop | length | content_filter | cancelled | replaced
    finish_reason: str
    # The places of what the question asked for; None unless it asked where something is and the engine can tell
    boxes: list[FoundBox] | None = None
