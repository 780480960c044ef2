"""Features' parts of a session: their interface to it, and the dispatch of messages, frames and alerts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.core import messages as wire
from server.core.aio import TaskSet, listen
from server.core.errors import Conflict, QwenCameraError
from server.core.frames import Frame, QuestionMode, VoiceCommand
from server.core.messages import ClientMessage
from server.core.messages.from_client import Chat
from server.core.sound import VoiceChunk
from server.media.camera import Camera
from server.models.base import Capabilities, EngineRequest
from server.session.request.answers import Tool
from server.session.request.asking import Asking
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.parts import (
    Draft,
    History,
    Prepared,
    SessionLimits,
    SessionServices,
    Spoken,
    View,
)
from server.session.request.question import Question
from server.webrtc_server import Line

# Prefix of the ids of programs' watches
PROGRAMS = "program:"
# Prefix of the ids of a model's watches, whose alerts are sent only to the person's page
TOOLS = "tool:"


@dataclass(frozen=True, slots=True)
class AlertSource:
    """The camera of an alert."""

    # Session id; never sent in a message
    id: str = field(repr=False)
    # The name of a fixed camera; "" for a visitor's camera
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert of a watch, or a test alert without a camera."""

    # Milliseconds since the epoch at which the frame was captured
    at: float
    source: AlertSource | None = None
    watch: str = field(default="", repr=False)
    condition: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)
    # 0 to 1
    confidence: float = 0.0
    # As fractions of the picture: x1, y1, x2, y2; None for the whole picture
    region: tuple[float, ...] | None = None
    # Filtered; None if a filter withheld it
    jpeg: bytes | None = field(default=None, repr=False)
    # Unique in its session
    id: str = ""


class SpeechOutput:
    """Output of a session's spoken answers, one at a time. This one is silent; a feature replaces it."""

    @property
    def id(self) -> str:
        """Id of the question whose answer is spoken; "" if there is none."""
        return ""

    @property
    def can_play(self) -> bool:
        """True if speech is on, and a connection can play it."""
        return False

    @property
    def talking(self) -> bool:
        """True while an answer is spoken at any volume, or is about to be spoken."""
        return False

    @property
    def audible(self) -> bool:
        """True if a part of an answer was played, and more follows."""
        return False

    @property
    def is_playing_back(self) -> bool:
        """True while some of the written text has not been played."""
        return False

    def begin(self, id: str, *, by_engine: bool = False) -> None:
        """Begin the answer to a question, in place of the previous one.

        `by_engine`: the engine provides the sound, which is passed to `play`.
        """

    def write(self, id: str, text: str) -> None:
        """Add a piece of the answer's text."""

    def play(self, id: str, chunk: VoiceChunk) -> None:
        """Play a piece of the answer's sound."""

    def finish(self, id: str) -> None:
        """Mark the answer as complete; speak the rest."""

    def duck(self) -> None:
        """Lower the volume: somebody may want to speak."""

    def pause(self) -> None:
        """Pause while it is uncertain whether somebody is speaking to the system."""

    def restore(self) -> None:
        """Resume at normal volume after a false alarm."""

    def interrupt(self, reason: str = "voice") -> str:
        """Stop the answer at once. Return the text that was played; "" if there is no answer.

        `reason`: voice, user, typing or replaced.
        """
        return ""

    def drop(self) -> None:
        """Stop speaking; the history keeps the complete answer."""


class SessionFacts(Protocol):
    """The state of a session that its parts can read."""

    @property
    def id(self) -> str: ...
    @property
    def limits(self) -> SessionLimits: ...

    # Shared by all sessions
    @property
    def services(self) -> SessionServices: ...
    @property
    def camera(self) -> Camera: ...

    # Additional media sections of its offers, such as a microphone
    @property
    def lines(self) -> list[Line]: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def requests(self) -> RequestBuilder: ...
    @property
    def history(self) -> History: ...

    # Cancelled at the end of the session
    @property
    def tasks(self) -> TaskSet: ...
    @property
    def held_frame(self) -> Frame | None:
        """The held frame, or None if there is none."""

    @property
    def has_running_question(self) -> bool:
        """True while a question waits or runs."""

    @property
    def speech(self) -> SpeechOutput:
        """The output of spoken answers."""

    @property
    def is_playing_back(self) -> bool:
        """True while some of the spoken answer has not been played."""

    @property
    def source(self) -> AlertSource:
        """The source of the session's alerts."""

    @property
    def away_seconds(self) -> float:
        """Seconds without a page for which the session needs the camera of another device."""

    def part(self, feature: str) -> Any:
        """Return the part of a feature that registered earlier; None if there is none."""


class SessionActions(Protocol):
    """The actions of a session for its parts."""

    def touch(self) -> None:
        """Record activity, which keeps the session alive."""

    def send_error(self, error: QwenCameraError, id: str | None = None) -> None:
        """Count an error, and send it to the client. `id`: id of the message that caused it."""

    def report(self) -> None:
        """Send the session's status."""

    def set_speech(self, speech: SpeechOutput) -> None:
        """Use this output for spoken answers."""

    def on_interrupted(self, id: str, heard: str, reason: str) -> None:
        """Handle the interruption of a spoken answer. `heard`: the text that was played."""

    def ask(self, message: Chat, spoken: Spoken | None = None) -> None:
        """Ask a question, which replaces the running one."""

    def expect(self, frame: Frame | None) -> None:
        """Notify all parts of an expected question. `frame`: its frame, if already known."""

    def wants_changed(self) -> None:
        """Apply the parts' changed requirements for frames."""

    def publish_alert(self, alert: Alert) -> None:
        """Notify all parts of an alert."""

    def publish_sound_event(self, at: float) -> None:
        """Notify all parts of a salient sound in the scene. `at`: its beginning, monotonic seconds."""


class SessionContext(SessionFacts, SessionActions, Protocol):
    """The interface of a session for its parts."""


class QuestionRoute(Protocol):
    """A route on which a feature answers questions."""

    # True if the picture is prepared before `run`; False if the route makes its own
    prepares: bool

    async def run(self, asking: Asking, draft: Draft) -> None:
        """Submit the draft of a question that has a publisher, or answer by several requests.

        Raises QwenCameraError.
        """
        ...


# Returns the frame of the session's own camera for a question, and True if it is a held frame
OwnFrame = Callable[[], Awaitable[tuple[Frame, bool]]]


class FrameSource(Protocol):
    """Source of frames for questions, in place of the session's own camera."""

    async def views(
        self, question: Question, needs: Capabilities, own: OwnFrame, waits: Callable[[], None]
    ) -> tuple[View, ...]:
        """Wait for the frames; the last one is the main picture of the request. Raises QwenCameraError."""
        ...


class SessionPart:
    """Base class of a feature's part of one session; its methods do nothing. All are called on the event loop."""

    # Handlers by message class. They may raise QwenCameraError, which is sent to the client. A handler
    # for a subclass of `Settings` gets each settings message.
    handlers: Mapping[type[ClientMessage], Callable[[Any], None]] = {}
    # Additional routes for questions
    routes: Mapping[QuestionMode, QuestionRoute] = {}
    # Supported commands, spoken or typed: each function returns whether the command with this argument is possible
    # now. A command that no part supports is treated as a question.
    commands: Mapping[VoiceCommand, Callable[[str], bool]] = {}

    def parse_command(self, text: str) -> tuple[VoiceCommand, str] | None:
        """Return a command and its argument if a text means that in the part's present state; None for a question."""
        return None

    @property
    def tools(self) -> Sequence[Tool]:
        """Tools that a model may call with the person's consent. Change them rarely: each prompt begins with them."""
        return ()

    @property
    def cameras(self) -> Sequence[Camera]:
        """Cameras in addition to the session's own."""
        return ()

    @property
    def slots(self) -> Sequence[str]:
        """Names of slots of MAX_SESSIONS that it occupies in addition to the session's."""
        return ()

    @property
    def frame_source(self) -> FrameSource | None:
        """The source of the next question's frames; None for the session's own camera."""
        return None

    async def get_picture(self, view: View, needs: Capabilities) -> Prepared | None:
        """Return a picture of the view for an engine with these capabilities, or None to have a new one prepared.

        Raises FrameWithheld.
        """
        return None

    def question_expected(self, frame: Frame | None) -> None:
        """Prepare for a question that somebody is typing or saying. `frame`: its frame; None if not known yet."""

    def question_sent(self, request: EngineRequest) -> None:
        """Handle the request of a question when it is sent to an engine."""

    def prompt_lost(self) -> None:
        """Handle a failed or deleted answer, after which the next prompt will not share the last one's prefix."""

    def become_fixed(self) -> bool:
        """Switch to a fixed camera, for which an operator decides. Return False if the part does not support it."""
        return False

    def ready(self) -> dict[str, Any]:
        """Return the feature's facts for `ready`."""
        return {}

    def greet(self) -> None:
        """Send the first messages on a new socket, and again when the engine changes."""

    def on_reported(self) -> None:
        """Send further messages after a changed status was sent."""

    def set_connected(self, connected: bool) -> None:
        """Handle the opening or closing of a socket of the session."""

    def on_sound_event(self, at: float) -> None:
        """Handle a salient sound that is not speech. `at`: its beginning, monotonic seconds."""

    def on_alert(self, alert: Alert) -> None:
        """Handle an alert of the session's watches."""

    def clear(self) -> None:
        """Drop all data about the recent past."""

    def cancel(self, id: str | None) -> None:
        """Cancel the preparation of the question with this id; None: of any question."""

    def stop(self) -> None:
        """Stop at the end of the session, and release everything at once; `close` waits for the rest."""

    async def close(self) -> None:
        """Wait for the end of running work. Safe to call twice."""


class BackgroundPart(SessionPart, ABC):
    """A part that gets frames from the camera without a question."""

    @property
    @abstractmethod
    def wanted(self) -> bool:
        """True while it needs frames; call `wants_changed` after a change."""

    @property
    def working(self) -> bool:
        """True while it needs frames at FRAME_SAMPLE_RATE, so that the camera is idle less often."""
        return False

    @property
    def away_seconds(self) -> float:
        """Seconds without a page for which it needs the camera of another device; 0: such a camera ends soon."""
        return 0.0

    @property
    def unattended(self) -> bool:
        """True if it also works while no socket is open."""
        return False

    @property
    def alert(self) -> bool:
        """True while it also needs the frames between the sampled ones."""
        return False

    @abstractmethod
    def frame(self, frame: Frame) -> None:
        """Handle a sampled frame of a live camera."""

    def between(self, frame: Frame) -> None:
        """Handle a frame of a live camera between two sampled frames."""

    def new_stream(self) -> None:
        """Handle a new connection, whose frames cannot be compared with earlier frames."""

    def retry(self) -> None:
        """Ask again soon, after a change that may fix an earlier failure."""


# Creates a feature's part of a new session
MakePart = Callable[[SessionContext], SessionPart]


# Sockets with the operator token, and features' messages to them


class OperatorPart(Protocol):
    """A feature's messages to operators. Called on the event loop."""

    def join(self, outbox: Outbox) -> None:
        """Start sending to an operator. An operator that joins again gets everything again."""
        ...

    def leave(self, outbox: Outbox) -> None:
        """Stop sending, and drop waiting messages, because another client may read this outbox next."""
        ...


class Operators:
    """Operators' sockets and their outboxes, which use the texts for operators while an operator is connected.

    Bounds of operators' sockets: the open ones.
    """

    def __init__(self) -> None:
        self.parts: list[OperatorPart] = []
        # By socket, so that a session's next socket gets none of the messages
        self._outboxes: dict[object, Outbox] = {}

    def __len__(self) -> int:
        return len(self._outboxes)

    def join(self, socket: object, outbox: Outbox) -> None:
        """Add a socket; a socket that joins again gets all messages again."""
        self._outboxes[socket] = outbox
        outbox.operator = True
        for part in self.parts:
            part.join(outbox)

    def leave(self, socket: object) -> None:
        """Remove a socket; do nothing for an unknown one."""
        outbox = self._outboxes.pop(socket, None)
        if outbox is None or any(one is outbox for one in self._outboxes.values()):
            return
        outbox.operator = False
        for part in self.parts:
            part.leave(outbox)

    def dismiss(self, outbox: Outbox) -> None:
        """Remove all sockets of an outbox before a socket without the token reads it."""
        for socket in [socket for socket, one in self._outboxes.items() if one is outbox]:
            self.leave(socket)


@dataclass(frozen=True, slots=True)
class SessionFeatures:
    """The enabled features, and the factories of their session parts by name."""

    on: list[str] = field(default_factory=list)
    makers: dict[str, MakePart] = field(default_factory=dict)


class FeatureParts:
    """All parts of one session; empty until `make`.

    While a client is connected, sampled frames are passed to the parts that need them; the sample rate depends on
    their needs.
    """

    def __init__(
        self,
        id: str,
        features: SessionFeatures,
        camera: Camera,
        sample_rate: float,
    ) -> None:
        """`sample_rate`: frames per second, unless the client has chosen another rate."""
        self.source = AlertSource(id)
        self._features = features
        self._camera = camera
        self._requests: RequestBuilder
        self._sample_rate = sample_rate
        self._parts: dict[str, SessionPart] = {}
        self.routes: dict[QuestionMode, QuestionRoute] = {}
        # Set for a fixed camera, else None
        self._on_alert: Callable[[Alert], None] | None = None
        self._connected = True
        # Parts that get frames now, and those that also get the frames between
        self._active: list[BackgroundPart] = []
        self._alert: list[BackgroundPart] = []
        camera.on_stream.append(self._new_stream)

    def __iter__(self) -> Iterator[SessionPart]:
        return iter(self._parts.values())

    def make(self, context: SessionContext) -> None:
        """Create the parts in the order of registration."""
        self._requests = context.requests
        for name, make in self._features.makers.items():
            self._parts[name] = part = make(context)
            self.routes.update(part.routes)

    def become_fixed(self, on_alert: Callable[[Alert], None], camera: str) -> None:
        """Switch to a fixed camera, and keep only the parts that support it. `on_alert` is called with its alerts."""
        self._parts = {name: part for name, part in self._parts.items() if part.become_fixed()}
        self._on_alert = on_alert
        self.source = AlertSource(self.source.id, camera)

    def find(self, feature: str) -> Any:
        """Return a feature's part, or None if there is none."""
        return self._parts.get(feature)

    def tools(self) -> list[Tool]:
        """Return the tools for models; none for a fixed camera."""
        if self._on_alert is not None:
            return []
        return [tool for part in self for tool in part.tools]

    def handles_command(self, command: VoiceCommand, condition: str) -> bool:
        """Return whether a part supports a command now."""
        return any(part.commands[command](condition) for part in self if command in part.commands)

    def parse_command(self, text: str) -> tuple[VoiceCommand, str] | None:
        """Return the command that a text means to a part; None if there is none."""
        found = (part.parse_command(text) for part in self)
        return next((one for one in found if one is not None), None)

    def frame_source(self) -> FrameSource | None:
        """Return the source of the next question's frames; None for the session's own camera."""
        found = (part.frame_source for part in self)
        return next((one for one in found if one is not None), None)

    async def get_picture(self, view: View, needs: Capabilities) -> Prepared:
        """Return a picture of the view from a part, else a new picture. Raises FrameWithheld."""
        for part in self:
            if (found := await part.get_picture(view, needs)) is not None:
                return found
        return Prepared(await self._requests.prepare(view, needs), needs)

    def expect(self, frame: Frame | None) -> None:
        for part in self:
            part.question_expected(frame)

    def ready(self) -> dict[str, dict[str, Any]]:
        """Return the enabled features, each with its facts for the page."""
        return {
            name: part.ready() if (part := self._parts.get(name)) is not None else {}
            for name in self._features.on
        }

    def handle(self, message: ClientMessage) -> None:
        """Dispatch a message to its feature. Raises what the handler raises, and Conflict if there is no handler."""
        for part in self:
            if (handle := part.handlers.get(type(message))) is not None:
                handle(message)
                return
        kind = getattr(message, "type", "this")
        raise Conflict(f"The session of a fixed camera does not support `{kind}` messages.")

    def configure(self, message: wire.Settings) -> None:
        """Dispatch a settings message to each part with settings."""
        for part in self:
            for kind, handle in part.handlers.items():
                if issubclass(kind, wire.Settings) and isinstance(message, kind):
                    handle(message)

    def publish_alert(self, alert: Alert) -> None:
        if self._on_alert is not None:
            self._on_alert(alert)
        for part in self:
            part.on_alert(alert)

    def stop(self) -> None:
        """Stop all parts and their frames, even if some of them fail."""
        self._connected = False
        listen(self._camera.on_sample, self._on_frame, False)
        listen(self._camera.on_between, self._on_frame_between, False)
        with ExitStack() as stack:
            for part in self:
                stack.callback(part.stop)

    async def close(self) -> None:
        """Close all parts, even if some of them fail."""
        async with AsyncExitStack() as stack:
            for part in self:
                stack.push_async_callback(part.close)

    # Frames of the camera

    @property
    def _background(self) -> list[BackgroundPart]:
        return [part for part in self if isinstance(part, BackgroundPart)]

    def wants_changed(self) -> None:
        """Apply the requirements of all parts. Call it after a change of a part's requirements or of a setting."""
        self._active = [
            part
            for part in self._background
            if part.wanted and (self._connected or part.unattended)
        ]
        self._alert = [part for part in self._active if part.alert]
        chosen = self._requests.preferences.sample_rate
        self._camera.set_sample_rate(
            chosen or self._sample_rate,
            working=any(part.working for part in self._active),
            # Do not exceed a chosen rate.
            alert=chosen is None and bool(self._alert),
        )
        listen(self._camera.on_sample, self._on_frame, bool(self._active))
        listen(self._camera.on_between, self._on_frame_between, bool(self._alert))

    @property
    def away_seconds(self) -> float:
        """Seconds without a page for which a part needs the camera of another device."""
        return max((part.away_seconds for part in self._background if part.wanted), default=0.0)

    @property
    def unattended(self) -> bool:
        """True while a part works without a socket."""
        return any(part.wanted and part.unattended for part in self._background)

    def set_connected(self, connected: bool) -> None:
        """Set whether a socket is open. While none is open, only unattended parts get frames."""
        for part in self:
            part.set_connected(connected)
        self._connected = connected
        self.wants_changed()

    def retry(self) -> None:
        for part in self._background:
            part.retry()

    def _on_frame(self, frame: Frame) -> None:
        for part in list(self._active):
            if part in self._active:
                part.frame(frame)

    def _on_frame_between(self, frame: Frame) -> None:
        for part in list(self._alert):
            part.between(frame)

    def _new_stream(self) -> None:
        for part in self._background:
            part.new_stream()
