"""Looks for things that somebody watches for: fast enough for some looks a second, and seldom wrong. Blocking."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from server.features.builtin.detector import PERSON, Bgr, ThingFinder, moved, overlap, tiles
from server.media.picture.grounding import Box

# Least score of a box that counts, where the classifier is unsure or does not know the thing; one alone is often
# wrong, and who watches wants two looks
LEAST = 0.7
# The same of a box that the classifier is asked about; and of one that is looked at again, enlarged
_NAMED, _DOUBTFUL = 0.5, 0.25
# Most boxes that the classifier is asked about, and doubtful ones of which one is looked at, in turn
_MOST_NAMED, _MOST_DOUBTFUL = 3, 3
# How much larger than a doubtful box the part is that is looked at, and its least side in pixels
_AROUND, _LEAST_PART = 1.6, 224
# Boxes of the same name that share more than this of their area show the same thing.
_SAME = 0.5
# The detector takes these for each other; the classifier tells which it is.
_ALIKE = (
    frozenset({"cat", "dog", "bear", "horse", "sheep", "cow", "teddy bear"}),
    frozenset({"car", "truck", "bus", "train"}),
)


def spot(
    finder: ThingFinder,
    bgr: Bgr,
    names: Collection[str],
    turn: int = 0,
    changed: Box | None = None,
) -> list[Box]:
    """Return the boxes of things of these names, which the detector knows, surest first.

    Where the whole picture does not show all, one square of it is looked at, too: where something has `changed`, in
    pixels, or by `turn`, which grows with each look; and of doubtful boxes one, enlarged.
    """
    wanted = frozenset(names).union(*(alike for alike in _ALIKE if alike & frozenset(names)))
    whole = 0, 0, bgr
    found, doubtful = _judged(finder, bgr, _within(finder, whole, wanted, _DOUBTFUL), names)
    squares = tiles(bgr) if not {box.label for box in found} >= set(names) else []
    if squares:
        square = squares[turn % len(squares)]
        if changed is not None:
            square = min(squares, key=lambda one: _distance(one, changed))
        more, others = _judged(finder, bgr, _within(finder, square, wanted, _DOUBTFUL), names)
        found += [box for box in more if _apart(box, found)]
        doubtful += others
    doubtful = [box for box in doubtful if _apart(box, found)]
    doubtful = sorted(doubtful, key=_score, reverse=True)[:_MOST_DOUBTFUL]
    if doubtful:
        part = _enlarged(bgr, doubtful[turn % len(doubtful)])
        found += _judged(finder, bgr, _within(finder, part, wanted, _NAMED), names)[0][:1]
    return sorted(found, key=_score, reverse=True)


def _judged(
    finder: ThingFinder, bgr: Bgr, boxes: Sequence[Box], names: Collection[str]
) -> tuple[list[Box], list[Box]]:
    """Return the boxes that show what is named, with the right names, and doubtful ones; a sure classifier decides."""
    found, doubtful = [], []
    for number, box in enumerate(boxes):
        asked = box.label != PERSON and _score(box) >= _NAMED and number < _MOST_NAMED
        thing = finder.name(bgr, box) if asked else None
        if thing is not None:
            if thing.name in names:
                sure = max(LEAST, thing.confidence)
                found.append(replace(box, label=thing.name, confidence=sure))
        elif _score(box) < LEAST:
            doubtful.append(box)
        elif box.label in names:
            found.append(box)
    return found, doubtful


def _score(box: Box) -> float:
    return box.confidence or 0.0


def _within(
    finder: ThingFinder, part: tuple[int, int, Bgr], wanted: Collection[str], least: float
) -> list[Box]:
    """Return the boxes of these names in a part of the picture, best first, in its pixels."""
    left, top, shown = part
    boxes = finder.boxes(shown, least)
    return [moved(box, left, top) for box in boxes if box.label in wanted]


def _apart(box: Box, others: Sequence[Box]) -> bool:
    return all(overlap(box, one) < _SAME for one in others)


def _distance(square: tuple[int, int, Bgr], changed: Box) -> float:
    """Return how far the middles of a square of the picture and of what changed are from each other."""
    left, top, shown = square
    across: float = left + shown.shape[1] / 2 - (changed.x1 + changed.x2) / 2
    down: float = top + shown.shape[0] / 2 - (changed.y1 + changed.y2) / 2
    return abs(across) + abs(down)


def _enlarged(bgr: Bgr, box: Box) -> tuple[int, int, Bgr]:
    """Return the part of a picture around a box, with its place."""
    sides = []
    for low, high, most in ((box.x1, box.x2, bgr.shape[1]), (box.y1, box.y2, bgr.shape[0])):
        size = min(most, max(_LEAST_PART, round((high - low) * _AROUND)))
        start = max(0, min(most - size, round((low + high - size) / 2)))
        sides.append((start, start + size))
    (left, right), (top, bottom) = sides
    return left, top, bgr[top:bottom, left:right]
