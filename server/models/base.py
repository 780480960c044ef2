"""The engine protocol: an engine's abilities and status, its requests and its answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from server.core.frames import (
    FRAME_FACTOR,
    BoxUnit,
    Geometry,
    JobKind,
    Part,
    Picture,
    QuestionMode,
    Verbosity,
)
from server.core.messages import AnswerFact, FoundCode
from server.core.sound import Sound, VoiceChunk
from server.media.picture.encode import MIN_FRAMES
from server.media.picture.grounding import Box

T = TypeVar("T")


class EngineState(StrEnum):
    READY = "ready"
    LOADING = "loading"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    MISCONFIGURED = "misconfigured"


class Trouble(StrEnum):
    """The kind of setting that an operator has to correct."""

    KEY = "key"
    # The server has no OpenAI-compatible API.
    PROTOCOL = "protocol"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The abilities of an engine. Code decides by these fields, never by a model's name."""

    images: bool = True
    # Accepts several frames as one video, in addition to pictures (see `Pictures.video`)
    video: bool = False
    # Accepts sound in addition to pictures (see `EngineRequest.sound`)
    audio_in: bool = False
    # Speaks its answers itself (see `EngineRequest.speak`)
    speech_out: bool = False
    # Locates objects
    grounding: bool = False
    # The unit of the boxes in its text; None if its text has no boxes (see `Finished.boxes`)
    boxes: BoxUnit | None = None
    json_schema: bool = False
    # Accepts the fields of a program's conversation: tools and response format (see `ProgramFields`)
    tools: bool = False
    # Calls tools reliably, so that a session may offer some (see `EngineRequest.tools`)
    calls_tools: bool = False
    streaming: bool = True
    # Accepts decoded pixels (`Picture.bgr`) at the camera's resolution instead of a JPEG
    wants_pixels: bool = False
    geometry: Geometry = field(default_factory=lambda: Geometry(28, 3136, 12_845_056))
    # Fraction of the configured visual tokens that it processes in acceptable time, 0 to 1
    picture_share: float = 1.0
    # Reuses the computed common prefix of two prompts, pictures included
    prefix_cache: bool = False
    # Reuses complete messages only, so the picture gets its own message (see `with_history` in models/prompts.py)
    caches_messages: bool = False
    # Maximum tokens of prompt and answer together; None if unknown
    context_length: int | None = None
    # Number of these tokens that are reserved for thoughts
    reserved_tokens: int = 0
    # Maximum concurrent answers; None: only the configured limit applies
    max_concurrency: int | None = None
    # Maximum pictures in one request; None if unknown
    max_pictures: int | None = None
    # Maximum pictures in one request if they are from several cameras; None: `max_pictures`
    max_cameras: int | None = None
    # Returns why a watch's condition is not supported, and which conditions are; "" for a supported
    # condition. None: all conditions are supported.
    cannot_watch: Callable[[str], str] | None = None

    def get_max_pictures(self, together: bool) -> int | None:
        """Return the maximum number of pictures in one request. `together`: they are from several cameras."""
        if together and self.max_cameras is not None:
            return self.max_cameras
        return self.max_pictures


# The text for visitors about an engine, without addresses, settings or commands
_FOR_VISITORS = {
    EngineState.READY: "",
    EngineState.LOADING: "The model is being loaded. It answers as soon as it is ready.",
    EngineState.BUSY: "The model is busy. Ask again in a moment.",
    EngineState.UNREACHABLE: "The model is not available right now. Ask your administrator.",
    EngineState.MISCONFIGURED: "The model is not available right now. Ask your administrator.",
}


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The result of a probe.

    `detail`: the problem and its remedy, for operators; it may contain addresses and names of settings.
    """

    state: EngineState
    detail: str = ""
    model: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    # The other machine that receives pictures; "" while they stay on this machine
    elsewhere: str = ""
    # None unless misconfigured
    trouble: Trouble | None = None
    # Parts of requests that its server refused recently, and that are therefore omitted for some minutes
    left_out: tuple[str, ...] = ()
    # True if no model is chosen for it, which is not a failure
    unused: bool = False
    # Whether the model is in memory; None if its server does not report it
    loaded: bool | None = None
    # A sentence for visitors; "": the default sentence for this state
    for_visitors: str = ""

    @property
    def ready(self) -> bool:
        return self.state is EngineState.READY

    @property
    def visitor_detail(self) -> str:
        """The sentence for visitors; empty for a ready engine."""
        return self.for_visitors or _FOR_VISITORS[self.state]

    @property
    def model_name(self) -> str:
        """The model's name without the folder."""
        path = self.model.startswith(("/", "~", "./", "../"))
        return self.model.rstrip("/").rpartition("/")[2] if path else self.model


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question and its answer, text only."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture of a request, and the caption before it."""

    picture: Picture
    caption: str = ""
    # The caption to use if earlier pictures are omitted; "": `caption`
    alone: str = ""
    # Its number in the caption; 0 if it has none
    number: int = 0
    # The name of its camera in a question about several cameras; otherwise ""
    camera: str = ""


class Author(StrEnum):
    """The role of a message's author, as in OpenAI's chat interface."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


# Parts of a message


@dataclass(frozen=True, slots=True)
class Words:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the request, counted back from the last picture (0); None if it is no longer available."""

    back: int | None


@dataclass(frozen=True, slots=True)
class Pictures:
    """All pictures of the request.

    `video`: the earlier pictures form one video, for an engine with `Capabilities.video`: all have the same size, and
    two frames cost as many visual tokens as one picture.
    """

    video: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """The request's sound, if any: a spoken question, or the scene's sound at the time of the pictures."""

    question: bool


MessagePart = Words | Shown | Pictures | Heard


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call requested by the model."""

    id: str
    name: str
    # JSON as the model wrote it, possibly invalid
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    author: Author
    parts: tuple[MessagePart, ...]
    # Tool calls of an assistant's message
    calls: tuple[ToolCall, ...] = ()
    # For a message from a tool: id of the call that it answers
    answers: str = ""
    # Belongs to an earlier turn, and is omitted if it does not fit
    past: bool = False

    @property
    def text(self) -> str:
        """All text of the message."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Words))


# Typed values in `EngineRequest.extras`, for engines that support them


@dataclass(frozen=True, slots=True)
class ProgramFields:
    """Fields of OpenAI's chat interface from a program, passed to the model server unchanged.

    `tools`: tools and tool choice; `form`: the response format; `sampling`: sampling parameters.
    """

    tools: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, Any] | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, Any]:
        form = {"response_format": self.form} if self.form is not None else {}
        return {**self.tools, **form, **self.sampling}


@dataclass(frozen=True, slots=True)
class AnswerPreferences:
    """The person's settings, for an engine that is not a language model.

    `language`: BCP 47 tag of the answer's language; "": the language of the question. `page_language`: language of the
    person's page. `time_zone`: IANA name; "" if unknown.
    """

    language: str = ""
    page_language: str = ""
    time_zone: str = ""
    verbosity: Verbosity = Verbosity.NORMAL


@dataclass(frozen=True, slots=True)
class PointedAt:
    """The part of the camera's picture that the person points at. The last picture shows this part with a margin."""

    part: Part


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One question about one picture and optional earlier ones.

    Bounds of the sound of a request: 60 s of speech, and 30 s of the sound around the camera; more is omitted,
    and the client is notified.
    """

    session_id: str
    kind: JobKind
    # The text of the question, also part of the last message
    question: str
    # Oldest first, at least one; the question is about the last one.
    pictures: tuple[ShownPicture, ...]
    # The complete prompt, already shortened to fit the context
    messages: tuple[Message, ...] = ()
    max_tokens: int = 128
    # Only for an engine with `Capabilities.audio_in`
    sound: Sound | None = None
    # Request the answer's sound in addition to its text, from an engine with `Capabilities.speech_out`
    speak: bool = False
    # JSON schema of the answer, for an engine with `Capabilities.json_schema`; others ignore it.
    schema: Mapping[str, Any] | None = None
    # Tools that the model may call, in the format of OpenAI's chat interface, for an engine with
    # `Capabilities.calls_tools`
    tools: tuple[Mapping[str, Any], ...] = ()
    # Random id for finding the request in the logs of model servers; "" for internal requests
    id: str = ""
    # At most one value of each type
    extras: tuple[object, ...] = ()

    def extra(self, kind: type[T]) -> T | None:
        """Return the value of this type in `extras`, or None if there is none."""
        return next((one for one in self.extras if isinstance(one, kind)), None)

    def asks(self, route: QuestionMode) -> bool:
        """Return True if the person explicitly chose this route for the question."""
        return route in self.extras

    @property
    def picture(self) -> Picture:
        """The picture that the question is about."""
        return self.pictures[-1].picture

    @property
    def earlier(self) -> tuple[ShownPicture, ...]:
        """The pictures before the last one, oldest first."""
        return self.pictures[:-1]

    @property
    def video(self) -> bool:
        """True if the earlier pictures form one video."""
        return any(part.video for part in self._parts if isinstance(part, Pictures))

    @property
    def asked_by_sound(self) -> bool:
        """True if the sound is a spoken question."""
        return any(part.question for part in self._parts if isinstance(part, Heard))

    @property
    def _parts(self) -> Iterator[MessagePart]:
        return (part for message in self.messages for part in message.parts)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The earlier turns, oldest first."""
        past = [message.text for message in self.messages if message.past]
        return tuple(map(Turn, past[::2], past[1::2]))

    @property
    def visual_tokens(self) -> int:
        """The visual tokens of all pictures."""
        *earlier, own = (one.picture.visual_tokens for one in self.pictures)
        return own + sum(earlier[::FRAME_FACTOR] if self.video else earlier)

    def with_newest(self, count: int, most: int | None = None) -> EngineRequest:
        """Return the request with only the newest `count` earlier pictures. `most`: maximum pictures of the engine.

        A video keeps an even number of frames; with fewer than `MIN_FRAMES` it is replaced by single pictures.
        """
        request = self
        if self.video:
            count -= count % FRAME_FACTOR
            if count < MIN_FRAMES:
                request = self.without_video()
                count = count if most is None else min(count, most - 1)
        gone = max(0, len(self.earlier) - max(0, count))
        return replace(request, pictures=self.pictures[gone:])

    def without_video(self) -> EngineRequest:
        """Return the request with single pictures instead of a video."""
        messages = tuple(
            replace(
                one,
                parts=tuple(
                    Pictures() if isinstance(part, Pictures) else part for part in one.parts
                ),
            )
            for one in self.messages
        )
        return replace(self, messages=messages)

    def with_newest_turns(self, count: int) -> EngineRequest:
        """Return the request with only the newest `count` earlier turns.

        Pictures of removed turns move to the next question.
        """
        gone = 2 * max(0, len(self.turns) - count)
        kept: list[Message] = []
        moved: tuple[MessagePart, ...] = ()
        for message in self.messages:
            if message.past and gone:
                gone -= 1
                moved += tuple(part for part in message.parts if isinstance(part, Pictures))
                continue
            if moved and message.author is Author.USER:
                message, moved = replace(message, parts=(*moved, *message.parts)), ()
            kept.append(message)
        return replace(self, messages=tuple(kept))


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer; never empty. Pieces that wait for the client's socket are merged."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of the model's reasoning before its answer; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer, yielded last."""

    # "stop", "length", "content_filter" or "tool_calls"
    finish_reason: str
    usage: Usage = field(default_factory=Usage)
    # Number of the oldest turns omitted because they did not fit
    left_out: int = 0
    # Number of the oldest earlier pictures omitted for the same reason
    pictures_left_out: int = 0
    # The engine refused the video and received single pictures
    video_refused: bool = False
    # The engine refused the sound and received only text
    sound_refused: bool = False
    # The engine was asked to speak the answer, but did not
    speech_refused: bool = False
    # Located boxes in pixels of the picture, from an engine whose text contains no boxes
    boxes: tuple[Box, ...] | None = None
    # Bar codes and QR codes in the picture, from an engine that reads them
    codes: tuple[FoundCode, ...] = ()
    # The figure that the question asked for, from an engine that reads it
    fact: AnswerFact | None = None
    # Tool calls of the model
    calls: tuple[ToolCall, ...] = ()
    # The engine cannot answer this question, but a model could
    needs_model: bool = False


Chunk = Delta | Thought | VoiceChunk | Finished


class Engine(Protocol):
    """A source of answers. Raises only `server.core.errors.EngineError`."""

    # "vllm", "builtin", "local": bounded, so that it may label a metric.
    name: str

    @property
    def status(self) -> EngineStatus:
        """Return the result of the last probe, without sending a request."""

    async def probe(self) -> EngineStatus:
        """Update and return the status. Cheap; never raises."""

    def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Stream the answer: any number of `Thought`s, at least one `Delta` unless the model calls tools,
        then one `Finished`; with `request.speak` also `VoiceChunk`s.

        Generated requests expect texts in a fixed format: `QuestionMode.READ` expects the lines, or `NOTHING_TO_READ`;
        a request with a notice of `shared/notices.py` expects the changes, or `UNCHANGED` (`models/prompts.py`);
        `JobKind.WATCH` expects JSON for `shared/watch_answers.py`; `JobKind.DESCRIBE` expects a sentence.

        Closing the generator (`aclose`) or cancelling its consumer stops the work at once, also on the model
        server. Raises EngineError; one raised before the first `Delta` may be retried.
        """

    async def close(self) -> None: ...
