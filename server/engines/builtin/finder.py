"""Finds print and faces for guidance, without reading them. Blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from server.engines.builtin.reader import Reader
from server.vision.aim import MOST_LINES, Found, Thing
from server.vision.luma import Luma, luma_plane

if TYPE_CHECKING:
    import av

# Longest side of the picture for the detector: it finds letters of 10 px at 1280x720 in 30 ms of one
# core. A thorough look finds those of 8 px in 75 ms.
_SIDE = 512
_THOROUGH_SIDE = 736
# Lines whose letters are measured, the largest ones
_MEASURED = 12
# A larger part of the picture is no line: the detector takes a plain picture with a disc for one.
_LARGEST = 0.5
# Part of a line's strongest row of edges from which a row belongs to its letters
_LETTER_ROW = 0.3


class Finder:
    """Print by the reader's detector, faces by its face model if that is installed."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def find(self, image: av.VideoFrame, thorough: bool = False) -> Found:
        """Find the lines of text in a frame, and the faces in one without text.

        `thorough`: find small print, too. Raises what the libraries raise, and ValueError for a
        frame without a luma plane.
        """
        luma = luma_plane(image)
        height, width = luma.shape
        scale = min(1.0, (_THOROUGH_SIDE if thorough else _SIDE) / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.cvtColor(
            cv2.resize(luma, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR
        )
        quads = self._reader.lines(np.asarray(small, np.uint8))
        if quads is None:
            return Found(looked=False)
        lines = _lines(luma, [quad / scale for quad in quads if _is_line(quad, size)])
        if lines:
            return Found(lines=lines)
        faces = self._reader.face_boxes(np.asarray(small, np.uint8)) or []
        wide, high = size
        return Found(
            faces=tuple(
                Thing(f.x1 / wide, f.y1 / high, f.x2 / wide, f.y2 / high, (f.y2 - f.y1) / high)
                for f in faces
            )
        )


def _is_line(quad: NDArray[np.float32], size: tuple[int, int]) -> bool:
    return cv2.contourArea(quad) < _LARGEST * size[0] * size[1]


def _lines(luma: Luma, quads: list[NDArray[np.float32]]) -> tuple[Thing, ...]:
    """Make things of the detector's quadrilaterals; the smallest of many are left out."""
    height, width = luma.shape
    found = sorted(quads, key=lambda quad: -cv2.contourArea(quad))[:MOST_LINES]
    measured = [_letter_height(luma, quad) for quad in found[:_MEASURED]]
    # The letters of the smaller ones are in the same proportion to their quadrilaterals, about.
    rest = min(measured, default=0.0)
    longest = max(width, height)
    things = []
    for number, quad in enumerate(found):
        letters = measured[number] if number < _MEASURED else rest
        left, top = quad.min(axis=0)
        right, bottom = quad.max(axis=0)
        things.append(
            Thing(
                max(0.0, float(left) / width),
                max(0.0, float(top) / height),
                min(1.0, float(right) / width),
                min(1.0, float(bottom) / height),
                letters / longest,
            )
        )
    return tuple(things)


def _letter_height(luma: Luma, quad: NDArray[np.float32]) -> float:
    """Measure the height of a line's letters in pixels: the rows that have edges.

    The quadrilateral itself is a third to three times higher than its letters.
    """
    long, short = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[3] - quad[0])
    if short > long:
        quad = np.roll(quad, 1, axis=0)
        long, short = short, long
    # At most 512 px of the line, at its full height
    size = max(2, min(512, round(float(long)))), max(2, round(float(short)))
    corners = np.array([(0, 0), (size[0], 0), size, (0, size[1])], np.float32)
    turned = cv2.getPerspectiveTransform(quad.astype(np.float32), corners)
    line = np.asarray(cv2.warpPerspective(luma, turned, size), np.int16)
    rows = np.abs(np.diff(line, axis=1)).mean(axis=1)
    rows -= rows.min()
    return float(np.count_nonzero(rows > _LETTER_ROW * rows.max())) if rows.max() > 0 else 0.0
