"""Decide when background work sends a request: its change gate, which compares frames with that of the last answer,
and its pace."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from server.core import messages as wire
from server.core.frames import Frame, Part
from server.media.picture.grounding import Box
from server.media.picture.planes import F32, U8, get_luma_plane
from server.shared.attention.changes import (
    Activity,
    ChromaChange,
    Comparison,
    LumaChange,
    Patch,
    PrintChange,
    RunningDigits,
)
from server.shared.attention.planes import HEIGHT, SCRATCH, WIDTH, BufferPool, Planes
from server.shared.attention.registration import Pose, Reference

if TYPE_CHECKING:
    import av

# Minimum time between comparisons; most frames of a faster camera are skipped.
LOOK_SECONDS = 0.4
# Tolerance for the camera's clock
_EARLY = 0.02
# Fraction of blocks over their threshold above which the scene is another one, and blocks of motion
# above which the view is another one
_SCENE_SHARE = 0.30
_VIEW_BLOCKS = 8.0
# Number of compared frames averaged into the reference after an answer, while fewer blocks differ than with a
# new lamp
_SETTLE_LOOKS = 3
_SETTLE_SHARE = 0.0006
# Maximum step for learning, in seconds
_STEP = 0.5


class Why(StrEnum):
    """The reason of a decision."""

    SAME = "same"
    # There is nothing to compare with.
    FIRST = "first"
    VIEW = "view"
    SCENE = "scene"
    # Clear in one comparison
    OBJECT = "object"
    # Weak or small, in two comparisons
    SLIGHT = "slight"
    COLOR = "color"
    PRINT = "print"


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Change:
    """The result of a comparison."""

    why: Why
    # The strongest evidence relative to its rule: 1 fulfils it; weak evidence needs 1 in two comparisons.
    value: float
    # The part of the frame that changed, in fractions of its sides; None without a change
    region: Box | None
    # Fraction of the picture that always moves, in which only a stronger change counts
    busy: float

    @property
    def changed(self) -> bool:
        return self.why is not Why.SAME


class ChangeGate:
    """The gate of one camera (0.83 MB in addition to the shared scratch). Frames in order; one caller at a time.

    The reference is the frame of the last answer. It does not adapt to later frames, so a slow change
    accumulates until it is detected. The gate learns how much each block usually changes between comparisons,
    so that leaves and screens trigger less; `busy` is their fraction of the picture.
    """

    def __init__(self, scratch: BufferPool, *, sensitivity: float = 1.0) -> None:
        """Create a gate. `scratch` is shared by cameras. `sensitivity`: 0.25 to 4; higher detects weaker, smaller changes."""
        self._scratch = scratch
        self.sensitivity = sensitivity
        # The planes of the last compared frame
        self.seen = Planes()
        self.forget()

    def forget(self) -> None:
        """Clear the reference, because another stream begins."""
        self._reference: Reference | None = None
        self._luma = LumaChange()
        self._chroma = ChromaChange()
        self._print = PrintChange()
        self._digits = RunningDigits()
        # The time of the last comparison; number of comparisons since the reference
        self._looked = -math.inf
        self._looks = 0

    def due(self, now: float) -> bool:
        """Return True if a frame captured at `now` (seconds of any monotonic clock) should be compared."""
        return abs(now - self._looked) >= LOOK_SECONDS - _EARLY

    def set_reference(self, planes: Planes) -> None:
        """Set the reference: a copy of `seen` at the comparison whose frame was sent."""
        self._reference = Reference(planes)
        for one in (self._luma, self._chroma, self._print):
            one.restart()
        self._looks = 0

    def look(self, image: av.VideoFrame, now: float, ignored: Iterable[Part] = ()) -> Change:
        """Compare a frame captured at `now` with the reference, except for its `ignored` parts.

        Raises ValueError for a pixel format without a luma plane of bytes.
        """
        with self._scratch.lock:
            self.seen.read(image, self._scratch)
            self.seen.blank(ignored)
            passed = min(_STEP, max(0.02, now - self._looked))
            self._looked = now
            self._digits.learn(self.seen.luma, passed)
            reference = self._reference
            if reference is None:
                return Change(Why.FIRST, 1.0, WHOLE, 0.0)
            if not reference.has_same_shape(self.seen):
                return Change(Why.VIEW, 1.0, WHOLE, 0.0)
            return self._compare(reference, passed)

    def look_early(self, image: av.VideoFrame, ignored: Iterable[Part] = ()) -> Change | None:
        """Compare a frame between two regular comparisons. Return a change that is clear in one, else None.

        Nothing is learned from it, and the next comparison is due as before. Raises ValueError as `look` does.
        """
        with self._scratch.lock:
            reference = self._reference
            if reference is None:
                return None
            self.seen.read(image, self._scratch)
            self.seen.blank(ignored)
            if not reference.has_same_shape(self.seen):
                return None
            pose, luma, _ = self._align(reference)
            lines = self._digits.lines
            look = Comparison(reference, pose, self.sensitivity, self._scratch, 0.0, lines)
            patch = self._luma.compare_alone(look, luma)
            share, busy = self._luma.share, self._luma.busy(self._scratch)
            if whole := _make_whole_change(pose, share, busy):
                return whole
            if patch.value < 1:
                return None
            return Change(Why.OBJECT, patch.value, self._get_region(patch, pose), busy)

    def _align(self, reference: Reference) -> tuple[Pose, F32, F32]:
        """Return the last compared frame's pose relative to the reference, and its luma and chroma warped onto it."""
        scratch = self._scratch
        np.copyto(scratch.luma, self.seen.luma)
        np.copyto(scratch.chroma, self.seen.chroma)
        pose = reference.align(scratch.luma, scratch)
        return pose, *self._warp(pose)

    def _compare(self, reference: Reference, passed: float) -> Change:
        pose, luma, chroma = self._align(reference)
        lines = self._digits.lines
        look = Comparison(reference, pose, self.sensitivity, self._scratch, passed, lines)
        now, twice = self._luma.compare(look, luma)
        color = self._chroma.compare(look, chroma)
        share, busy = self._luma.share, self._luma.busy(self._scratch)
        steady = self._print.is_steady(pose)
        if whole := _make_whole_change(pose, share, busy):
            return whole
        found = [(Why.OBJECT, now), (Why.SLIGHT, twice), (Why.COLOR, color)]
        if steady and all(patch.value < 1 for _, patch in found):
            found.append((Why.PRINT, self._print.compare(look, self.seen.fine)))
        why, best = max(found, key=lambda each: each[1].value)
        changed = best.value >= 1
        self._looks += 1
        if not changed and self._looks < _SETTLE_LOOKS and share < _SETTLE_SHARE:
            reference.average(luma, chroma, 1 / (self._looks + 1))
            self._luma.restart()
            self._chroma.restart()
        region = self._get_region(best, pose) if changed else None
        return Change(why if changed else Why.SAME, best.value, region, busy)

    def _warp(self, pose: Pose) -> tuple[F32, F32]:
        """Return the frame's luma and chroma, warped onto the reference."""
        scratch = self._scratch
        if pose.is_still:
            return scratch.luma, scratch.chroma
        pose.warp(scratch.luma, scratch.warped)
        for plane, target in zip(scratch.chroma, scratch.chroma_warped, strict=True):
            pose.warp(plane, target)
        return scratch.warped, scratch.chroma_warped

    def _get_region(self, patch: Patch, pose: Pose) -> Box:
        """Return the part of the frame that shows a patch of the reference, in fractions of its sides."""
        left, top, right, bottom = patch.box
        corners = np.array(
            [[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]]
        ) * [WIDTH, HEIGHT, 1]
        places = corners @ pose.matrix(WIDTH, HEIGHT).T / [WIDTH, HEIGHT]
        across, down = np.clip(places.T, 0.0, 1.0)
        if self.seen.turned:
            across, down = down, across
        return Box(float(across.min()), float(down.min()), float(across.max()), float(down.max()))


def _make_whole_change(pose: Pose, share: float, busy: float) -> Change | None:
    """Return the change of the whole picture; None if it is the same scene."""
    if pose.middle_shift > _VIEW_BLOCKS:
        return Change(Why.VIEW, pose.middle_shift / _VIEW_BLOCKS, WHOLE, busy)
    if share > _SCENE_SHARE:
        return Change(Why.SCENE, share / _SCENE_SHARE, WHOLE, busy)
    return None


def make_scene_change(
    change: Change, about: Literal["description", "watches"], *, asks: bool
) -> wire.SceneChange:
    """Return the message about a comparison of the scene. `asks`: the frame is sent to the engine."""
    region = change.region
    return wire.SceneChange(
        about=about,
        value=round(change.value, 2),
        why=change.why,
        region=[round(side, 3) for side in region.edges] if region is not None else None,
        busy=round(change.busy, 3),
        asks=asks,
    )


class Attention:
    """Decides when background work sends a request. One caller at a time.

    It takes 1 MB in addition to the scratch, from its first comparison until `forget`. Frames are passed in the order
    of their capture. `now` is in seconds of any monotonic clock. One request runs at a time: call `request_sent`, then
    `answer_received` or `request_failed`, or neither if the request was stopped.

    Bounds of a change gate's reference frame and learned activity: 1 MB; the next answer's
    frame replaces it.
    """

    def __init__(self, scratch: BufferPool = SCRATCH, *, sensitivity: float = 1.0) -> None:
        self._scratch = scratch
        self._sensitivity = sensitivity
        # None before the first comparison
        self._gate: ChangeGate | None = None
        # None before the first early comparison
        self._glance: EarlyCheck | None = None
        self._pace = Pace()
        # Frames are compared with the frame of the running request.
        self._ahead = False
        # Planes of the frame of the request, and of the request before it; None before the first
        self._asked: Planes | None = None
        self._before: Planes | None = None

    @property
    def small(self) -> U8:
        """Luma of the last compared frame, about 160×90 and upright; the next comparison may overwrite it.

        Raises RuntimeError before the first comparison.
        """
        return self._require_look().seen.upright()

    def set_sensitivity(self, sensitivity: float) -> None:
        """Set the sensitivity from the next comparison on."""
        self._sensitivity = sensitivity
        if self._gate is not None:
            self._gate.sensitivity = sensitivity

    def look(self, frame: Frame) -> Change | None:
        """Compare a frame with that of the last answer; None if the last comparison was too recent."""
        if self._gate is None:
            self._gate = ChangeGate(self._scratch, sensitivity=self._sensitivity)
        if not self._gate.due(frame.captured):
            return None
        if self._glance is not None:
            self._glance.note_look(frame.image, frame.captured)
        return self._gate.look(frame.image, frame.captured, frame.ignored)

    def look_early(self, frame: Frame) -> Change | None:
        """Compare a frame between two regular comparisons if it clearly differs from the last one; else return None."""
        if self._gate is None:
            return None
        if self._glance is None:
            self._glance = EarlyCheck()
        if not self._glance.wants_look(frame.image, frame.captured, frame.ignored):
            return None
        return self._gate.look_early(frame.image, frame.ignored)

    def due(self, change: Change, now: float) -> bool:
        """Return True if the last compared frame should be sent."""
        return self._pace.due(change, now)

    def request_sent(self, change: Change, now: float, *, ahead: bool = False) -> None:
        """Record that the last compared frame was sent, or is queued.

        `ahead`: compare with it from now on, before its answer arrives.
        """
        seen = self._require_look().seen
        if ahead:
            self._before = self._asked
        # The gate may still use the planes of the request before it.
        self._asked = Planes()
        self._asked.copy_from(seen)
        self._pace.request_sent(change, now)
        self._ahead = ahead
        if ahead:
            self._compare()

    def is_still_changed(self, frame: Frame) -> bool:
        """Return True if a frame still differs from the scene before the last change.

        For requests with `ahead`. Nothing is learned from it.
        """
        if self._before is None:
            return False
        gate = ChangeGate(self._scratch, sensitivity=self._sensitivity)
        gate.set_reference(self._before)
        # Weak evidence needs two comparisons.
        return any(
            gate.look(frame.image, frame.captured + seconds, frame.ignored).changed
            for seconds in (0.0, LOOK_SECONDS)
        )

    def answer_received(self, now: float, *, same: bool) -> None:
        """Compare with the sent frame from now on. `same`: its answer contains nothing new."""
        if not self._ahead:
            self._compare()
        self._ahead = False
        self._pace.answer_received(now, same=same)

    def request_failed(self, now: float) -> None:
        """Send another request after a pause, which grows with each consecutive failure."""
        if self._ahead and self._gate is not None:
            # There is no answer about the reference frame.
            self._gate.forget()
        self._ahead = False
        self._pace.request_failed(now)

    def answer_lost(self, now: float) -> None:
        """Send another request after a pause even without a change, because an answer about the scene was lost."""
        if self._gate is not None:
            self._gate.forget()
        self._pace.request_failed(now)

    def retry(self) -> None:
        """End the pause, because a failed request may succeed now."""
        self._pace.retry()

    def forget(self) -> None:
        """Clear all frames, because another stream or subject begins, or the work has ended."""
        self._gate = self._glance = self._asked = self._before = None
        self._ahead = False
        self._pace = Pace()

    def _compare(self) -> None:
        """Use the frame that was sent as the reference for comparison, unless it has been cleared."""
        if self._gate is not None and self._asked is not None:
            self._gate.set_reference(self._asked)

    def _require_look(self) -> ChangeGate:
        if self._gate is None:
            raise RuntimeError("no frame was compared yet")
        return self._gate


# Early checks decide, at a tenth of the cost of a comparison, whether to compare a frame between two regular ones.
# The picture in cells of 40×40 px at 1280×720, of which every eighth row is read
_ROWS, _COLUMNS, _EVERY = 18, 32, 8
# Minimum number of cells over their threshold, which is in grey levels, or in learned deviations
_CELLS, _LEAST, _DEVIATIONS = 3, 5.0, 4.0
# Maximum burst of early comparisons, seconds until one more, and minimum seconds between two. With two regular
# comparisons per second there is on average at most one in 0.4 s.
_MOST, _SECONDS, _APART = 3.0, 2.0, 0.15


class EarlyCheck:
    """The early checks of one camera. Takes 12 kB. One caller at a time; `now` is the frame's capture time.

    Bounds of early comparisons of frames between two samples, for watches: three at once, then
    one in two seconds; others wait for the next sample.
    """

    def __init__(self) -> None:
        shape = (_ROWS, _COLUMNS)
        self._usual = Activity(shape, first=1.0, least=0.4, jump=1.0, seconds=2.0)
        self._work: tuple[F32, F32] = (np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        # The cells of the last compared frame; None before the first comparison
        self._seen: F32 | None = None
        self._looked = self._early = -math.inf
        self._left, self._left_at = _MOST, -math.inf
        # The part in which the last differing frame differed, in fractions of its sides
        self.where = WHOLE

    def note_look(self, image: av.VideoFrame, now: float) -> None:
        """Store a compared frame, from which the differences of later frames are measured."""
        self._seen = cells = _make_cells(image)
        passed = min(0.5, max(0.02, now - self._looked))
        self._usual.learn(cells, passed, *self._work)
        self._looked = now

    def wants_look(self, image: av.VideoFrame, now: float, ignored: Iterable[Part] = ()) -> bool:
        """Return True if a frame needs an early comparison, and count it; its `ignored` parts do not matter."""
        if self._seen is None or now - self._early < _APART:
            return False
        left = min(_MOST, self._left + (now - self._left_at) / _SECONDS)
        if left < 1:
            return False
        cells = _make_cells(image)
        difference = cells - self._seen
        # The light of the whole picture is not a change of a part.
        difference -= np.median(difference)
        threshold = np.maximum(_DEVIATIONS * self._usual.level, _LEAST)
        over = np.abs(difference) > threshold
        for left, top, right, bottom in ignored:
            over[
                int(top * _ROWS) : math.ceil(bottom * _ROWS),
                int(left * _COLUMNS) : math.ceil(right * _COLUMNS),
            ] = False
        if np.count_nonzero(over) < _CELLS:
            return False
        rows, columns = np.flatnonzero(over.any(1)), np.flatnonzero(over.any(0))
        self.where = Box(
            columns[0] / _COLUMNS,
            rows[0] / _ROWS,
            (columns[-1] + 1) / _COLUMNS,
            (rows[-1] + 1) / _ROWS,
        )
        self._seen, self._early = cells, now
        self._left, self._left_at = left - 1, now
        return True


def _make_cells(image: av.VideoFrame) -> F32:
    rows = get_luma_plane(image)[::_EVERY]
    small = cv2.resize(rows, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


# Initial seconds between requests: doubled after each answer without news, 0 after an answer with news.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
# If more than BUSY_SHARE of the picture always moves, the gate detects less, so a request is sent every
# HEARTBEAT_SECONDS without a change.
BUSY_SHARE = 0.005
HEARTBEAT_SECONDS = 60.0
# Time without a change after which the next change is sent immediately
CALM_SECONDS = 4.0
# A change is a new one if it is so many times as strong as all of its kind that led to the same answer.
_STRONGER = 1.5
# A change is elsewhere if less than this fraction of it is in the region of fruitless changes.
_ELSEWHERE = 0.5


class Pace:
    """The pace of background requests: at a change, less often while answers stay the same.

    `now` is in seconds of any monotonic clock.
    """

    def __init__(self) -> None:
        self._asked = -math.inf
        self._pause = 0.0
        self._until = -math.inf
        # The change of the running request; None if it was sent without a change
        self._change: Change | None = None
        # Region of the changes that led to the same answer, and the strongest of each kind
        self._fruitless: Box | None = None
        self._strongest: dict[Why, float] = {}
        # Time of the first comparison without a change; None after a comparison with a change
        self._calm: float | None = None

    def due(self, change: Change, now: float) -> bool:
        """Return True if the frame of this comparison should be sent. Call it at each comparison."""
        self._note_calm(change, now)
        if change.busy > BUSY_SHARE and now - self._asked >= HEARTBEAT_SECONDS:
            return True
        return change.changed and (now >= self._until or self._is_other(change))

    def request_sent(self, change: Change, now: float) -> None:
        """Record that a request was sent for this comparison."""
        self._asked = now
        self._change = change if change.changed else None

    def answer_received(self, now: float, *, same: bool) -> None:
        """Record the end of the request. `same`: its answer contains nothing new."""
        if not same:
            self._pause = 0.0
            self._forget_fruitless()
        else:
            self._pause = _get_next_pause(self._pause)
            if (change := self._change) is not None:
                self._fruitless = _get_union(self._fruitless, change.region)
                strongest = max(change.value, self._strongest.get(change.why, 0.0))
                self._strongest[change.why] = strongest
        self._until = now + self._pause

    def request_failed(self, now: float) -> None:
        """Record a request without an answer: pauses grow as for answers without news."""
        self._pause = _get_next_pause(self._pause)
        self._forget_fruitless()
        self._until = now + self._pause

    def retry(self) -> None:
        """End the pause."""
        self._pause, self._until = 0.0, -math.inf
        self._forget_fruitless()

    def _note_calm(self, change: Change, now: float) -> None:
        if change.changed:
            self._calm = None
        elif self._calm is None:
            self._calm = now
        elif now - self._calm >= CALM_SECONDS and self._fruitless is not None:
            self.retry()

    def _forget_fruitless(self) -> None:
        self._fruitless = None
        self._strongest.clear()

    def _is_other(self, change: Change) -> bool:
        """Return True if a change differs from those that led to the same answer."""
        if self._fruitless is None:
            return False
        known = self._strongest.get(change.why, 0.0)
        return change.value > _STRONGER * known or self._is_elsewhere(change.region)

    def _is_elsewhere(self, region: Box | None) -> bool:
        known = self._fruitless
        if region is None or known is None:
            return False
        return region.intersection(known) < _ELSEWHERE * region.area


def _get_next_pause(pause: float) -> float:
    return min(LONGEST_PAUSE, pause * 2) or FIRST_PAUSE


def _get_union(one: Box | None, other: Box | None) -> Box | None:
    if one is None or other is None:
        return one or other
    return Box(
        min(one.x1, other.x1),
        min(one.y1, other.y1),
        max(one.x2, other.x2),
        max(one.y2, other.y2),
    )
