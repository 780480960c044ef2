"""The change gate: finds whether a frame still shows what the last answer was about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from server.attention.alignment import Pose, Reference
from server.attention.chroma_change import ChromaChange
from server.attention.evidence import Patch
from server.attention.luma_change import LumaChange
from server.attention.planes import Planes
from server.attention.print_change import PrintChange
from server.attention.scratch import F32, HEIGHT, WIDTH, Scratch
from server.core.frames import LEAST_SENSITIVITY, MOST_SENSITIVITY

if TYPE_CHECKING:
    import av

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

    def __init__(self, scratch: Scratch, *, sensitivity: float = 1.0) -> None:
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
