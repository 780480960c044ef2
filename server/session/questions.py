"""One session's questions: each waits for its frame, goes to the queue, and ends. A new one replaces the one before."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from server.core import messages as wire
from server.core.errors import (
    CameraError,
    Draining,
    Internal,
    NotFound,
    PictureBlack,
    QwenCameraError,
)
from server.core.frames import Detail, Frame, Kind, Route
from server.media.camera import FRAME_NOTICE_SECONDS, Asked
from server.media.picture.luma import WORDS, Hindrance, is_black
from server.models.base import Capabilities, EarlierPicture, EngineRequest
from server.models.camera_words import captions
from server.models.order_words import Order, order_in
from server.models.routing import choose, is_stop
from server.session.part import QuestionRoute, SessionContext, Shooter, Speaker
from server.session.request.answers import AnswerSink, Asking, Shot, Spoken
from server.session.request.builder import RequestBuilder
from server.session.request.parts import NO_EXTRAS, Extras, History, Prepared, View
from server.session.request.picture_reuse import SentPictures

# What takes the place of the ways that features add: where they are off, and for other cameras than
# the session's own
PLAIN_ROUTES = {Route.PAST: Route.NOW, Route.WHERE: Route.NOW, Route.READ: Route.DETAIL}

log = logging.getLogger(__name__)


class Questions:
    """The running question of one session, its held frame, and the end of its last question.

    All methods are called on the event loop; questions and holds run as tasks of the session.

    Bounds of the held frame: one; a new hold replaces it.

    Bounds of the last spoken question with its frame, for corrected words: one; the next question
    replaces it.

    Bounds of the end of the last question, repeated to a client that sends the same question
    again: one, without its picture; the next one replaces it.
    """

    def __init__(
        self,
        context: SessionContext,
        *,
        history: History,
        sent: SentPictures,
        routes: Mapping[Route, QuestionRoute],
        shooter: Callable[[], Shooter | None],
    ) -> None:
        """`routes`: the ways that features add, also later ones; `shooter()`: see `SessionPart`."""
        self._camera = context.camera
        self._outbox = context.outbox
        self._requests = context.requests
        self._history = history
        self._reuse = context.reuse
        self._shooter = shooter
        self._routes = routes
        self._tools = context.tools
        self._tasks = context.tasks
        self._send_error = context.send_error
        self._touch = context.touch
        self._hold = Hold(context)
        # Speaks the answers
        self.speaker = Speaker()
        self._pictures = sent
        # The question whose answer was spoken last; None before
        self._voiced: Asking | None = None
        # The running question; None without one
        self._asking: Asking | None = None
        # The key and end of the last question, for a client that missed it; None before
        self._ended: tuple[tuple[str, float], wire.ServerMessage] | None = None
        # The last spoken question with its frame, whose words may be corrected; None before, and
        # after a typed one
        self._spoken: Asking | None = None
        self._numbers = itertools.count(1)

    def speak_with(self, speaker: Speaker) -> None:
        """Have answers spoken."""
        self.speaker = speaker
        speaker.on_stopped = self._interrupted

    @property
    def held(self) -> bool:
        """True while a held frame is asked about."""
        return self._hold.frame is not None

    @property
    def held_frame(self) -> Frame | None:
        """The held frame; None without one."""
        return self._hold.frame

    @property
    def waits_for_frame(self) -> bool:
        """True while a question is not in the queue yet."""
        asking = self._asking
        return asking is not None and asking.job is None and asking.steps is None

    @property
    def running(self) -> bool:
        """True while a question waits or runs."""
        return self._asking is not None

    def _known(self, key: tuple[str, float]) -> bool:
        """Find whether a question was taken before; if so, send its messages again."""
        if self._ended is not None and self._ended[0] == key:
            self._outbox.put(self._ended[1])
            return True
        if self._asking is None or self._asking.key != key:
            return False
        if self._asking.sink is not None:
            self._asking.sink.again()
        return True

    def _remember_end(self, asking: Asking, message: wire.ServerMessage | None) -> None:
        if asking.key is not None and message is not None and not asking.abandoned:
            self._ended = (asking.key, message)

    def ask(self, message: wire.Chat, spoken: Spoken | None = None) -> None:
        """Ask, in place of the running question; a repeated message gets the same answer again.

        `spoken`: the rest of a spoken question; its words may be corrected later.
        """
        key = None
        if message.id is not None and message.sent_at is not None:
            key = (message.id, message.sent_at)
            if self._known(key):
                return
        if is_stop(message.content) and self._stopped(message.id, spoken):
            return
        if spoken is not None and message.id and (order := order_in(message.content)):
            self._ordered(message.id, *order)
            return
        asked = Asked(
            at=time.monotonic(),
            wall=time.time(),
            sent=message.sent_at / 1000 if message.sent_at is not None else None,
        )
        id = message.id or f"a{next(self._numbers)}"
        route, detail = choose(message.content, message.detail, message.route)
        asking = Asking(
            id=id, question=message.content, asked=asked, route=route, key=key, spoken=spoken
        )
        self._begin(asking, detail)

    def _stopped(self, id: str | None, spoken: Spoken | None) -> bool:
        """End what is read, or what somebody said over an answer; False when it is a question."""
        running = self._asking
        if spoken is None and (running is None or running.steps is None):
            return False
        self.speaker.interrupt("user")
        self.cancel(None, "user")
        if spoken is not None and id is not None:
            # Its words are no question.
            self._outbox.put(wire.Transcript(id=id, text="", final=True, order="stop"))
        elif id is not None:
            asked = Asked(at=time.monotonic(), wall=time.time(), sent=None)
            stop = Asking(id=id, question="", asked=asked)
            self._outbox.put(stop.cancelled(self._tools.current_engine(), "user"))
        return True

    def _ordered(self, id: str, order: Order, condition: str) -> None:
        """Have the client carry out an order, in place of a question; a spoken answer stops for it."""
        self.speaker.interrupt("user")
        heard = wire.Transcript(id=id, text="", final=True, order=order.value)
        self._outbox.put(heard.model_copy(update={"condition": condition or None}))

    def correct(self, message: wire.CorrectTranscript) -> None:
        """Ask the last spoken question with other words, about the same frame.

        Its answer so far leaves the history. Raises NotFound for any other question.
        """
        last = self._spoken
        if last is None or last.id != message.id:
            raise NotFound(
                "Only the words of the last spoken question can be corrected. Ask this one anew."
            )
        if not self._tools.inference.draining:
            # Before its turn is removed, because stopping puts the heard part of the answer there.
            self.speaker.interrupt("replaced")
            if last.turn is not None:
                self._history.remove(last.turn)
        route, detail = choose(message.text, Detail.AUTO, None)
        asking = Asking(
            id=last.id,
            question=message.text,
            asked=Asked(at=time.monotonic(), wall=time.time(), sent=None),
            route=route,
            spoken=replace(last.spoken, sound=None) if last.spoken is not None else Spoken(),
            frame=last.frame,
            held=last.held,
            shots=last.shots,
            corrected=True,
        )
        self._begin(asking, detail)

    def _begin(self, asking: Asking, detail: Detail) -> None:
        if self._tools.inference.draining:
            # Before the running answer is replaced, which may still finish
            self._send_error(
                Draining("The server is about to stop and takes no new questions. Ask again soon."),
                asking.id,
            )
            return
        self.speaker.interrupt("replaced")
        self.cancel(None, "replaced")
        self._asking = asking
        self._spoken = asking if asking.spoken is not None else None
        asking.task = self._tasks.spawn(self._ask(asking, detail), name="question")
        if self._hold.empty:
            self._camera.wake()

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
        """Wait for the question's frame, and queue it, or find the answer in the way of its route.

        Raises QwenCameraError: no frame, a black one, one that is withheld, or a full queue.
        """
        if self._shooter() is not None or asking.shots is not None:
            await self._submit_around(asking, detail)
            return
        frame, held = await self._frame_for(asking)
        if asking.route is Route.READ and (held or asking.corrected):
            # There is one picture of it.
            asking.route = Route.DETAIL
        route = self._routes.get(asking.route)
        if route is None:
            asking.route = PLAIN_ROUTES.get(asking.route, asking.route)
        if asking.spoken is not None:
            asking.frame, asking.held = frame, held
        waited = time.monotonic() - asking.asked.at
        self._tools.metrics.frame_wait.observe(waited)
        view = View(frame, detail, self._camera.scene, held)
        prepared = None
        if route is None or route.prepares:
            needs = self._tools.current_engine().status.capabilities
            prepared = await self._reuse.prepare(view, needs)
            if not needs.wants_pixels and is_black(prepared.picture.scene, frame):
                raise PictureBlack(f"{WORDS[Hindrance.BLACK]} Then ask again. No model was asked.")
        asking.sink = self._sink(asking, waited)
        extras = self._extras(asking)
        if route is not None:
            await route.run(asking, view, prepared, extras)
        else:
            asking.job = self._requests.submit(
                asking.question, Kind.CHAT, view, asking.sink, prepared, extras
            )

    async def _submit_around(self, asking: Asking, detail: Detail) -> None:
        """Ask about the chosen cameras. The routes of features are of the own camera alone."""
        asking.route = PLAIN_ROUTES.get(asking.route, asking.route)
        needs = self._tools.current_engine().status.capabilities
        # Where its words were corrected, they are about the frames that it had.
        taken = asking.shots
        if taken is None:
            shooter = self._shooter()
            assert shooter is not None
            taken = await shooter.shots(asking, needs, self._frame_for, lambda: self._waits(asking))
        if asking.spoken is not None:
            # Its words may be corrected.
            asking.shots = taken
        waited = time.monotonic() - asking.asked.at
        self._tools.metrics.frame_wait.observe(waited)
        view = _view_of(taken[-1], detail)
        prepared = Prepared(await self._requests.prepare(view, needs), needs)
        asking.sink = self._sink(asking, waited, taken)
        extras = _with_others(self._extras(asking), taken, detail, self._requests)
        asking.job = self._requests.submit(
            asking.question, Kind.CHAT, view, asking.sink, prepared, extras
        )

    def _waits(self, asking: Asking) -> None:
        self._outbox.put(wire.Waiting(id=asking.id))

    def _sink(self, asking: Asking, waited: float, shots: Sequence[Shot] = ()) -> AnswerSink:
        """Make what takes the answer. `waited`: seconds for its frame; `shots`: those of several cameras."""
        return AnswerSink(
            id=asking.id,
            kind=Kind.CHAT,
            outbox=self._outbox,
            began=asking.asked.at,
            wait_seconds=waited,
            route=asking.route,
            word=asking.spoken.word if asking.spoken is not None else None,
            on_end=lambda text, whole: self._answered(asking, text, whole),
            on_error=lambda error: self._broke(asking, error),
            on_sent=lambda request: self._sent(asking, request),
            on_counted=self._requests.learn,
            on_started=lambda: self._speak(asking),
            on_text=lambda text: self.speaker.write(asking.id, text),
            keep=self._pictures.keep,
            shots=shots,
        )

    def _extras(self, asking: Asking) -> Extras:
        extras = NO_EXTRAS
        if (spoken := asking.spoken) is not None and not asking.corrected:
            extras = replace(extras, spoken=True, sound=spoken.sound)
        if self.speaker.can_play:
            extras = replace(extras, on_speech=lambda chunk: self.speaker.play(asking.id, chunk))
        return extras

    async def _frame_for(self, asking: Asking) -> tuple[Frame, bool]:
        """Return the frame for a question, and True when it is a held one."""
        asked = asking.asked
        if asking.frame is not None:
            # Its words were corrected: they are about the frame that it had.
            return asking.frame, asking.held

        def waits() -> None:
            self._waits(asking)

        if await self._hold.chosen(waits):
            # A hold came before the question.
            asked = replace(asked, at=time.monotonic())
        if self._hold.frame is not None:
            return self._hold.frame, True
        if asking.spoken is not None and asking.spoken.frame is not None:
            return asking.spoken.frame, False
        return await self._camera.frame_after(asked, waits), False

    def _sent(self, asking: Asking, request: EngineRequest) -> None:
        self._reuse.started(request)
        asking.by_engine = request.speak

    def _broke(self, asking: Asking, error: QwenCameraError) -> None:
        # The engine may not have got its picture.
        self._reuse.forget()
        self._failed(asking, error)

    def _not_asked(self, asking: Asking, error: QwenCameraError) -> None:
        if self._asking is asking:
            self._asking = None
        asking.drop_sound()
        self._failed(asking, error)

    def _failed(self, asking: Asking, error: QwenCameraError) -> None:
        self._send_error(error, asking.id)
        self._remember_end(asking, wire.Error.of(error, asking.id))

    def _speak(self, asking: Asking) -> None:
        self._voiced = asking
        self.speaker.begin(asking.id, by_engine=asking.by_engine)

    def _interrupted(self, id: str, heard: str, reason: str) -> None:
        """Keep the heard part of an answer, forget the rest, and stop it if it is still written."""
        asking = self._voiced
        if asking is None or asking.id != id:
            return
        asking.heard = heard
        if asking.turn is not None:
            self._history.remove(asking.turn)
            asking.turn = self._history.add(asking.words, heard, id) if heard else None
        if self._asking is asking:
            self.cancel(id, "replaced" if reason == "replaced" else "user")

    def _answered(self, asking: Asking, text: str, whole: bool) -> None:
        self._touch()
        asking.drop_sound()
        if asking.heard is not None:
            text, whole = asking.heard, True
        elif whole or not text:
            # One that failed is spoken as far as it came.
            self.speaker.finish(asking.id)
        else:
            self.speaker.drop()
        if whole and text:
            asking.turn = self._history.add(asking.words, text, asking.id)
        if asking.sink is not None:
            self._remember_end(asking, asking.sink.response)
        if self._asking is asking:
            self._asking = None

    def cancel(self, id: str | None, reason: str) -> None:
        """Stop the running question, if it has this id; None: in any case."""
        asking = self._asking
        if asking is None or (id is not None and id != asking.id):
            return
        self._asking = None
        asking.abandoned = reason == "socket_closed"
        if asking.steps is not None:
            if asking.task is not None:
                asking.task.cancel()
            asking.steps.stop(reason)
            return
        if asking.job is not None:
            self._tools.inference.cancel(asking.job, reason)
            return
        # It still waits for its frame, so no engine has it.
        if asking.task is not None:
            asking.task.cancel()
        asking.drop_sound()
        self._tools.metrics.cancellations.labels(reason).inc()
        response = asking.cancelled(self._tools.current_engine(), reason)
        self._outbox.put(response)
        self._remember_end(asking, response)

    def drop(self, id: str | None) -> None:
        """Stop and forget a question, its answer and its pictures; None: all of them."""
        self.cancel(id, "user")
        if id is None:
            self._history.clear()
            self._pictures.clear()
        else:
            self._history.drop(id)
            self._pictures.drop(id)
        # The part that was sent stands at another place of the prompt, or nowhere.
        self._reuse.forget()
        self._ended = None
        if self._spoken is not None and id in (None, self._spoken.id):
            self._spoken = None
        if self._voiced is not None and id in (None, self._voiced.id):
            self._voiced = None

    def hold(self) -> None:
        """Keep the sharpest frame from now on for the next questions."""
        self._hold.begin()

    def release(self) -> None:
        """Give the held frame up."""
        self._hold.release()

    def typing(self) -> None:
        """Prepare for a question that somebody types."""
        self._camera.wake()
        self._reuse.ahead(self._hold.frame)

    def forget(self) -> None:
        self._hold.frame = self._ended = self._spoken = self._voiced = None


# The held frame of a session: the sharpest one since somebody held the picture.


class Hold:
    """One held frame, or the search for one; a new hold replaces it.

    All methods are called on the event loop; the search runs as a task of the session.
    """

    def __init__(self, context: SessionContext) -> None:
        self._camera = context.camera
        self._tasks = context.tasks
        self._send_error = context.send_error
        self._report = context.report
        # The held frame; None without one
        self.frame: Frame | None = None
        # The search for a sharp frame; None without one
        self._search: asyncio.Task[None] | None = None

    @property
    def empty(self) -> bool:
        """True when nothing is held or was searched for since the last release."""
        return self.frame is None and self._search is None

    def begin(self) -> None:
        """Search the sharpest frame from now on."""
        self._stop()
        self._search = self._tasks.spawn(self._choose(), name="hold")

    def release(self) -> None:
        """Give the held frame up."""
        self._stop()
        self.frame = None

    async def chosen(self, waits: Callable[[], None]) -> bool:
        """Wait for the end of a search, and return True when one ran.

        `waits` is called when it takes longer than `FRAME_NOTICE_SECONDS`.
        """
        search = self._search
        if search is None or search.done():
            return False
        await asyncio.wait([search], timeout=FRAME_NOTICE_SECONDS)
        if not search.done():
            waits()
            await asyncio.wait([search])
        return True

    def _stop(self) -> None:
        if self._search is not None:
            self._search.cancel()
            self._search = None

    async def _choose(self) -> None:
        try:
            self._camera.wake()
            self.frame = await self._camera.sharpest()
        except CameraError as error:
            self._send_error(error, None)
        self._report()


def _view_of(shot: Shot, detail: Detail) -> View:
    """Return the view of one camera."""
    return View(shot.frame, detail, shot.scene, shot.held)


def _with_others(
    extras: Extras, taken: Sequence[Shot], detail: Detail, requests: RequestBuilder
) -> Extras:
    """Add the pictures of all cameras but the last one, whose picture is the request's own."""
    words = captions([shot.name for shot in taken])
    before = list(zip(taken[:-1], words, strict=False))
    own = taken[-1].name

    async def make(needs: Capabilities) -> Sequence[EarlierPicture]:
        return [
            EarlierPicture(
                await requests.prepare(_view_of(shot, detail), needs), caption, camera=shot.name
            )
            for shot, caption in before
        ]

    return replace(
        extras,
        earlier=make if before else None,
        together=bool(before),
        caption=words[-1],
        camera=own,
    )
