"""Questions about where something is: a streamed sentence, a second look if needed, and boxes at the end.

`twice.py` implements the second look for questions about safety and medicine.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from server.core.errors import EngineRefused, QwenCameraError
from server.core.frames import BoxUnit, Detail, Picture, QuestionMode
from server.features.pointing import boxes
from server.features.pointing.boxes import FindBoxes
from server.features.pointing.messages import Point
from server.features.pointing.snap import FindAt, PointLookup
from server.features.pointing.twice import DoubleChecks, ForwardingObserver, ReadLines
from server.models.base import Capabilities, Engine, EngineRequest
from server.models.scheduler.job import JobObserver, Result
from server.session.part import SessionContext, SessionPart
from server.session.request.asking import Asking
from server.session.request.parts import Draft
from server.shared.boxes import count_overshoots
from server.shared.services import LanguageDetector

log = logging.getLogger(__name__)


class Pointing(SessionPart):
    """One session's route for questions about where something is, and its search at places to which people point."""

    prepares = True

    def __init__(
        self,
        context: SessionContext,
        find: FindBoxes | None = None,
        find_at: FindAt | None = None,
        read: ReadLines | None = None,
        detect: LanguageDetector | None = None,
    ) -> None:
        """`find`: finds boxes if the engine returns none; `find_at`: finds what is at a place; `read`: finds printed
        text; `detect`: detects the language of a text. None: not available.
        """
        self.context, self.find = context, find
        self.routes = {
            QuestionMode.WHERE: self,
            QuestionMode.TWICE: DoubleChecks(context, find, read, detect),
        }
        self._snap = PointLookup(context, find_at)
        self.handlers = {Point: self._snap.point}

    async def close(self) -> None:
        await self._snap.close()

    def ready(self) -> dict[str, Any]:
        """Return `finds`: True if boxes are found even if the engine returns none."""
        return {"finds": self.find is not None}

    async def run(self, asking: Asking, draft: Draft) -> None:
        """Queue the question. Once a second look is queued, its job replaces the first one."""
        draft = replace(
            draft,
            # Do not speak the list of boxes; the sentence is enough.
            on_speech=None,
            spoken=None,
            wording=_word_question,
            max_tokens=boxes.MAX_TOKENS,
            extras=(*draft.extras, QuestionMode.WHERE),
        )
        asking.on_submitted(
            self.context.requests.submit(draft, FirstLookObserver(self, asking, draft))
        )

    def parse_answer(self, text: str, unit: BoxUnit, picture: Picture) -> boxes.GroundedAnswer:
        """Parse an answer about a picture, and count the boxes that reach beyond the picture's edges."""
        size, frame = (picture.width, picture.height), (picture.source_width, picture.source_height)
        found = boxes.parse_answer(text, unit, picture=size, frame=frame, region=picture.region)
        count_overshoots(self.context.services.metrics, found.clamped, found.dropped)
        return found


def _word_question(question: str, needs: Capabilities) -> str:
    return boxes.make_question(question, needs.boxes) if needs.boxes is not None else question


def _word_second_question(question: str, needs: Capabilities) -> str:
    if needs.boxes is None:
        raise EngineRefused("The current engine returns no boxes, so there is no second look.")
    return boxes.make_question(question, needs.boxes, again=True)


class FirstLookObserver(ForwardingObserver):
    """Observes the first request: passes the sentence on without the list of boxes, and requests a second look."""

    def __init__(self, pointing: Pointing, asking: Asking, draft: Draft) -> None:
        super().__init__(asking)
        self.pointing = pointing
        self._draft = draft
        # The unit of the boxes in the text; None for an engine that writes no boxes
        self._unit: BoxUnit | None = None
        self._grounding = False
        self._picture: Picture | None = None
        self._sentence = boxes.Sentence()
        self._shown = False

    def on_request(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        capabilities = engine.status.capabilities
        self._unit, self._grounding = capabilities.boxes, capabilities.grounding
        self._picture = request.picture
        self._sentence, self._shown = boxes.Sentence(), False
        super().on_request(engine, request, queue_seconds)

    def on_delta(self, text: str) -> None:
        self._show(text if self._unit is None else self._sentence.feed(text))

    def on_result(self, result: Result) -> None:
        picture, find = self._picture, self.pointing.find
        if picture is None:
            self.answer.on_result(result)
        elif not self._grounding:
            if find is None or result.finish_reason not in ("stop", "length"):
                self.answer.on_result(result)
            else:
                self.asking.take_looks(DetectorBoxes(self, picture, result, find))
        elif self._unit is None:
            found = boxes.to_frame(result.boxes or (), picture)
            self.answer.on_result(replace(result, boxes=found))
        else:
            self._show(self._sentence.end())
            self._read(result, self._unit, picture)

    def _read(self, first: Result, unit: BoxUnit, picture: Picture) -> None:
        found = self.pointing.parse_answer(first.text, unit, picture)
        # If there is a region, the first look already had full resolution, so a second one is useless.
        frame = picture.source_width, picture.source_height
        region = (
            boxes.get_second_look_region(found.boxes, frame) if picture.region is None else None
        )
        if region is None or first.cancel_reason is not None:
            self.end(first, found)
            return
        try:
            view = replace(self._draft.view, region=region, detail=Detail.HIGH)
            draft = replace(self._draft, view=view, prepared=None, wording=_word_second_question)
            second = SecondLookObserver(self, first, found, unit)
            self.asking.on_submitted(self.pointing.context.requests.submit(draft, second))
        except QwenCameraError as error:
            # Use the answer of the first look.
            log.info(
                "boxes in the enlarged region failed, using the first answer",
                extra={"code": error.code},
            )
            self.end(first, found)

    def end(self, result: Result, found: boxes.GroundedAnswer) -> None:
        """End the answer with this sentence and these boxes."""
        text = found.sentence or boxes.join_labels(found.boxes)
        if not self._shown:
            self._show(text)
        self.answer.on_result(replace(result, text=text, boxes=found.boxes))

    def _show(self, text: str) -> None:
        if text:
            self._shown = True
            self.answer.on_delta(text)


class SecondLookObserver(JobObserver):
    """Observes the second request, whose text is not shown, and ends the answer.

    If it fails, the first answer is used.
    """

    def __init__(
        self, first: FirstLookObserver, result: Result, found: boxes.GroundedAnswer, unit: BoxUnit
    ) -> None:
        """Start after the first look: `result` is its result, `found` its parsed answer."""
        self.id = first.id
        self._first, self._result, self._found = first, result, found
        self._unit = unit
        self._picture: Picture | None = None

    def on_request(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        self._picture = request.picture
        self._first.answer.note_closer_look(request.picture)
        # Another engine may have taken over since the first look.
        self._unit = engine.status.capabilities.boxes or self._unit

    def on_failure(self, error: QwenCameraError) -> None:
        self._first.answer.note_closer_look(None)
        self._first.end(self._result, self._found)

    def on_result(self, result: Result) -> None:
        first, found, picture = self._result, self._found, self._picture
        whole = replace(first, inference_seconds=first.inference_seconds + result.inference_seconds)
        if result.cancel_reason is not None:
            ended, reason = result.finish_reason, result.cancel_reason
            whole = replace(whole, finish_reason=ended, cancel_reason=reason)
        elif picture is not None and picture.region is not None:
            seen = self._first.pointing.parse_answer(result.text, self._unit, picture)
            frame = picture.source_width, picture.source_height
            found = boxes.combine_looks(found, seen, picture.region, frame)
        self._first.end(whole, found)


class DetectorBoxes:
    """Ends an answer of an engine that returns no boxes, with the boxes that the detector finds."""

    def __init__(
        self, first: FirstLookObserver, picture: Picture, result: Result, find: FindBoxes
    ) -> None:
        self._asking, self._answer = first.asking, first.answer
        self._picture, self._result = picture, result
        self._finished = False
        tasks = first.pointing.context.tasks
        self._task = tasks.spawn(self._end_with(find), name="boxes")

    async def _end_with(self, find: FindBoxes) -> None:
        """Find the boxes and end the answer, also if cancelled."""
        result, picture = self._result, self._picture
        try:
            found = await find(picture, self._asking.question.text, result.text)
            if inside := boxes.to_frame(found, picture):
                result = replace(result, boxes=inside, boxes_by="detector")
        finally:
            self._end(result)

    def stop(self, reason: str) -> None:
        """End the answer without boxes."""
        ended = "replaced" if reason == "replaced" else "cancelled"
        self._end(replace(self._result, finish_reason=ended, cancel_reason=reason))
        self._task.cancel()

    def _end(self, result: Result) -> None:
        if not self._finished:
            self._finished = True
            self._answer.on_result(result)
