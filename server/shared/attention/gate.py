"""The change gate: finds whether a frame still shows what the last answer was about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from server.core import messages as wire
from server.core.frames import LEAST_SENSITIVITY, MOST_SENSITIVITY
from server.media.picture.likeness import Pose, Reference
from server.media.picture.planes import F32, HEIGHT, U8, WIDTH, BufferPool, Planes, clip
from server.shared.attention.evidence import NO_PATCH, Activity, Patch, Rule, TwoLooks, best_patch
from server.shared.attention.luma_change import LumaChange

if TYPE_CHECKING:
    import av


# Change of fine texture with the same mean: print, a display's digits. For a still camera.

# Grey levels of deviation beyond the usual one, which follows within these seconds, and three
# times its variation
_BEYOND = 2.0

_VARIES = 3.0

_USUAL_SECONDS = 8.0

_VARIES_SECONDS = 2.8


# Looks that learn quickly, and looks at a reference before it is compared
_FIRST_LOOKS = 10

_NEW_LOOKS = 2

_RULE = Rule(area=0.006)


# A larger share of the picture is a change of focus, or shake.
_WIDE = 0.12


# A camera shakes while it moved by more than this many blocks; each look multiplies that by the
# second figure. A change of the light's gain counts as so much shift.
_STEADY = 0.10

_DECAY = 0.85

_LIGHT = 1.5


class PrintChange:
    """One camera's changes of print against a reference. Holds 60 kB."""

    def __init__(self) -> None:
        self._usual: F32 = np.full(_SHAPE, 1.5, np.float32)
        self._varies = Activity(_SHAPE, first=0.5, least=0.2, jump=1.0, seconds=_VARIES_SECONDS)
        self._two_looks = TwoLooks(_SHAPE)
        # Looks that the usual deviation is learned from, and those since the reference
        self._learned = 0
        self._looks = 0
        self._shaky = 1.0

    def restart(self) -> None:
        """Begin to compare with another reference."""
        self._varies.restart()
        self._two_looks.forget()
        self._looks = 0

    def steady(self, pose: Pose) -> bool:
        """Find whether the camera has been still long enough. Call it with each look."""
        self._shaky = max(pose.shift, _LIGHT * abs(pose.gain), self._shaky * _DECAY)
        return self._shaky < _STEADY

    def compare(
        self,
        reference: Reference,
        planes: Planes,
        pose: Pose,
        passed: float,
        sensitivity: float,
        scratch: BufferPool,
    ) -> Patch:
        """Find the best patch that this look and the last one share."""
        deviation = _deviation(reference, planes.fine, pose, scratch)
        if edge := (pose.margin + 1) // 2:
            deviation[:edge] = deviation[-edge:] = 0
            deviation[:, :edge] = deviation[:, -edge:] = 0
        limit = np.multiply(self._varies.level, _VARIES, out=scratch.limit)
        limit += self._usual
        limit *= 1 + pose.shift
        limit += _BEYOND / sensitivity
        over = (deviation > limit).view(np.uint8)
        count = cv2.countNonZero(over)
        wide = count > _WIDE * over.size
        patch = NO_PATCH
        if wide:
            self._two_looks.forget()
        elif self._looks >= _NEW_LOOKS or self._learned > _FIRST_LOOKS:
            both = self._two_looks.agree(over)
            rule = _RULE.scaled(sensitivity)
            if both is not None and cv2.countNonZero(both) >= rule.area / 2 * over.size:
                patch = best_patch(both, None, (rule,))
        self._learn(deviation, passed, wide, scratch)
        return patch

    def _learn(self, deviation: F32, passed: float, wide: bool, scratch: BufferPool) -> None:
        self._varies.learn(deviation, passed, scratch.limit, scratch.half)
        self._looks += 1
        if wide:
            return
        share = 1 - math.exp(-passed / _USUAL_SECONDS) if self._learned > _FIRST_LOOKS else 0.3
        deviation -= self._usual
        np.clip(deviation, -4, 2.5, out=deviation)
        deviation *= share
        self._usual += deviation
        self._learned += 1


def _deviation(reference: Reference, fine: U8, pose: Pose, scratch: BufferPool) -> F32:
    """Return the standard deviation of the difference in 4×4 of the fine plane (45, 80)."""
    if not pose.still:
        pose.warp(fine, scratch.fine_warped)
        fine = scratch.fine_warped
    difference, square = scratch.fine_difference, scratch.fine_square
    cv2.addWeighted(fine, 1, reference.fine, -(1 + pose.gain), 0, dst=difference, dtype=cv2.CV_32F)
    np.multiply(difference, difference, out=square)
    mean, deviation = scratch.mean, scratch.deviation
    for plane, target in ((difference, mean), (square, deviation)):
        # Two exact halves are twice as fast as one quarter.
        cv2.resize(plane, (WIDTH, HEIGHT), dst=scratch.a, interpolation=cv2.INTER_AREA)
        cv2.resize(scratch.a, _SHAPE[::-1], dst=target, interpolation=cv2.INTER_AREA)
    mean *= mean
    deviation -= mean
    np.maximum(deviation, 0, out=deviation)
    np.sqrt(deviation, out=deviation)
    return deviation


# Least time between looks; most frames of a faster camera are skipped.
LOOK_SECONDS = 0.4
# Tolerance for a camera's clock
_EARLY = 0.02
# A larger share of blocks over their threshold is another scene; more blocks of motion are
# another view.
_SCENE_SHARE = 0.30
_VIEW_BLOCKS = 8.0
# Looks averaged into the reference after an answer, while fewer blocks differ than with a new lamp
_SETTLE_LOOKS = 3
_SETTLE_SHARE = 0.0006
# Longest step for learning, in seconds
_STEP = 0.5


class Why(StrEnum):
    """The reason of a decision."""

    SAME = "same"
    # There is nothing to compare with.
    FIRST = "first"
    VIEW = "view"
    SCENE = "scene"
    # Clear in one look
    OBJECT = "object"
    # Weak or small, in two looks
    SLIGHT = "slight"
    COLOR = "color"
    PRINT = "print"


@dataclass(frozen=True, slots=True)
class Region:
    """A bounding box as shares of the picture's width and height."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE = Region(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Change:
    """A look's decision."""

    why: Why
    # The strongest evidence relative to its rule: 1 fulfils it; weak evidence needs 1 in two looks.
    value: float
    # The part of the frame that changed; None without a change.
    region: Region | None
    # Share of the picture that always moves, in which only a stronger change counts
    busy: float

    @property
    def changed(self) -> bool:
        return self.why is not Why.SAME


def check_sensitivity(sensitivity: float) -> None:
    """Raise ValueError beyond 0.25 to 4."""
    if not LEAST_SENSITIVITY <= sensitivity <= MOST_SENSITIVITY:
        raise ValueError(
            f"a sensitivity of {sensitivity:g} was given; allowed are {LEAST_SENSITIVITY:g} to {MOST_SENSITIVITY:g}"
        )


class ChangeGate:
    """One camera's gate (0.74 MB beside the shared scratch). Frames in order; one caller at a time.

    The reference is the frame of the last answer and does not adapt to later frames, so a slow
    change adds up until it is found. The gate learns how much each block usually moves between
    looks, so that leaves and screens wake less; `busy` is their share of the picture.
    """

    def __init__(self, scratch: BufferPool, *, sensitivity: float = 1.0) -> None:
        """Cameras share `scratch`. `sensitivity`: 0.25 to 4; more finds weaker, smaller changes."""
        self._scratch = scratch
        self.sensitivity = sensitivity
        # The planes of the last look
        self.seen = Planes()
        self.forget()

    @property
    def sensitivity(self) -> float:
        """Applies from the next look on. Raises ValueError beyond 0.25 to 4."""
        return self._sensitivity

    @sensitivity.setter
    def sensitivity(self, sensitivity: float) -> None:
        check_sensitivity(sensitivity)
        self._sensitivity = sensitivity

    def forget(self) -> None:
        """Forget the reference, because another stream begins."""
        self._reference: Reference | None = None
        self._luma = LumaChange()
        self._chroma = ChromaChange()
        self._print = PrintChange()
        # The time of the last look; looks since the reference
        self._looked = -math.inf
        self._looks = 0

    def due(self, now: float) -> bool:
        """Return True when a frame captured at `now` (any steady clock's seconds) needs a look."""
        return abs(now - self._looked) >= LOOK_SECONDS - _EARLY

    def answered(self, planes: Planes) -> None:
        """Make planes the reference: a copy of `seen` at the look whose frame was really sent."""
        self._reference = Reference(planes)
        self._restart()
        self._looks = 0

    def look(self, image: av.VideoFrame, now: float) -> Change:
        """Compare a frame captured at `now` with the reference.

        Raises ValueError for a pixel format without a luma plane of bytes.
        """
        with self._scratch.lock:
            self.seen.read(image, self._scratch)
            passed = min(_STEP, max(0.02, now - self._looked))
            self._looked = now
            reference = self._reference
            if reference is None:
                return Change(Why.FIRST, 1.0, WHOLE, 0.0)
            if not reference.alike(self.seen):
                return Change(Why.VIEW, 1.0, WHOLE, 0.0)
            return self._compare(reference, passed)

    def look_early(self, image: av.VideoFrame) -> Change | None:
        """Compare a frame between two looks: only what is clear in one look counts; else None.

        Nothing is learned from it, and the next look is due as without it. Raises ValueError as `look`.
        """
        with self._scratch.lock:
            reference = self._reference
            if reference is None:
                return None
            self.seen.read(image, self._scratch)
            if not reference.alike(self.seen):
                return None
            pose, luma, _ = self._aligned(reference)
            patch = self._luma.glance(reference, luma, pose, self._sensitivity, self._scratch)
            share, busy = self._luma.share, self._luma.busy(self._scratch)
            if whole := _whole(pose, share, busy):
                return whole
            if patch.value < 1:
                return None
            return Change(Why.OBJECT, patch.value, self._region(patch, pose), busy)

    def _aligned(self, reference: Reference) -> tuple[Pose, F32, F32]:
        """Return how the last look lies on the reference, and its luma and chroma laid onto it."""
        scratch = self._scratch
        np.copyto(scratch.luma, self.seen.luma)
        np.copyto(scratch.chroma, self.seen.chroma)
        pose = reference.align(scratch.luma, scratch)
        return pose, *self._warped(pose)

    def _compare(self, reference: Reference, passed: float) -> Change:
        scratch, sensitivity = self._scratch, self._sensitivity
        pose, luma, chroma = self._aligned(reference)
        now, twice = self._luma.compare(reference, luma, pose, passed, sensitivity, scratch)
        color = self._chroma.compare(reference, chroma, pose, passed, sensitivity, scratch)
        share = self._luma.share
        busy = self._luma.busy(scratch)
        steady = self._print.steady(pose)
        if whole := _whole(pose, share, busy):
            return whole
        found = [(Why.OBJECT, now), (Why.SLIGHT, twice), (Why.COLOR, color)]
        if steady and all(patch.value < 1 for _, patch in found):
            patch = self._print.compare(reference, self.seen, pose, passed, sensitivity, scratch)
            found.append((Why.PRINT, patch))
        why, best = max(found, key=lambda each: each[1].value)
        changed = best.value >= 1
        self._looks += 1
        if not changed and self._looks < _SETTLE_LOOKS and share < _SETTLE_SHARE:
            reference.average(luma, chroma, 1 / (self._looks + 1))
            self._luma.restart()
            self._chroma.restart()
        region = self._region(best, pose) if changed else None
        return Change(why if changed else Why.SAME, best.value, region, busy)

    def _warped(self, pose: Pose) -> tuple[F32, F32]:
        """Return the look's luma and chroma, warped onto the reference."""
        scratch = self._scratch
        if pose.still:
            return scratch.luma, scratch.chroma
        pose.warp(scratch.luma, scratch.warped)
        for plane, target in zip(scratch.chroma, scratch.chroma_warped, strict=True):
            pose.warp(plane, target)
        return scratch.warped, scratch.chroma_warped

    def _region(self, patch: Patch, pose: Pose) -> Region:
        """Return the part of the frame in which a patch of the reference lies."""
        left, top, right, bottom = patch.box
        corners = np.array(
            [[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]]
        ) * [WIDTH, HEIGHT, 1]
        places = corners @ pose.matrix(WIDTH, HEIGHT).T / [WIDTH, HEIGHT]
        across, down = np.clip(places.T, 0.0, 1.0)
        if self.seen.turned:
            across, down = down, across
        return Region(
            float(across.min()), float(down.min()), float(across.max()), float(down.max())
        )

    def _restart(self) -> None:
        self._luma.restart()
        self._chroma.restart()
        self._print.restart()


def _whole(pose: Pose, share: float, busy: float) -> Change | None:
    """Return the change of the whole picture; None when it is the same scene."""
    if pose.moved > _VIEW_BLOCKS:
        return Change(Why.VIEW, pose.moved / _VIEW_BLOCKS, WHOLE, busy)
    if share > _SCENE_SHARE:
        return Change(Why.SCENE, share / _SCENE_SHARE, WHOLE, busy)
    return None


# Change of color where brightness stays: a lamp from green to red, another cup of the same grey.

# As in luma_change.py, for the two chroma planes.
_DEVIATIONS = 4.0

_LEAST = 6.0

_MOST = 80.0

_EDGE = 0.25 * 0.35

_EDGE_SHIFT = 0.25 * 0.35

_LEARN_SECONDS = 2.0


# The light's color: a mean and a gain of each plane, from differences up to this
_CLIP = 4.0

_ROUNDS = 2

_AREA = Rule(area=0.005)


# One look is enough for a large, clear patch, which may be gone in the next one.
_AT_ONCE = Rule(area=0.01, strength=2.5)


# A colored lamp
_SPOT = Rule(area=0.0018, strength=2.5)

_SHAPE = (HEIGHT // 2, WIDTH // 2)


class ChromaChange:
    """One camera's changes of color against a reference. Holds 70 kB."""

    def __init__(self) -> None:
        self._activity = Activity(
            (2, *_SHAPE), first=0.8, least=0.3, jump=0.5, seconds=_LEARN_SECONDS
        )
        self._two_looks = TwoLooks(_SHAPE)

    def restart(self) -> None:
        """Begin to compare with another reference."""
        self._activity.restart()
        self._two_looks.forget()

    def compare(
        self,
        reference: Reference,
        warped: F32,
        pose: Pose,
        passed: float,
        sensitivity: float,
        scratch: BufferPool,
    ) -> Patch:
        """Find the best patch of this look alone, or that this look and the last one share.

        `warped`: (2, 45, 80).
        """
        work, other = scratch.chroma_a, scratch.chroma_b
        np.subtract(warped, reference.chroma, out=work)
        difference = scratch.chroma_difference
        for plane, target in zip(work, difference, strict=True):
            cv2.boxFilter(plane, -1, (3, 3), dst=target)
        for _ in range(_ROUNDS):
            clipped = clip(difference, _CLIP, work)
            means = np.einsum("pij->p", clipped)[:, None, None] / np.float32(clipped[0].size)
            sums = np.einsum("pij,pij->p", clipped, reference.chroma_deviation)
            gains = (sums / reference.chroma_squares)[:, None, None]
            np.multiply(reference.chroma_deviation, gains, out=other)
            other += means
            difference -= other
        threshold = np.multiply(self._activity.level, _DEVIATIONS, out=scratch.chroma_threshold)
        np.clip(threshold, _LEAST / sensitivity, _MOST, out=threshold)
        np.multiply(reference.chroma_range, _EDGE + _EDGE_SHIFT * pose.shift, out=work)
        threshold += work
        strength = np.abs(difference, out=scratch.chroma_strength)
        strength /= threshold
        if edge := (pose.margin + 1) // 2:
            strength[:, :edge] = strength[:, -edge:] = 0
            strength[:, :, :edge] = strength[:, :, -edge:] = 0
        self._activity.learn(difference, passed, work, other)
        marks = _marks(strength, difference)
        area, spot = _AREA.scaled(sensitivity), _SPOT.scaled(sensitivity)
        if cv2.countNonZero(marks) < spot.area * marks.size:
            self._two_looks.forget()
            return NO_PATCH
        both = self._two_looks.agree(marks)
        strongest = np.maximum(strength[0], strength[1], out=scratch.half)
        at_once = _AT_ONCE.scaled(sensitivity)
        if cv2.countNonZero(marks) >= at_once.area * marks.size:
            now = best_patch(marks, strongest, (at_once,))
            if now.value >= 1:
                return now
        if both is None:
            return NO_PATCH
        return best_patch(both, strongest, (area, spot))


def _marks(strength: F32, difference: F32) -> U8:
    """Return a number for each combination of U and V over their thresholds; 0 for neither."""
    hot = (strength > 1).view(np.uint8)
    hot *= 1 + (difference > 0).view(np.uint8)
    marks: U8 = hot[0] + 3 * hot[1]
    return marks


def scene_change(
    change: Change, about: Literal["description", "watches"], *, asks: bool
) -> wire.SceneChange:
    """Build the message about one comparison of the scene. `asks`: the frame goes to the engine."""
    region = change.region
    return wire.SceneChange(
        about=about,
        value=round(change.value, 2),
        why=change.why,
        region=(
            [round(side, 3) for side in (region.left, region.top, region.right, region.bottom)]
            if region is not None
            else None
        ),
        busy=round(change.busy, 3),
        asks=asks,
    )
