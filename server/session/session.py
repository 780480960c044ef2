"""One visitor: takes the client's messages and settings, and sends the state of the session back.

Everything here is called on the event loop. `session_parts.py` builds the parts that do the work.
Questions and holds run as tasks of the session. Its history and its held frame live in RAM and end
with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

from server.access.request_order import Attempts
from server.core import messages as wire
from server.core.alert import Alert
from server.core.errors import QwenCameraError
from server.session import state_messages
from server.session.feature_parts import SessionFeatures
from server.session.request.allowance import Allowance
from server.session.request.preferences import Preferences
from server.session.request.session_tools import SessionLimits, SessionTools
from server.session.session_parts import SessionParts
from server.session.session_state import SessionState, first_state

# The fields of a settings message that the core keeps
_PREFERENCES = {field.name for field in fields(Preferences)}


class Session:
    """One visitor's session. `touch` keeps it alive; `close` frees all that it holds."""

    def __init__(
        self,
        id: str,
        limits: SessionLimits,
        tools: SessionTools,
        features: SessionFeatures | None = None,
    ) -> None:
        self.id = id
        self.last_activity = time.monotonic()
        # Seconds since the epoch
        self.began_at = time.time()
        self._state = first_state()
        self._limits = limits
        self._tools = tools
        self._parts = parts = SessionParts(
            id,
            limits,
            tools,
            features or SessionFeatures(),
            send_error=self.send_error,
            touch=self.touch,
            on_status=self._status_changed,
        )
        self.camera, self.cameras = parts.camera, parts.cameras
        self.outbox, self.sent_pictures = parts.outbox, parts.sent_pictures
        self.voice, self.speaking = parts.voice, parts.speaking
        # Finds a feature's part by its name; None where it has none
        self.part = parts.features.find
        # The newest attempts of each page for offers and sockets.
        self.offers, self.sockets = Attempts(), Attempts()
        self.camera.on_sender = self._send_sender

    def touch(self) -> None:
        self.last_activity = time.monotonic()

    @property
    def state(self) -> SessionState:
        return self._state.now

    def use(self) -> None:
        """Note that it has a socket or an answered offer. Raises RuntimeError after its end."""
        if self.state is not SessionState.USED:
            self._state.to(SessionState.USED)

    def end(self) -> None:
        """Take nothing from now on; `close` frees the rest. Raises RuntimeError at a second end."""
        self._state.to(SessionState.ENDED)

    def stand(self, engines: Sequence[str], on_alert: Callable[[Alert], None], camera: str) -> None:
        """Belong to a camera of the house: it describes without a socket, too.

        `engines`: other machines that may get its pictures, as the operator's list says.
        `on_alert`: called with each alert of its watches, as those of `camera`.
        """
        self._parts.requests.consent.allow(engines)
        self._parts.features.stand(on_alert, camera)

    @property
    def offered(self) -> bool:
        """True while any of its cameras is connected or connecting."""
        return any(camera.offered for camera in self.cameras.all)

    @property
    def last_picture(self) -> float:
        """Monotonic time of the newest picture of any camera, or since which there is none."""
        return max(camera.last_picture for camera in self.cameras.all)

    @property
    def allowance(self) -> Allowance:
        """The counts of its requests."""
        return self._parts.requests.allowance

    @property
    def waits_for_frame(self) -> bool:
        """True while a question is not in the queue yet."""
        return self._parts.questions.waits_for_frame

    @property
    def answering(self) -> bool:
        """True while a question waits, runs or is spoken."""
        return self._parts.questions.running or self.speaking.audible

    # Messages in

    def handle(self, message: wire.ClientMessage) -> None:
        """Act on a client's message; errors go back as messages. Does nothing after the end."""
        if self.state is SessionState.ENDED:
            return
        # A ping shows that the connection lives, not that a person is there.
        if not isinstance(message, wire.Ping):
            self.touch()
        parts = self._parts
        try:
            match message:
                case wire.Chat():
                    parts.questions.ask(message)
                case wire.CorrectTranscript():
                    parts.questions.correct(message)
                case wire.Cancel():
                    if message.id in (None, self.speaking.id):
                        self.speaking.stop("user")
                    parts.listening.cancel(message.id)
                    parts.questions.cancel(message.id, "user")
                case wire.Hold():
                    parts.questions.hold()
                case wire.Release():
                    parts.questions.release()
                    self._status_changed()
                case wire.Settings():
                    self._set(message)
                case wire.ClearRecall():
                    parts.features.clear()
                    self.sent_pictures.clear()
                case wire.DeleteAnswer():
                    if message.id in (None, self.speaking.id):
                        self.speaking.stop("user")
                    parts.questions.drop(message.id)
                case wire.Typing():
                    if self.speaking.audible:
                        self.speaking.stop("typing")
                    parts.questions.typing()
                case wire.SpeechProgress():
                    self.speaking.page_read(message)
                case wire.PushToTalk():
                    parts.listening.push(message.down)
                case wire.Ping():
                    self.outbox.put(wire.Pong(at=time.time() * 1000))
                case wire.Confirm():
                    self._confirm(message.host)
                case wire.Auth() | wire.Operator():
                    pass  # The socket handles them.
                case _:
                    parts.features.handle(message)
        except QwenCameraError as error:
            self.send_error(error, getattr(message, "id", None) if message.named else None)

    def _confirm(self, host: str) -> None:
        engine, consent = self._tools.current_engine(), self._parts.requests.consent
        given = consent.given(engine) and consent.sound_given
        consent.give(engine, host)
        if not given:
            self.engine_changed()

    def send_error(self, error: QwenCameraError, id: str | None = None) -> None:
        """Count an error and send it to the client."""
        self._tools.metrics.errors.labels(error.code).inc()
        self.outbox.put(wire.Error.of(error, id))

    # Settings

    def _set(self, message: wire.Settings) -> None:
        given = message.model_dump(include=_PREFERENCES, exclude_none=True)
        parts = self._parts
        was = parts.requests.preferences
        parts.requests.preferences = now = replace(was, **given)
        parts.features.configure(message)
        parts.background.changed()
        parts.stills.want(now.stills)
        if was.speak != now.speak:
            if now.speak:
                parts.requests.consent.give_voice()
            self.speaking.wanted = now.speak
        if message.cameras is not None:
            self.cameras.choose(message.cameras)
        # Last, because it may be refused.
        if message.microphone is not None or message.silence_ms is not None:
            parts.listening.set(now.microphone, now.silence_ms / 1000)

    # Messages out

    def engine_changed(self) -> None:
        """Greet the client again with another engine, and try again what the one before may have failed at."""
        self._parts.background.retry()
        self.greet()

    def greet(self) -> None:
        """Send the first messages of a socket; they are sent again when the engine changes."""
        self.outbox.put(
            state_messages.ready(
                session_id=self.id,
                began_at=self.began_at,
                engine=self._tools.current_engine(),
                limits=self._limits,
                tools=self._tools,
                requests=self._parts.requests,
                held=self._parts.questions.held,
            ).model_copy(update={"features": self._parts.features.ready()})
        )
        self._send_sender(None)
        self._status_changed()
        self._parts.features.greet()
        self.cameras.greet()

    def _status_changed(self) -> None:
        if self.cameras.several:
            self.cameras.report()
        self.outbox.put(
            state_messages.status(
                camera=self.camera,
                engine=self._tools.current_engine(),
                queue_depth=sum(self._tools.inference.depth().values()),
                held=self._parts.questions.held,
            )
        )
        self._parts.features.reported()

    def _send_sender(self, wake_ms: int | None) -> None:
        if not self.camera.steered:
            return  # another device sends at its own rate, and the page has nothing to apply it to
        self.outbox.put(self.camera.sender(wake_ms))

    # End

    def socket_opened(self) -> None:
        self.use()
        self.touch()
        self._parts.socket_opened()

    def socket_closed(self) -> None:
        """Stop the work that needs a listener; history and settings stay."""
        self._parts.socket_closed()

    async def close(self, reason: str) -> None:
        """Stop and forget everything; a failure skips nothing. Safe to call more than once."""
        if self.state is not SessionState.ENDED:
            self.end()
        await self._parts.close(reason)
