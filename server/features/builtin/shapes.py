"""Wide gaps in lines of text, and check boxes in front of them, which the text reader does not report. Calls block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from server.features.builtin.lines import EMPTY, TICKED, TextPiece
from server.media.picture.encode import Bgr

# Minimum number of boxes in a form: a single square may be a letter or a stain
_LEAST = 2
# Strip of a flattened line: height of the line in pixels, space before it in heights, and space above and below it in
# pixels, as a box is higher than letters
_HIGH, _BEFORE, _BESIDE = 40, 2.0, 10
_FRONT = round(_BEFORE * _HIGH)
# Inside of a box: smallest and largest side in heights of its line, largest ratio of its sides, and minimum fraction of
# its rectangle that it fills; a ring fills less
_SMALLEST, _LARGEST, _SQUARE, _FULL = 0.3, 1.0, 1.25, 0.88
# Fraction of ink inside a box below which it is empty; fraction from which it is a letter or filled; and pixels at its
# edge that are not counted
_BARE, _FILLED, _EDGE = 0.05, 0.65, 3
# Maximum number of lines of a form that are examined
_MOST = 80
# Median grey level below which text is light on dark
_DARK = 110
# Gaps between columns, in heights of a line: sure from `_GAP`; from `_LESS` if `_WIDER` times as wide as gaps between
# words, which are wider than `_WORDS`. `_NEAR`: largest distance of a gap from a word boundary, in letters
_GAP, _LESS, _WIDER, _WORDS, _NEAR = 0.72, 0.5, 1.7, 0.19, 2.5
# Usual gap between words: its quantile of all gaps, the minimum number of gaps to measure it, and the width in heights
# from which it is a gap between columns of a table. Monospaced text has wide gaps.
_QUARTER, _MANY, _TABLE = 0.25, 12, 1.0
# Boundaries of words: a space, or a place where the reader omits one: "SwimmingGym", "£15Adult"
_PARTS = re.compile(r"\s+|(?<=[a-z0-9])(?=[A-Z])")

# A box typed as text: "[x]"
_TYPED = re.compile(r"\[ ?([xX]?) ?\] ?")
# A check box: its sign, and the columns of the strip at which it begins and ends
_Box = tuple[str, int, int]


def split_pieces(bgr: Bgr, pieces: Sequence[TextPiece]) -> list[TextPiece]:
    """Split pieces of text at wide gaps, and put ☐ or ☑ before those with a box in front, if it is a form.

    `bgr`: the picture of the pieces.
    """
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    strips = [_flatten(grey, piece) for piece in pieces[:_MOST]]
    wide = _measure_word_gap([strip for strip in strips if strip is not None])
    signed = [
        one
        for piece, strip in zip(pieces, strips, strict=False)
        for one in ([("", piece)] if strip is None else _split_parts(piece, strip, wide))
    ]
    signed = [_split_typed_box(sign, one) for sign, one in signed]
    is_form = sum(bool(sign) for sign, _ in signed) >= _LEAST
    parts = [
        replace(one, text=f"{sign} {one.text.lstrip('口□')}") if sign and is_form else one
        for sign, one in signed
    ]
    return [*parts, *pieces[_MOST:]]


def _split_typed_box(sign: str, piece: TextPiece) -> tuple[str, TextPiece]:
    """Return the sign of a box typed in front of a piece, and the piece without it."""
    typed = _TYPED.match(piece.text)
    if typed is None or typed.end() == len(piece.text):
        return sign, piece
    return TICKED if typed[1] else EMPTY, replace(piece, text=piece.text[typed.end() :])


@dataclass(frozen=True, slots=True)
class _Strip:
    """A flattened line: `wide` columns, after those in front of it."""

    text: str
    wide: int
    boxes: list[_Box]
    # The columns with ink
    inked: NDArray[np.intp]


def _flatten(grey: cv2.typing.MatLike, piece: TextPiece) -> _Strip | None:
    """Flatten a piece; None if it is too short or too small."""
    high = piece.height
    if len(piece.text) < 2 or not 8 <= high <= grey.shape[0] / 4:
        return None
    wide = max(1, round(piece.width * _HIGH / high))
    there = piece.get_part_corners(-_BEFORE * high / max(1.0, piece.width), 1.0)
    top, bottom = _BESIDE, _BESIDE + _HIGH
    right = _FRONT + wide
    flat = np.array([(0, top), (right, top), (right, bottom), (0, bottom)], np.float32)
    turn = cv2.getPerspectiveTransform(np.array(there, np.float32), flat)
    size = right, bottom + _BESIDE
    strip = cv2.warpPerspective(grey, turn, size, borderMode=cv2.BORDER_REPLICATE)
    light = cv2.bitwise_not(strip) if np.median(strip) < _DARK else strip
    _, ink = cv2.threshold(light, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    boxes = _find_boxes(ink)
    for _, begin, end in boxes:
        # The ink of boxes must not count as letters.
        ink[:, begin:end] = 0
    rows = ink[top + _HIGH // 8 : bottom - _HIGH // 8, _FRONT:]
    return _Strip(piece.text, wide, boxes, np.flatnonzero((rows > 0).sum(axis=0) > 1))


def _measure_word_gap(strips: Sequence[_Strip]) -> float:
    """Return the usual gap between words, in heights of a line; 0 if unknown, or in a table."""
    found: list[float] = []
    for strip in strips:
        if count := len(strip.text.split()) - 1:
            found += (np.sort(np.diff(strip.inked))[-count:] / _HIGH).tolist()
    usual = float(np.quantile(found, _QUARTER)) if len(found) >= _MANY else 0.0
    return usual if usual < _TABLE else 0.0


def _split_parts(piece: TextPiece, strip: _Strip, between: float) -> list[tuple[str, TextPiece]]:
    """Return the parts of a piece, each with the sign of the box in front of it, or ""."""
    boxes, inked, wide = strip.boxes, strip.inked, strip.wide
    cuts = _find_cuts(piece.text, inked, between)
    found = []
    first, left = 0, int(inked[0]) if len(inked) else 0
    for (begin, end), right, behind in (*cuts, ((len(piece.text),) * 2, wide, 0)):
        if text := piece.text[first:begin]:
            part = piece
            if cuts:
                part = replace(
                    piece, text=text, corners=piece.get_part_corners(left / wide, right / wide)
                )
            near = [one for one in boxes if left < one[2] <= _FRONT + left]
            boxes = [one for one in boxes if one not in near]
            found.append((near[-1][0] if near else "", part))
        first, left = end, behind
    return found


def _find_boxes(ink: cv2.typing.MatLike) -> list[_Box]:
    """Return the boxes in a strip of `ink`, from left to right."""
    outlines, tree = cv2.findContours(ink, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    found = []
    for outline, (_, _, inside, _) in zip(
        outlines, tree[0] if tree is not None else (), strict=True
    ):
        holes = []
        while inside >= 0:
            holes.append(outlines[inside])
            inside = tree[0][inside][0]
        if holes and (sign := _get_sign(holes, ink)):
            begin, _, wide, _ = cv2.boundingRect(outline)
            found.append((sign, begin, begin + wide))
    return sorted(found, key=lambda one: one[1])


def _get_sign(holes: Sequence[cv2.typing.MatLike], ink: cv2.typing.MatLike) -> str:
    """Return EMPTY or TICKED if the insides of an outline form a square; else ""."""
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


def _find_cuts(
    text: str, inked: NDArray[np.intp], between: float
) -> list[tuple[tuple[int, int], int, int]]:
    """Return the cuts of a text: spans of it, and the columns where the part before ends and the next begins.

    Empty if its gaps do not match boundaries of words. `inked`: the columns with ink; `between`: see `_measure_word_gap`.
    """
    ends = [match.span() for match in _PARTS.finditer(text)]
    if not ends or not len(inked):
        return []
    blank = np.diff(inked) / _HIGH
    usual = min(blank[blank > _WORDS], default=0.0)
    gap = max(_GAP, _WIDER * between)
    less = _LESS if between < _LESS else gap
    at = np.flatnonzero((blank > gap) | ((blank > less) & (blank > _WIDER * usual)))
    gaps = [(int(inked[one]), int(inked[one + 1])) for one in at]
    # Without the gaps, all letters are about equally wide.
    letters = _count_letters(text)
    whole = inked[-1] - inked[0] - sum(end - begin for begin, end in gaps)
    cuts, gone = [], 0
    for begin, end in gaps:
        read = letters * (begin - inked[0] - gone) / max(1, whole)
        near = min(ends, key=lambda span: abs(_count_letters(text[: span[0]]) - read))
        if abs(_count_letters(text[: near[0]]) - read) > _NEAR:
            return []
        cuts.append((near, begin, end))
        gone += end - begin
    return cuts


def _count_letters(text: str) -> int:
    return len(text) - sum(map(str.isspace, text))
