"""One request of a session's watches: its question and pictures, and its answers in the frame's pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from server.core.errors import QwenCameraError
from server.core.frames import BoxUnit, Detail, Frame, Region
from server.media.picture.grounding import Box, to_frame
from server.models.base import Capabilities, Engine, EngineRequest
from server.models.routing import wants_detail
from server.models.scheduler.job import Result
from server.shared.attention.gate import WHOLE, Change
from server.shared.watch_answers import Answer, read_answers

# Tokens of an answer: of each condition, and of what is around them
_ENTRY_TOKENS = 80
_FORM_TOKENS = 40
# A second look's crop is so much larger than the box that it shows, and at least so many pixels a side.
_CROP_GROWTH = 1.6
_LEAST_CROP = 224
# The last field of an entry: everything before it is there once it begins.
_LAST_FIELD = '"why"'


def answer_tokens(conditions: int) -> int:
    """Return the tokens that an answer about so many conditions may take."""
    return conditions * _ENTRY_TOKENS + _FORM_TOKENS


def unit_of(capabilities: Capabilities) -> BoxUnit | None:
    """Return the unit of an engine's boxes in an answer; None when it gives none, or in an unknown one."""
    return capabilities.boxes or (BoxUnit.PIXELS if capabilities.wants_pixels else None)


def crop_region(box: Box | None, frame: Frame) -> Region | None:
    """Return the part of a frame that shows a box and what is around it; None for the whole frame."""
    if box is None:
        return None
    sides = []
    for low, high, side in ((box.x1, box.x2, frame.width), (box.y1, box.y2, frame.height)):
        size = min(side, max(_LEAST_CROP, math.ceil((high - low) * _CROP_GROWTH)))
        start = round((low + high - size) / 2)
        start = max(0, min(side - size, start))
        sides.append((start, start + size))
    (left, right), (top, bottom) = sides
    region = Region(left, top, right, bottom)
    whole = (region.width, region.height) == (frame.width, frame.height)
    return None if whole else region


def in_frame(
    answer: Answer, request: EngineRequest, unit: BoxUnit | None, region: Region
) -> Answer:
    """Return an answer with its box in pixels of the frame. `region`: of the picture."""
    box = answer.where
    if box is None or unit is None:
        return replace(answer, where=None)
    picture = request.picture
    found = to_frame(
        box,
        unit,
        picture=(picture.width, picture.height),
        frame=(region.width, region.height),
    )
    if found is None:
        return replace(answer, where=None)
    left, top = region.left, region.top
    shifted = Box(found.x1 + left, found.y1 + top, found.x2 + left, found.y2 + top)
    return replace(answer, where=shifted)


def detail_for(conditions: Mapping[str, str]) -> Detail:
    """Return the detail in which all conditions can be seen."""
    return Detail.HIGH if any(map(wants_detail, conditions.values())) else Detail.LOW


def changed_box(change: Change, frame: Frame) -> Box | None:
    """Return the changed region in the frame's pixels; None for the whole picture."""
    region = change.region
    if region is None or region == WHOLE:
        return None
    return Box(
        region.left * frame.width,
        region.top * frame.height,
        region.right * frame.width,
        region.bottom * frame.height,
    )


def in_shares(box: Box | None, frame: Frame) -> Box | None:
    """Return a box as shares of the frame's sides."""
    if box is None:
        return None
    return Box(
        box.x1 / frame.width,
        box.y1 / frame.height,
        box.x2 / frame.width,
        box.y2 / frame.height,
    )


def early_answer(text: str, name: str) -> Answer | None:
    """Return the answer about one condition before its last field, the reason, is complete."""
    head, found, _ = text.rpartition(_LAST_FIELD)
    begin = head.rfind("{")
    if not found or begin < 0:
        return None
    entry = head[begin:].rstrip().rstrip(",") + "}"
    try:
        json.loads(entry, strict=False)
    except (ValueError, RecursionError):
        return None
    return read_answers(entry, {name}).get(name)


class WatchSink:
    """Collects one request's answer. Calls `on_text` for each piece, then `on_answer` or `on_error`."""

    def __init__(
        self,
        id: str,
        names: tuple[str, ...],
        region: Region,
        *,
        on_text: Callable[[WatchSink], None],
        on_answer: Callable[[WatchSink, Mapping[str, Answer], Result], None],
        on_error: Callable[[WatchSink, QwenCameraError | None], None],
    ) -> None:
        """`region`: the part of the frame that the picture shows. `on_error` gets None when it was stopped."""
        self.id = id
        self.names = names
        self.text = ""
        self.asked: tuple[Engine, EngineRequest] | None = None
        self._region = region
        self._on_text = on_text
        self._on_answer = on_answer
        self._on_error = on_error

    def started(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        self.asked, self.text = (engine, request), ""

    def delta(self, text: str) -> None:
        self.text += text
        self._on_text(self)

    def thought(self, text: str) -> None:
        """Thoughts are no part of the answer."""

    def finished(self, result: Result) -> None:
        if result.finish_reason not in ("stop", "length"):
            self._on_error(self, None)
            return
        found = read_answers(result.text, self.names)
        self._on_answer(self, {name: self.in_frame(one) for name, one in found.items()}, result)

    def failed(self, error: QwenCameraError) -> None:
        self._on_error(self, error)

    def early(self) -> Answer | None:
        """Return the answer about the one condition as soon as only its reason is missing."""
        (name,) = self.names
        found = early_answer(self.text, name)
        return self.in_frame(found) if found is not None else None

    def in_frame(self, answer: Answer) -> Answer:
        if self.asked is None:
            return replace(answer, where=None)
        engine, request = self.asked
        return in_frame(answer, request, unit_of(engine.status.capabilities), self._region)
