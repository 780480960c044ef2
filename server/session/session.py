"""One visitor: joins the camera, the questions, the running description and the messages back.

Everything here is called on the event loop. Questions and holds run as tasks of the session; what the
session remembers (history, a held frame) lives in RAM and goes with it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import StrEnum

from server.access.request_order import Attempts
from server.attention.attention import Attention
from server.camera.camera import FRAME_NOTICE_SECONDS, Asked, Camera
from server.core import messages as wire
from server.core.aio import TaskSet
from server.core.errors import (
    CameraError,
    Draining,
    Internal,
    PictureBlack,
    QwenCameraError,
)
from server.core.frames import Detail, Frame, Kind, Route, Scene
from server.core.states import Steps
from server.engines.routing import choose
from server.session import pointing, state_messages
from server.session.allowance import Allowance
from server.session.answers import AnswerSink, Asking
from server.session.background import Background
from server.session.history import History
from server.session.live_description import LiveDescription
from server.session.outbox import Outbox
from server.session.picture_reuse import PictureReuse
from server.session.recalling import Recalling
from server.session.request_builder import (
    NO_EXTRAS,
    Extras,
    RequestBuilder,
    SessionLimits,
    SessionTools,
    View,
)
from server.session.stills import Stills
from server.session.watching import Watching
from server.vision.hindrance import WORDS, Hindrance, hindrance
from server.vision.luma import SceneReader

__all__ = ["Session", "SessionLimits", "SessionTools"]

log = logging.getLogger(__name__)


class SessionState(StrEnum):
    """The life of a session. `new`: it has had neither a socket nor an answered offer."""

    NEW = "new"
    USED = "used"
    ENDED = "ended"


_STEPS = {
    SessionState.NEW: (SessionState.USED, SessionState.ENDED),
    SessionState.USED: (SessionState.ENDED,),
}


class Session:
    """One visitor's session. `touch` keeps it alive; `close` frees all that it holds."""

    def __init__(self, id: str, limits: SessionLimits, tools: SessionTools) -> None:
        self.id = id
        self.camera = Camera(sample_rate=limits.sample_rate, metrics=tools.metrics)
        self.outbox = Outbox(on_drop=tools.metrics.messages_dropped.inc)
        self.last_activity = time.monotonic()
        # Seconds since the epoch
        self.began_at = time.time()
        self._state = Steps(SessionState.NEW, _STEPS)
        self._limits = limits
        self._tools = tools
        self._history = History()
        self._requests = RequestBuilder(id, limits, tools, self._history)
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
            attention=Attention(tools.scratch),
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
        self._background = Background(
            self.camera,
            self._requests,
            limits.sample_rate,
            (self._watching, self._describing, self._recalling),
        )
        self._watching.on_wanted = self._background.changed
        self._reuse = PictureReuse(
            id, camera=self.camera, requests=self._requests, history=self._history, tools=tools
        )
        self._stills = Stills(camera=self.camera, outbox=self.outbox, tools=tools)
        self._held: Frame | None = None
        # The newest attempts of each page for offers and sockets.
        self.offers, self.sockets = Attempts(), Attempts()
        # The search for a sharp frame; None without one
        self._holding: asyncio.Task[None] | None = None
        # The running question; None without one
        self._asking: Asking | None = None
        # The key and end of the last question, for a client that missed it; None before
        self._ended: tuple[tuple[str, float], wire.ServerMessage] | None = None
        self._numbers = itertools.count(1)
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
        return self._asking is not None and self._asking.job is None

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
                    self._chat(message)
                case wire.Cancel():
                    self._cancel(message.id, "user")
                case wire.Hold():
                    self._stop_holding()
                    self._holding = self._tasks.spawn(self._hold(), name="hold")
                case wire.Release():
                    self._stop_holding()
                    self._held = None
                    self._status_changed()
                case wire.Settings():
                    self._set(message)
                case wire.Forget():
                    self._recalling.clear()
                case wire.Typing():
                    self.camera.wake()
                    self._reuse.ahead(self._held)
                case wire.Ping():
                    self.outbox.put(wire.Pong(at=time.time() * 1000))
                case wire.Confirm():
                    self._requests.consent.give(self._tools.current_engine(), message.host)
                    self.engine_changed()
                case wire.Watch() | wire.Unwatch() | wire.Heard() | wire.Wrong():
                    self._watch(message)
                case wire.Auth() | wire.Operator():
                    pass  # the socket's affair
        except QwenCameraError as error:
            self.send_error(error)

    def send_error(self, error: QwenCameraError, id: str | None = None) -> None:
        """Count an error and send it to the client."""
        self._tools.metrics.errors.labels(error.code).inc()
        self.outbox.put(wire.Error.of(error, id))

    # Questions

    def _known(self, key: tuple[str, float]) -> bool:
        """Find whether a question was taken before; if so, send its messages again."""
        if self._ended is not None and self._ended[0] == key:
            self.outbox.put(self._ended[1])
            return True
        if self._asking is None or self._asking.key != key:
            return False
        if self._asking.sink is not None:
            self._asking.sink.again()
        return True

    def _remember_end(self, asking: Asking, message: wire.ServerMessage | None) -> None:
        if asking.key is not None and message is not None and not asking.abandoned:
            self._ended = (asking.key, message)

    def _chat(self, message: wire.Chat) -> None:
        key = None
        if message.id is not None and message.sent_at is not None:
            key = (message.id, message.sent_at)
            if self._known(key):
                return
        asked = Asked(
            at=time.monotonic(),
            wall=time.time(),
            sent=message.sent_at / 1000 if message.sent_at is not None else None,
        )
        id = message.id or f"a{next(self._numbers)}"
        if self._tools.inference.draining:
            # Before the running answer is replaced, which may still finish
            self.send_error(
                Draining("The server is about to stop and takes no new questions. Ask again soon."),
                id,
            )
            return
        self._cancel(None, "replaced")
        route, detail = choose(message.content, message.detail, message.route)
        asking = Asking(id=id, question=message.content, asked=asked, route=route, key=key)
        self._asking = asking
        asking.task = self._tasks.spawn(self._ask(asking, detail), name="question")
        if self._held is None and self._holding is None:
            self.camera.wake()

    async def _ask(self, asking: Asking, detail: Detail) -> None:
        """Queue a question; its answer goes on without this task."""
        try:
            await self._submit(asking, detail)
        except QwenCameraError as error:
            self._not_asked(asking, error)
        except Exception as exc:  # noqa: BLE001
            # A bug must not leave a question without an end. The exception's text is not logged,
            # since it may hold what people said.
            log.error("question failed", extra={"error": type(exc).__name__})
            self._not_asked(
                asking,
                Internal("Something went wrong with this question on the server. Ask again."),
            )

    async def _submit(self, asking: Asking, detail: Detail) -> None:
        frame, held = await self._frame_for(asking)
        waited = time.monotonic() - asking.asked.at
        self._tools.metrics.frame_wait.observe(waited)
        view = View(frame, detail, self.camera.scene, held)
        needs = self._tools.current_engine().status.capabilities
        prepared = await self._reuse.prepare(view, needs)
        if not needs.wants_pixels and _black(prepared.picture.scene, frame):
            raise PictureBlack(f"{WORDS[Hindrance.BLACK]} Then ask again. No model was asked.")
        asking.sink = AnswerSink(
            id=asking.id,
            kind=Kind.CHAT,
            outbox=self.outbox,
            began=asking.asked.at,
            wait_seconds=waited,
            route=asking.route,
            on_end=lambda text, whole: self._answered(asking, text, whole),
            on_error=lambda error: self._failed(asking, error),
            on_counted=self._requests.learn,
        )
        if asking.route is Route.WHERE:
            asking.job = pointing.submit(self._requests, asking, view, prepared)
            return
        extras = NO_EXTRAS
        if asking.route is Route.PAST:
            extras = Extras(earlier=self._recalling.earlier(view), past=True)
        asking.job = self._requests.submit(
            asking.question, Kind.CHAT, view, asking.sink, prepared, extras
        )

    def _not_asked(self, asking: Asking, error: QwenCameraError) -> None:
        if self._asking is asking:
            self._asking = None
        self._failed(asking, error)

    def _failed(self, asking: Asking, error: QwenCameraError) -> None:
        self.send_error(error, asking.id)
        self._remember_end(asking, wire.Error.of(error, asking.id))

    async def _frame_for(self, asking: Asking) -> tuple[Frame, bool]:
        """Return the frame for a question, and True when it is a held one."""
        asked, holding = asking.asked, self._holding

        def waits() -> None:
            self.outbox.put(wire.Waiting(id=asking.id))

        if holding is not None and not holding.done():
            # A hold came before the question, and its frame is still being chosen.
            await asyncio.wait([holding], timeout=FRAME_NOTICE_SECONDS)
            if not holding.done():
                waits()
                await asyncio.wait([holding])
            asked = replace(asked, at=time.monotonic())
        if self._held is not None:
            return self._held, True
        return await self.camera.frame_after(asked, waits), False

    def _answered(self, asking: Asking, text: str, whole: bool) -> None:
        self.touch()
        if whole and text:
            self._history.add(asking.question, text)
        if asking.sink is not None:
            self._remember_end(asking, asking.sink.response)
        if self._asking is asking:
            self._asking = None

    def _cancel(self, id: str | None, reason: str) -> None:
        asking = self._asking
        if asking is None or (id is not None and id != asking.id):
            return
        self._asking = None
        asking.abandoned = reason == "socket_closed"
        if asking.job is not None:
            self._tools.inference.cancel(asking.job, reason)
            return
        # It still waits for its frame, so no engine has it.
        if asking.task is not None:
            asking.task.cancel()
        self._tools.metrics.cancellations.labels(reason).inc()
        response = asking.cancelled(self._tools.current_engine(), reason)
        self.outbox.put(response)
        self._remember_end(asking, response)

    # Hold

    def _stop_holding(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None

    async def _hold(self) -> None:
        try:
            self.camera.wake()
            self._held = await self.camera.sharpest()
        except CameraError as error:
            self.send_error(error)
        self._status_changed()

    # Settings

    def _set(self, message: wire.Settings) -> None:
        given = message.model_dump(exclude={"type"}, exclude_none=True)
        was = self._requests.preferences
        self._requests.preferences = now = replace(was, **given)
        if now.sensitivity is not None:
            self._describing.sensitive(now.sensitivity)
        self._background.changed()
        self._stills.want(now.stills)
        if was.recall != now.recall:
            self._recalling.switched()
        if was.describe != now.describe:
            if now.describe:
                self._describing.begin()
                # The first description is about the present view.
                self.camera.wake()
            else:
                self._describing.stop()
            self._status_changed()

    # Watches

    def _watch(self, message: wire.Watch | wire.Unwatch | wire.Heard | wire.Wrong) -> None:
        """Act on a message about watches; an error has the message's id."""
        try:
            match message:
                case wire.Watch():
                    self._watching.add(message)
                    self.camera.wake()
                case wire.Unwatch():
                    self._watching.remove(message.id)
                case wire.Heard():
                    self._watching.heard(message.id)
                case wire.Wrong():
                    self._watching.wrong(message.id)
        except QwenCameraError as error:
            self.send_error(error, message.id)

    # Messages out

    def engine_changed(self) -> None:
        """Tell the client of another engine, and ask it for what the one before may have failed at."""
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
                held=self._held is not None,
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
                held=self._held is not None,
            )
        )

    def _send_sender(self, wake_ms: int | None) -> None:
        if not self.camera.steered:
            return  # another device sends at its own rate, and the page has nothing to apply it to
        self.outbox.put(self.camera.sender(wake_ms))

    # End

    def socket_closed(self) -> None:
        """Stop the work that needs a listener; history and settings stay."""
        self._cancel(None, "socket_closed")
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
            stack.push_async_callback(self._recalling.close)
            stack.push_async_callback(self._reuse.close)
            stack.callback(self._forget)
            stack.callback(self._background.close)
            stack.callback(self.camera.close)
            stack.callback(self._tools.inference.cancel_session, self.id, reason)
            stack.callback(self._cancel, None, reason)

    def _forget(self) -> None:
        self._held = self._ended = None
        self._history.clear()


def _black(scene: Scene | None, frame: Frame) -> bool:
    """Find whether nothing can be seen in a frame. `scene`: of a filtered picture up to a second older."""
    if hindrance(scene) is not Hindrance.BLACK:
        return False
    return hindrance(SceneReader().read(frame.image, frame.captured)) is Hindrance.BLACK
