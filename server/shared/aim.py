"""Compute how to move a camera so that its picture shows a complete text or face. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from server.core.frames import Scene

# The subject of a hint about the camera
Subject = Literal["text", "face"]


class Hint(StrEnum):
    """A hint on how to move a camera. The edges and directions are those of the picture."""

    # Add light.
    DARK = "dark"
    # Hold it still.
    BLURRED = "blurred"
    # No text or face is in view.
    NOTHING = "nothing"
    # Move away.
    BACK = "back"
    # Move closer.
    CLOSER = "closer"
    # It is cut off at the left.
    LEFT_EDGE = "left_edge"
    # It is cut off at the right.
    RIGHT_EDGE = "right_edge"
    # It is cut off at the top.
    UPPER_EDGE = "upper_edge"
    # It is cut off at the bottom.
    LOWER_EDGE = "lower_edge"
    # Move to the left.
    LEFT = "left"
    # Move to the right.
    RIGHT = "right"
    # Move up.
    UP = "up"
    # Move down.
    DOWN = "down"
    # It is completely in view.
    GOOD = "good"


# Height of letters, relative to the picture's longer side, below which they are too small to read,
# and above which they are large enough again (hysteresis): 10 and 13 px of 1280
SMALL_BELOW, SMALL_UNTIL = 0.0078, 0.0102
# The same for the height of a face, relative to the picture's height
FAR_FACE_BELOW, FAR_FACE_UNTIL = 0.10, 0.13
# Distance to the edge below which a text or face is cut off, and above which it is complete again
CUT_BELOW, CUT_UNTIL = 0.006, 0.018
# Distance of the centre of a text or face from the picture's, as a fraction of the side, beyond which it is at the
# side, and within which it is in the middle again. One that covers the middle is never at the side.
BESIDE_ABOVE, BESIDE_UNTIL = 0.27, 0.20
# Fraction of a text's area in cut-off lines from which it is cut off at the left or right, so that the
# false end of one line has no effect. At the top and bottom a single line of a page is cut off: it
# is used from this fraction of the text's width.
_CUT_AREA, _CUT_WIDTH = 0.15, 0.3
# Maximum distance of lines that belong together, in heights of the larger one
_NEAR = 1.5
# Maximum lines of a picture; the smallest ones are ignored.
MOST_LINES = 100
# Number of consecutive analyses with the same result after which it becomes the hint
_LOOKS = 2
# Seconds between two analyses: while nothing changes, and while the next hint is not yet certain
STEADY_SECONDS, UNSURE_SECONDS = 1.0, 0.4
_EDGES = (Hint.LEFT_EDGE, Hint.RIGHT_EDGE, Hint.UPPER_EDGE, Hint.LOWER_EDGE)


@dataclass(frozen=True, slots=True)
class Thing:
    """A line of text or a face; all sides are fractions of the picture's width or height."""

    left: float
    top: float
    right: float
    bottom: float
    # Height of its letters, relative to the picture's longer side; for a face, relative to the picture's height
    height: float

    @property
    def area(self) -> float:
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Found:
    """The texts and faces found in a frame."""

    lines: tuple[Thing, ...] = ()
    faces: tuple[Thing, ...] = ()
    # False if text could not be searched for, because the reader was not loaded
    looked: bool = True


@dataclass(frozen=True, slots=True)
class Advice:
    """A hint and its subject; None for the whole picture."""

    hint: Hint
    about: Subject | None = None


class Aim:
    """The hint for one camera. It changes when two consecutive analyses yield the same other hint.

    Bounds of guidance: results of the last analyses: one hint and the next one; no picture is kept.
    One frame is analysed at a time, in all sessions; frames that arrive meanwhile are dropped and
    counted.
    """

    def __init__(self) -> None:
        self.advice: Advice | None = None
        self._next: Advice | None = None
        self._count = 0

    @property
    def pause(self) -> float:
        """Seconds until the next analysis."""
        return UNSURE_SECONDS if self._count or self.advice is None else STEADY_SECONDS

    def see(self, found: Found, scene: Scene | None) -> bool:
        """Add the result of an analysis. Return True if the advice changed."""
        seen = advise(found, scene, self.advice)
        if seen == self.advice:
            self._next, self._count = None, 0
            return False
        self._count = self._count + 1 if seen == self._next else 1
        self._next = seen
        if self._count < _LOOKS:
            return False
        self.advice, self._next, self._count = seen, None, 0
        return True


def advise(found: Found, scene: Scene | None, now: Advice | None = None) -> Advice | None:
    """Return the most important hint. `now` is kept until its reason is clearly gone.

    Return None if text could not be searched for.
    """
    if scene is not None and (scene.dark or scene.black):
        return Advice(Hint.DARK)
    if scene is not None and scene.blurred:
        return Advice(Hint.BLURRED)
    held = now.hint if now is not None else None
    if found.lines:
        group = _main_group(found.lines)
        small = SMALL_BELOW, SMALL_UNTIL
        return Advice(_get_size_hint(group, held, _get_median_height(group), small), "text")
    if found.faces:
        face = max(found.faces, key=lambda one: one.area)
        small = FAR_FACE_BELOW, FAR_FACE_UNTIL
        return Advice(_get_size_hint([face], held, face.height, small), "face")
    return Advice(Hint.NOTHING) if found.looked else None


def advise_reading(found: Found, scene: Scene | None, *, begun: bool) -> Hint | None:
    """Return the hint for continued reading: GOOD if all remaining text is in view, None if unknown.

    `begun`: some text was already read, so text that is cut off at the top was read before.
    """
    if scene is not None and (scene.dark or scene.black):
        return Hint.DARK
    if not found.lines:
        if scene is not None and scene.blurred:
            return Hint.BLURRED
        return Hint.NOTHING if found.looked else None
    group = _main_group(found.lines)
    cut = _cut_edges(group, _get_bounding_thing(group), None)
    if {Hint.LEFT_EDGE, Hint.RIGHT_EDGE} <= cut.keys():
        return Hint.BACK
    edges = [Hint.LEFT_EDGE, Hint.RIGHT_EDGE, Hint.LOWER_EDGE]
    if not begun:
        edges.insert(2, Hint.UPPER_EDGE)
    for edge in edges:
        if edge in cut:
            return edge
    return Hint.CLOSER if _get_median_height(group) < SMALL_BELOW else Hint.GOOD


def _get_size_hint(
    things: Sequence[Thing], held: Hint | None, height: float, small: tuple[float, float]
) -> Hint:
    """Return the hint about the size of a text or face. `small`: bounds of `height` with hysteresis."""
    whole = _get_bounding_thing(things)
    hint = _get_edge_hint(_cut_edges(things, whole, held), held)
    if hint is not None:
        return hint
    if height < small[held is Hint.CLOSER]:
        return Hint.CLOSER
    return _get_side_hint(whole, held)


def _get_median_height(lines: Sequence[Thing]) -> float:
    """Return the lower median of the heights of letters."""
    heights = sorted(line.height for line in lines)
    return heights[(len(heights) - 1) // 2]


def _get_edge_hint(cut: dict[Hint, float], held: Hint | None) -> Hint | None:
    """Return the hint about cut-off edges: the one with the largest fraction, or BACK for opposite ones."""
    if {Hint.LEFT_EDGE, Hint.RIGHT_EDGE} <= cut.keys():
        return Hint.BACK
    if {Hint.UPPER_EDGE, Hint.LOWER_EDGE} <= cut.keys():
        return Hint.BACK
    if held in cut:
        return held
    return max(cut, key=lambda edge: cut[edge]) if cut else None


def _cut_edges(lines: Sequence[Thing], whole: Thing, held: Hint | None) -> dict[Hint, float]:
    """Return the edges at which the lines are cut off, each with the cut-off fraction."""
    area = sum(line.area for line in lines) or 1.0
    width = (whole.right - whole.left) or 1.0
    found: dict[Hint, float] = {}
    for edge in _EDGES:
        near = CUT_UNTIL if held in (edge, Hint.BACK) else CUT_BELOW
        cut = [line for line in lines if _get_distance(line, edge) < near]
        if edge in (Hint.LEFT_EDGE, Hint.RIGHT_EDGE):
            share = sum(line.area for line in cut) / area
            enough = _CUT_AREA
        else:
            share = sum(line.right - line.left for line in cut) / width
            enough = _CUT_WIDTH
        if cut and share >= enough:
            found[edge] = round(share, 3)
    return found


def _get_distance(thing: Thing, edge: Hint) -> float:
    return {
        Hint.LEFT_EDGE: thing.left,
        Hint.RIGHT_EDGE: 1.0 - thing.right,
        Hint.UPPER_EDGE: thing.top,
        Hint.LOWER_EDGE: 1.0 - thing.bottom,
    }[edge]


def _get_side_hint(whole: Thing, held: Hint | None) -> Hint:
    across = (whole.left + whole.right) / 2 - 0.5
    down = (whole.top + whole.bottom) / 2 - 0.5
    most_across = BESIDE_UNTIL if held in (Hint.LEFT, Hint.RIGHT) else BESIDE_ABOVE
    most_down = BESIDE_UNTIL if held in (Hint.UP, Hint.DOWN) else BESIDE_ABOVE
    beside = abs(across) > most_across and not whole.left < 0.5 < whole.right
    above = abs(down) > most_down and not whole.top < 0.5 < whole.bottom
    if beside and (not above or abs(across) >= abs(down)):
        return Hint.LEFT if across < 0 else Hint.RIGHT
    if above:
        return Hint.UP if down < 0 else Hint.DOWN
    return Hint.GOOD


def _get_bounding_thing(things: Sequence[Thing]) -> Thing:
    return Thing(
        min(one.left for one in things),
        min(one.top for one in things),
        max(one.right for one in things),
        max(one.bottom for one in things),
        0.0,
    )


def _main_group(lines: Sequence[Thing]) -> list[Thing]:
    """Return the group of neighbouring lines that is most likely meant: many, large, in the middle."""
    waiting = sorted(lines, key=lambda line: -line.area)[:MOST_LINES]
    groups: list[list[Thing]] = []
    while waiting:
        group = [waiting.pop(0)]
        for line in group:
            near = [one for one in waiting if _are_near(line, one)]
            group.extend(near)
            waiting = [one for one in waiting if one not in near]
        groups.append(group)
    return max(groups, key=_get_weight)


def _are_near(one: Thing, other: Thing) -> bool:
    gap = _NEAR * max(one.bottom - one.top, other.bottom - other.top)
    across = max(one.left, other.left) - min(one.right, other.right)
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    return across < gap and down < gap


def _get_weight(group: list[Thing]) -> float:
    whole = _get_bounding_thing(group)
    away = math.hypot((whole.left + whole.right) / 2 - 0.5, (whole.top + whole.bottom) / 2 - 0.5)
    return sum(line.area for line in group) * (1.0 - away)
