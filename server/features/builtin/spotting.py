"""Detection of watched objects, fast enough for several checks a second, and seldom wrong. Calls block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from server.features.builtin.detector import PERSON, ThingFinder, make_tiles
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box

# A part of a picture, after its left and top in pixels
_Part = tuple[int, int, Bgr]
# Minimum score of a box if the classifier is unsure or does not know the object; a single box is often wrong, so
# watches require two checks
LEAST = 0.7
# Minimum score of a box that the classifier checks; and of a box that is enlarged for the detector
_NAMED, _DOUBTFUL = 0.5, 0.25
# Maximum number of boxes that the classifier checks; and maximum number of doubtful boxes, one of which is enlarged
_MOST_NAMED, _MOST_DOUBTFUL = 3, 3
# Side of the enlarged part in sides of its doubtful box, and its minimum side in pixels
_AROUND, _LEAST_PART = 1.6, 224
# Overlap (IoU) from which two boxes show the same object
_SAME = 0.5
# Objects that the detector confuses; the classifier distinguishes them.
_ALIKE = (
    frozenset({"cat", "dog", "bear", "horse", "sheep", "cow", "teddy bear"}),
    frozenset({"car", "truck", "bus", "train"}),
)


def spot(
    finder: ThingFinder,
    bgr: Bgr,
    names: Collection[str],
    turn: int = 0,
    near: Box | None = None,
    whole: bool = False,
) -> list[Box]:
    """Return the boxes of objects with these names, which the detector knows, surest first.

    `near`: the place of a change, in pixels; None without a change. With a change, if the whole picture does not
    show all names, the nearest square and the nearest doubtful box, enlarged, are examined, too. Without one, the
    detector examines the whole picture or, unless `whole`, a square in every other `turn`, which counts the checks;
    in one of four turns a doubtful box is enlarged, too.
    """
    wanted = frozenset(names).union(*(alike for alike in _ALIKE if alike & frozenset(names)))
    squares = make_tiles(bgr)
    parts: list[_Part] = [(0, 0, bgr)]
    if near is not None:
        parts += sorted(squares, key=_make_distance_key(near))[:1]
    elif squares and turn % 2 and not whole:
        parts = [squares[turn // 2 % len(squares)]]
    found: list[Box] = []
    doubtful: list[Box] = []
    while parts:
        more, others = _classify_boxes(
            finder, bgr, _find_boxes(finder, parts.pop(0), wanted, _DOUBTFUL), names
        )
        found += [box for box in more if _is_apart(box, found)]
        doubtful += others
        if {box.label for box in found} >= set(names):
            return sorted(found, key=_score, reverse=True)
        if near is not None and any(box.overlap(near) >= _SAME for box in found):
            # The object explains the change, so the search continues as without a change.
            near, parts = None, squares[turn // 4 % 3 :][:1] if turn % 4 == 2 else []
    doubtful = [box for box in doubtful if _is_apart(box, found)]
    doubtful = sorted(doubtful, key=_score, reverse=True)[:_MOST_DOUBTFUL]
    if doubtful and (near is not None or turn % 4 == 0):
        enlarged = [_enlarge(bgr, box) for box in doubtful]
        part = (
            min(enlarged, key=_make_distance_key(near))
            if near
            else enlarged[turn // 4 % len(enlarged)]
        )
        found += _classify_boxes(finder, bgr, _find_boxes(finder, part, wanted, _NAMED), names)[0][
            :1
        ]
    return sorted(found, key=_score, reverse=True)


def _classify_boxes(
    finder: ThingFinder, bgr: Bgr, boxes: Sequence[Box], names: Collection[str]
) -> tuple[list[Box], list[Box]]:
    """Return the boxes of these names, corrected by the classifier if it is sure, and the doubtful boxes."""
    found, doubtful = [], []
    for number, box in enumerate(boxes):
        asked = box.label != PERSON and _score(box) >= _NAMED and number < _MOST_NAMED
        thing = finder.name_box(bgr, box) if asked else None
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


def _find_boxes(
    finder: ThingFinder, part: _Part, wanted: Collection[str], least: float
) -> list[Box]:
    """Return the boxes of these names in a part of the picture, best first, in its pixels."""
    left, top, shown = part
    boxes = finder.find_boxes(shown, least)
    return [box.moved(left, top) for box in boxes if box.label in wanted]


def _is_apart(box: Box, others: Sequence[Box]) -> bool:
    return all(box.overlap(one) < _SAME for one in others)


def _make_distance_key(near: Box) -> Callable[[_Part], float]:
    """Return the function that measures the distance of a part's middle from that of a box."""

    def distance(part: _Part) -> float:
        left, top, shown = part
        x, y = near.middle
        height, width = shown.shape[:2]
        return float(abs(left + width / 2 - x) + abs(top + height / 2 - y))

    return distance


def _enlarge(bgr: Bgr, box: Box) -> _Part:
    """Return the part of a picture around a box, after its left and top."""
    sides = []
    for low, high, most in ((box.x1, box.x2, bgr.shape[1]), (box.y1, box.y2, bgr.shape[0])):
        size = min(most, max(_LEAST_PART, round((high - low) * _AROUND)))
        start = max(0, min(most - size, round((low + high - size) / 2)))
        sides.append((start, start + size))
    (left, right), (top, bottom) = sides
    return left, top, bgr[top:bottom, left:right]
