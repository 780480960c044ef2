"""Watches that the built-in detector checks; a model only has to confirm what the detector sees."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from prometheus_client import Counter

from server.core.errors import QwenCameraError
from server.core.frames import Detail, Frame, Geometry, Picture, Role
from server.core.metrics import Metrics
from server.features.watches.watch_list import WatchRegistry
from server.media.picture.grounding import Box
from server.models.base import Capabilities
from server.session.part import SessionContext
from server.session.request.parts import View
from server.shared.attention.attention import EarlyCheck
from server.shared.watch_answers import WatchAnswer


class ConditionDetector(Protocol):
    """Looks for conditions in a picture. Never raises."""

    def __call__(
        self,
        picture: Picture,
        conditions: Mapping[str, str],
        turn: int,
        near: Box | None,
        well: bool,
        /,
    ) -> Awaitable[Mapping[str, Sequence[WatchAnswer] | None] | None]:
        """Return the answers for each condition, by its name: most confident first, never empty, boxes in pixels.

        A value is None for a condition that the detector does not know; with `well`, also for one that it does not know
        well enough to replace a model. Return None for all conditions if the detector is not available.

        `turn`: number of the check; `near`: where something has just changed or was seen, in pixels of the picture.
        """
        ...


# Seconds between two looks; the same while something changes or a result is not settled; tolerance for frames that come
# slightly early
LOOK_SECONDS, SOON_SECONDS, _SLACK = 0.5, 0.2, 0.05
# Seconds after a clearly different frame for which the scene counts as changing
STIRRED_SECONDS = 1.0
# Successive looks that have to agree, since a single look is often wrong
_IN_A_ROW = 2
# Seconds for which a place that a model denied is ignored; doubled each time, up to the second
_DENIED_SECONDS, _MOST_DENIED_SECONDS = 10.0, 600.0
# Most denied places that are stored; the one that expires first is dropped.
_MOST_DENIED = 8
# Least overlap (intersection over union) of two boxes that show the same object
_SAME = 0.5
# The detector gets full resolution, after the privacy filters.
_NEEDS = Capabilities(wants_pixels=True, geometry=Geometry(1, 1, 4096 * 4096))


@dataclass(frozen=True, slots=True)
class _Denial:
    """A place where a model did not see what the detector saw."""

    # None for something that has disappeared and so has no place
    place: Box | None
    until: float
    seconds: float


class DetectionHistory:
    """The detector's results for one condition, and the places that a model denied. Pure; `now` is in monotonic seconds.

    Bounds of denied places of a watch: 8, for ten minutes at most.
    """

    def __init__(self) -> None:
        self._seen: bool | None = None
        self._row = 0
        self._denials: list[_Denial] = []

    @property
    def open(self) -> bool:
        """True while successive looks do not agree yet."""
        return self._row < _IN_A_ROW

    def take(self, answers: Sequence[WatchAnswer], now: float) -> WatchAnswer | None:
        """Record a look's answers.

        Return the most confident one if two looks in a row agree, else None. Ignore denied places.
        """
        answer = next((one for one in answers if not self._is_denied(one, now)), None)
        if answer is None:
            answer = replace(answers[0], seen=False, where=None)
        self._row = self._row + 1 if answer.seen is self._seen else 1
        self._seen = answer.seen
        return answer if self._row >= _IN_A_ROW else None

    def deny(self, place: Box | None, now: float) -> None:
        """Record that a model saw nothing at a place, or did not answer."""
        before = next((one for one in self._denials if _is_same_place(one.place, place)), None)
        seconds = _DENIED_SECONDS
        if before is not None:
            self._denials.remove(before)
            seconds = min(_MOST_DENIED_SECONDS, 2 * before.seconds)
        self._denials.append(_Denial(place, now + seconds, seconds))
        self._denials.sort(key=lambda one: one.until)
        del self._denials[:-_MOST_DENIED]

    def confirm(self) -> None:
        """Record that a model confirmed the condition: forget all denials."""
        self._denials.clear()

    def _is_denied(self, answer: WatchAnswer, now: float) -> bool:
        return answer.seen and any(
            now < one.until and _is_same_place(one.place, answer.where) for one in self._denials
        )


def _is_same_place(one: Box | None, other: Box | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.overlap(other) >= _SAME


def register_look_counter(metrics: Metrics) -> Counter:
    """Return the counter of looks by the detector, by result."""
    # result: done, busy, failed
    return metrics.counter(
        "watch_detector_looks_total", "Looks of the detector for watches", "result"
    )


class Detecting:
    """One session's looks by the detector. Runs on the event loop.

    At most one look runs at a time; frames that come meanwhile are counted as busy. If the detector is not available,
    a model is asked about everything.
    """

    def __init__(
        self,
        context: SessionContext,
        watch_list: WatchRegistry,
        detector: ConditionDetector,
        saw: Callable[[Frame, Mapping[str, WatchAnswer]], None],
    ) -> None:
        """Use the detector for the watches of `watch_list`. `saw`: called with the answers on which two looks agree, by name."""
        self._context = context
        self._list = watch_list
        self._rule = watch_list.rule
        self._detector: ConditionDetector | None = detector
        self._saw = saw
        self._looks = register_look_counter(context.services.metrics)
        # By the rule's names of watches; None for a condition that the detector does not know
        self._histories: dict[str, DetectionHistory | None] = {}
        # True if a model is available, so that the detector checks only conditions that it knows well
        self._beside = self._beside_a_model
        # Capture times: of the next look that is due, of the last look, and of the last clear change
        self._due = self._looked = self._stirred = -math.inf
        # Where something has changed or was seen, in pixels of the frame; None if unknown
        self._near: Box | None = None
        self._turns = itertools.count()
        self._early = EarlyCheck()
        self._task: asyncio.Task[Any] | None = None

    def is_due(self, frame: Frame) -> bool:
        """Return True if a look at a frame between two samples is due, or if the frame differs."""
        if self._early.wants_look(frame.image, frame.captured, frame.ignored):
            self._stirred = frame.captured
            self._near = self._early.where.scaled(frame.width, frame.height)
            self._schedule_next(SOON_SECONDS)
        return frame.captured >= self._due

    def on_frame(self, frame: Frame, *, useful: bool) -> None:
        """Run the detector on this frame if a check is due.

        `useful`: False if nothing can be seen or no model can be asked; the watches are then evaluated without the
        detector.
        """
        detector = self._detector
        if detector is None or not useful:
            self._rule.detect(())
            return
        watched = self._renew()
        known = {n: words for n, words in watched.items() if self._histories[n] is not None}
        self._rule.detect(known)
        if not known:
            return
        self._early.note_look(frame.image, frame.captured)
        if frame.captured < self._due:
            return
        if self._task is not None:
            self._looks.labels("busy").inc()
            return
        self._looked = frame.captured
        soon = frame.captured < self._stirred + STIRRED_SECONDS
        self._schedule_next(SOON_SECONDS if soon else LOOK_SECONDS)
        self._task = self._context.tasks.spawn(self._look(detector, frame, known), name="detect")

    def _schedule_next(self, seconds: float) -> None:
        self._due = self._looked + seconds - _SLACK

    @property
    def _beside_a_model(self) -> bool:
        """True if the watching engine supports any condition, which means that it has a model."""
        engine = self._context.services.current_engine(Role.WATCHES)
        return engine.status.capabilities.cannot_watch is None

    def _renew(self) -> dict[str, str]:
        """Reset the results of new and paused watches, and of all if the engine changed; return the active conditions."""
        if self._beside is not self._beside_a_model:
            self._beside = not self._beside
            self._histories.clear()
        watched = self._rule.get_active_conditions(self._list.get_time(), self._list.get_minute())
        before, self._histories = self._histories, {}
        for name in watched:
            self._histories[name] = before[name] if name in before else DetectionHistory()
        return watched

    async def _look(
        self, detector: ConditionDetector, frame: Frame, conditions: dict[str, str]
    ) -> None:
        try:
            view = View(frame, Detail.LOW, self._context.camera.scene)
            picture = await self._context.requests.prepare(view, _NEEDS, unseen=True)
            turn = next(self._turns)
            found = await detector(picture, conditions, turn, self._near, self._beside)
        except QwenCameraError:
            # The frame is withheld or too large.
            return
        finally:
            self._task = None
        if found is None:
            self._looks.labels("failed").inc()
            self._detector = None
            return
        self._looks.labels("done").inc()
        now, agreed = self._list.get_time(), dict[str, WatchAnswer]()
        for name, answers in found.items():
            one = self._histories.get(name)
            if answers is None and name in self._histories:
                self._histories[name] = None
            elif (
                answers is not None
                and one is not None
                and (answer := one.take(answers, now)) is not None
            ):
                agreed[name] = answer
        self._note_place(frame, found)
        if any(one is not None and one.open for one in self._histories.values()):
            self._schedule_next(SOON_SECONDS)
        if agreed:
            self._saw(frame, agreed)

    def _note_place(self, frame: Frame, found: Mapping[str, Sequence[WatchAnswer] | None]) -> None:
        """Store the place that the next look should examine more closely."""
        if self._stirred > frame.captured:
            # Something has changed since then: keep the place of the change.
            return
        seen = [answers[0] for answers in found.values() if answers and answers[0].seen]
        place = next((one.where for one in seen if one.where is not None), None)
        if place is not None or frame.captured >= self._stirred + STIRRED_SECONDS:
            self._near = place

    def on_verdict(self, name: str, place: Box | None, seen: bool | None) -> bool:
        """Record a model's verdict on what the detector saw at a place. `seen`: None if there was no answer.

        Return False if the watch is not one of the detector's.
        """
        one = self._histories.get(name)
        if one is None:
            return False
        if seen:
            one.confirm()
        else:
            one.deny(place, self._list.get_time())
        return True

    def forget(self) -> None:
        self._histories.clear()
