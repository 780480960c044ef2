"""The features' parts of one session: what they may use of it, and who gets its messages, frames and alerts."""

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

# The ids of watches that programs begin, not the person, begin so.
PROGRAMS = "program:"
# Those of watches that a model begins, whose alerts go to the person's page alone
TOOLS = "tool:"


@dataclass(frozen=True, slots=True)
class AlertSource:
    """The camera that an alert comes from."""

    # Of its session; no message has it
    id: str = field(repr=False)
    # The name of a fixed camera; "" for a visitor's
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """A watch's condition holds, or a test without a camera."""

    # Milliseconds since the epoch at which the frame was captured
    at: float
    source: AlertSource | None = None
    watch: str = field(default="", repr=False)
    condition: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)
    # 0 to 1
    confidence: float = 0.0
    # As shares of the picture: x1, y1, x2, y2; None for the whole one
    region: tuple[float, ...] | None = None
    # Filtered; None when a filter withheld it
    jpeg: bytes | None = field(default=None, repr=False)


class SpeechOutput:
    """The speech of a session's answers, one at a time. This one is silent; a feature's takes its place."""

    @property
    def id(self) -> str:
        """The id of the question whose answer is spoken; "" without one."""
        return ""

    @property
    def can_play(self) -> bool:
        """True when speech is wanted, and a connection takes it."""
        return False

    @property
    def talking(self) -> bool:
        """True while an answer is spoken, however softly, or about to be."""
        return False

    @property
    def audible(self) -> bool:
        """True when something of an answer was heard, and more is to come."""
        return False

    @property
    def behind(self) -> bool:
        """True while some of what is written was not heard yet."""
        return False

    def begin(self, id: str, *, by_engine: bool = False) -> None:
        """Begin with the answer to a question, in place of the one before.

        `by_engine`: its sound comes from the engine, by `play`.
        """

    def write(self, id: str, text: str) -> None:
        """Take a piece of its text."""

    def play(self, id: str, chunk: VoiceChunk) -> None:
        """Play a piece of the answer's sound."""

    def finish(self, id: str) -> None:
        """Note that the answer is complete; speak the rest."""

    def duck(self) -> None:
        """Speak softly: somebody may want to say something."""

    def pause(self) -> None:
        """Pause: somebody says something, and it is not sure yet that it is meant."""

    def restore(self) -> None:
        """Go on where it was, as loud as before: it was a false alarm."""

    def interrupt(self, reason: str = "voice") -> str:
        """Stop at once, with the answer behind it. Return what was heard of it; "" without one.

        `reason`: voice, user, typing or replaced.
        """
        return ""

    def drop(self) -> None:
        """Speak no more of the answer; the history keeps all of it."""


class SessionFacts(Protocol):
    """The session as its parts read it."""

    @property
    def id(self) -> str: ...
    @property
    def limits(self) -> SessionLimits: ...

    # What all sessions share
    @property
    def services(self) -> SessionServices: ...
    @property
    def camera(self) -> Camera: ...

    # Parts use further sections of its offers, such as a microphone's.
    @property
    def lines(self) -> list[Line]: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def requests(self) -> RequestBuilder: ...
    @property
    def history(self) -> History: ...

    # They end with the session.
    @property
    def tasks(self) -> TaskSet: ...
    @property
    def held(self) -> Frame | None:
        """The frame that the person holds; None without one."""

    @property
    def asking(self) -> bool:
        """True while a question waits or runs."""

    @property
    def speech(self) -> SpeechOutput:
        """The speech of its answers."""

    @property
    def behind(self) -> bool:
        """True while some of the answer that is spoken is still to be heard."""

    @property
    def source(self) -> AlertSource:
        """The session, as alerts name it."""

    def part(self, feature: str) -> Any:
        """Return another feature's part that was made before; None without it."""


class SessionActions(Protocol):
    """The actions of a session that its parts may call."""

    def touch(self) -> None:
        """Mark activity, which keeps the session alive."""

    def send_error(self, error: QwenCameraError, id: str | None = None) -> None:
        """Count an error, and send it to the client; its id names what it is about."""

    def report(self) -> None:
        """Send the session's state."""

    def set_speech(self, speech: SpeechOutput) -> None:
        """Speak answers through this speaker."""

    def on_interrupted(self, id: str, heard: str, reason: str) -> None:
        """Note that the speech of an answer was stopped, and what of it was heard."""

    def ask(self, message: Chat, spoken: Spoken | None = None) -> None:
        """Ask a question, in place of the running one."""

    def expect(self, frame: Frame | None) -> None:
        """Tell all parts that a question is expected, about a frame that is already known or None."""

    def wants_changed(self) -> None:
        """Ask the parts anew which frames they want."""

    def publish_alert(self, alert: Alert) -> None:
        """Tell all parts of an alert."""

    def publish_sound_event(self, at: float) -> None:
        """Tell all parts of a sound of the scene that stands out, from this monotonic time on."""


class SessionContext(SessionFacts, SessionActions, Protocol):
    """A session, as its parts know it."""


class QuestionRoute(Protocol):
    """One way to find the answer to a question."""

    # A picture of the frame is made before; False: it makes its own.
    prepares: bool

    async def run(self, asking: Asking, draft: Draft) -> None:
        """Submit the draft for a question that has its publisher; or ask until it ends, and take its looks.

        Raises QwenCameraError.
        """
        ...


# Gets the session's own camera's frame of a question, and True for a held one.
OwnFrame = Callable[[], Awaitable[tuple[Frame, bool]]]


class FrameSource(Protocol):
    """Gets the frames of questions, in place of the one of the session's own camera."""

    async def views(
        self, question: Question, needs: Capabilities, own: OwnFrame, waits: Callable[[], None]
    ) -> tuple[View, ...]:
        """Wait for the frames, of which the last one is the request's own. Raises QwenCameraError."""
        ...


class SessionPart:
    """A feature's part of one session. What a feature does not override does nothing.

    All methods are called on the event loop.
    """

    # What acts on each of its messages; raises QwenCameraError, which goes back to the client. One for
    # a class of `Settings` gets each settings message.
    handlers: Mapping[type[ClientMessage], Callable[[Any], None]] = {}
    # The ways of questions that it adds
    routes: Mapping[QuestionMode, QuestionRoute] = {}
    # The orders that it carries out, which may be typed, too: each returns True where it can be now, with its condition. One
    # that no part takes is a question.
    orders: Mapping[VoiceCommand, Callable[[str], bool]] = {}

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools that a model may call for the person, who has agreed. The same ones for long: each prompt begins with them."""
        return ()

    @property
    def cameras(self) -> Sequence[Camera]:
        """The cameras that it has beside the session's own."""
        return ()

    @property
    def slots(self) -> Sequence[str]:
        """The names of slots of MAX_SESSIONS that it holds beside the session's."""
        return ()

    @property
    def frame_source(self) -> FrameSource | None:
        """The part that gets the frames of the next question; None: they are of the session's own camera."""
        return None

    async def picture_for(self, view: View, needs: Capabilities) -> Prepared | None:
        """Return the picture of a question to an engine with these capabilities; None to have a new one made.

        Raises FrameWithheld.
        """
        return None

    def question_expected(self, frame: Frame | None) -> None:
        """Note that somebody types or says a question; None: its frame is not known yet."""

    def question_sent(self, request: EngineRequest) -> None:
        """Note that an engine gets the request of a question."""

    def prompt_lost(self) -> None:
        """Note that the next prompt does not begin as the last one: its answer failed, or one was deleted."""

    def become_fixed(self) -> bool:
        """Belong to a fixed camera, whose operator decides, not a person. Returns False to be left out there."""
        return False

    def ready(self) -> dict[str, Any]:
        """Return what the page needs to know of it from the start."""
        return {}

    def greet(self) -> None:
        """Send the first messages: to a new socket, and again when the engine changes."""

    def on_reported(self) -> None:
        """Send what goes with the session's state, which has changed and was just sent."""

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket of the session is open."""

    def on_sound_event(self, at: float) -> None:
        """Take the beginning of a sound that is no speech, at a time in monotonic seconds."""

    def on_alert(self, alert: Alert) -> None:
        """Take an alert of the session's watches."""

    def clear(self) -> None:
        """Drop what is kept of the recent past."""

    def cancel(self, id: str | None) -> None:
        """Give up what would become the question of this id; None: any."""

    def stop(self) -> None:
        """Take no more, and free everything at once: the session ends. `close` waits for the rest."""

    async def close(self) -> None:
        """End what runs. Called once or twice."""


class BackgroundPart(SessionPart, ABC):
    """A part that gets the frames of the camera, to ask or to keep by itself."""

    @property
    @abstractmethod
    def wanted(self) -> bool:
        """True while it wants frames. After a change it calls `wants_changed`."""

    @property
    def working(self) -> bool:
        """True while it needs them as often as FRAME_SAMPLE_RATE, so that the camera idles less."""
        return False

    @property
    def unattended(self) -> bool:
        """True when it works on while no socket is open."""
        return False

    @property
    def alert(self) -> bool:
        """True while it wants the frames between the sampled ones as well, soon after each other."""
        return False

    @abstractmethod
    def frame(self, frame: Frame) -> None:
        """Take a sampled frame of a live camera."""

    def between(self, frame: Frame) -> None:
        """Take a frame of a live camera that was not sampled."""

    def new_stream(self) -> None:
        """Note that another connection sends: its frames are not comparable with earlier ones."""

    def retry(self) -> None:
        """Ask soon, because what failed may succeed now."""


# Makes a feature's part of a new session
MakePart = Callable[[SessionContext], SessionPart]


# The sockets whose clients have given the operator token, and what features send to them.


class OperatorPart(Protocol):
    """A feature's messages to operators. Called on the event loop."""

    def join(self, outbox: Outbox) -> None:
        """Send to an operator from now on; one who joins again gets all anew."""
        ...

    def leave(self, outbox: Outbox) -> None:
        """Send nothing more, and drop what waits: another client may read this outbox next."""
        ...


class Operators:
    """Operators' sockets, and the outbox of each, which has the operator's texts meanwhile.

    Bounds of operators' sockets: those that are open.
    """

    def __init__(self) -> None:
        self.parts: list[OperatorPart] = []
        # By socket, so that a session's next socket gets none of it
        self._outboxes: dict[object, Outbox] = {}

    def __len__(self) -> int:
        return len(self._outboxes)

    def join(self, socket: object, outbox: Outbox) -> None:
        """Add a socket. Joining again sends all messages again."""
        self._outboxes[socket] = outbox
        outbox.operator = True
        for part in self.parts:
            part.join(outbox)

    def leave(self, socket: object) -> None:
        """Remove a socket. Does nothing for one that never joined."""
        outbox = self._outboxes.pop(socket, None)
        if outbox is None or any(one is outbox for one in self._outboxes.values()):
            return
        outbox.operator = False
        for part in self.parts:
            part.leave(outbox)

    def dismiss(self, outbox: Outbox) -> None:
        """Remove all sockets of an outbox, because another socket without the token reads it from now on."""
        for socket in [socket for socket, one in self._outboxes.items() if one is outbox]:
            self.leave(socket)


@dataclass(frozen=True, slots=True)
class SessionFeatures:
    """The features that are on, by their names, as sessions know them."""

    on: list[str] = field(default_factory=list)
    makers: dict[str, MakePart] = field(default_factory=dict)


class FeatureParts:
    """All parts that features have made for one session. Without parts until `make`.

    The camera's sampled frames go to those that want them while a client listens, and its rate is set for them.
    """

    def __init__(
        self,
        id: str,
        features: SessionFeatures,
        camera: Camera,
        sample_rate: float,
    ) -> None:
        """`sample_rate`: frames per second, when the client has chosen none."""
        self.source = AlertSource(id)
        self._features = features
        self._camera = camera
        self._requests: RequestBuilder
        self._sample_rate = sample_rate
        self._parts: dict[str, SessionPart] = {}
        self.routes: dict[QuestionMode, QuestionRoute] = {}
        # Of a fixed camera, whose operator decides; else None
        self._on_alert: Callable[[Alert], None] | None = None
        self._connected = True
        # Those that get frames now, and those of them that get the frames between
        self._active: list[BackgroundPart] = []
        self._alert: list[BackgroundPart] = []
        camera.on_stream.append(self._new_stream)

    def __iter__(self) -> Iterator[SessionPart]:
        return iter(self._parts.values())

    def make(self, context: SessionContext) -> None:
        """Make the parts, in the order in which the features have registered."""
        self._requests = context.requests
        for name, make in self._features.makers.items():
            self._parts[name] = part = make(context)
            self.routes.update(part.routes)

    def become_fixed(self, on_alert: Callable[[Alert], None], camera: str) -> None:
        """Belong to a fixed camera: no person chooses here. `on_alert` gets its alerts."""
        self._parts = {name: part for name, part in self._parts.items() if part.become_fixed()}
        self._on_alert = on_alert
        self.source = AlertSource(self.source.id, camera)

    def find(self, feature: str) -> Any:
        """Return a feature's part; None where it has none."""
        return self._parts.get(feature)

    def tools(self) -> list[Tool]:
        """Return what models may call; nothing for a fixed camera, at which no person asks."""
        if self._on_alert is not None:
            return []
        return [tool for part in self for tool in part.tools]

    def handles_command(self, order: VoiceCommand, condition: str) -> bool:
        """Return True for an order that a part carries out."""
        return any(part.orders[order](condition) for part in self if order in part.orders)

    def frame_source(self) -> FrameSource | None:
        """Return what gets the frames of the next question; None for the session's own camera's."""
        found = (part.frame_source for part in self)
        return next((one for one in found if one is not None), None)

    async def picture_for(self, view: View, needs: Capabilities) -> Prepared:
        """Return a part's picture of a question, else a new one. Raises FrameWithheld."""
        for part in self:
            if (found := await part.picture_for(view, needs)) is not None:
                return found
        return Prepared(await self._requests.prepare(view, needs), needs)

    def expect(self, frame: Frame | None) -> None:
        for part in self:
            part.question_expected(frame)

    def ready(self) -> dict[str, dict[str, Any]]:
        """Return the names of the features that are on, each with what the page needs to know of it."""
        return {
            name: part.ready() if (part := self._parts.get(name)) is not None else {}
            for name in self._features.on
        }

    def handle(self, message: ClientMessage) -> None:
        """Have the feature act that knows the message. Raises what it raises, Conflict for none."""
        for part in self:
            if (handle := part.handlers.get(type(message))) is not None:
                handle(message)
                return
        raise Conflict("This session does not take such a message: it has a fixed camera.")

    def configure(self, message: wire.Settings) -> None:
        """Give a settings message to each part that has settings."""
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
        """Stop all parts, which get no more frames; a failure skips nothing."""
        self._connected = False
        listen(self._camera.on_sample, self._frame, False)
        listen(self._camera.on_between, self._between, False)
        with ExitStack() as stack:
            for part in self:
                stack.callback(part.stop)

    async def close(self) -> None:
        """End all parts; a failure skips nothing."""
        async with AsyncExitStack() as stack:
            for part in self:
                stack.push_async_callback(part.close)

    # Frames of the camera

    @property
    def _background(self) -> list[BackgroundPart]:
        return [part for part in self if isinstance(part, BackgroundPart)]

    def wants_changed(self) -> None:
        """Apply the wishes of all parts. To be called when one of them or a setting has changed."""
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
            # A chosen rate is not exceeded.
            alert=chosen is None and bool(self._alert),
        )
        listen(self._camera.on_sample, self._frame, bool(self._active))
        listen(self._camera.on_between, self._between, bool(self._alert))

    @property
    def unattended(self) -> bool:
        """True while a part works on without a socket."""
        return any(part.wanted and part.unattended for part in self._background)

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket is open: without one only unattended parts get frames."""
        for part in self:
            part.set_connected(connected)
        self._connected = connected
        self.wants_changed()

    def retry(self) -> None:
        for part in self._background:
            part.retry()

    def _frame(self, frame: Frame) -> None:
        for part in list(self._active):
            if part in self._active:
                part.frame(frame)

    def _between(self, frame: Frame) -> None:
        for part in list(self._alert):
            part.between(frame)

    def _new_stream(self) -> None:
        for part in self._background:
            part.new_stream()
