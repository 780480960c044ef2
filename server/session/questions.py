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
from server.models.base import Capabilities, Engine, EngineRequest, PointedAt, ShownPicture
from server.models.prompts import camera_captions
from server.models.routing import OF_FEATURES, choose, is_stop, order_in, way_in
from server.models.scheduler.job import Result
from server.session.part import FeatureParts, SessionContext, Shooter, Speaker
from server.session.request.answers import AnswerListener, AnswerPublisher, Toolbox, cancelled
from server.session.request.asking import Asking, Stage
from server.session.request.builder import RequestBuilder
from server.session.request.parts import Draft, MakeEarlier, Prepared, Spoken, View
from server.session.request.question import Question
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
        self._voiced: Asking | None = None
        # The running question; None without one
        self._asking: Asking | None = None
        # The key and end of the last question, for a client that missed it; None before
        self._ended: tuple[tuple[str, float], wire.ServerMessage] | None = None
        # The last spoken question with its frame, whose words may be corrected; None before, and
        # after a typed one
        self._spoken: Asking | None = None
        # The id and words of the last question; None before
        self._last: tuple[str, str] | None = None
        # The part of the picture that spoken questions are about; None: all of it
        self._part: Part | None = None
        self._numbers = itertools.count(1)

    @property
    def held_frame(self) -> Frame | None:
        """The held frame; None without one."""
        return self._hold.frame

    @property
    def waits_for_frame(self) -> bool:
        """True while a question is not in the queue yet."""
        asking = self._asking
        return asking is not None and asking.stage in (Stage.FRAME, Stage.AGAIN)

    @property
    def running(self) -> bool:
        """True while a question waits or runs."""
        return self._asking is not None

    def _known(self, key: tuple[str, float]) -> bool:
        """Return True for a question that was taken before, and send its messages again."""
        if self._ended is not None and self._ended[0] == key:
            self._outbox.put(self._ended[1])
            return True
        if self._asking is None or self._asking.question.key != key:
            return False
        if self._asking.publisher is not None:
            self._asking.publisher.again()
        return True

    def _remember_end(self, asking: Asking, message: wire.ServerMessage | None) -> None:
        key = asking.question.key
        if key is not None and message is not None and not asking.abandoned:
            self._ended = (key, message)

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
        part = message.part if spoken is None else self._part
        self._begin(Asking(Question(id, question, asked, route, detail, key, spoken, part=part)))

    def _stopped(self, message: wire.Chat, spoken: Spoken | None) -> bool:
        """End what is read, what a feature does, or what somebody said over an answer; False when it is a question."""
        running, id = self._asking, message.id
        ordered = spoken is not None or (message.orders and self._features.takes(Order.STOP, ""))
        if not ordered and (running is None or running.stage is not Stage.LOOKS):
            return False
        self.speaker.interrupt("user")
        self.cancel(None, "user")
        if ordered and id is not None:
            # Its words are no question.
            self._ordered(id, Order.STOP, "")
        elif id is not None:
            stop = Question(id, "", Asked.now())
            self._outbox.put(cancelled(stop, self._services.current_engine(), "user"))
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
        spoken = replace(last.question.spoken or Spoken(), sound=None)
        question = Question(last.id, message.text, Asked.now(), route, detail, spoken=spoken)
        question = replace(question, part=last.question.part, corrected=True)
        self._begin(Asking(question, views=last.views))

    def _begin(self, asking: Asking) -> None:
        question = asking.question
        if self._services.inference.draining:
            # Before the running answer is replaced, which may still finish
            self._send_error(
                Draining("The server is about to stop and takes no new questions. Ask again soon."),
                asking.id,
            )
            return
        self.speaker.interrupt("replaced")
        self.cancel(None, "replaced")
        self._asking = asking
        if question.text.strip():
            self._last = asking.id, question.text
        self._spoken = asking if question.spoken is not None else None
        asking.task = self._tasks.spawn(self._ask(asking), name="question")
        if self._hold.empty:
            self._camera.wake()

    async def _ask(self, asking: Asking) -> None:
        """Queue a question; its answer goes on without this task."""
        try:
            await self._submit(asking)
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

    async def _submit(self, asking: Asking) -> None:
        """Wait for the question's frame, and queue it, or find the answer in the way of its route.

        Raises QwenCameraError: no frame, a black one, one that is withheld, or a full queue.
        """
        question, shooter = asking.question, self._features.shooter()
        # What was asked before is about the views that it had.
        around = asking.views[-1].camera if asking.views else shooter is not None
        if around and question.part is None:
            await self._submit_around(asking, shooter)
            return
        own = partial(self._own_frame, asking)
        frame, held = await own()
        asking.question = question = self._fitting(question, held)
        route = self._features.routes.get(question.route)
        if route is None:
            plain = PLAIN_ROUTES.get(question.route, question.route)
            asking.question = question = replace(question, route=plain)
        view = View(frame, question.detail, self._camera.scene, held)
        asking.views = (view,)
        draft = self._draft(asking)
        if question.part is not None:
            alone = prompts.PART_CLOSER if question.closer else prompts.PART_ALONE
            beside = prompts.PART_CLOSER if question.closer else prompts.PART_BESIDE
            region = Region.around(question.part, frame.width, frame.height)
            draft = replace(
                draft,
                view=replace(view, detail=Detail.HIGH, region=region),
                caption=beside,
                alone=alone,
                earlier=_whole(view, self._requests) if question.route is not Route.WHERE else None,
                extras=(PointedAt(question.part),),
            )
        waited = self._waited(asking)
        if route is None or route.prepares:
            needs = self._services.current_engine().status.capabilities
            prepared = await self._features.picture_for(draft.view, needs)
            if not (needs.wants_pixels or self._camera.screen):
                refuse_black(prepared.picture.scene, frame)
            draft = replace(draft, prepared=prepared)
        self._publish(asking, waited)
        if route is not None:
            await route.run(asking, draft)
        else:
            self._queue(asking, replace(draft, tools=asking.calls is None))

    @staticmethod
    def _fitting(question: Question, held: bool) -> Question:
        """Return a question on a way that its picture allows."""
        pointed = question.part is not None
        if pointed and question.route is Route.PAST:
            # The part is one of the picture of now.
            return replace(question, route=Route.NOW)
        if question.route is Route.READ and (held or pointed or question.corrected):
            # There is one picture of it.
            return replace(question, route=Route.DETAIL)
        return question

    def _queue(self, asking: Asking, draft: Draft) -> None:
        assert asking.publisher is not None
        asking.submitted(self._requests.submit(draft, asking.publisher))

    def _waited(self, asking: Asking) -> float:
        """Return the seconds that a question has waited for its frame."""
        if asking.publisher is not None:
            # It is asked once more, about the same one.
            return asking.publisher.waited
        waited = time.monotonic() - asking.question.asked.at
        self._services.metrics.frame_wait.observe(waited)
        return waited

    def called(self, asking: Asking, result: Result) -> bool:
        """Take the tools that an answer has called; True when the question is asked once more.

        That is so for what needs another look, and for an answer that neither says nor does anything.
        """
        calls, again = [], None
        for call in self._toolbox.read(result.calls):
            if call.tool.again is not None and again is not None:
                # One more look, and no other
                continue
            shown = call.shown
            if call.tool.again is not None and not shown.refused:
                try:
                    again = call.tool.again(asking.question, call.arguments)
                except QwenCameraError:
                    shown = shown.model_copy(update={"refused": True})
            calls.append(replace(call, shown=shown))
        asking.calls = [call.shown for call in calls]
        asking.note = " ".join(note for call in calls if (note := call.note))
        if asking.publisher is not None:
            asking.publisher.calls = asking.calls
        if again is None and (result.text.strip() or asking.note):
            return False
        asking.called(again or asking.question)
        asking.task = self._tasks.spawn(self._ask(asking), name="question")
        return True

    async def _submit_around(self, asking: Asking, shooter: Shooter | None) -> None:
        """Ask about the chosen cameras. The routes of features are of the own camera alone."""
        question = asking.question
        plain = PLAIN_ROUTES.get(question.route, question.route)
        asking.question = question = replace(question, route=plain)
        needs = self._services.current_engine().status.capabilities
        if not asking.views and shooter is not None:
            own, waits = partial(self._own_frame, asking), partial(self._waits, asking)
            asking.views = await shooter.views(question, needs, own, waits)
        asking.views = tuple(replace(view, detail=question.detail) for view in asking.views)
        waited = self._waited(asking)
        draft = _with_others(self._draft(asking), asking.views, self._requests)
        picture = await self._requests.prepare(draft.view, needs)
        self._publish(asking, waited)
        self._queue(asking, replace(draft, prepared=Prepared(picture, needs)))

    def _waits(self, asking: Asking) -> None:
        self._outbox.put(wire.Waiting(id=asking.id))

    def _publish(self, asking: Asking, waited: float) -> None:
        """Make what takes the answer. `waited`: seconds for its frame."""
        question = asking.question
        if asking.publisher is not None:
            asking.publisher.ask_again(question)
            return
        asking.publisher = AnswerPublisher(
            asking.id,
            Kind.CHAT,
            self._outbox,
            _Progress(self, asking),
            at=question.asked.at,
            question=question,
            views=asking.views,
        )
        asking.publisher.waited = waited

    def _draft(self, asking: Asking) -> Draft:
        question, on_speech = asking.question, None
        if self.speaker.can_play:
            on_speech = partial(self.speaker.play, asking.id)
        return Draft(
            question=question.text,
            view=asking.views[-1],
            spoken=None if question.corrected else question.spoken,
            on_speech=on_speech,
        )

    async def _own_frame(self, asking: Asking) -> tuple[Frame, bool]:
        """Return the own camera's frame for a question, and True when it is a held one."""
        asked, spoken = asking.question.asked, asking.question.spoken
        if asking.views:
            # It is asked once more, about the frame that it had.
            return asking.views[-1].frame, asking.views[-1].held

        waits = partial(self._waits, asking)
        if await self._hold.chosen(waits):
            # A hold came before the question.
            asked = replace(asked, at=time.monotonic())
        if self._hold.frame is not None:
            return self._hold.frame, True
        if spoken is not None and spoken.frame is not None:
            return spoken.frame, False
        return await self._camera.frame_after(asked, waits), False

    def _not_asked(self, asking: Asking, error: QwenCameraError) -> None:
        if self._asking is asking:
            self._asking = None
        if asking.stage is Stage.AGAIN and asking.publisher is not None:
            asking.publisher.failed(error)
            return
        asking.end()
        self._failed(asking, error)

    def _failed(self, asking: Asking, error: QwenCameraError) -> None:
        self._send_error(error, asking.id)
        self._remember_end(asking, wire.Error.of(error, asking.id))

    def interrupted(self, id: str, heard: str, reason: str) -> None:
        """Keep the heard part of an answer, forget the rest, and stop it if it is still written."""
        asking = self._voiced
        if asking is None or asking.id != id:
            return
        asking.heard = heard
        if asking.turn is not None:
            self._history.remove(asking.turn)
            words = asking.question.words
            asking.turn = self._history.add(words, heard, id) if heard else None
        if self._asking is asking:
            self.cancel(id, "replaced" if reason == "replaced" else "user")

    def cancel(self, id: str | None, reason: str) -> None:
        """Stop the running question, if it has this id; None: in any case."""
        asking = self._asking
        if asking is None or (id is not None and id != asking.id):
            return
        self._asking = None
        asking.abandoned = reason == "socket_closed"
        if asking.stage is Stage.ENGINE:
            assert asking.job is not None
            self._services.inference.cancel(asking.job, reason)
            return
        if asking.task is not None:
            asking.task.cancel()
        if asking.stage is Stage.LOOKS:
            assert asking.looks is not None
            asking.looks.stop(reason)
            return
        # No engine has it.
        self._services.metrics.cancellations.labels(reason).inc()
        if asking.stage is Stage.AGAIN and asking.publisher is not None:
            asking.publisher.stopped(reason)
            return
        asking.end()
        response = cancelled(asking.question, self._services.current_engine(), reason)
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

    def __init__(self, service: QuestionService, asking: Asking) -> None:
        self._service = service
        self._asking = asking
        # An engine that speaks itself has it.
        self._by_engine = False

    def on_sent(self, request: EngineRequest) -> None:
        for part in self._service._features:
            part.question_sent(request)
        self._by_engine = request.speak

    def on_started(self) -> None:
        self._service._voiced = self._asking
        self._service.speaker.begin(self._asking.id, by_engine=self._by_engine)

    def on_text(self, text: str) -> None:
        self._service.speaker.write(self._asking.id, text)

    def on_called(self, result: Result) -> bool:
        return self._service.called(self._asking, result)

    def on_counted(self, engine: Engine, request: EngineRequest, result: Result) -> None:
        self._service._requests.learn(result)

    def on_end(self, text: str, whole: bool) -> None:
        service, asking = self._service, self._asking
        service._touch()
        asking.end()
        if asking.heard is not None:
            text, whole = asking.heard, True
        elif whole or not text:
            # One that failed is spoken as far as it came.
            service.speaker.finish(asking.id)
        else:
            service.speaker.drop()
        if whole and (said := f"{text} {asking.note}".strip()):
            asking.turn = service._history.add(asking.question.words, said, asking.id)
        if asking.publisher is not None:
            service._remember_end(asking, asking.publisher.response)
        if service._asking is asking:
            service._asking = None

    def on_error(self, error: QwenCameraError) -> None:
        self._service._prompt_lost()
        self._service._failed(self._asking, error)

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

    async def make(needs: Capabilities) -> Sequence[ShownPicture]:
        if needs.wants_pixels:
            # Those look at one picture.
            return ()
        return [ShownPicture(await requests.prepare(replace(view, detail=Detail.LOW), needs))]

    return make


def _with_others(draft: Draft, views: Sequence[View], requests: RequestBuilder) -> Draft:
    """Add the pictures of all cameras but the last one, whose picture is the request's own."""
    captions = camera_captions([view.name for view in views])
    before = list(zip(views[:-1], captions, strict=False))

    async def make(needs: Capabilities) -> Sequence[ShownPicture]:
        return [
            ShownPicture(await requests.prepare(view, needs), caption, camera=view.name)
            for view, caption in before
        ]

    return replace(
        draft, earlier=make if before else None, together=bool(before), caption=captions[-1]
    )
