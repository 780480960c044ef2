"""One session's questions: each waits for its frame, goes to the queue, and ends. A new one replaces the one before."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from server.core import messages as wire
from server.core.errors import (
    CameraError,
    CameraFrozen,
    Draining,
    Internal,
    NotFound,
    QwenCameraError,
)
from server.core.frames import Detail, Frame, Kind, Order, Part, Picture, Region, Route
from server.media.camera import FRAME_NOTICE_SECONDS, Asked
from server.media.picture.planes import refuse_black
from server.models import prompts
from server.models.base import Capabilities, EarlierPicture, Engine, EngineRequest
from server.models.prompts import camera_captions
from server.models.routing import OF_FEATURES, choose, is_stop, order_in, way_in
from server.models.scheduler.job import Result
from server.session.part import FeatureParts, SessionContext, Speaker
from server.session.request.answers import (
    AnswerListener,
    AnswerPublisher,
    Beginning,
    PendingQuestion,
    Shot,
    Spoken,
    Toolbox,
)
from server.session.request.builder import RequestBuilder
from server.session.request.parts import (
    NO_OPTIONS,
    MakeEarlier,
    Prepared,
    RequestOptions,
    View,
)
from server.session.request.sent_pictures import SentPictures

# What takes the place of the ways that features add: where they are off, for other cameras than the
# session's own, and for a part of the picture in time
PLAIN_ROUTES = {
    Route.PAST: Route.NOW,
    Route.WHERE: Route.NOW,
    Route.READ: Route.DETAIL,
    Route.TWICE: Route.DETAIL,
}

log = logging.getLogger(__name__)


class QuestionService:
    """The running question of one session, its held frame, and the end of its last question.

    All methods are called on the event loop; questions and holds run as tasks of the session.

    Bounds of the held frame: one; a new hold replaces it.

    Bounds of the last spoken question with its frame, for corrected words: one; the next question
    replaces it.

    Bounds of the last question's words, for "look twice" and the like: one; the next question replaces it.

    Bounds of the end of the last question, repeated to a client that sends the same question
    again: one, without its picture; the next one replaces it.
    """

    def __init__(
        self,
        context: SessionContext,
        features: FeatureParts,
        sent: SentPictures,
        toolbox: Toolbox,
    ) -> None:
        """`features`: the parts of them, also later ones."""
        self._camera = context.camera
        self._outbox = context.outbox
        self._requests = context.requests
        self._history = context.history
        self._features = features
        self._toolbox = toolbox
        self._services = context.services
        self._tasks = context.tasks
        self._send_error = context.send_error
        self._touch = context.touch
        self._hold = Hold(context)
        # Speaks the answers
        self.speaker = Speaker()
        self._pictures = sent
        # The question whose answer was spoken last; None before
        self._voiced: PendingQuestion | None = None
        # The running question; None without one
        self._pending: PendingQuestion | None = None
        # The key and end of the last question, for a client that missed it; None before
        self._ended: tuple[tuple[str, float], wire.ServerMessage] | None = None
        # The last spoken question with its frame, whose words may be corrected; None before, and
        # after a typed one
        self._spoken: PendingQuestion | None = None
        # The id and words of the last question; None before
        self._last: tuple[str, str] | None = None
        # The part of the picture that spoken questions are about; None: all of it
        self._part: Part | None = None
        self._numbers = itertools.count(1)

    def speak_with(self, speaker: Speaker) -> None:
        """Have answers spoken."""
        self.speaker = speaker
        speaker.on_stopped = self._interrupted

    @property
    def held_frame(self) -> Frame | None:
        """The held frame; None without one."""
        return self._hold.frame

    @property
    def waits_for_frame(self) -> bool:
        """True while a question is not in the queue yet."""
        pending = self._pending
        return pending is not None and pending.job is None and pending.steps is None

    @property
    def running(self) -> bool:
        """True while a question waits or runs."""
        return self._pending is not None

    def _known(self, key: tuple[str, float]) -> bool:
        """Find whether a question was taken before; if so, send its messages again."""
        if self._ended is not None and self._ended[0] == key:
            self._outbox.put(self._ended[1])
            return True
        if self._pending is None or self._pending.key != key:
            return False
        if self._pending.sink is not None:
            self._pending.sink.again()
        return True

    def _remember_end(self, pending: PendingQuestion, message: wire.ServerMessage | None) -> None:
        if pending.key is not None and message is not None and not pending.abandoned:
            self._ended = (pending.key, message)

    def handle(self, message: wire.ClientMessage) -> bool:
        """Act on a client's message; False for one that is about something else.

        Raises QwenCameraError.
        """
        match message:
            case wire.Chat():
                self.ask(message)
            case wire.PointAt():
                self._part = message.part
            case wire.CorrectTranscript():
                self.correct(message)
            case wire.Cancel():
                for part in self._features:
                    part.cancel(message.id)
                self._silence(message.id, "user")
                self.cancel(message.id, "user")
            case wire.DeleteAnswer():
                self._silence(message.id, "user")
                self.drop(message.id)
            case wire.Hold():
                self._hold.begin()
            case wire.Release():
                self._hold.release()
            case wire.Typing():
                if self.speaker.audible:
                    self.speaker.interrupt("typing")
                # The frame of the question that somebody types.
                self._camera.wake()
                self._features.expect(self._hold.frame)
            case _:
                return False
        return True

    def _silence(self, id: str | None, reason: str) -> None:
        if id in (None, self.speaker.id):
            self.speaker.interrupt(reason)

    def ask(self, message: wire.Chat, spoken: Spoken | None = None) -> None:
        """Ask, in place of the running question; a repeated message gets the same answer again.

        `spoken`: the rest of a spoken question; its words may be corrected later.
        """
        key = None
        if message.id is not None and message.sent_at is not None:
            key = (message.id, message.sent_at)
            if self._known(key):
                return
        if is_stop(message.content) and self._stopped(message, spoken):
            return
        order = order_in(message.content)
        if order is not None and message.id and self._carried_out(*order, message, spoken):
            self._ordered(message.id, *order)
            return
        asked = Asked(
            at=time.monotonic(),
            wall=time.time(),
            sent=message.sent_at / 1000 if message.sent_at is not None else None,
        )
        id = message.id or f"a{next(self._numbers)}"
        question, wish = message.content, message.route
        if wish is None and (wish := way_in(question)) is not None and self._last is not None:
            # "Look twice": what was asked, not these words and their sound
            question = self._last[1]
            spoken = replace(spoken, sound=None) if spoken is not None else None
        route, detail = choose(question, message.detail, wish)
        pending = PendingQuestion(
            id=id,
            question=question,
            asked=asked,
            route=route,
            key=key,
            spoken=spoken,
            part=message.part if spoken is None else self._part,
        )
        self._begin(pending, detail)

    def _stopped(self, message: wire.Chat, spoken: Spoken | None) -> bool:
        """End what is read, what a feature does, or what somebody said over an answer; False when it is a question."""
        running, id = self._pending, message.id
        ordered = spoken is not None or (message.orders and self._features.takes(Order.STOP, ""))
        if not ordered and (running is None or running.steps is None):
            return False
        self.speaker.interrupt("user")
        self.cancel(None, "user")
        if ordered and id is not None:
            # Its words are no question.
            self._ordered(id, Order.STOP, "")
        elif id is not None:
            asked = Asked(at=time.monotonic(), wall=time.time(), sent=None)
            stop = PendingQuestion(id=id, question="", asked=asked)
            self._outbox.put(stop.cancelled(self._services.current_engine(), "user"))
        return True

    def _carried_out(
        self, order: Order, condition: str, message: wire.Chat, spoken: Spoken | None
    ) -> bool:
        """Find whether the client carries an order out: one that is spoken, and those of features typed, too."""
        takes = self._features.takes(order, condition)
        if order in OF_FEATURES and not takes:
            return False
        return spoken is not None or (message.orders and takes)

    def _ordered(self, id: str, order: Order, condition: str) -> None:
        """Have the client carry out an order, in place of a question; a spoken answer stops for it."""
        self.speaker.interrupt("user")
        self._outbox.put(
            wire.Transcript(id=id, text="", final=True, order=order, condition=condition or None)
        )

    def correct(self, message: wire.CorrectTranscript) -> None:
        """Ask the last spoken question with other words, about the same frame.

        Its answer so far leaves the history. Raises NotFound for any other question.
        """
        last = self._spoken
        if last is None or last.id != message.id:
            raise NotFound(
                "Only the words of the last spoken question can be corrected. Ask this one anew."
            )
        if not self._services.inference.draining:
            # Before its turn is removed, because stopping puts the heard part of the answer there.
            self.speaker.interrupt("replaced")
            if last.turn is not None:
                self._history.remove(last.turn)
        route, detail = choose(message.text, Detail.AUTO, None)
        pending = PendingQuestion(
            id=last.id,
            question=message.text,
            asked=Asked(at=time.monotonic(), wall=time.time(), sent=None),
            route=route,
            spoken=replace(last.spoken, sound=None) if last.spoken is not None else Spoken(),
            frame=last.frame,
            held=last.held,
            shots=last.shots,
            part=last.part,
            corrected=True,
        )
        self._begin(pending, detail)

    def _begin(self, pending: PendingQuestion, detail: Detail) -> None:
        if self._services.inference.draining:
            # Before the running answer is replaced, which may still finish
            self._send_error(
                Draining("The server is about to stop and takes no new questions. Ask again soon."),
                pending.id,
            )
            return
        self.speaker.interrupt("replaced")
        self.cancel(None, "replaced")
        self._pending = pending
        if pending.question.strip():
            self._last = pending.id, pending.question
        self._spoken = pending if pending.spoken is not None else None
        pending.task = self._tasks.spawn(self._ask(pending, detail), name="question")
        if self._hold.empty:
            self._camera.wake()

    async def _ask(self, pending: PendingQuestion, detail: Detail) -> None:
        """Queue a question; its answer goes on without this task."""
        try:
            await self._submit(pending, detail)
        except QwenCameraError as error:
            self._not_asked(pending, error)
        except Exception as exc:  # noqa: BLE001
            # A bug must not leave a question without an end. The exception's text is not logged,
            # since it may hold what people said.
            log.error("question failed", extra={"error": type(exc).__name__})
            self._not_asked(
                pending,
                Internal("Something went wrong with this question on the server. Ask again."),
            )

    async def _submit(self, pending: PendingQuestion, detail: Detail) -> None:
        """Wait for the question's frame, and queue it, or find the answer in the way of its route.

        Raises QwenCameraError: no frame, a black one, one that is withheld, or a full queue.
        """
        pointed = pending.part is not None
        if not pointed and (self._features.shooter() is not None or pending.shots is not None):
            await self._submit_around(pending, detail)
            return
        frame, held = await self._frame_for(pending)
        if pointed and pending.route is Route.PAST:
            # The part is one of the picture of now.
            pending.route = Route.NOW
        if pending.route is Route.READ and (held or pointed or pending.corrected):
            # There is one picture of it.
            pending.route = Route.DETAIL
        route = self._features.routes.get(pending.route)
        if route is None:
            pending.route = PLAIN_ROUTES.get(pending.route, pending.route)
        if pending.spoken is not None:
            pending.frame, pending.held = frame, held
        waited = self._waited(pending)
        view, options = View(frame, detail, self._camera.scene, held), self._options(pending)
        if pending.part is not None:
            caption = prompts.PART_CLOSER if pending.closer else ""
            options = replace(options, part=pending.part, caption=caption)
            if pending.route is not Route.WHERE:
                options = replace(options, earlier=_whole(view, self._requests))
            region = Region.around(pending.part, frame.width, frame.height)
            view = replace(view, detail=Detail.HIGH, region=region)
        prepared = None
        if route is None or route.prepares:
            needs = self._services.current_engine().status.capabilities
            prepared = await self._features.picture_for(view, needs)
            lit = needs.wants_pixels or self._camera.screen
            if not lit:
                refuse_black(prepared.picture.scene, frame)
        pending.sink = self._sink(pending, waited)
        if route is not None:
            await route.run(pending, view, prepared, options)
        else:
            options = replace(options, tools=pending.calls is None)
            pending.sink.called = lambda result: self._called(pending, view, result)
            pending.job = self._requests.submit(
                pending.question, Kind.CHAT, view, pending.sink, prepared, options
            )

    def _waited(self, pending: PendingQuestion) -> float:
        """Return the seconds that a question has waited for its frame."""
        if pending.sink is not None:
            # It is asked once more, about the same one.
            return pending.sink.waited
        waited = time.monotonic() - pending.asked.at
        self._services.metrics.frame_wait.observe(waited)
        return waited

    def _called(self, pending: PendingQuestion, view: View, result: Result) -> bool:
        """Take the tools that an answer has called; True when the question is asked once more.

        That is so for what needs another look, and for an answer that neither says nor does anything.
        """
        calls, route = [], None
        for call in self._toolbox.read(result.calls):
            if call.tool.again is not None and route is not None:
                # One more look, and no other
                continue
            shown = call.shown
            if call.tool.again is not None and not shown.refused:
                try:
                    route = call.tool.again(pending, call.arguments)
                except QwenCameraError:
                    shown = shown.model_copy(update={"refused": True})
            calls.append(replace(call, shown=shown))
        pending.calls = [call.shown for call in calls]
        pending.note = " ".join(note for call in calls if (note := call.note))
        if pending.sink is not None:
            pending.sink.calls = pending.calls
        if route is None and (result.text.strip() or pending.note):
            return False
        pending.route, pending.job = route or pending.route, None
        pending.frame, pending.held = view.frame, view.held
        pending.task = self._tasks.spawn(self._ask(pending, view.detail), name="question")
        return True

    async def _submit_around(self, pending: PendingQuestion, detail: Detail) -> None:
        """Ask about the chosen cameras. The routes of features are of the own camera alone."""
        pending.route = PLAIN_ROUTES.get(pending.route, pending.route)
        needs = self._services.current_engine().status.capabilities
        # Where its words were corrected, they are about the frames that it had.
        taken = pending.shots
        if taken is None:
            shooter = self._features.shooter()
            assert shooter is not None
            taken = await shooter.shots(
                pending, needs, self._frame_for, partial(self._waits, pending)
            )
        if pending.spoken is not None:
            # Its words may be corrected.
            pending.shots = taken
        waited = self._waited(pending)
        view = _view_of(taken[-1], detail)
        prepared = Prepared(await self._requests.prepare(view, needs), needs)
        pending.sink = self._sink(pending, waited, taken)
        options = _with_others(self._options(pending), taken, detail, self._requests)
        pending.job = self._requests.submit(
            pending.question, Kind.CHAT, view, pending.sink, prepared, options
        )

    def _waits(self, pending: PendingQuestion) -> None:
        self._outbox.put(wire.Waiting(id=pending.id))

    def _sink(
        self, pending: PendingQuestion, waited: float, shots: Sequence[Shot] = ()
    ) -> AnswerPublisher:
        """Make what takes the answer. `waited`: seconds for its frame; `shots`: those of several cameras."""
        beginning = Beginning(
            at=pending.asked.at,
            waited=waited,
            route=pending.route,
            word=pending.spoken.word if pending.spoken is not None else None,
            shots=shots,
        )
        if pending.sink is not None:
            pending.sink.ask_again(beginning)
            return pending.sink
        listener = _Progress(self, pending)
        return AnswerPublisher(pending.id, Kind.CHAT, self._outbox, beginning, listener)

    def _options(self, pending: PendingQuestion) -> RequestOptions:
        options = NO_OPTIONS
        if (spoken := pending.spoken) is not None and not pending.corrected:
            options = replace(options, spoken=True, sound=spoken.sound)
        if self.speaker.can_play:
            options = replace(options, on_speech=lambda chunk: self.speaker.play(pending.id, chunk))
        return options

    async def _frame_for(self, pending: PendingQuestion) -> tuple[Frame, bool]:
        """Return the frame for a question, and True when it is a held one."""
        asked = pending.asked
        if pending.frame is not None:
            # Its words were corrected: they are about the frame that it had.
            return pending.frame, pending.held

        waits = partial(self._waits, pending)
        if await self._hold.chosen(waits):
            # A hold came before the question.
            asked = replace(asked, at=time.monotonic())
        if self._hold.frame is not None:
            return self._hold.frame, True
        if pending.spoken is not None and pending.spoken.frame is not None:
            return pending.spoken.frame, False
        return await self._camera.frame_after(asked, waits), False

    def _not_asked(self, pending: PendingQuestion, error: QwenCameraError) -> None:
        if self._pending is pending:
            self._pending = None
        if pending.sink is not None and pending.sink.between:
            pending.sink.failed(error)
            return
        pending.drop_sound()
        self._failed(pending, error)

    def _failed(self, pending: PendingQuestion, error: QwenCameraError) -> None:
        self._send_error(error, pending.id)
        self._remember_end(pending, wire.Error.of(error, pending.id))

    def _interrupted(self, id: str, heard: str, reason: str) -> None:
        """Keep the heard part of an answer, forget the rest, and stop it if it is still written."""
        pending = self._voiced
        if pending is None or pending.id != id:
            return
        pending.heard = heard
        if pending.turn is not None:
            self._history.remove(pending.turn)
            pending.turn = self._history.add(pending.words, heard, id) if heard else None
        if self._pending is pending:
            self.cancel(id, "replaced" if reason == "replaced" else "user")

    def cancel(self, id: str | None, reason: str) -> None:
        """Stop the running question, if it has this id; None: in any case."""
        pending = self._pending
        if pending is None or (id is not None and id != pending.id):
            return
        self._pending = None
        pending.abandoned = reason == "socket_closed"
        if pending.steps is not None:
            if pending.task is not None:
                pending.task.cancel()
            pending.steps.stop(reason)
            return
        if pending.job is not None:
            self._services.inference.cancel(pending.job, reason)
            return
        # It still waits for its frame, so no engine has it.
        if pending.task is not None:
            pending.task.cancel()
        self._services.metrics.cancellations.labels(reason).inc()
        if pending.sink is not None and pending.sink.between:
            pending.sink.stopped(reason)
            return
        pending.drop_sound()
        response = pending.cancelled(self._services.current_engine(), reason)
        self._outbox.put(response)
        self._remember_end(pending, response)

    def drop(self, id: str | None) -> None:
        """Stop and forget a question, its answer and its pictures; None: all of them."""
        self.cancel(id, "user")
        if id is None:
            self._history.clear()
            self._pictures.clear()
        else:
            self._history.drop(id)
            self._pictures.drop(id)
        self._prompt_lost()
        self._ended = None
        if self._last is not None and id in (None, self._last[0]):
            self._last = None
        if self._spoken is not None and id in (None, self._spoken.id):
            self._spoken = None
        if self._voiced is not None and id in (None, self._voiced.id):
            self._voiced = None

    def _prompt_lost(self) -> None:
        for part in self._features:
            part.prompt_lost()

    def forget(self) -> None:
        self._hold.frame = self._ended = self._last = self._spoken = self._voiced = None


class _Progress(AnswerListener):
    """Tells the service how the answer to one of its questions goes on."""

    def __init__(self, service: QuestionService, pending: PendingQuestion) -> None:
        self._service = service
        self._pending = pending

    def on_sent(self, request: EngineRequest) -> None:
        for part in self._service._features:
            part.question_sent(request)
        self._pending.by_engine = request.speak

    def on_started(self) -> None:
        self._service._voiced = self._pending
        self._service.speaker.begin(self._pending.id, by_engine=self._pending.by_engine)

    def on_text(self, text: str) -> None:
        self._service.speaker.write(self._pending.id, text)

    def on_counted(self, engine: Engine, request: EngineRequest, result: Result) -> None:
        self._service._requests.learn(result)

    def on_end(self, text: str, whole: bool) -> None:
        service, pending = self._service, self._pending
        service._touch()
        pending.drop_sound()
        if pending.heard is not None:
            text, whole = pending.heard, True
        elif whole or not text:
            # One that failed is spoken as far as it came.
            service.speaker.finish(pending.id)
        else:
            service.speaker.drop()
        if whole and (said := f"{text} {pending.note}".strip()):
            pending.turn = service._history.add(pending.words, said, pending.id)
        if pending.sink is not None:
            service._remember_end(pending, pending.sink.response)
        if service._pending is pending:
            service._pending = None

    def on_error(self, error: QwenCameraError) -> None:
        self._service._prompt_lost()
        self._service._failed(self._pending, error)

    def keep(self, id: str, picture: Picture) -> str | None:
        return self._service._pictures.keep(id, picture)


# The held frame of a session: the sharpest one since somebody held the picture, or of a frozen camera the last new one.


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
        self._report()

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
        except CameraFrozen:
            self.frame = self._camera.last_new
        except CameraError as error:
            self._send_error(error, None)
        self._report()


def _whole(view: View, requests: RequestBuilder) -> MakeEarlier:
    """Return what makes the whole picture beside a part of it, for an engine that looks at both."""

    async def make(needs: Capabilities) -> Sequence[EarlierPicture]:
        if needs.wants_pixels:
            # Those look at one picture.
            return ()
        return [EarlierPicture(await requests.prepare(replace(view, detail=Detail.LOW), needs), "")]

    return make


def _view_of(shot: Shot, detail: Detail) -> View:
    """Return the view of one camera."""
    return View(shot.frame, detail, shot.scene, shot.held)


def _with_others(
    options: RequestOptions, taken: Sequence[Shot], detail: Detail, requests: RequestBuilder
) -> RequestOptions:
    """Add the pictures of all cameras but the last one, whose picture is the request's own."""
    words = camera_captions([shot.name for shot in taken])
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
        options,
        earlier=make if before else None,
        together=bool(before),
        caption=words[-1],
        camera=own,
    )
