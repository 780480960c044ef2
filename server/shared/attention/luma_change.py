"""Change of brightness: objects, people, lamps."""

from __future__ import annotations

import cv2
import numpy as np

from server.media.picture.likeness import Pose, Reference, local_range
from server.media.picture.planes import F32, HEIGHT, SIZE, WIDTH, BufferPool, clip
from server.shared.attention.evidence import NO_PATCH, Activity, Patch, Rule, TwoLooks, best_patch

# Grey levels are of means of 3×3 blocks. The figures are tuned on clips like those of
# tests/shared/attention/clips.py. Thresholds: so many learned deviations, within these bounds, and more
# for a change of the light's gain of 1.
_DEVIATIONS = 4.0
_LEAST = 4.0
_MOST = 80.0
_LIGHT = 14.0
# Share of the local contrast that misalignment explains: always, and for each block of shift
_EDGE = 0.25 * 0.40
_EDGE_SHIFT = 0.25 * 0.35
# Levels from here on are those of a full sensor: there may have been more light.
_FULL = 248.0
# Time constant of learning
_LEARN_SECONDS = 2.0
# Bands of mains light: a gain for each row from differences up to this, until it hardly changes
_ROW_CLIP = 6.0
_ROW_ROUNDS = 4
_ROW_STILL = 0.004
# Wide shades count as light: the mean over 31×23 cells of 2×2 blocks (62×46 blocks) is subtracted.
_WIDE = (31, 23)
# One look is enough for a patch of this kind; a weaker one or a spot (a lamp) needs two.
_AT_ONCE = Rule(area=0.008, strength=1.6)
_WEAK = Rule(area=0.003, mass=0.006)
_SPOT = Rule(area=0.0006, strength=2.5)


class LumaChange:
    """One camera's changes of brightness against a reference. Holds 150 kB."""

    def __init__(self) -> None:
        self.activity = Activity(
            (HEIGHT, WIDTH), first=1.0, least=0.4, jump=1.0, seconds=_LEARN_SECONDS
        )
        self._two_looks = TwoLooks((HEIGHT, WIDTH))
        # Share of the blocks over their threshold
        self.share = 0.0

    def restart(self) -> None:
        """Begin to compare with another reference."""
        self.activity.restart()
        self._two_looks.forget()

    def busy(self, scratch: BufferPool) -> float:
        """Return the share of blocks that always move, in which only a stronger change counts."""
        marks = scratch.bytes_a
        np.greater(self.activity.level, 2 * _LEAST / _DEVIATIONS, out=marks.view(np.bool_))
        return cv2.countNonZero(marks) / SIZE

    def compare(
        self,
        reference: Reference,
        warped: F32,
        pose: Pose,
        passed: float,
        sensitivity: float,
        scratch: BufferPool,
    ) -> tuple[Patch, Patch]:
        """Find the best patch of this look, and the best that the last look shares.

        `warped`: the look, warped onto the reference (90, 160). `passed`: seconds since the last.
        """
        difference, strength = self._strength(reference, warped, pose, sensitivity, scratch)
        hot = scratch.hot
        self.activity.learn(difference, passed, scratch.a, scratch.b)
        if self.share <= _SPOT.area / sensitivity:
            self._two_looks.forget()
            return Patch(self.share / _AT_ONCE.area * sensitivity), NO_PATCH
        now = self._at_once(strength, sensitivity, scratch)
        # 2: brighter, 1: darker
        marks = scratch.bytes_a
        np.greater(difference, 0, out=marks.view(np.bool_))
        marks += hot
        marks *= hot
        both = self._two_looks.agree(marks)
        if both is None or cv2.countNonZero(both) < _SPOT.area / sensitivity * SIZE:
            return now, NO_PATCH
        rules = _WEAK.scaled(sensitivity), _SPOT.scaled(sensitivity)
        return now, best_patch(both, strength, rules)

    def glance(
        self, reference: Reference, warped: F32, pose: Pose, sensitivity: float, scratch: BufferPool
    ) -> Patch:
        """Find the best patch of this look alone, and learn nothing from it."""
        _, strength = self._strength(reference, warped, pose, sensitivity, scratch)
        return self._at_once(strength, sensitivity, scratch)

    def _strength(
        self, reference: Reference, warped: F32, pose: Pose, sensitivity: float, scratch: BufferPool
    ) -> tuple[F32, F32]:
        """Return the differences and their ratio to the threshold; `share` is of those above it."""
        difference = self._difference(reference, warped, pose, scratch)
        strength = np.abs(difference, out=scratch.strength)
        strength /= self._threshold(reference, warped, pose, sensitivity, scratch)
        if edge := pose.margin:
            strength[:edge] = strength[-edge:] = 0
            strength[:, :edge] = strength[:, -edge:] = 0
        np.greater(strength, 1, out=scratch.hot.view(np.bool_))
        self.share = cv2.countNonZero(scratch.hot) / SIZE
        return difference, strength

    def _at_once(self, strength: F32, sensitivity: float, scratch: BufferPool) -> Patch:
        """Return the best patch for which one look is enough."""
        if self.share < _AT_ONCE.area / sensitivity:
            return Patch(self.share / _AT_ONCE.area * sensitivity)
        return best_patch(scratch.hot, strength, (_AT_ONCE.scaled(sensitivity),))

    def _difference(
        self, reference: Reference, warped: F32, pose: Pose, scratch: BufferPool
    ) -> F32:
        """Return the grey-level difference without motion, light, bands and wide shades."""
        lit, work = scratch.a, scratch.b
        reference.lit(pose, lit, work)
        np.subtract(warped, lit, out=work)
        # What was full is at least so bright in another light, and what is full would be brighter.
        full = scratch.hot.view(np.bool_)
        np.minimum(work, 0, out=work, where=np.greater_equal(reference.luma, _FULL, out=full))
        np.maximum(work, 0, out=work, where=np.greater_equal(warped, _FULL, out=full))
        difference = scratch.difference
        cv2.boxFilter(work, -1, (3, 3), dst=difference)
        for _ in range(_ROW_ROUNDS):
            clipped = clip(difference, _ROW_CLIP, lit)
            sums = np.einsum("ij,ij->i", clipped, reference.luma)[:, None]
            gains = cv2.blur(sums / reference.row_squares, (1, 3))
            np.multiply(reference.luma, gains, out=work)
            difference -= work
            if float(np.abs(gains).max()) < _ROW_STILL:
                break
        clipped = clip(difference, _LEAST, lit)
        rows, columns = scratch.coarse.shape
        cv2.resize(clipped, (columns, rows), dst=scratch.coarse, interpolation=cv2.INTER_AREA)
        cv2.blur(scratch.coarse, _WIDE, dst=scratch.coarse_blurred)
        cv2.resize(
            scratch.coarse_blurred, (WIDTH, HEIGHT), dst=work, interpolation=cv2.INTER_LINEAR
        )
        difference -= work
        return difference

    def _threshold(
        self, reference: Reference, warped: F32, pose: Pose, sensitivity: float, scratch: BufferPool
    ) -> F32:
        threshold = np.multiply(self.activity.level, _DEVIATIONS, out=scratch.threshold)
        least = (_LEAST + _LIGHT * abs(pose.gain)) / sensitivity
        np.clip(threshold, least, _MOST, out=threshold)
        # An edge that is there in both
        edges = scratch.a
        local_range(warped, edges)
        np.minimum(edges, reference.range, out=edges)
        edges *= _EDGE + _EDGE_SHIFT * pose.shift
        threshold += edges
        return threshold
