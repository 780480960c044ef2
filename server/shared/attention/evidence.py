"""Marked blocks: the size and clarity of their patches, and the agreement of two looks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from server.media.picture.planes import F32, U8


@dataclass(frozen=True, slots=True)
class Rule:
    """The least size and strength that a patch of marked blocks needs to count."""

    # Share of the picture
    area: float
    # Mean strength (difference by threshold)
    strength: float = 1.0
    # Area times mean strength
    mass: float = 0.0

    def scaled(self, sensitivity: float) -> Rule:
        return Rule(self.area / sensitivity, self.strength, self.mass / sensitivity)


@dataclass(frozen=True, slots=True)
class Patch:
    """The evidence of the patch that fulfils a rule best."""

    # 1 and more fulfils the rule.
    value: float = 0.0
    # left, top, right, bottom as shares of the plane, around all patches that fulfil the rule: of
    # two things that change at once each may be the one that is watched for. Else around the best.
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


NO_PATCH = Patch()


def best_patch(marks: U8, strength: F32 | None, rules: tuple[Rule, ...]) -> Patch:
    """Find the patch of touching marks that fulfils a rule best. No `strength`: 1 everywhere."""
    # Labels of the whole plane take as long as half a look.
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
    """The marks of the last look, since a weak change needs two looks that agree.

    A byte a block; 0: none.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._last: U8 = np.zeros(shape, np.uint8)
        self._both: U8 = np.zeros(shape, np.uint8)
        self._there = False

    def forget(self) -> None:
        self._there = False

    def agree(self, marks: U8) -> U8 | None:
        """Return 1 for each block marked as in the last look, else 0; None without a last look."""
        both = None
        if self._there:
            both = self._both
            np.equal(marks, self._last, out=both.view(np.bool_))
            np.logical_and(both, marks, out=both.view(np.bool_))
        np.copyto(self._last, marks)
        self._there = True
        return both


class Activity:
    """The usual difference of each block between two looks, as of leaves and screens.

    In grey levels; jumps count little.
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
        """Begin with another reference: do not compare its first difference with the last one."""
        self._there = False

    def learn(self, difference: F32, passed: float, a: F32, b: F32) -> None:
        """Learn from a look's difference. `passed`: seconds since the last look.

        `a` and `b` are overwritten.
        """
        if self._there:
            np.subtract(difference, self._last, out=a)
            np.abs(a, out=a)
            np.multiply(self.level, 2.5, out=b)
            b += self._jump
            np.minimum(a, b, out=a)
            a -= self.level
            a *= 1 - math.exp(-passed / self._seconds)
            self.level += a
            # Half the time of a maximum with a number
            np.clip(self.level, self._least, math.inf, out=self.level)
        np.copyto(self._last, difference)
        self._there = True
