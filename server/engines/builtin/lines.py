"""Pieces of text on a picture, put into reading order. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

Corners = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """One run of text as the reader found it."""

    text: str
    # 0 to 1
    score: float
    # Top left, top right, bottom right, bottom left, in pixels of the picture.
    corners: Corners

    @property
    def height(self) -> float:
        (x0, y0), _, _, (x3, y3) = self.corners
        return math.hypot(x3 - x0, y3 - y0)


@dataclass(frozen=True, slots=True)
class Row:
    """Pieces beside each other, joined from left to right."""

    text: str
    # Height of the tallest piece in pixels of the picture.
    height: float


def reading_order(pieces: Sequence[Piece]) -> list[Row]:
    """Rows from top to bottom, each from left to right, also when the text leans.

    Pieces share a row when their middles are less than half the smaller height apart, measured across the
    direction that most of the text runs in.
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
    rows: list[list[tuple[tuple[float, float], Piece]]] = []
    for (x, y), piece in placed:
        if rows:
            (_, last_y), last = rows[-1][-1]
            if abs(y - last_y) < 0.5 * min(piece.height, last.height):
                rows[-1].append(((x, y), piece))
                continue
        rows.append([((x, y), piece)])
    return [
        Row(
            " ".join(piece.text.strip() for _, piece in sorted(row, key=lambda one: one[0][0])),
            max(piece.height for _, piece in row),
        )
        for row in rows
    ]


def _angle(piece: Piece) -> float:
    (x0, y0), (x1, y1) = piece.corners[:2]
    return math.atan2(y1 - y0, x1 - x0)
