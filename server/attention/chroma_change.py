"""Change of color where brightness stays: a lamp from green to red, another cup of the same grey."""

from __future__ import annotations

import cv2
import numpy as np

from server.attention.alignment import Pose, Reference
from server.attention.evidence import NO_PATCH, Activity, Patch, Rule, TwoLooks, best_patch
from server.attention.scratch import F32, HEIGHT, U8, WIDTH, Scratch, clip

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
        scratch: Scratch,
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
