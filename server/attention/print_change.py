"""Change of fine texture with the same mean: print, a display's digits. For a still camera."""

from __future__ import annotations

import math

import cv2
import numpy as np

from server.attention.alignment import Pose, Reference
from server.attention.evidence import NO_PATCH, Activity, Patch, Rule, TwoLooks, best_patch
from server.attention.planes import Planes
from server.attention.scratch import F32, HEIGHT, U8, WIDTH, Scratch

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
_SHAPE = (HEIGHT // 2, WIDTH // 2)


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
        scratch: Scratch,
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

    def _learn(self, deviation: F32, passed: float, wide: bool, scratch: Scratch) -> None:
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


def _deviation(reference: Reference, fine: U8, pose: Pose, scratch: Scratch) -> F32:
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
