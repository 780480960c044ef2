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
    Kind,
    Part,
    Picture,
    Route,
    Verbosity,
)
from server.core.messages import FoundCode
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
    """The setting of an operator that is wrong."""

    KEY = "key"
    # It speaks no OpenAI-compatible API.
    PROTOCOL = "protocol"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The abilities of an engine. Everything is chosen by these fields, never by a model's name."""

    images: bool = True
    # It takes several frames as one video, beside pictures (see `Pictures.video`).
    video: bool = False
    # It takes sound beside pictures (see `EngineRequest.sound`).
    audio_in: bool = False
    # It speaks its answers itself (see `EngineRequest.speak`).
    speech_out: bool = False
    # It finds where things are.
    grounding: bool = False
    # The unit of the boxes in its text; None: it writes none there (see `Finished.boxes`).
    boxes: BoxUnit | None = None
    json_schema: bool = False
    # It takes the fields of a program's conversation: tools, a form of answer (see `ProgramFields`).
    tools: bool = False
    # It calls tools well, so that a session may offer it some (see `EngineRequest.tools`).
    calls_tools: bool = False
    streaming: bool = True
    # It wants decoded pixels (`Picture.bgr`) rather than a JPEG, at the camera's own resolution.
    wants_pixels: bool = False
    geometry: Geometry = field(default_factory=lambda: Geometry(28, 3136, 12_845_056))
    # Share of the configured visual tokens that it reads in time
    picture_share: float = 1.0
    # It computes nothing twice that two prompts begin with, pictures included.
    prefix_cache: bool = False
    # It does so for whole messages alone: the picture has one of its own (see `with_history` in models/prompts.py).
    caches_messages: bool = False
    # Tokens of prompt and answer together; None when unknown.
    context_length: int | None = None
    # Those of them that are for thoughts, beside the prompt and the answer
    reserved_tokens: int = 0
    # Answers it can work on at a time; None when the configured limit alone holds.
    max_concurrency: int | None = None
    # Pictures that it takes in one request; None when unknown.
    max_pictures: int | None = None
    # Pictures of several cameras that it takes in one request; None: as many as `max_pictures`.
    max_cameras: int | None = None
    # Returns the reason why a watch's condition cannot be watched, with what can; "" for one that
    # can. None: any can.
    cannot_watch: Callable[[str], str] | None = None

    def most_pictures(self, together: bool) -> int | None:
        """Return the most pictures of one request. `together`: they are of several cameras."""
        if together and self.max_cameras is not None:
            return self.max_cameras
        return self.max_pictures


# The text for visitors on an engine that does not answer: no address, no setting, no command.
_FOR_VISITORS = {
    EngineState.READY: "",
    EngineState.LOADING: "The model is being loaded. It answers as soon as it is ready.",
    EngineState.BUSY: "The model is busy. Ask again in a moment.",
    EngineState.UNREACHABLE: "The model is not available right now. Ask whoever runs this server.",
    EngineState.MISCONFIGURED: "The model is not available right now. Ask whoever runs this server.",
}


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The result of a probe.

    `detail` tells operators what is wrong and what to do; it may name addresses and settings.
    """

    state: EngineState
    detail: str = ""
    model: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    # The other machine that pictures go to; "" while they stay on this one.
    elsewhere: str = ""
    # Set for a misconfigured engine, else None
    trouble: Trouble | None = None
    # Parts of requests that its server refused some minutes ago, and that are left out for now
    left_out: tuple[str, ...] = ()
    # Nobody has chosen a model for it: it is not down.
    unused: bool = False
    # The model is in memory; None where its server does not say
    loaded: bool | None = None
    # A sentence for visitors in place of the usual one for this state
    for_visitors: str = ""

    @property
    def ready(self) -> bool:
        return self.state is EngineState.READY

    @property
    def visitor_detail(self) -> str:
        """The sentence for visitors, who have no operator token; empty when there is nothing to say."""
        return self.for_visitors or _FOR_VISITORS[self.state]

    @property
    def model_name(self) -> str:
        """The model's name without the folder that it lies in."""
        path = self.model.startswith(("/", "~", "./", "../"))
        return self.model.rstrip("/").rpartition("/")[2] if path else self.model


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question and its answer, text only."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture of a request, with the caption in front of it."""

    picture: Picture
    caption: str = ""
    # The caption where the pictures before it are left out; "": the same
    alone: str = ""
    # Its number in the caption; 0 without one
    number: int = 0
    # The name of its camera, in a question about several; else ""
    camera: str = ""


class Author(StrEnum):
    """The author of a message, as chat interfaces name it."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


# The parts of a message


@dataclass(frozen=True, slots=True)
class Words:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the request, by its distance to the last one, which is 0; None for one that is not shown any more."""

    back: int | None


@dataclass(frozen=True, slots=True)
class Pictures:
    """All pictures of the request.

    `video`: those before the last one as one video, for an engine with `Capabilities.video`: they are of one size, and
    two have the visual tokens of one.
    """

    video: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """The request's sound, where it has one: a spoken question, or what was heard while the pictures were taken."""

    question: bool


MessagePart = Words | Shown | Pictures | Heard


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the program's tools, which the model asks for."""

    id: str
    name: str
    # JSON, as the model wrote it
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    author: Author
    parts: tuple[MessagePart, ...]
    # The tools that an assistant's message called
    calls: tuple[ToolCall, ...] = ()
    # Id of the call that a tool's message answers
    answers: str = ""
    # It belongs to an earlier turn, and is left out where it does not fit.
    past: bool = False

    @property
    def text(self) -> str:
        """All its words."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Words))


# Typed values in `EngineRequest.extras`, for the engines that know them


@dataclass(frozen=True, slots=True)
class ProgramFields:
    """Fields of OpenAI's chat interface that a program counts on: a model server gets them as they are, or refuses them.

    `tools`: tools and the choice among them; `form`: of the answer; `sampling`: the fields of sampling.
    """

    tools: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, Any] | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, Any]:
        form = {"response_format": self.form} if self.form is not None else {}
        return {**self.tools, **form, **self.sampling}


@dataclass(frozen=True, slots=True)
class Wishes:
    """The person's settings, for an engine that is no language model.

    `language`: BCP 47 tag of the language to answer in; "" lets the question decide. `page_language`: of the person's
    page; `time_zone`: its IANA name; "" where nobody knows.
    """

    language: str = ""
    page_language: str = ""
    time_zone: str = ""
    verbosity: Verbosity = Verbosity.NORMAL


@dataclass(frozen=True, slots=True)
class PointedAt:
    """The part of the camera's picture that the person points at: the last picture shows it, with a little around it."""

    part: Part


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One question about one picture, and about earlier ones where there are any.

    Bounds of the sound of a request: 60 s, of the scene 30; a longer one is left out, and the
    client hears so.
    """

    session_id: str
    kind: Kind
    # The words that are asked now, which stand in the last message, too
    question: str
    # Oldest first, at least one; the question is about the last one.
    pictures: tuple[ShownPicture, ...]
    # The whole prompt; already cut to what the context holds.
    messages: tuple[Message, ...] = ()
    max_tokens: int = 128
    # For an engine with `Capabilities.audio_in` alone
    sound: Sound | None = None
    # The answer's sound is wanted beside its text, from an engine with `Capabilities.speech_out`.
    speak: bool = False
    # JSON schema of the answer, for an engine with `Capabilities.json_schema`; others ignore it.
    schema: Mapping[str, Any] | None = None
    # What the model may call for the person, in the form of OpenAI's chat interface, for an engine with
    # `Capabilities.calls_tools`
    tools: tuple[Mapping[str, Any], ...] = ()
    # Random, to find it in the logs of model servers; "" for a request of nobody
    id: str = ""
    # At most one value of a type
    extras: tuple[object, ...] = ()

    def extra(self, kind: type[T]) -> T | None:
        """Return the extra of a type; None without one."""
        return next((one for one in self.extras if isinstance(one, kind)), None)

    def asks(self, route: Route) -> bool:
        """Return True when who asks says that the question is of this route."""
        return route in self.extras

    @property
    def picture(self) -> Picture:
        """The picture that the question is about."""
        return self.pictures[-1].picture

    @property
    def earlier(self) -> tuple[ShownPicture, ...]:
        """The pictures before it, oldest first."""
        return self.pictures[:-1]

    @property
    def video(self) -> bool:
        """True while the earlier pictures go as one video."""
        return any(part.video for part in self._parts if isinstance(part, Pictures))

    @property
    def asked_by_sound(self) -> bool:
        """True for a spoken question, whose sound it is."""
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
        """Keep so many of the earlier pictures, the newest. `most`: pictures that the engine takes.

        A video keeps an even number, and becomes pictures when few are left.
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
        """Send the earlier pictures as pictures."""
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
        """Keep so many of the earlier turns, the newest. Pictures of a turn that goes move to the next question."""
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
    """A piece of the answer; never empty. The client gets those that wait for its socket as one."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what the model thinks before it answers; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last thing an engine yields."""

    # "stop", "length", "content_filter" or "tool_calls"
    finish_reason: str
    usage: Usage = field(default_factory=Usage)
    # The number of the request's oldest turns that were left out, since they did not fit
    left_out: int = 0
    # The same of its earlier pictures
    pictures_left_out: int = 0
    # The engine refused the video, and got pictures.
    video_refused: bool = False
    # It refused the sound, and got the text alone.
    sound_refused: bool = False
    # It was asked to speak the answer, and did not.
    speech_refused: bool = False
    # The places asked for, in pixels of the picture, from an engine whose text has none
    boxes: tuple[Box, ...] | None = None
    # The codes in the picture, from an engine that reads them
    codes: tuple[FoundCode, ...] = ()
    # The tools that the model calls, of a request that has some
    calls: tuple[ToolCall, ...] = ()
    # The engine could not answer; a model could.
    needs_model: bool = False


Chunk = Delta | Thought | VoiceChunk | Finished


class Engine(Protocol):
    """One way of getting answers.

    Errors raised are `server.core.errors.EngineError`s and nothing else.
    """

    # "vllm", "builtin", "local": bounded, so that it may label a metric.
    name: str

    @property
    def status(self) -> EngineStatus:
        """Return the result of the last probe, without a request."""

    async def probe(self) -> EngineStatus:
        """Look again, cheaply; never raises."""

    def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Stream the answer: any number of `Thought`s, at least one `Delta` unless the model calls tools,
        then one `Finished`.

        Between them come the answer's `VoiceChunk`s, if `request.speak` asks for them.

        Requests that nobody typed want texts of a form of their own: `Route.READ` the lines, or
        `NOTHING_TO_READ`; `Told` (`shared/notices.py`) what is new, or `UNCHANGED` (`models/prompts.py`); `Kind.WATCH` JSON, as
        `shared/watch_answers.py` reads it; `Kind.DESCRIBE` a sentence.

        Closing the generator (`aclose`) or cancelling its consumer stops the work, upstream too, at
        once. Raises EngineError subclasses; one raised before the first `Delta` may be retried,
        later ones not.
        """

    async def close(self) -> None: ...
