"""One session: the client's messages and settings, its parts, and its state.

Call everything here on the event loop. Questions and holds are tasks of the session. History and held
frame are in memory only, and end with the session.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Protocol

from server.core import messages as wire
from server.core.aio import Bucket, TaskSet
from server.core.errors import BadRequest, Conflict, QwenCameraError
from server.core.frames import Frame
from server.media.camera import Camera
from server.session.part import Alert, AlertSource, FeatureParts, SessionFeatures, SpeechOutput
from server.session.questions import QuestionService
from server.session.reporting import StateReporter
from server.session.request.answers import Toolbox
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.parts import (
    History,
    Preferences,
    SessionLimits,
    SessionServices,
    Spoken,
)
from server.session.request.sent_pictures import SentPictures
from server.webrtc_server import Line

# Maximum number of pages of one session whose newest attempt is stored
MAX_PAGES = 8
MAX_NUMBER = 2**31 - 1
SOCKETS_PER_MINUTE = 8
# The id of a page, and the number of an attempt
_ATTEMPT = re.compile(r"([A-Za-z0-9_-]{1,32}) ([0-9]{1,10})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The `number`th attempt of the page with id `page`."""

    page: str
    number: int

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Attempt | None:
        """Return the attempt in a query, or None if there is none. Raises BadRequest."""
        if query.keys().isdisjoint(("page", "attempt")):
            return None
        found = _ATTEMPT.fullmatch(f"{query.get('page', '')} {query.get('attempt', '')}")
        if found is not None and 1 <= int(found[2]) <= MAX_NUMBER:
            return cls(found[1], int(found[2]))
        raise BadRequest(
            "page and attempt are invalid. page: a name of up to 32 letters, digits, _ and -; attempt: a number from 1 to"
            f" {MAX_NUMBER} that grows. Give both or neither."
        )


class Attempts:
    """The attempts of one kind (offers or sockets) in one session. Clients that send no numbers are never refused.

    Bounds of newest attempts of a session's pages: 8 pages; the least recently seen is dropped.
    """

    def __init__(self) -> None:
        # Maps page to the lowest number that is not outdated; the last seen page is last
        self._least: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._least)

    def take(self, attempt: Attempt | None) -> None:
        """Begin an attempt, which outdates earlier ones. It may arrive twice, because browsers repeat requests.

        Raises Conflict for an outdated attempt.
        """
        self._note(attempt, 0)

    def end(self, attempt: Attempt | None) -> None:
        """End an attempt, which outdates it. Raises Conflict if a newer attempt has begun."""
        self._note(attempt, 1)

    def check(self, attempt: Attempt | None) -> None:
        """Raise Conflict for an outdated attempt."""
        if attempt is not None and attempt.number < self._least.get(attempt.page, 0):
            raise Conflict(
                "This attempt is outdated: its page has begun a newer one, or ended it. Nothing was changed."
            )

    def _note(self, attempt: Attempt | None, more: int) -> None:
        self.check(attempt)
        if attempt is not None:
            self._least[attempt.page] = attempt.number + more
            self._least.move_to_end(attempt.page)
            if len(self._least) > MAX_PAGES:
                self._least.popitem(last=False)


# The fields of a settings message that the core stores
_PREFERENCES = {field.name for field in fields(Preferences)}


class Socket(Protocol):
    """The socket of a session, one at a time."""

    def close_soon(self, code: int, reason: str) -> None: ...


class SessionState(StrEnum):
    """The state of a session. `new`: it has not had a socket or an answered offer."""

    NEW = "new"
    USED = "used"
    ENDED = "ended"


class Session:
    """One session and all its parts. `touch` keeps it alive; `close` releases it."""

    def __init__(
        self,
        id: str,
        limits: SessionLimits,
        services: SessionServices,
        features: SessionFeatures,
    ) -> None:
        self.id = id
        self.last_activity = time.monotonic()
        # Seconds since the epoch
        self.began_at = time.time()
        self.state = SessionState.NEW
        # Set by `SessionManager`: the time at which the access code was entered, seconds since the epoch
        self.since = int(time.time())
        # Name of the paired device; "" if there is none
        self.device = ""
        # None while no socket is open
        self.socket: Socket | None = None
        # Number of offers being answered
        self.pending_offers = 0
        # True for a fixed camera, which needs no page and lasts as long as the server
        self.fixed = False
        self.limits, self.services = limits, services
        metrics = services.metrics
        self.camera = Camera(sample_rate=limits.sample_rate, metrics=metrics)
        self.outbox = Outbox(on_drop=metrics.messages_dropped.inc)
        # Additional media sections of its own camera's connections
        self.lines: list[Line] = []
        self.history = History()
        self.tasks = TaskSet("session")
        self.features = FeatureParts(id, features, self.camera, limits.sample_rate)
        toolbox = Toolbox(self.features.tools, lambda fate: metrics.tool_calls.labels(fate).inc())
        self.requests = RequestBuilder(id, limits, services, self.history, toolbox.forms)
        self.sent_pictures = SentPictures(
            lambda what, number: metrics.sent_pictures.labels(what).inc(number)
        )
        # Output of spoken answers
        self.speech = SpeechOutput()
        self._reporter = StateReporter(self, self.features, self.began_at)
        self.questions = QuestionService(self, self.features, self.sent_pictures, toolbox)
        self.features.make(self)
        # The newest attempts of each page
        self.offers, self.sockets = Attempts(), Attempts()
        # Rate limit of its sockets
        self.gate = Bucket(SOCKETS_PER_MINUTE / 60, SOCKETS_PER_MINUTE, time.monotonic())
        self.camera.on_status.append(self.report)
        self.camera.on_sender.append(self._reporter.send_sender)

    def touch(self) -> None:
        self.last_activity = time.monotonic()

    def use(self) -> None:
        """Mark the session as used by a socket or an answered offer. Raises RuntimeError after its end."""
        self._become(SessionState.USED)

    def end(self) -> None:
        """End the session; `close` releases the rest. Raises RuntimeError if it has already ended."""
        self._become(SessionState.ENDED)

    def _become(self, state: SessionState) -> None:
        if self.state is SessionState.ENDED:
            raise RuntimeError("this session has ended")
        self.state = state

    def become_fixed(
        self, engines: Sequence[str], on_alert: Callable[[Alert], None], camera: str
    ) -> None:
        """Become the session of a fixed camera, which works without a socket.

        `engines`: other machines that may get its pictures, from the operator's list.
        `on_alert`: called with each alert of its watches. `camera`: its name.
        """
        self.requests.consent.become_fixed(
            engines, f'Add it to "engines" of {camera} in the list of cameras.'
        )
        self.features.become_fixed(on_alert, camera)

    @property
    def cameras(self) -> list[Camera]:
        """Its own camera and the features' cameras."""
        return [self.camera, *(camera for part in self.features for camera in part.cameras)]

    @property
    def slots(self) -> list[str]:
        """Names of its slots of MAX_SESSIONS."""
        return [self.id, *(slot for part in self.features for slot in part.slots)]

    @property
    def offered(self) -> bool:
        """True while any of its cameras is connected or connecting."""
        return any(camera.offered for camera in self.cameras)

    @property
    def last_picture(self) -> float:
        """Monotonic time of the newest picture of any camera; if there is none, the time since when there is none."""
        return max(camera.last_picture for camera in self.cameras)

    # The interface for parts: see `SessionFacts` and `SessionActions`

    def part(self, feature: str) -> Any:
        return self.features.find(feature)

    @property
    def held_frame(self) -> Frame | None:
        return self.questions.held_frame

    @property
    def has_running_question(self) -> bool:
        return self.questions.state.running is not None

    @property
    def is_playing_back(self) -> bool:
        return self.speech.is_playing_back

    @property
    def source(self) -> AlertSource:
        return self.features.source

    @property
    def away_seconds(self) -> float:
        return self.features.away_seconds

    def set_speech(self, speech: SpeechOutput) -> None:
        self.speech = speech

    def on_interrupted(self, id: str, heard: str, reason: str) -> None:
        self.questions.on_interrupted(id, heard, reason)

    def ask(self, message: wire.Chat, spoken: Spoken | None = None) -> None:
        self.questions.ask(message, spoken)

    def expect(self, frame: Frame | None) -> None:
        self.features.expect(frame)

    def wants_changed(self) -> None:
        self.features.wants_changed()

    def publish_alert(self, alert: Alert) -> None:
        self.features.publish_alert(alert)

    def publish_sound_event(self, at: float) -> None:
        for part in self.features:
            part.on_sound_event(at)

    @property
    def answering(self) -> bool:
        """True while a question waits, runs or is spoken."""
        return self.has_running_question or self.speech.audible

    # Messages from the client

    def handle(self, message: wire.ClientMessage) -> None:
        """Handle a client's message; send errors as messages. Do nothing after the end."""
        if self.state is SessionState.ENDED:
            return
        # A ping proves the connection, not the presence of a person.
        if not isinstance(message, wire.Ping):
            self.touch()
        try:
            match message:
                case wire.Settings():
                    self._set(message)
                case wire.ClearRecall():
                    for part in self.features:
                        part.clear()
                    self.sent_pictures.clear()
                case wire.Ping():
                    self.outbox.put(wire.Pong(at=time.time() * 1000))
                case wire.Confirm():
                    # Several machines are separated by commas, as in `ready`.
                    if self.requests.consent.give(message.host.split(", "), message.feature):
                        self.engine_changed()
                case wire.Auth() | wire.Operator():
                    pass  # Handled by the socket
                case _:
                    if not self.questions.handle(message):
                        self.features.handle(message)
        except QwenCameraError as error:
            self.send_error(error, getattr(message, "id", None) if message.named else None)

    def send_error(self, error: QwenCameraError, id: str | None = None) -> None:
        """Count an error and send it to the client."""
        self.services.metrics.errors.labels(error.code).inc()
        self.outbox.put(wire.Error.of(error, id))

    def _set(self, message: wire.Settings) -> None:
        given = message.model_dump(include=_PREFERENCES, exclude_none=True)
        self.requests.preferences = replace(self.requests.preferences, **given)
        if message.screen is not None:
            self.camera.screen = message.screen
        try:
            # A part may reject its settings.
            self.features.configure(message)
        finally:
            self.features.wants_changed()

    # Messages to the client

    def engine_changed(self) -> None:
        """Send `ready` again after a change of engine, and retry failed background work."""
        self.features.retry()
        self.greet()

    def greet(self) -> None:
        self._reporter.greet()

    def report(self) -> None:
        self._reporter.report()

    # End

    def socket_opened(self) -> None:
        """Start the work that needs a connected client."""
        self.use()
        self.touch()
        self.camera.measures_scenes = True
        self.features.set_connected(True)

    def socket_closed(self) -> None:
        """Stop the work that needs a connected client; history and settings stay."""
        self.speech.drop()
        self.questions.state.cancel(None, "socket_closed")
        self.services.inference.cancel_session(self.id, "socket_closed")
        self.features.set_connected(False)
        # Unattended parts need the camera's measurements, such as darkness.
        self.camera.measures_scenes = self.features.unattended

    async def close(self, reason: str) -> None:
        """Stop and release everything, even if a step fails. Safe to call more than once."""
        if self.state is not SessionState.ENDED:
            self.end()
        async with AsyncExitStack() as stack:
            # Callbacks run in reverse order.
            stack.callback(self.outbox.close)
            stack.push_async_callback(asyncio.sleep, 0)
            stack.push_async_callback(self.tasks.close)
            stack.callback(self._forget)
            for line in self.lines:
                stack.callback(line.close)
            stack.callback(self.camera.close)
            stack.callback(self.services.inference.cancel_session, self.id, reason)
            stack.callback(self.questions.state.cancel, None, reason)
            stack.push_async_callback(self.features.close)
            stack.callback(self.features.stop)

    def _forget(self) -> None:
        self.questions.forget()
        self.history.clear()
        self.sent_pictures.clear()
