"""Detect differences in brightness, color and fine texture such as printed text: marked blocks, size and strength of
their patches, and the agreement of two comparisons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from server.media.picture.planes import F32, U8
from server.shared.attention.planes import HEIGHT, SIZE, WIDTH, BufferPool
from server.shared.attention.registration import Pose, Reference, clear_edge, write_local_range


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of a camera's frame with its reference."""

    reference: Reference
    # Pose of the frame on the reference
    pose: Pose
    sensitivity: float
    scratch: BufferPool
    # Seconds since the last comparison
    passed: float
    # Lines of running digits (90, 160)
    digits: U8


@dataclass(frozen=True, slots=True)
class Rule:
    """The minimum size and strength of a patch of marked blocks."""

    # Fraction of the picture
    area: float
    # Mean strength (difference divided by threshold)
    strength: float = 1.0
    # Area times mean strength
    mass: float = 0.0

    def scaled(self, sensitivity: float) -> Rule:
        return Rule(self.area / sensitivity, self.strength, self.mass / sensitivity)


@dataclass(frozen=True, slots=True)
class Patch:
    """Size and strength of the patch that fulfils a rule best."""

    # 1 or more fulfils the rule.
    value: float = 0.0
    # Left, top, right, bottom as fractions of the plane, around all patches that fulfil the rule, because
    # each of two objects that change together may be the watched one; else around the best patch
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


NO_PATCH = Patch()


def find_best_patch(marks: U8, strength: F32 | None, rules: tuple[Rule, ...]) -> Patch:
    """Return the patch of adjacent marked blocks that fulfils a rule best. Without `strength`, it is 1 everywhere."""
    # Labelling the whole plane takes half as long as a comparison.
    left, top, width, height = cv2.boundingRect(marks)
    if not width:
        return NO_PATCH
    part = slice(top, top + height), slice(left, left + width)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marks[part], connectivity=8)
    blocks = stats[1:, cv2.CC_STAT_AREA]
    area = blocks / marks.size
    if strength is None:
        mean = np.ones_like(area)
    else:
        mean = np.bincount(labels.ravel(), strength[part].ravel(), count)[1:] / blocks
    value = np.zeros_like(area)
    for rule in rules:
        fit = np.minimum(area / rule.area, mean / rule.strength)
        if rule.mass:
            fit = np.minimum(fit, area * mean / rule.mass)
        np.maximum(value, fit, out=value)
    best = float(value.max())
    across, down, wide, high = stats[1:, :4][value >= min(1.0, best)].T
    rows, columns = marks.shape
    box = (
        float(left + across.min()) / columns,
        float(top + down.min()) / rows,
        float(left + (across + wide).max()) / columns,
        float(top + (down + high).max()) / rows,
    )
    return Patch(best, box)


class TwoLooks:
    """The marks of the last comparison, because a weak change needs two comparisons that agree. One byte per block; 0: unmarked."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._last: U8 = np.zeros(shape, np.uint8)
        self._both: U8 = np.zeros(shape, np.uint8)
        self._there = False

    def forget(self) -> None:
        self._there = False

    def agree(self, marks: U8) -> U8 | None:
        """Return 1 for each block marked as in the last comparison, else 0; None if there was none."""
        both = None
        if self._there:
            both = self._both
            np.equal(marks, self._last, out=both.view(np.bool_))
            np.logical_and(both, marks, out=both.view(np.bool_))
        np.copyto(self._last, marks)
        self._there = True
        return both


class Activity:
    """The usual difference of each block between two comparisons, for example because of leaves and screens.

    In grey levels; jumps have little weight.
    """

    def __init__(
        self, shape: tuple[int, ...], *, first: float, least: float, jump: float, seconds: float
    ) -> None:
        self.level: F32 = np.full(shape, first, np.float32)
        self._last: F32 = np.zeros(shape, np.float32)
        self._there = False
        self._least = least
        self._jump = jump
        self._seconds = seconds

    def restart(self) -> None:
        """Start with another reference; the first difference from it is not compared with the last one."""
        self._there = False

    def learn(self, difference: F32, passed: float, a: F32, b: F32) -> None:
        """Learn from the difference in a comparison. `passed`: seconds since the last. `a` and `b` are overwritten."""
        if self._there:
            np.subtract(difference, self._last, out=a)
            np.abs(a, out=a)
            np.multiply(self.level, 2.5, out=b)
            b += self._jump
            np.minimum(a, b, out=a)
            a -= self.level
            a *= 1 - math.exp(-passed / self._seconds)
            self.level += a
            # This takes half the time of a maximum with a number.
            np.clip(self.level, self._least, math.inf, out=self.level)
        np.copyto(self._last, difference)
        self._there = True


# Running digits, such as the clock that a camera writes into its picture

# Minimum change of a block between two comparisons, in grey levels
_TICK = 10
# Ticks are stored for eight periods of so many seconds. A block of a digit ticks in so many of them, a block
# of a passing object in fewer.
_PART_SECONDS = 1.5
_PARTS = 5
# Maximum blocks of all digits, as a fraction of the picture, and maximum height of a line
_TICKS = 0.015
_LINE = 14
# Slower digits of the line are within so many times its height on both sides. More blocks that tick there
# in two consecutive periods are another object.
_REACH = 3
_OTHER = 4


class RunningDigits:
    """The lines in which small objects change continuously, so that weak changes there are ignored. Takes 45 kB."""

    def __init__(self) -> None:
        # 1 for each block of such a line
        self.lines: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        # A bit for each period in which a block ticked, the newest lowest
        self._ticked: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        self._part = 0.0
        self._last: U8 | None = None

    def learn(self, luma: U8, passed: float) -> None:
        """Learn from a compared frame (90, 160). `passed`: seconds since the last one."""
        last, self._last = self._last, luma.copy()
        if last is None:
            return
        ticked = self._ticked
        self._part += passed
        if self._part >= _PART_SECONDS:
            self._part = 0.0
            ticked <<= 1
        ticked |= cv2.absdiff(luma, last) > _TICK
        self.lines[:] = 0
        marks = (np.bitwise_count(ticked) >= _PARTS).view(np.uint8)
        if not 0 < cv2.countNonZero(marks) <= _TICKS * SIZE:
            return
        # Join the strokes of a digit.
        joined = cv2.dilate(marks, np.ones((3, 3), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        near = np.asarray(cv2.dilate(joined, np.ones((5, 5), np.uint8)), np.uint8)
        other = ticked & (ticked >> 1) & (1 - near)
        for left, top, width, height, _ in stats[1:]:
            if height <= _LINE:
                rows = slice(max(0, top - 2), top + height + 2)
                reach = _REACH * height
                around = slice(max(0, left - reach), left + width + reach)
                if cv2.countNonZero(other[rows, around]) > _OTHER:
                    around = slice(max(0, left - 2), left + width + 2)
                self.lines[rows, around] = 1


# Changes of brightness: objects, people, lamps.
# Grey levels are means of 3×3 blocks. The constants were tuned on clips like those of
# tests/shared/attention/clips.py. Thresholds: so many learned deviations, within these bounds, plus
# an amount for a change of the light's gain of 1.
_DEVIATIONS = 4.0
_LEAST = 4.0
_MOST = 80.0
_LIGHT = 14.0
# Fraction of the local contrast that misalignment explains: always, and per block of shift
_EDGE = 0.25 * 0.40
_EDGE_SHIFT = 0.25 * 0.35
# Level of a saturated sensor: there may have been more light.
_FULL = 248.0
# Time constant of learning
_LEARN_SECONDS = 2.0
# Bands by mains light: a gain per row from differences up to this, until it hardly changes
_ROW_CLIP = 6.0
_ROW_ROUNDS = 4
_ROW_STILL = 0.004
# Wide shadows count as light: the mean over 31×23 cells of 2×2 blocks (62×46 blocks) is subtracted.
_WIDE = (31, 23)
# Patch for which one comparison is enough; a weaker one or a spot (a lamp) needs two.
_AT_ONCE = Rule(area=0.008, strength=1.6)
_WEAK = Rule(area=0.003, mass=0.006)
_SPOT = Rule(area=0.0006, strength=2.5)


class LumaChange:
    """Detects one camera's changes of brightness against a reference. Takes 150 kB."""

    def __init__(self) -> None:
        self.activity = Activity(
            (HEIGHT, WIDTH), first=1.0, least=0.4, jump=1.0, seconds=_LEARN_SECONDS
        )
        self._two_looks = TwoLooks((HEIGHT, WIDTH))
        # Fraction of the blocks over their threshold
        self.share = 0.0

    def restart(self) -> None:
        """Begin to compare with another reference."""
        self.activity.restart()
        self._two_looks.forget()

    def busy(self, scratch: BufferPool) -> float:
        """Return the fraction of blocks that always move, in which only a stronger change is detected."""
        marks = scratch.bytes_a
        np.greater(self.activity.level, 2 * _LEAST / _DEVIATIONS, out=marks.view(np.bool_))
        return cv2.countNonZero(marks) / SIZE

    def compare(self, look: Comparison, warped: F32) -> tuple[Patch, Patch]:
        """Return the best patch of this comparison, and the best one shared with the last comparison.

        `warped`: the frame's luma, warped onto the reference (90, 160).
        """
        scratch, sensitivity = look.scratch, look.sensitivity
        difference, strength = self._measure_strength(look, warped)
        hot = scratch.hot
        self.activity.learn(difference, look.passed, scratch.a, scratch.b)
        if self.share <= _SPOT.area / sensitivity:
            self._two_looks.forget()
            return Patch(self.share / _AT_ONCE.area * sensitivity), NO_PATCH
        now = self._find_immediate_patch(look, strength)
        # 2: brighter, 1: darker
        marks = scratch.bytes_a
        np.greater(difference, 0, out=marks.view(np.bool_))
        marks += hot
        marks *= hot
        both = self._two_looks.agree(marks)
        if both is not None:
            both *= 1 - look.digits
        if both is None or cv2.countNonZero(both) < _SPOT.area / sensitivity * SIZE:
            return now, NO_PATCH
        rules = _WEAK.scaled(sensitivity), _SPOT.scaled(sensitivity)
        return now, find_best_patch(both, strength, rules)

    def compare_alone(self, look: Comparison, warped: F32) -> Patch:
        """Return the best patch of this comparison alone, without learning from it."""
        _, strength = self._measure_strength(look, warped)
        return self._find_immediate_patch(look, strength)

    def _measure_strength(self, look: Comparison, warped: F32) -> tuple[F32, F32]:
        """Return the differences and their ratio to the threshold; set `share` to the fraction above it."""
        scratch = look.scratch
        difference = self._measure_difference(look, warped)
        strength = np.abs(difference, out=scratch.strength)
        strength /= self._get_threshold(look, warped)
        clear_edge(strength, look.pose.margin)
        np.greater(strength, 1, out=scratch.hot.view(np.bool_))
        self.share = cv2.countNonZero(scratch.hot) / SIZE
        return difference, strength

    def _find_immediate_patch(self, look: Comparison, strength: F32) -> Patch:
        """Return the best patch for which one comparison is enough."""
        rule = _AT_ONCE.scaled(look.sensitivity)
        if self.share < rule.area:
            return Patch(self.share / rule.area)
        return find_best_patch(look.scratch.hot, strength, (rule,))

    def _measure_difference(self, look: Comparison, warped: F32) -> F32:
        """Return the difference in grey levels without motion, light, bands and wide shadows."""
        reference, scratch = look.reference, look.scratch
        lit, work = scratch.a, scratch.b
        reference.apply_light(look.pose, lit, work)
        np.subtract(warped, lit, out=work)
        # A saturated block is at least as bright in another light.
        full = scratch.hot.view(np.bool_)
        np.minimum(work, 0, out=work, where=np.greater_equal(reference.luma, _FULL, out=full))
        np.maximum(work, 0, out=work, where=np.greater_equal(warped, _FULL, out=full))
        difference = scratch.difference
        cv2.boxFilter(work, -1, (3, 3), dst=difference)
        for _ in range(_ROW_ROUNDS):
            clipped = np.clip(difference, -_ROW_CLIP, _ROW_CLIP, out=lit)
            sums = np.einsum("ij,ij->i", clipped, reference.luma)[:, None]
            gains = cv2.blur(sums / reference.row_squares, (1, 3))
            np.multiply(reference.luma, gains, out=work)
            difference -= work
            if float(np.abs(gains).max()) < _ROW_STILL:
                break
        clipped = np.clip(difference, -_LEAST, _LEAST, out=lit)
        rows, columns = scratch.coarse.shape
        cv2.resize(clipped, (columns, rows), dst=scratch.coarse, interpolation=cv2.INTER_AREA)
        cv2.blur(scratch.coarse, _WIDE, dst=scratch.coarse_blurred)
        cv2.resize(
            scratch.coarse_blurred, (WIDTH, HEIGHT), dst=work, interpolation=cv2.INTER_LINEAR
        )
        difference -= work
        return difference

    def _get_threshold(self, look: Comparison, warped: F32) -> F32:
        threshold = np.multiply(self.activity.level, _DEVIATIONS, out=look.scratch.threshold)
        least = (_LEAST + _LIGHT * abs(look.pose.gain)) / look.sensitivity
        np.clip(threshold, least, _MOST, out=threshold)
        # Edges present in both
        edges = look.scratch.a
        write_local_range(warped, edges)
        np.minimum(edges, look.reference.range, out=edges)
        edges *= _EDGE + _EDGE_SHIFT * look.pose.shift
        threshold += edges
        return threshold


# Changes of color with the same brightness: a lamp from green to red, another cup of the same grey.
# As for brightness, for the two chroma planes
_COLOR_LEAST = 6.0
_COLOR_EDGE = 0.25 * 0.35
# Color of the light: a mean and a gain of each plane, from differences up to this
_CLIP = 4.0
_ROUNDS = 2
_AREA = Rule(area=0.005)
# Large, clear patch for which one comparison is enough, because it may be gone in the next one
_COLOR_AT_ONCE = Rule(area=0.01, strength=2.5)
# A colored lamp
_COLOR_SPOT = Rule(area=0.0018, strength=2.5)
_SHAPE = (HEIGHT // 2, WIDTH // 2)


class ChromaChange:
    """Detects one camera's changes of color against a reference. Takes 70 kB."""

    def __init__(self) -> None:
        self._activity = Activity(
            (2, *_SHAPE), first=0.8, least=0.3, jump=0.5, seconds=_LEARN_SECONDS
        )
        self._two_looks = TwoLooks(_SHAPE)

    def restart(self) -> None:
        """Begin to compare with another reference."""
        self._activity.restart()
        self._two_looks.forget()

    def compare(self, look: Comparison, warped: F32) -> Patch:
        """Return the best patch of this comparison alone, or shared with the last one.

        `warped`: the frame's chroma, warped onto the reference (2, 45, 80).
        """
        reference, scratch, sensitivity = look.reference, look.scratch, look.sensitivity
        work, other = scratch.chroma_a, scratch.chroma_b
        np.subtract(warped, reference.chroma, out=work)
        difference = scratch.chroma_difference
        for plane, target in zip(work, difference, strict=True):
            cv2.boxFilter(plane, -1, (3, 3), dst=target)
        for _ in range(_ROUNDS):
            clipped = np.clip(difference, -_CLIP, _CLIP, out=work)
            means = np.einsum("pij->p", clipped)[:, None, None] / np.float32(clipped[0].size)
            sums = np.einsum("pij,pij->p", clipped, reference.chroma_deviation)
            gains = (sums / reference.chroma_squares)[:, None, None]
            np.multiply(reference.chroma_deviation, gains, out=other)
            other += means
            difference -= other
        threshold = np.multiply(self._activity.level, _DEVIATIONS, out=scratch.chroma_threshold)
        np.clip(threshold, _COLOR_LEAST / sensitivity, _MOST, out=threshold)
        np.multiply(reference.chroma_range, _COLOR_EDGE + _EDGE_SHIFT * look.pose.shift, out=work)
        threshold += work
        strength = np.abs(difference, out=scratch.chroma_strength)
        strength /= threshold
        clear_edge(strength, (look.pose.margin + 1) // 2)
        self._activity.learn(difference, look.passed, work, other)
        marks = _make_marks(strength, difference)
        area, spot = _AREA.scaled(sensitivity), _COLOR_SPOT.scaled(sensitivity)
        if cv2.countNonZero(marks) < spot.area * marks.size:
            self._two_looks.forget()
            return NO_PATCH
        both = self._two_looks.agree(marks)
        strongest = np.maximum(strength[0], strength[1], out=scratch.half)
        at_once = _COLOR_AT_ONCE.scaled(sensitivity)
        if cv2.countNonZero(marks) >= at_once.area * marks.size:
            now = find_best_patch(marks, strongest, (at_once,))
            if now.value >= 1:
                return now
        if both is None:
            return NO_PATCH
        return find_best_patch(both, strongest, (area, spot))


def _make_marks(strength: F32, difference: F32) -> U8:
    """Return a number for each combination of U and V over their thresholds; 0 for neither."""
    hot = (strength > 1).view(np.uint8)
    hot *= 1 + (difference > 0).view(np.uint8)
    marks: U8 = hot[0] + 3 * hot[1]
    return marks


# Changes of fine texture with the same mean: printed text, the digits of a display. For a still camera

# Deviation in grey levels beyond the usual one, which adapts within these seconds, and three times
# its variation
_BEYOND = 2.0
_VARIES = 3.0
_USUAL_SECONDS = 8.0
_VARIES_SECONDS = 2.8
# Number of comparisons that learn quickly, and of comparisons with a reference before it is used
_FIRST_LOOKS = 10
_NEW_LOOKS = 2
_RULE = Rule(area=0.006)
# A larger fraction of the picture is a change of focus, or shake.
_TOO_WIDE = 0.12
# A camera shakes if it moved by more than this many blocks; each comparison multiplies the motion by the
# second value. A change of the light's gain is equivalent to so much motion.
_STEADY = 0.10
_DECAY = 0.85
_LIGHT_SHIFT = 1.5


class PrintChange:
    """Detects one camera's changes of fine texture against a reference. Takes 60 kB."""

    def __init__(self) -> None:
        self._usual: F32 = np.full(_SHAPE, 1.5, np.float32)
        self._varies = Activity(_SHAPE, first=0.5, least=0.2, jump=1.0, seconds=_VARIES_SECONDS)
        self._two_looks = TwoLooks(_SHAPE)
        # Number of comparisons from which the usual deviation was learned, and since the reference
        self._learned = 0
        self._looks = 0
        self._shaky = 1.0

    def restart(self) -> None:
        """Begin to compare with another reference."""
        self._varies.restart()
        self._two_looks.forget()
        self._looks = 0

    def is_steady(self, pose: Pose) -> bool:
        """Return True if the camera has been still long enough. Call it at each comparison."""
        self._shaky = max(pose.shift, _LIGHT_SHIFT * abs(pose.gain), self._shaky * _DECAY)
        return self._shaky < _STEADY

    def compare(self, look: Comparison, fine: U8) -> Patch:
        """Return the best patch shared by this comparison and the last one. `fine`: the frame's fine plane."""
        deviation = _measure_deviation(look, fine)
        clear_edge(deviation, (look.pose.margin + 1) // 2)
        limit = np.multiply(self._varies.level, _VARIES, out=look.scratch.limit)
        limit += self._usual
        limit *= 1 + look.pose.shift
        limit += _BEYOND / look.sensitivity
        over = (deviation > limit).view(np.uint8)
        over *= 1 - look.digits[::2, ::2]
        count = cv2.countNonZero(over)
        wide = count > _TOO_WIDE * over.size
        patch = NO_PATCH
        if wide:
            self._two_looks.forget()
        elif self._looks >= _NEW_LOOKS or self._learned > _FIRST_LOOKS:
            both = self._two_looks.agree(over)
            rule = _RULE.scaled(look.sensitivity)
            if both is not None and cv2.countNonZero(both) >= rule.area / 2 * over.size:
                patch = find_best_patch(both, None, (rule,))
        self._learn(look, deviation, wide)
        return patch

    def _learn(self, look: Comparison, deviation: F32, wide: bool) -> None:
        self._varies.learn(deviation, look.passed, look.scratch.limit, look.scratch.half)
        self._looks += 1
        if wide:
            return
        share = 1 - math.exp(-look.passed / _USUAL_SECONDS) if self._learned > _FIRST_LOOKS else 0.3
        deviation -= self._usual
        np.clip(deviation, -4, 2.5, out=deviation)
        deviation *= share
        self._usual += deviation
        self._learned += 1


def _measure_deviation(look: Comparison, fine: U8) -> F32:
    """Return the standard deviation of the difference in 4×4 blocks of the fine plane, shape (45, 80)."""
    pose, scratch = look.pose, look.scratch
    if not pose.is_still:
        pose.warp(fine, scratch.fine_warped)
        fine = scratch.fine_warped
    difference, square = scratch.fine_difference, scratch.fine_square
    before, gain = look.reference.fine, -(1 + pose.gain)
    cv2.addWeighted(fine, 1, before, gain, 0, dst=difference, dtype=cv2.CV_32F)
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
