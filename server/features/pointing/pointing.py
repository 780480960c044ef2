"""One question about where something is: a sentence while it comes, boxes at its end, a second look in between.

Questions of safety and medicine have a second look of their own: see `twice.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from server.core.errors import EngineRefused, QwenCameraError
from server.core.frames import BoxUnit, Detail, Kind, Picture, Region, Route
from server.features.pointing import boxes
from server.features.pointing.boxes import FindBoxes
from server.features.pointing.messages import Point
from server.features.pointing.snap import FindAt, Snap
from server.features.pointing.twice import ReadLines, Twice
from server.models.base import Capabilities, Engine, EngineRequest
from server.models.scheduler.job import JobObserver, Result
from server.session.part import SessionContext, SessionPart
from server.session.request.answers import AnswerPublisher, PendingQuestion
from server.session.request.parts import Prepared, RequestOptions, View, Wording

log = logging.getLogger(__name__)

# Counts the boxes of an answer that were cut at the picture's edge, and left out.
CountBeyond = Callable[[int, int], None]


class Pointing(SessionPart):
    """The way of a question about where something is, and of a place that somebody points at."""

    prepares = True

    def __init__(
        self,
        context: SessionContext,
        find: FindBoxes | None = None,
        find_at: FindAt | None = None,
        beyond: CountBeyond = lambda clamped, dropped: None,
        *,
        read: ReadLines | None = None,
        looked: Callable[[str], None] = lambda result: None,
    ) -> None:
        """`find`: what looks for boxes where an engine gives none; `find_at`: finds what is at a place; `read`: finds
        print; None: nothing does. `looked`: counts the results of second looks.
        """
        self._requests = context.requests
        self._tasks = context.tasks
        self._find, self._beyond = find, beyond
        self.routes = {Route.WHERE: self, Route.TWICE: Twice(context, find, read, looked)}
        self._snap = Snap(context, find_at) if find_at is not None else None
        self.handlers = {Point: self._snap.point if self._snap else _ignore}

    async def close(self) -> None:
        if self._snap is not None:
            await self._snap.close()

    def ready(self) -> dict[str, Any]:
        """Say whether boxes are found for an engine that gives none."""
        return {"finds": self._find is not None}

    async def run(
        self,
        pending: PendingQuestion,
        view: View,
        prepared: Prepared | None,
        options: RequestOptions,
    ) -> None:
        """Queue the question; its job is the second look's once that is queued."""
        assert pending.sink is not None
        requests = self._requests
        # Nobody wants to hear the list of places, and the words say what is meant.
        options = replace(options, on_speech=None, spoken=False, sound=None)

        def pointed(wording: Wording) -> RequestOptions:
            return replace(options, where=True, wording=wording, max_tokens=boxes.MAX_TOKENS)

        def look_again(region: Region, second: SecondLook) -> None:
            part = replace(view, region=region, detail=Detail.HIGH)
            again = pointed(_wording_again)
            pending.job = requests.submit(pending.question, Kind.CHAT, part, second, options=again)

        def beside(picture: Picture, result: Result) -> bool:
            if self._find is None or pending.sink is None:
                return False
            pending.steps = ending = BoxesBeside(pending, pending.sink, picture, result)
            ending.task = self._tasks.spawn(ending.end_with(self._find), name="boxes")
            return True

        first = FirstLook(pending.sink, look_again, beside, self._beyond)
        pending.job = requests.submit(
            pending.question, Kind.CHAT, view, first, prepared, options=pointed(_wording)
        )


def _ignore(message: Point) -> None:
    """Leave a place unanswered where nothing finds things."""


def _wording(question: str, needs: Capabilities) -> str:
    return boxes.question(question, needs.boxes) if needs.boxes is not None else question


def _wording_again(question: str, needs: Capabilities) -> str:
    if needs.boxes is None:
        raise EngineRefused("The present engine does not write boxes, so there is no second look.")
    return boxes.question(question, needs.boxes, again=True)


class FirstLook:
    """Sink of the question itself: passes words on, keeps the list of boxes back, and asks for a second look."""

    def __init__(
        self,
        answer: AnswerPublisher,
        look_again: Callable[[Region, SecondLook], None],
        beside: Callable[[Picture, Result], bool],
        beyond: CountBeyond,
    ) -> None:
        """`beside`: ends an answer without boxes with those that somebody else finds; False: nobody looks."""
        self.id = answer.id
        self._beside, self._beyond = beside, beyond
        self._answer = answer
        # Submits the second look at a region; raises QwenCameraError.
        self._look_again = look_again
        # The unit of the boxes in the text; None for an engine that writes none
        self._unit: BoxUnit | None = None
        self._grounding = False
        self._picture: Picture | None = None
        self._sentence = boxes.Sentence()
        self._shown = False

    def started(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        capabilities = engine.status.capabilities
        self._unit, self._grounding = capabilities.boxes, capabilities.grounding
        self._picture = request.picture
        self._sentence, self._shown = boxes.Sentence(), False
        self._answer.started(engine, request, queue_seconds)

    def delta(self, text: str) -> None:
        self._show(text if self._unit is None else self._sentence.feed(text))

    def thought(self, text: str) -> None:
        self._answer.thought(text)

    def failed(self, error: QwenCameraError) -> None:
        self._answer.failed(error)

    def finished(self, result: Result) -> None:
        picture = self._picture
        if picture is None:
            self._answer.finished(result)
        elif not self._grounding:
            whole = result.finish_reason in ("stop", "length")
            if not (whole and self._beside(picture, result)):
                self._answer.finished(result)
        elif self._unit is None:
            found = boxes.in_frame(result.boxes or (), picture)
            self._answer.finished(replace(result, boxes=found))
        else:
            self._show(self._sentence.end())
            self._read(result, self._unit, picture)

    def _read(self, first: Result, unit: BoxUnit, picture: Picture) -> None:
        frame = picture.source_width, picture.source_height
        size, part = (picture.width, picture.height), picture.region
        found = boxes.read(first.text, unit, picture=size, frame=frame, region=part)
        self._beyond(found.clamped, found.dropped)
        # Of a part that the person points at, the first look has all pixels.
        region = boxes.second_look(found.boxes, frame) if part is None else None
        if region is None or first.cancel_reason is not None:
            self._end(first, found)
            return
        closer = region

        def looked(second: Result | None, seen: boxes.Answer | None) -> None:
            result, answer = first, found
            if seen is not None:
                self._beyond(seen.clamped, seen.dropped)
                answer = boxes.after_second_look(found, seen, closer, frame)
            if second is not None:
                seconds = first.inference_seconds + second.inference_seconds
                result = replace(result, inference_seconds=seconds)
                if second.cancel_reason is not None:
                    reason = second.cancel_reason
                    result = replace(
                        result, finish_reason=second.finish_reason, cancel_reason=reason
                    )
            self._end(result, answer)

        try:
            again = SecondLook(self.id, unit, region, frame, self._answer.looks_closer, looked)
            self._look_again(region, again)
        except QwenCameraError as error:
            # The first look is an answer, too.
            log.info("no second look", extra={"code": error.code})
            self._end(first, found)

    def _end(self, result: Result, found: boxes.Answer) -> None:
        text = found.sentence or boxes.listed(found.boxes)
        if not self._shown:
            self._show(text)
        self._answer.finished(replace(result, text=text, boxes=found.boxes))

    def _show(self, text: str) -> None:
        if text:
            self._shown = True
            self._answer.delta(text)


class SecondLook(JobObserver):
    """Sink of the second look, whose words nobody sees. Calls `on_end` with its result and answer; None: it failed.

    `on_picture` gets the picture when an engine has it, and None when the look failed.
    """

    def __init__(
        self,
        id: str,
        unit: BoxUnit,
        region: Region,
        frame: tuple[int, int],
        on_picture: Callable[[Picture | None], None],
        on_end: Callable[[Result | None, boxes.Answer | None], None],
    ) -> None:
        self.id = id
        self._unit = unit
        self._region = region
        self._frame = frame
        self._on_picture = on_picture
        self._on_end = on_end
        self._picture: Picture | None = None

    def started(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        self._picture = request.picture
        self._on_picture(request.picture)
        # Another engine may have taken over since.
        self._unit = engine.status.capabilities.boxes or self._unit

    def failed(self, error: QwenCameraError) -> None:
        self._on_picture(None)
        self._on_end(None, None)

    def finished(self, result: Result) -> None:
        picture = self._picture
        if picture is None or result.cancel_reason is not None:
            self._on_end(result, None)
            return
        size = picture.width, picture.height
        answer = boxes.read(
            result.text, self._unit, picture=size, frame=self._frame, region=self._region
        )
        self._on_end(result, answer)


class BoxesBeside:
    """The end of an answer whose engine gives no boxes: it comes with those that the detector finds."""

    def __init__(
        self, pending: PendingQuestion, answer: AnswerPublisher, picture: Picture, result: Result
    ) -> None:
        self._pending = pending
        self._answer = answer
        self._picture = picture
        self._result = result
        # What waits for the boxes; set by whoever starts it
        self.task: asyncio.Task[None] | None = None
        self._ended = False

    async def end_with(self, find: FindBoxes) -> None:
        """Look for the boxes, and end the answer, also when it is cancelled."""
        result, picture = self._result, self._picture
        try:
            found = await find(picture, self._pending.question, result.text)
            if inside := boxes.in_frame(found, picture):
                result = replace(result, boxes=inside, boxes_by="detector")
        finally:
            self._end(result)

    def stop(self, reason: str) -> None:
        """End the answer without boxes."""
        ended = "replaced" if reason == "replaced" else "cancelled"
        self._end(replace(self._result, finish_reason=ended, cancel_reason=reason))
        if self.task is not None:
            self.task.cancel()

    def _end(self, result: Result) -> None:
        if not self._ended:
            self._ended = True
            # It would keep the picture as long as the question.
            self._pending.steps = None
            self._answer.finished(result)
