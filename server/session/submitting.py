"""Submission of questions to the queue: frame, picture, draft."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from server.core import messages as wire
from server.core.frames import Detail, Frame, JobKind, QuestionMode, Region
from server.media.picture.planes import refuse_black
from server.models import prompts
from server.models.base import Capabilities, PointedAt, ShownPicture
from server.models.prompts import make_camera_captions
from server.session.hold import HeldFrame
from server.session.part import FeatureParts, FrameSource, SessionContext
from server.session.request.answers import AnswerListener, AnswerPublisher
from server.session.request.asking import Asking
from server.session.request.builder import RequestBuilder
from server.session.request.parts import Draft, MakeEarlier, Prepared, View
from server.session.request.question import Question

# Replacements for features' routes: if the feature is off, and for cameras other than the session's
# own
PLAIN_ROUTES = {
    QuestionMode.PAST: QuestionMode.NOW,
    QuestionMode.WHERE: QuestionMode.NOW,
    QuestionMode.READ: QuestionMode.DETAIL,
    QuestionMode.TWICE: QuestionMode.DETAIL,
}


class QuestionSubmitter:
    """Submits one session's questions: waits for their frames, and queues them."""

    def __init__(
        self,
        context: SessionContext,
        features: FeatureParts,
        hold: HeldFrame,
        listener: Callable[[Asking], AnswerListener],
    ) -> None:
        self._context = context
        self._camera = context.camera
        self._outbox = context.outbox
        self._requests = context.requests
        self._services = context.services
        self._features = features
        self._hold = hold
        self._listener = listener

    async def submit(self, asking: Asking) -> None:
        """Wait for the question's frame, and queue the question or run its feature's route.

        Raises QwenCameraError if there is no frame, the frame is black or withheld, or the queue is full.
        """
        question, frame_source = asking.question, self._features.frame_source()
        # A repeated question keeps its views.
        around = asking.views[-1].camera if asking.views else frame_source is not None
        if around and question.part is None:
            await self._submit_around(asking, frame_source)
            return
        own = partial(self._get_own_frame, asking)
        frame, held = await own()
        asking.question = question = self._with_fitting_route(question, held)
        route = self._features.routes.get(question.route)
        if route is None:
            plain = PLAIN_ROUTES.get(question.route, question.route)
            asking.question = question = replace(question, route=plain)
        view = View(frame, question.detail, self._camera.scene, held)
        asking.views = (view,)
        draft = self._make_draft(asking)
        if question.part is not None:
            alone = prompts.PART_CLOSER if question.closer else prompts.PART_ALONE
            beside = prompts.PART_CLOSER if question.closer else prompts.PART_BESIDE
            region = Region.around(question.part, frame.width, frame.height)
            draft = replace(
                draft,
                view=replace(view, detail=Detail.HIGH, region=region),
                caption=beside,
                alone=alone,
                earlier=_make_whole_picture_maker(view, self._requests)
                if question.route is not QuestionMode.WHERE
                else None,
                extras=(*draft.extras, PointedAt(question.part)),
            )
        waited = self._get_waited_seconds(asking)
        if route is None or route.prepares:
            needs = self._services.current_engine().status.capabilities
            prepared = await self._features.get_picture(draft.view, needs)
            if not (needs.wants_pixels or self._camera.screen):
                refuse_black(prepared.picture.scene, frame)
            draft = replace(draft, prepared=prepared)
        self._publish(asking, waited)
        if route is not None:
            await route.run(asking, draft)
        else:
            self._queue(asking, replace(draft, tools=asking.calls is None))

    @staticmethod
    def _with_fitting_route(question: Question, held: bool) -> Question:
        """Return a question with a route that its picture allows."""
        pointed = question.part is not None
        if pointed and question.route is QuestionMode.PAST:
            # The part was selected in the present picture.
            return replace(question, route=QuestionMode.NOW)
        if question.route is QuestionMode.READ and (held or pointed or question.corrected):
            # Continuous reading needs further pictures.
            return replace(question, route=QuestionMode.DETAIL)
        return question

    def _queue(self, asking: Asking, draft: Draft) -> None:
        assert asking.publisher is not None
        asking.on_submitted(self._requests.submit(draft, asking.publisher))

    def _get_waited_seconds(self, asking: Asking) -> float:
        """Return the seconds that the question waited for its frame."""
        if asking.publisher is not None:
            # Asked again, about the same frame
            return asking.publisher.waited
        waited = time.monotonic() - asking.question.asked.at
        self._services.metrics.frame_wait.observe(waited)
        return waited

    async def _submit_around(self, asking: Asking, frame_source: FrameSource | None) -> None:
        """Submit a question about the chosen cameras, without features' routes."""
        question = asking.question
        plain = PLAIN_ROUTES.get(question.route, question.route)
        asking.question = question = replace(question, route=plain)
        needs = self._services.current_engine().status.capabilities
        if not asking.views and frame_source is not None:
            own, waits = partial(self._get_own_frame, asking), partial(self._report_waiting, asking)
            asking.views = await frame_source.views(question, needs, own, waits)
        asking.views = tuple(replace(view, detail=question.detail) for view in asking.views)
        waited = self._get_waited_seconds(asking)
        draft = _with_others(self._make_draft(asking), asking.views, self._requests)
        picture = await self._requests.prepare(draft.view, needs)
        self._publish(asking, waited)
        self._queue(asking, replace(draft, prepared=Prepared(picture, needs)))

    def _report_waiting(self, asking: Asking) -> None:
        self._outbox.put(wire.Waiting(id=asking.id))

    def _publish(self, asking: Asking, waited: float) -> None:
        """Create the publisher of the answer. `waited`: seconds that the question waited for its frame."""
        question = asking.question
        if asking.publisher is not None:
            asking.publisher.ask_again(question)
            return
        asking.publisher = AnswerPublisher(
            asking.id,
            JobKind.CHAT,
            self._outbox,
            self._listener(asking),
            at=question.asked.at,
            question=question,
            views=asking.views,
        )
        asking.publisher.waited = waited

    def _make_draft(self, asking: Asking) -> Draft:
        question, on_speech = asking.question, None
        if self._context.speech.can_play:
            on_speech = partial(self._context.speech.play, asking.id)
        return Draft(
            question=question.text,
            view=asking.views[-1],
            spoken=None if question.corrected else question.spoken,
            on_speech=on_speech,
        )

    async def _get_own_frame(self, asking: Asking) -> tuple[Frame, bool]:
        """Return the frame of the session's own camera for a question, and True if it is a held frame."""
        asked, spoken = asking.question.asked, asking.question.spoken
        if asking.views:
            # Asked again, about the same frame
            return asking.views[-1].frame, asking.views[-1].held

        waits = partial(self._report_waiting, asking)
        if await self._hold.wait(waits):
            # The search of a hold ended after the question.
            asked = replace(asked, at=time.monotonic())
        if self._hold.frame is not None:
            return self._hold.frame, True
        if spoken is not None and spoken.frame is not None:
            return spoken.frame, False
        return await self._camera.wait_for_frame(asked, waits), False


def _make_whole_picture_maker(view: View, requests: RequestBuilder) -> MakeEarlier:
    """Return a function that makes the whole picture in addition to its part, for engines that accept both."""

    async def make(needs: Capabilities) -> Sequence[ShownPicture]:
        if needs.wants_pixels:
            # Such an engine accepts only one picture.
            return ()
        return [ShownPicture(await requests.prepare(replace(view, detail=Detail.LOW), needs))]

    return make


def _with_others(draft: Draft, views: Sequence[View], requests: RequestBuilder) -> Draft:
    """Return the draft with the pictures of all other cameras; the last view is the main picture of the request."""
    captions = make_camera_captions([view.name for view in views])
    before = list(zip(views[:-1], captions, strict=False))

    async def make(needs: Capabilities) -> Sequence[ShownPicture]:
        return [
            ShownPicture(await requests.prepare(view, needs), caption, camera=view.name)
            for view, caption in before
        ]

    return replace(
        draft, earlier=make if before else None, together=bool(before), caption=captions[-1]
    )
