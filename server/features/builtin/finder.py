"""Detection of printed text, codes, faces and objects for guidance and pointing. Calls block."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from server.features.builtin.detector import PERSON
from server.features.builtin.lines import select_legible, sort_into_rows
from server.features.builtin.reader import TextReader, get_bounds, is_line
from server.features.builtin.seeking import SearchHit, SearchTarget, seek
from server.media.picture.encode import Bgr, shrink
from server.media.picture.grounding import Box
from server.media.picture.planes import Luma, get_luma_plane
from server.shared.aim import MOST_LINES, Found, Thing

if TYPE_CHECKING:
    import av

    from server.features.builtin.beside import DetectorAid

# Longest side of the picture for the detector, in pixels: it finds letters of 10 px at 1280x720 in 30 ms of one
# core; a thorough search finds letters of 8 px in 75 ms.
_SIDE = 512
_THOROUGH_SIDE = 736
# Maximum number of lines whose letters are measured, largest first
_MEASURED = 12
# Minimum edges of a row of letters, as a fraction of the line's strongest row
_LETTER_ROW = 0.3
# Margins around a line that a person points at, as fractions of its height: for the hit test, and for reading
_AT_LINE, _AROUND_LINE = 0.3, 0.5
# Limits against false lines: largest height as a fraction of the picture's shorter side, and minimum length for each
# character, in heights of the line
_HIGHEST, _SHORTEST = 0.35, 0.2
# Longest side of the picture in the search for signs, in pixels: letters of 20 px at 1280x720, in 12 ms of a core
_NOTICE_SIDE = 256
# A sign: minimum letters, maximum characters, minimum score, largest fraction of the picture, and the margin around it
# for reading, as a fraction of its height. Reading the largest sign takes 20 ms.
_LETTERS, _CHARS, _SURE, _LARGEST, _MARGIN = 3, 24, 0.95, 0.3, 0.4


@dataclass(frozen=True, slots=True)
class PointHit:
    """An object at a place. `box` is in pixels, with the name or text as its label."""

    kind: Literal["thing", "text", "code"]
    box: Box


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object in a picture. `name`: the object's name, the same in all languages, or the printed words."""

    kind: Literal["thing", "text", "code"]
    name: str
    box: Box
    sure: bool


# Targets in addition to objects: faces take 50 ms, codes 3 ms.
Extra = Literal["", "signs", "faces"]


class Finder:
    """Finder of printed text, of faces (if the face model is installed) and of objects.

    `things`: None if NAME_THINGS is off.
    """

    def __init__(self, reader: TextReader, things: DetectorAid | None = None) -> None:
        self._reader = reader
        self.things = things
        self._detector = things.finder if things is not None else None

    def find_at(self, bgr: Bgr, x: float, y: float, language: str) -> list[PointHit]:
        """Find the objects around a point, smallest first. `language`: a BCP 47 tag for the names of objects.

        Errors of the libraries are passed on.
        """
        found = [
            PointHit("code", replace(one.box, label=one.name))
            for one in self._reader.read_codes(bgr)
            if one.box is not None and one.box.encloses(x, y)
        ]
        found += [PointHit("text", box) for box in self._find_line_at(bgr, x, y)]
        if self.things is not None:
            found += [PointHit("thing", box) for box in self.things.find_at(bgr, x, y, language)]
        return sorted(found, key=lambda spot: spot.box.area)

    def read(self, bgr: Bgr) -> list[Box]:
        """Find the lines of text, each labelled with its words. Errors of the libraries are passed on."""
        return [
            replace(piece.box, confidence=None)
            for piece in select_legible(self._reader.read_placed_text(bgr))[0]
        ]

    def _find_line_at(self, bgr: Bgr, x: float, y: float) -> list[Box]:
        """Return the smallest line of text around a point, if it can be read."""
        small, scale = shrink(bgr, _SIDE)
        hit = [
            quad / scale
            for quad in self._reader.find_lines(small) or []
            if _measure_sides(quad)[0] <= _HIGHEST * min(small.shape[:2])
            and _grow(get_bounds(quad / scale), _AT_LINE).encloses(x, y)
        ]
        if not hit:
            return []
        quad = min(hit, key=cv2.contourArea)
        line = get_bounds(quad)
        pieces = select_legible(self._reader.read_text(_crop(bgr, _grow(line, _AROUND_LINE))))[0]
        text = " ".join(row.text for row in sort_into_rows(pieces))
        short, long = _measure_sides(quad)
        if not text or long < _SHORTEST * len(text) * short:
            return []
        return [replace(line, label=text, confidence=max(piece.score for piece in pieces))]

    def seek(self, bgr: Bgr, sought: SearchTarget, known: Box | None = None) -> list[SearchHit]:
        """Find the target of a search, surest first. `known`: its last box.

        Errors of the libraries are passed on.
        """
        return seek(self._reader, self._detector, bgr, sought, known)

    def find_around(self, bgr: Bgr, known: Collection[Box], extra: Extra = "") -> list[FoundObject]:
        """Return the objects in a picture. `known`: boxes of sure objects, with their names.

        `extra`: also signs, or faces and codes. Errors of the libraries are passed on.
        """
        found = self._detector.find_around(bgr, known) if self._detector is not None else ()
        seen = [
            FoundObject("thing", one.name, one.box, one.sure)
            for one in found
            if one.box is not None
        ]
        if extra == "signs":
            return seen + self._find_sign(bgr)
        if extra == "faces":
            seen += [
                FoundObject("code", "code", box, True) for box in self._reader.find_code_boxes(bgr)
            ]
            if not any(one.name == PERSON for one in seen):
                faces = self._reader.find_faces(bgr) or ()
                seen += [FoundObject("thing", PERSON, face, True) for face in faces]
        return seen

    def _find_sign(self, bgr: Bgr) -> list[FoundObject]:
        """Read the largest short line of text."""
        height, width = bgr.shape[:2]
        small, scale = shrink(bgr, _NOTICE_SIDE)
        boxes = [get_bounds(quad / scale) for quad in self._reader.find_lines(small) or ()]
        boxes = [box for box in boxes if box.area <= _LARGEST * width * height]
        if not boxes:
            return []
        box = max(boxes, key=lambda box: box.height)
        pieces = select_legible(self._reader.read_text(_crop(bgr, _grow(box, _MARGIN))))[0]
        words = " ".join(piece.text for piece in pieces)
        letters = sum(one.isalnum() for one in words)
        if letters < _LETTERS or len(words) > _CHARS or min(one.score for one in pieces) < _SURE:
            return []
        return [FoundObject("text", words, box, True)]

    def find(self, image: av.VideoFrame, thorough: bool = False) -> Found:
        """Find the lines of text in a frame, and the faces if it has no text.

        `thorough`: find small text, too. Errors of the libraries are passed on. Raises ValueError for a
        frame without a luma plane.
        """
        luma = get_luma_plane(image)
        grey, scale = shrink(luma, _THOROUGH_SIDE if thorough else _SIDE)
        small = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
        quads = self._reader.find_lines(small)
        if quads is None:
            return Found(looked=False)
        lines = _to_things(luma, [quad / scale for quad in quads if is_line(quad, small)])
        if lines:
            return Found(lines=lines)
        high, wide = grey.shape
        return Found(
            faces=tuple(
                Thing(f.x1 / wide, f.y1 / high, f.x2 / wide, f.y2 / high, f.height / high)
                for f in self._reader.find_faces(small) or []
            )
        )


def _measure_sides(quad: NDArray[np.float32]) -> tuple[float, float]:
    """Return the lengths of two sides of a quadrilateral, the shorter one first."""
    one, other = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[3] - quad[0])
    return float(min(one, other)), float(max(one, other))


def _grow(box: Box, share: float) -> Box:
    more = share * box.height
    return Box(box.x1 - more, box.y1 - more, box.x2 + more, box.y2 + more)


def _crop(bgr: Bgr, box: Box) -> Bgr:
    top, left = max(0, int(box.y1)), max(0, int(box.x1))
    return np.ascontiguousarray(bgr[top : math.ceil(box.y2), left : math.ceil(box.x2)])


def _to_things(luma: Luma, quads: list[NDArray[np.float32]]) -> tuple[Thing, ...]:
    """Convert the detector's quadrilaterals to `Thing` values, the largest `MOST_LINES` of them."""
    height, width = luma.shape
    found = sorted(quads, key=lambda quad: -cv2.contourArea(quad))[:MOST_LINES]
    measured = [_measure_letter_height(luma, quad) for quad in found[:_MEASURED]]
    # Smaller lines are not measured; they get the smallest measured height.
    rest = min(measured, default=0.0)
    longest = max(width, height)
    things = []
    for number, quad in enumerate(found):
        letters = measured[number] if number < _MEASURED else rest
        line = get_bounds(quad)
        things.append(
            Thing(
                max(0.0, line.x1 / width),
                max(0.0, line.y1 / height),
                min(1.0, line.x2 / width),
                min(1.0, line.y2 / height),
                letters / longest,
            )
        )
    return tuple(things)


def _measure_letter_height(luma: Luma, quad: NDArray[np.float32]) -> float:
    """Measure the height of a line's letters, in pixels, by its rows with edges.

    The quadrilateral is a third to three times higher than its letters.
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
