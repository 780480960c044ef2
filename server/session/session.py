"""One visitor: joins the camera, the questions, the running description and the messages back.

Everything here is called on the event loop. Questions and holds run as tasks of the session. Its
history and its held frame live in RAM and end with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import replace

from server.access.request_order import Attempts
from server.attention.attention import Attention
from server.camera.camera import Camera
from server.core import messages as wire
from server.core.aio import TaskSet
from server.core.errors import QwenCameraError
from server.session import state_messages
from server.session.aiming import Aiming
from server.session.background.background import Background
from server.session.background.live_description import LiveDescription
from server.session.background.recalling import Recalling
from server.session.handing_over import HandingOver
from server.session.listening.listening import Listening
from server.session.listening.recognising import Recognising
from server.session.questions.questions import Questions
from server.session.request.allowance import Allowance
from server.session.request.builder import RequestBuilder
from server.session.request.history import History
from server.session.request.outbox import Outbox
from server.session.request.picture_reuse import PictureReuse
from server.session.request.sent_pictures import SentPictures
from server.session.request.session_tools import SessionLimits, SessionTools
from server.session.session_state import SessionState, first_state
from server.session.speech.speaking import Speaking
from server.session.stills import Stills
from server.session.watches.watching import Watching
from server.voice.line import VoiceLine

log = logging.getLogger(__name__)

# An error of these messages has their id.
_NAMED = (wire.Correct, wire.Watch, wire.Unwatch, wire.Heard, wire.Wrong)


class Session:
    """One visitor's session. `touch` keeps it alive; `close` frees all that it holds."""

    def __init__(self, id: str, limits: SessionLimits, tools: SessionTools) -> None:
        self.id = id
        self.camera = Camera(sample_rate=limits.sample_rate, metrics=tools.metrics)
        self.outbox = Outbox(on_drop=tools.metrics.messages_dropped.inc)
        self.voice = VoiceLine()
        self.voice.on_dropped = lambda reason, count: tools.metrics.sound_dropped.labels(
            reason
        ).inc(count)
        self.last_activity = time.monotonic()
        # Seconds since the epoch
        self.began_at = time.time()
        self._state = first_state()
        self._limits = limits
        self._tools = tools
        self._history = History()
        self._requests = RequestBuilder(id, limits, tools, self._history)
        self._handing_over = HandingOver(
            id,
            self._history,
            self.outbox,
            tools.handovers,
            lambda: self._requests.preferences.handover,
        )
        self._describing = LiveDescription(
            id,
            attention=Attention(tools.scratch, sensitivity=limits.sensitivity),
            camera=self.camera,
            inference=tools.inference,
            outbox=self.outbox,
            requests=self._requests,
            metrics=tools.metrics,
            send_error=self.send_error,
            touch=self.touch,
        )
        self._tasks = TaskSet("session")
        self._watching = Watching(
            attention=Attention(tools.scratch, sensitivity=limits.sensitivity),
            camera=self.camera,
            outbox=self.outbox,
            requests=self._requests,
            tools=tools,
            spawn=lambda work: self._tasks.spawn(work, name="watch"),
            touch=self.touch,
        )
        self._recalling = Recalling(
            seconds=limits.recall_seconds,
            most_bytes=limits.recall_bytes,
            camera=self.camera,
            outbox=self.outbox,
            requests=self._requests,
            tools=tools,
        )
        self._aiming = Aiming(
            camera=self.camera, outbox=self.outbox, requests=self._requests, tools=tools
        )
        self._background = Background(
            self.camera,
            self._requests,
            limits.sample_rate,
            (self._watching, self._describing, self._recalling, self._aiming),
            alert=self._watching,
        )
        self._watching.on_wanted = self._background.changed
        self._reuse = PictureReuse(
            id, camera=self.camera, requests=self._requests, history=self._history, tools=tools
        )
        self.sent_pictures = SentPictures(
            lambda what, number: tools.metrics.sent_pictures.labels(what).inc(number)
        )
        self.speaking = Speaking(
            line=self.voice,
            voice=tools.voice,
            outbox=self.outbox,
            metrics=tools.metrics,
            tasks=self._tasks,
            language=lambda: self._requests.preferences.language,
            allowed=lambda: self._requests.consent.voice_given,
        )
        self._questions = Questions(
            camera=self.camera,
            outbox=self.outbox,
            requests=self._requests,
            history=self._history,
            recalling=self._recalling,
            reuse=self._reuse,
            tools=tools,
            tasks=self._tasks,
            send_error=self.send_error,
            touch=self.touch,
            on_held=self._status_changed,
            speaking=self.speaking,
            sent=self.sent_pictures,
        )
        self._listening = Listening(
            line=self.voice,
            camera=self.camera,
            outbox=self.outbox,
            questions=self._questions,
            reuse=self._reuse,
            tools=tools,
            send_error=self.send_error,
            touch=self.touch,
            on_noise=self._watching.sounded,
            recognising=Recognising(tools, self._requests),
            talker=self.speaking,
        )
        self._requests.ear = self._listening
        self._stills = Stills(camera=self.camera, outbox=self.outbox, tools=tools)
        # The newest attempts of each page for offers and sockets.
        self.offers, self.sockets = Attempts(), Attempts()
        self.camera.on_status = self._status_changed
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

    @property
    def allowance(self) -> Allowance:
        """The counts of its requests."""
        return self._requests.allowance

    @property
    def describing(self) -> bool:
        return self._requests.preferences.describe

    @property
    def recalled_bytes(self) -> int:
        """Bytes of the pictures of the recent past."""
        return self._recalling.size

    @property
    def waits_for_frame(self) -> bool:
        """True while a question is not in the queue yet."""
        return self._questions.waits_for_frame

    @property
    def answering(self) -> bool:
        """True while a question waits, runs or is spoken."""
        return self._questions.running or self.speaking.audible

    @property
    def can_move(self) -> bool:
        """True when its page goes to another gateway by itself; see `leave`."""
        return self._handing_over.possible

    def leave(self) -> None:
        """Tell its page to go to another gateway now."""
        self._handing_over.leave()

    # Messages in

    def handle(self, message: wire.AnyClientMessage) -> None:
        """Act on a client's message; errors go back as messages. Does nothing after the end."""
        if self.state is SessionState.ENDED:
            return
        # A ping shows that the connection lives, not that a person is there.
        if not isinstance(message, wire.Ping):
            self.touch()
        try:
            match message:
                case wire.Chat():
                    self._questions.ask(message)
                case wire.Correct():
                    self._questions.correct(message)
                case wire.Cancel():
                    if message.id in (None, self.speaking.id):
                        self.speaking.stop("user")
                    self._listening.cancel(message.id)
                    self._questions.cancel(message.id, "user")
                case wire.Hold():
                    self._questions.hold()
                case wire.Release():
                    self._questions.release()
                    self._status_changed()
                case wire.Settings():
                    self._set(message)
                case wire.Forget():
                    self._recalling.clear()
                    self.sent_pictures.clear()
                case wire.Drop():
                    if message.id in (None, self.speaking.id):
                        self.speaking.stop("user")
                    self._questions.drop(message.id)
                case wire.Typing():
                    if self.speaking.audible:
                        self.speaking.stop("typing")
                    self._questions.typing()
                case wire.Resume():
                    self._handing_over.resume(message)
                case wire.Said():
                    self.speaking.page_read(message)
                case wire.Push():
                    self._listening.push(message.down)
                case wire.Ping():
                    self.outbox.put(wire.Pong(at=time.time() * 1000))
                case wire.Confirm():
                    self._confirm(message.host)
                case wire.Watch():
                    self._watching.add(message)
                    self.camera.wake()
                case wire.Unwatch():
                    self._watching.remove(message.id)
                case wire.Heard():
                    self._watching.heard(message.id)
                case wire.Wrong():
                    self._watching.wrong(message.id)
                case wire.Auth() | wire.Operator():
                    pass  # The socket handles them.
        except QwenCameraError as error:
            self.send_error(error, message.id if isinstance(message, _NAMED) else None)

    def _confirm(self, host: str) -> None:
        engine, consent = self._tools.current_engine(), self._requests.consent
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
        given = message.model_dump(exclude={"type"}, exclude_none=True)
        was = self._requests.preferences
        self._requests.preferences = now = replace(was, **given)
        if now.sensitivity is not None:
            self._describing.sensitive(now.sensitivity)
            self._watching.sensitive(now.sensitivity)
        self._background.changed()
        self._stills.want(now.stills)
        if was.speak != now.speak:
            if now.speak:
                self._requests.consent.give_voice()
            self.speaking.wanted = now.speak
        if was.recall != now.recall:
            self._recalling.switched()
        if was.guidance != now.guidance:
            self._aiming.switched()
        if was.describe != now.describe:
            if now.describe:
                self._describing.begin()
                # The first description is about the present view.
                self.camera.wake()
            else:
                self._describing.stop()
            self._status_changed()
        if message.handover:
            self._handing_over.send()
        # Last, because it may be refused.
        if message.microphone is not None or message.silence_ms is not None:
            self._listening.set(now.microphone, now.silence_ms / 1000)

    # Messages out

    def engine_changed(self) -> None:
        """Greet the client again with another engine, and try again what the one before may have failed at."""
        self._background.retry()
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
                requests=self._requests,
                held=self._questions.held,
            )
        )
        self._send_sender(None)
        self._status_changed()
        self._watching.report(anew=True)

    def _status_changed(self) -> None:
        self._watching.report()
        self.outbox.put(
            state_messages.status(
                camera=self.camera,
                engine=self._tools.current_engine(),
                queue_depth=sum(self._tools.inference.depth().values()),
                held=self._questions.held,
            )
        )

    def _send_sender(self, wake_ms: int | None) -> None:
        if not self.camera.steered:
            return  # another device sends at its own rate, and the page has nothing to apply it to
        self.outbox.put(self.camera.sender(wake_ms))

    # End

    def socket_closed(self) -> None:
        """Stop the work that needs a listener; history and settings stay."""
        self.speaking.drop()
        self._questions.cancel(None, "socket_closed")
        self._listening.attend(False)
        self._tools.inference.cancel_session(self.id, "socket_closed")
        self._background.listen(False)
        # Watches go on, and say when it is too dark for them.
        self.camera.watched = self._watching.wanted
        self._stills.listen(False)

    def socket_opened(self) -> None:
        self.use()
        self.touch()
        self.camera.watched = True
        self._stills.listen(True)
        self._background.listen(True)
        self._listening.attend(True)

    async def close(self, reason: str) -> None:
        """Stop and forget everything; a failure skips nothing. Safe to call more than once."""
        if self.state is not SessionState.ENDED:
            self.end()
        async with AsyncExitStack() as stack:
            # Callbacks run last to first.
            stack.callback(self.outbox.close)
            stack.push_async_callback(asyncio.sleep, 0)
            stack.push_async_callback(self._tasks.close)
            stack.push_async_callback(self._stills.close)
            stack.push_async_callback(self._listening.close)
            stack.push_async_callback(self._recalling.close)
            stack.push_async_callback(self._aiming.close)
            stack.push_async_callback(self._reuse.close)
            stack.callback(self._forget)
            stack.callback(self._background.close)
            stack.callback(self.voice.close)
            stack.callback(self.speaking.close)
            stack.callback(self.camera.close)
            stack.callback(self._tools.inference.cancel_session, self.id, reason)
            stack.callback(self._questions.cancel, None, reason)

    def _forget(self) -> None:
        self._questions.forget()
        self._history.clear()
        self.sent_pictures.clear()
