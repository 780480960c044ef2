"""Finds the boxes that a form has in front of its lines, and whether they are ticked. Blocking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from server.features.builtin.lines import Piece
from server.media.picture.encode import Bgr

EMPTY, TICKED = "☐", "☑"
# A form has so many at least; one square alone may be a letter or a stain.
_LEAST = 2
# Pixels of a line's height in the enlarged part, in which strokes are some pixels wide
_HIGH = 40
# How far the part goes beyond a line's beginning, in its heights: before it, into it, and up and down
_BEFORE, _INTO, _BESIDE = 2.0, 1.3, 0.8
# Least and largest side of a box's inside, in heights of its line; its longer side by the other; its area by that of the
# rectangle around it, which a ring fills less
_SMALLEST, _LARGEST, _SQUARE, _FULL = 0.3, 1.0, 1.25, 0.88
# Shares of its inside with ink: below the one it is empty, above the other it is a letter or filled; and the pixels at its
# edge that are not counted
_BARE, _FILLED, _EDGE = 0.05, 0.65, 3
# Lines looked at: a form's
_MOST = 80


def marked(bgr: Bgr, pieces: Sequence[Piece]) -> list[Piece]:
    """Return pieces of text with ☐ or ☑ before those with a box in front, where there are several boxes.

    `bgr`: the picture that they were read in.
    """
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    found = {at: box for at, one in enumerate(pieces[:_MOST]) if (box := _box_before(grey, one))}
    if len(found) < _LEAST:
        return list(pieces)
    return [
        replace(one, text=f"{found[at]} {one.text.lstrip('口□')}") if at in found else one
        for at, one in enumerate(pieces)
    ]


def _box_before(grey: cv2.typing.MatLike, piece: Piece) -> str:
    """Return EMPTY or TICKED for a box at the beginning of a piece; "" without one."""
    (x0, y0), _, _, (x3, y3) = piece.corners
    high = piece.height
    if len(piece.text) < 2 or not 8 <= high <= grey.shape[0] / 4:
        return ""
    x, y = (x0 + x3) / 2, (y0 + y3) / 2
    left, top = max(0, int(x - _BEFORE * high)), max(0, int(y - _BESIDE * high))
    part = grey[top : int(y + _BESIDE * high), left : int(x + _INTO * high)]
    if min(part.shape) < 8:
        return ""
    scale = _HIGH / high
    part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    light = 255 - part if np.median(part) < 110 else part
    _, ink = cv2.threshold(light, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    outlines, tree = cv2.findContours(ink, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return ""
    for _, _, first, _ in tree[0]:
        holes = []
        while first >= 0:
            holes.append(outlines[first])
            first = tree[0][first][0]
        if holes and (box := _box_of(holes, ink)):
            return box
    return ""


def _box_of(holes: Sequence[cv2.typing.MatLike], ink: cv2.typing.MatLike) -> str:
    """Return EMPTY or TICKED for the insides of one outline if they make up a square; else ""."""
    hull = cv2.convexHull(np.concatenate(holes))
    _, sides, _ = cv2.minAreaRect(hull)
    least, most = sorted(side / _HIGH for side in sides)
    if least < _SMALLEST or most > _LARGEST or most > _SQUARE * least:
        return ""
    if cv2.contourArea(hull) < _FULL * sides[0] * sides[1]:
        return ""
    inside = np.zeros_like(ink)
    cv2.fillConvexPoly(inside, hull, 255)
    inside = cv2.erode(inside, np.ones((_EDGE, _EDGE), np.uint8))
    share = cv2.mean(ink, mask=inside)[0] / 255
    return EMPTY if share < _BARE else TICKED if share < _FILLED else ""
