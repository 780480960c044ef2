"""A feature's part of one session, and what parts may use of the session."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from server.core.aio import TaskSet
from server.core.alert import Alert, AlertSource
from server.core.errors import QwenCameraError
from server.core.frames import Frame, Route
from server.core.messages.base import ClientMessage
from server.core.messages.from_client import Chat
from server.media.camera import Camera
from server.media.sound.line import VoiceLine
from server.media.sound.pcm import VoiceChunk
from server.models.base import Capabilities
from server.models.order_words import Order
from server.session.request.answers import PendingQuestion, Shot, Spoken
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.parts import (
    History,
    Prepared,
    RequestOptions,
    SessionLimits,
    SessionTools,
    View,
)
from server.session.request.picture_reuse import PictureReuse
from server.session.request.tools import Tool


class Speaker:
    """The speech of a session's answers, one at a time. This one is silent; a feature's takes its place."""

    def __init__(self) -> None:
        # Called with the id and the heard part of an answer that was interrupted, and the reason
        self.on_stopped: Callable[[str, str, str], None] = lambda *_: None

    @property
    def id(self) -> str:
        """The id of the question whose answer is spoken; "" without one."""
        return ""

    @property
    def can_play(self) -> bool:
        """True when speech is wanted, and a connection takes it."""
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

    def interrupt(self, reason: str = "voice") -> str:
        """Stop at once, with the answer behind it. Return what was heard of it; "" without one.

        `reason`: voice, user, typing or replaced.
        """
        return ""

    def drop(self) -> None:
        """Speak no more of the answer; the history keeps all of it."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """The things that parts of one session share."""

    id: str
    limits: SessionLimits
    # What all sessions share
    tools: SessionTools
    camera: Camera
    # Its microphone and loudspeaker
    line: VoiceLine
    outbox: Outbox
    requests: RequestBuilder
    history: History
    # They end with the session.
    tasks: TaskSet
    # Marks activity, which keeps the session alive
    touch: Callable[[], None]
    # Counts an error, and sends it to the client; its id names what it is about
    send_error: Callable[[QwenCameraError, str | None], None]
    # Sends the session's state
    report: Callable[[], None]
    # Returns the frame that the person holds
    held: Callable[[], Frame | None]
    # True while a question waits or runs
    answering: Callable[[], bool]
    # True while some of the answer that is spoken is still to be heard
    behind: Callable[[], bool]
    # Has answers spoken
    speak_with: Callable[[Speaker], None]
    # Asks a question, in place of the running one
    ask: Callable[[Chat, Spoken | None], None]
    # Sends pictures ahead of questions
    reuse: PictureReuse
    # Finds another feature's part that was made before by the feature's name; None without it
    part: Callable[[str], Any]
    # To be called when a `BackgroundPart` wants more or fewer frames
    wants_changed: Callable[[], None]
    # The session, as alerts name it
    source: Callable[[], AlertSource]
    # Tells all parts of an alert
    alerted: Callable[[Alert], None]
    # Tells all parts when a sound of the scene begins that stands out, in monotonic seconds
    sounded: Callable[[float], None]


class QuestionRoute(Protocol):
    """One way to find the answer to a question."""

    # A picture of the frame is made before; False: it makes its own.
    prepares: bool

    async def run(
        self,
        pending: PendingQuestion,
        view: View,
        prepared: Prepared | None,
        options: RequestOptions,
    ) -> None:
        """Queue the question, which has its sink, and set its job; or ask until it ends, and set what stops it.

        Raises QwenCameraError.
        """
        ...


# Gets the session's own camera's frame of a question, and True for a held one.
OwnFrame = Callable[[PendingQuestion], Awaitable[tuple[Frame, bool]]]


class Shooter(Protocol):
    """Gets the frames of questions, in place of the one of the session's own camera."""

    async def shots(
        self,
        pending: PendingQuestion,
        needs: Capabilities,
        own: OwnFrame,
        waits: Callable[[], None],
    ) -> tuple[Shot, ...]:
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
    routes: Mapping[Route, QuestionRoute] = {}

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

    def takes(self, order: Order, condition: str) -> bool:
        """Find whether an order is its own: it may be typed, too, and one of features is a question without it."""
        return False

    @property
    def shooter(self) -> Shooter | None:
        """What gets the frames of the next question; None: they are of the session's own camera."""
        return None

    def fixed(self) -> bool:
        """Belong to a fixed camera, whose operator decides, not a person. Returns False to be left out there."""
        return False

    def ready(self) -> dict[str, Any]:
        """Return what the page needs to know of it from the start."""
        return {}

    def greet(self) -> None:
        """Send the first messages: to a new socket, and again when the engine changes."""

    def reported(self) -> None:
        """Send what goes with the session's state, which has just been sent."""

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket of the session is open."""

    def sounded(self, at: float) -> None:
        """Take the beginning of a sound that is no speech, at a time in monotonic seconds."""

    def alerted(self, alert: Alert) -> None:
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
