"""Print as a reader returns it: pieces at their places, and rows."""

from __future__ import annotations

from server.features.builtin.lines import Cell, Row, TextPiece


def piece(text: str, x: float, y: float, width: float = 100, height: float = 20) -> TextPiece:
    return TextPiece(text, 0.95, ((x, y), (x + width, y), (x + width, y + height), (x, y + height)))


def row_of(text: str, height: float = 20) -> Row:
    """Make a row of one cell."""
    return Row(text, height, (Cell(text, 0, height * len(text) / 2),))
