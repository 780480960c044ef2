"""Watches that the built-in detector looks for, so that a model is asked only to confirm what it sees."""

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
    """Looks for conditions in a picture, by their names. Never raises."""

    def __call__(
        self,
        picture: Picture,
        conditions: Mapping[str, str],
        turn: int,
        near: Box | None,
        well: bool,
        /,
    ) -> Awaitable[Mapping[str, Sequence[WatchAnswer] | None] | None]:
        """Return of each what it saw, surest first and never empty, in pixels of the picture; or None, which it does
        not know, or not `well` enough to be asked in place of a model. None for all of them: it cannot look.

        `turn` grows with each look; `near`: where something has just changed or was seen, in pixels of the picture.
        """
        ...


# Seconds between two looks; the same while something changes, or a look saw something new; frames come a little
# before or after their time.
LOOK_SECONDS, SOON_SECONDS, _SLACK = 0.5, 0.2, 0.05
# Seconds for which something changes, after a frame that clearly differs from the one before
STIRRED_SECONDS = 1.0
# Looks in a row that have to agree: one alone is often wrong.
_IN_A_ROW = 2
# Seconds for which nobody is asked again about what a model denied; doubled each time, and at most
_DENIED_SECONDS, _MOST_DENIED_SECONDS = 10.0, 600.0
# Places that are remembered as denied; the one that ends first is dropped.
_MOST_DENIED = 8
# Share of two boxes' area that is in both, from which on they show the same
_SAME = 0.5
# The detector gets the camera's own pixels, filtered like any picture.
_NEEDS = Capabilities(wants_pixels=True, geometry=Geometry(1, 1, 4096 * 4096))


@dataclass(frozen=True, slots=True)
class _Denial:
    # None: of something that is gone, which has no place
    place: Box | None
    until: float
    seconds: float


class DetectionHistory:
    """The detector's looks at one condition. Pure.

    Bounds of what a model denied of a watch: 8 places, for ten minutes at most.
    """

    def __init__(self) -> None:
        self._seen: bool | None = None
        self._row = 0
        self._denials: list[_Denial] = []

    @property
    def open(self) -> bool:
        """True while the next look decides."""
        return self._row < _IN_A_ROW

    def take(self, answers: Sequence[WatchAnswer], now: float) -> WatchAnswer | None:
        """Take a look; return what it saw, once two looks in a row agree. What was denied is not seen."""
        answer = next((one for one in answers if not self._denied(one, now)), None)
        if answer is None:
            answer = replace(answers[0], seen=False, where=None)
        self._row = self._row + 1 if answer.seen is self._seen else 1
        self._seen = answer.seen
        return answer if self._row >= _IN_A_ROW else None

    def deny(self, place: Box | None, now: float) -> None:
        """Note that a model saw nothing there, or did not answer."""
        before = next((one for one in self._denials if _same(one.place, place)), None)
        seconds = _DENIED_SECONDS
        if before is not None:
            self._denials.remove(before)
            seconds = min(_MOST_DENIED_SECONDS, 2 * before.seconds)
        self._denials.append(_Denial(place, now + seconds, seconds))
        self._denials.sort(key=lambda one: one.until)
        del self._denials[:-_MOST_DENIED]

    def confirm(self) -> None:
        """Note that a model saw it, too."""
        self._denials.clear()

    def _denied(self, answer: WatchAnswer, now: float) -> bool:
        return answer.seen and any(
            now < one.until and _same(one.place, answer.where) for one in self._denials
        )


def _same(one: Box | None, other: Box | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.overlap(other) >= _SAME


def detector_looks(metrics: Metrics) -> Counter:
    """Return the counter of all sessions' looks by the detector."""
    # result: done, busy, failed
    return metrics.counter(
        "watch_detector_looks_total", "Looks of the detector for watches", "result"
    )


class Detecting:
    """One session's looks by the detector. Belongs to the event loop.

    At most one look at a time; frames that come meanwhile are counted as busy. A detector that cannot look
    is given up, and a model is asked about everything.
    """

    def __init__(
        self,
        context: SessionContext,
        watch_list: WatchRegistry,
        detector: ConditionDetector,
        saw: Callable[[Frame, Mapping[str, WatchAnswer]], None],
    ) -> None:
        """`saw` gets what two looks in a row agree on, by the rule's names of watches."""
        self._context = context
        self._list = watch_list
        self._rule = watch_list.rule
        self._detector: ConditionDetector | None = detector
        self._saw = saw
        self._looks = detector_looks(context.services.metrics)
        # By the rule's names; those that the detector does not know have None
        self._histories: dict[str, DetectionHistory | None] = {}
        # A model is there, so that only what the detector knows well is its to look for.
        self._beside = self._beside_a_model
        # Capture times: before the first nothing is looked at; of the last look, and of the last clear change
        self._due = self._looked = self._stirred = -math.inf
        # Where something has changed or was seen, in pixels of the frame; None for nowhere
        self._near: Box | None = None
        self._turns = itertools.count()
        self._early = EarlyCheck()
        self._task: asyncio.Task[Any] | None = None

    def due(self, frame: Frame) -> bool:
        """Return whether a frame between two samples is to be looked at: it is time, or it differs from the last."""
        if self._early.wants_look(frame.image, frame.captured, frame.ignored):
            self._stirred = frame.captured
            self._near = self._early.where.scaled(frame.width, frame.height)
            self._next_after(SOON_SECONDS)
        return frame.captured >= self._due

    def frame(self, frame: Frame, *, useful: bool) -> None:
        """Take a sampled frame or one that is due, and look when it is.

        `useful`: something can be seen, and a model asked; else the rule goes on without a detector.
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
        self._next_after(SOON_SECONDS if soon else LOOK_SECONDS)
        self._task = self._context.tasks.spawn(self._look(detector, frame, known), name="detect")

    def _next_after(self, seconds: float) -> None:
        self._due = self._looked + seconds - _SLACK

    @property
    def _beside_a_model(self) -> bool:
        """True for an engine that can watch for anything: one that cannot has no model."""
        engine = self._context.services.current_engine(Role.WATCHES)
        return engine.status.capabilities.cannot_watch is None

    def _renew(self) -> dict[str, str]:
        """Begin anew with each watch that is new or has paused, and with another engine; return all conditions."""
        if self._beside is not self._beside_a_model:
            self._beside = not self._beside
            self._histories.clear()
        watched = self._rule.active_conditions(self._list.now(), self._list.minute())
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
            # A filter withheld it, or it is too large.
            return
        finally:
            self._task = None
        if found is None:
            self._looks.labels("failed").inc()
            self._detector = None
            return
        self._looks.labels("done").inc()
        now, agreed = self._list.now(), dict[str, WatchAnswer]()
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
            self._next_after(SOON_SECONDS)
        if agreed:
            self._saw(frame, agreed)

    def _note_place(self, frame: Frame, found: Mapping[str, Sequence[WatchAnswer] | None]) -> None:
        """Note where the next look has to see something again, or see it better."""
        if self._stirred > frame.captured:
            # Something has changed since.
            return
        seen = [answers[0] for answers in found.values() if answers and answers[0].seen]
        place = next((one.where for one in seen if one.where is not None), None)
        if place is not None or frame.captured >= self._stirred + STIRRED_SECONDS:
            self._near = place

    def on_verdict(self, name: str, place: Box | None, seen: bool | None) -> bool:
        """Take what a model said of what was seen at a place; None: it did not answer.

        Returns False for what the detector has not seen.
        """
        one = self._histories.get(name)
        if one is None:
            return False
        if seen:
            one.confirm()
        else:
            one.deny(place, self._list.now())
        return True

    def forget(self) -> None:
        self._histories.clear()
