"""Pieces of text on a picture, put into reading order. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

Corners = tuple[tuple[float, float], ...]

# Least score of a piece that counts as read
LEAST_SCORE = 0.5
# The same where another picture of it follows
SURE_SCORE = 0.75
# Share of a picture's height at its edges in which a line counts as cut off
CUT_EDGE = 0.006
# The signs as which the reader reads a drawn circle
_ROUND = frozenset("oO0Qo°〇○◯●•·.")
# Small print beside a large figure: a unit, or the digits after the decimal point
_BESIDE = re.compile(r"[°º'’]?\s?[CF]|[°º℃℉%]|[.,]\s?\d{1,2}|[a-zA-Zµ]{1,4}(?:/[a-z]{1,3})?|[€$£¥]")
# The reader turns a Cyrillic word into a mixture of these and Latin letters.
_GREEK = re.compile(r"[\u0370-\u03ff]")
_LATIN = re.compile(r"[A-Za-z]")
# Latin letters as which Cyrillic ones are read; a word of these alone needs a higher score.
_LOOKALIKES = frozenset("ABCEHKMOPTXYNRaceopxy")
_SURE = 0.9
# Of a piece with so few signs that stands alone the reader has to be sure: it makes some of any
# pattern.
_FEW = 2
# Greek letters that stand alone in formulas and units
_SYMBOLS = frozenset("µμΩπαβγδλσφθ")


@dataclass(frozen=True, slots=True)
class Piece:
    """One run of text as the reader found it."""

    text: str
    # 0 to 1
    score: float
    # Top left, top right, bottom right, bottom left, in pixels of the picture
    corners: Corners

    @property
    def height(self) -> float:
        (x0, y0), _, _, (x3, y3) = self.corners
        return math.hypot(x3 - x0, y3 - y0)

    @property
    def width(self) -> float:
        (x0, y0), (x1, y1) = self.corners[:2]
        return math.hypot(x1 - x0, y1 - y0)


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece in its row, with its beginning and end along the direction of reading."""

    text: str
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Row:
    """Pieces side by side, joined from left to right."""

    text: str
    # Height of the tallest piece in pixels of the picture.
    height: float
    cells: tuple[Cell, ...] = ()


def row_of(text: str, height: float = 20) -> Row:
    """Make a row of one cell."""
    return Row(text, height, (Cell(text, 0, height * len(text) / 2),))


def legible(pieces: Sequence[Piece]) -> tuple[list[Piece], bool]:
    """Return the pieces of legible text, and True when other print was left out.

    Shapes that look like letters, and words in letters that the reader does not know, are removed.
    """
    kept = []
    unread = False
    for piece in pieces:
        if piece.score < LEAST_SCORE:
            unread = unread or piece.width > 2 * piece.height
            continue
        words = piece.text.split()
        text = " ".join(word for word in words if not _misread(word, piece.score))
        unread = unread or len(text) < len(" ".join(words))
        if text and not _shape(replace(piece, text=text)):
            kept.append(replace(piece, text=text))
    sure = [piece for piece in kept if not _doubtful(piece)]
    kept = [
        piece
        for piece in kept
        if not _doubtful(piece) or any(_is_beside(piece, other) for other in sure)
    ]
    return kept, unread


def _doubtful(piece: Piece) -> bool:
    return len(piece.text) <= _FEW and piece.score < _SURE


def _is_beside(piece: Piece, other: Piece) -> bool:
    """Find whether a piece may belong to the line of another one, as a unit or an exponent does."""
    left, right = (min(x for x, _ in one.corners) for one in (piece, other))
    top, bottom = (min(y for _, y in one.corners) for one in (piece, other))
    gap = max(left - right - other.width, right - left - piece.width)
    apart = max(top - bottom - other.height, bottom - top - piece.height)
    return gap < other.height and apart < 0


def whole_pieces(pieces: Sequence[Piece], height: int) -> list[Piece]:
    """Return the pieces that are read well, and not cut off at the upper or lower edge of a picture.

    A next picture shows the others better.
    """
    near = max(2.0, CUT_EDGE * height)
    return [
        piece
        for piece in pieces
        if piece.score >= SURE_SCORE
        and min(y for _, y in piece.corners) > near
        and max(y for _, y in piece.corners) < height - near
    ]


def _misread(word: str, score: float) -> bool:
    """Find whether a word is Cyrillic or Greek that was read as something else."""
    if score < _SURE and len(word) > 2 and _LOOKALIKES.issuperset(word):
        return True
    greek = [char for char in word if _GREEK.match(char)]
    if not greek:
        return False
    return len(greek) > 1 or greek[0] not in _SYMBOLS or len(_LATIN.findall(word)) > 2


def _shape(piece: Piece) -> bool:
    """Find whether a piece is a drawing: a ring or disc, or without any letter, digit or sign."""
    text = piece.text.replace(" ", "")
    if not any(char.isalnum() or unicodedata.category(char) in {"Sc", "Po", "Sm"} for char in text):
        return True
    # Printed letters and digits are narrower than high.
    each = piece.width / max(1, len(text))
    if set(text) <= _ROUND and each > 0.78 * piece.height and (len(text) < 3 or "0" not in text):
        return True
    return len(text) == 1 and piece.score < 0.7


def upright(pieces: Sequence[Piece]) -> list[Piece]:
    """Turn print that mostly runs downwards, so that it runs to the right."""
    long = [piece for piece in pieces if len(piece.text) > 2]
    tall = [piece for piece in long if piece.height > 1.5 * piece.width]
    if not tall or len(tall) * 2 < len(long):
        return list(pieces)
    return [
        replace(
            piece,
            corners=tuple((y, -x) for x, y in (piece.corners[1:] + piece.corners[:1])),
        )
        for piece in pieces
    ]


def reading_order(pieces: Sequence[Piece]) -> list[Row]:
    """Return rows from top to bottom, each from left to right, also for leaning text.

    Pieces share a row when their middles are less than half the smaller height apart, measured
    across the direction of most of the text. A small unit belongs to the large figure beside it.
    """
    if not pieces:
        return []
    lean = median(_angle(piece) for piece in pieces)
    cos, sin = math.cos(-lean), math.sin(-lean)

    def place(piece: Piece) -> tuple[float, float]:
        x = sum(corner[0] for corner in piece.corners) / len(piece.corners)
        y = sum(corner[1] for corner in piece.corners) / len(piece.corners)
        return x * cos - y * sin, x * sin + y * cos

    placed = sorted(((place(piece), piece) for piece in pieces), key=lambda one: one[0][1])
    figures = {
        id(piece): figure
        for spot, piece in placed
        if (figure := _figure_of(spot, piece, placed)) is not None
    }
    rows: list[list[tuple[tuple[float, float], Piece]]] = []
    for spot, piece in placed:
        if id(piece) in figures:
            continue
        if rows:
            (_, last_y), last = rows[-1][-1]
            if abs(spot[1] - last_y) < 0.5 * min(piece.height, last.height):
                rows[-1].append((spot, piece))
                continue
        rows.append([(spot, piece)])
    for spot, piece in placed:
        figure = figures.get(id(piece))
        # A unit may belong to decimals that belong to a figure.
        while figure is not None and id(figure) in figures:
            figure = figures[id(figure)]
        if figure is not None:
            next(row for row in rows if any(one is figure for _, one in row)).append((spot, piece))
    return [_row(sorted(row, key=lambda one: one[0][0])) for row in rows]


def _row(row: Sequence[tuple[tuple[float, float], Piece]]) -> Row:
    cells = tuple(
        Cell(piece.text.strip(), x - piece.width / 2, x + piece.width / 2) for (x, _), piece in row
    )
    text = " ".join(cell.text for cell in cells)
    # "21 .7" becomes 21.7.
    text = re.sub(r"(?<=\d) (?=[.,]\d)", "", text)
    return Row(text, max(piece.height for _, piece in row), cells)


def _figure_of(
    spot: tuple[float, float],
    piece: Piece,
    placed: Sequence[tuple[tuple[float, float], Piece]],
) -> Piece | None:
    """Return the large figure right beside a small piece, on its left; None without one."""
    if not _BESIDE.fullmatch(piece.text.strip()):
        return None
    left = spot[0] - piece.width / 2
    for (x, y), other in placed:
        if other is piece or other.height < 1.25 * piece.height:
            continue
        if not other.text.strip()[-1:].isdigit() and other.text.strip()[-1:] not in "°.,":
            continue
        gap = left - (x + other.width / 2)
        level = abs(spot[1] - y) < 0.6 * other.height
        if level and -0.35 * other.height < gap < 0.8 * other.height:
            return other
    return None


def _angle(piece: Piece) -> float:
    (x0, y0), (x1, y1) = piece.corners[:2]
    return math.atan2(y1 - y0, x1 - x0)
