"""Reads text and codes and finds faces, with libraries that load when needed. Blocking."""

from __future__ import annotations

import logging
import math
import threading
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from server.features.builtin.codes import Code, told
from server.features.builtin.lines import Piece, legible, reading_order
from server.features.builtin.seeking import Sought, Spotted, seek
from server.features.builtin.shapes import looked_at
from server.features.builtin.surroundings import Around, Extra, around
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.media.picture.planes import Luma, luma_plane
from server.shared.aim import MOST_LINES, Found, Thing

if TYPE_CHECKING:
    import av

    from server.features.builtin.beside import Beside

log = logging.getLogger(__name__)

# Longest side of the picture for the detector; letters are then read at full size. With 736 it
# finds a line of 10 px at 1280x720, in a third of the time that 1280 takes.
_DETECT_SIDE = 736
# Mean score below which the picture may be upside down: upright print has 0.9 and more, else 0.6.
_POOR = 0.8
_LEAST_FACE = 0.5
# Longest side in the search for codes: more pixels take time and read nothing more.
_CODE_SIDE = 1920
_CODES = 8
# Characters that are shown of one
_CODE_CHARS = 400
# Longest side in which print is only noticed: letters of 30 px at 1280x720 in 17 ms of one core
_NOTICE_SIDE = 160
# A few large words: lines of so much of the picture's height, and their number; they are read in a picture of this side
_LARGE_LINE, _MOST_LARGE, _LARGE_SIDE = 0.05, 4, 480
# Print that is so near to the left or right edge, as a share of the width, may be cut off there.
_LARGE_EDGE = 0.02
# Single characters that people write as two
_SIGNS = str.maketrans({"℃": "°C", "℉": "°F", "％": "%", "￥": "¥"})


class Reader:
    """Text by PP-OCR (rapidocr, with its models), codes by ZXing, faces by CenterFace if installed.

    Text is read by one thread at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ocr: Any = None
        self._faces: Any = None
        # A library that did not load is not tried again.
        self._ocr_failed = False
        self._faces_failed = False

    @property
    def text_broken(self) -> bool:
        return self._ocr_failed

    def warm(self) -> None:
        """Load everything and run it once."""
        blank = np.full((360, 640, 3), 127, np.uint8)
        cv2.putText(blank, "Warm 123", (60, 200), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 3)
        self.text(blank)
        self.codes(blank)
        self.faces(blank)

    def text(self, bgr: Bgr) -> list[Piece]:
        """Return the pieces of text with their scores, guesses included.

        Empty without text, and when the reader did not load (`text_broken`). A picture with poor
        scores is read once more upside down, and the better reading is returned.
        """
        return self._read(bgr)[0]

    def placed_text(self, bgr: Bgr) -> list[Piece]:
        """Return the same pieces with their corners where they are in the picture, also in one that
        is upside down.
        """
        pieces, turned = self._read(bgr)
        if not turned:
            return pieces
        height, width = bgr.shape[:2]
        return [
            replace(piece, corners=tuple((width - x, height - y) for x, y in piece.corners))
            for piece in pieces
        ]

    def lines(self, bgr: Bgr) -> list[NDArray[np.float32]] | None:
        """Find the corners of all lines of text without reading them; None without a reader."""
        with self._lock:
            reader = self._load_text()
            if reader is None:
                return None
            # The reader keeps what a call says, so each call says all of it.
            found = reader(np.ascontiguousarray(bgr), use_det=True, use_cls=False, use_rec=False)
        return [] if found.boxes is None else [np.asarray(box, np.float32) for box in found.boxes]

    def any_text(self, bgr: Bgr, codes: Sequence[Box] = ()) -> bool:
        """Find whether there is print beside the `codes`, in a small picture; False without a reader."""
        return any(
            not any(code.encloses(*quad.mean(axis=0)) for code in codes)
            for quad in self._noticed(bgr)
        )

    def large_text(self, bgr: Bgr) -> list[Piece]:
        """Return the pieces of a few large words, and nothing of a picture with more print than that."""
        height, width = bgr.shape[:2]
        edge = _LARGE_EDGE * width
        lines = [_around(quad) for quad in self._noticed(bgr)]
        large = [line for line in lines if line.y2 - line.y1 >= _LARGE_LINE * height]
        # A word that the picture cuts off is another word.
        large = [line for line in large if line.x1 >= edge and line.x2 <= width - edge]
        if not 0 < len(large) <= _MOST_LARGE:
            return []
        more = max(line.y2 - line.y1 for line in large)
        left, top = min(line.x1 for line in large), min(line.y1 for line in large)
        right, bottom = max(line.x2 for line in large), max(line.y2 for line in large)
        part = bgr[
            max(0, int(top - more)) : int(bottom + more),
            max(0, int(left - more)) : int(right + more),
        ]
        scale = min(1.0, _LARGE_SIDE / max(part.shape[:2]))
        small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return self.text(np.asarray(small, np.uint8))

    def _noticed(self, bgr: Bgr) -> list[NDArray[np.float32]]:
        """Find the corners of lines that can be seen in a small picture, in pixels of the whole one."""
        height, width = bgr.shape[:2]
        scale = min(1.0, _NOTICE_SIDE / max(width, height))
        # The detector takes whole squares of 32 pixels.
        wide, high = (max(1, round(side * scale / 32)) * 32 for side in (width, height))
        small = cv2.resize(bgr, (wide, high), interpolation=cv2.INTER_AREA)
        quads = self.lines(np.asarray(small, np.uint8)) or ()
        factors = np.array((width / wide, height / high), np.float32)
        return [quad * factors for quad in quads if _is_line(quad, (wide, high))]

    def code_boxes(self, bgr: Bgr) -> list[Box]:
        """Find where codes are, in a third of the time of `codes`.

        Barcodes that stand on their side and codes in light on dark are not found.
        """
        found, scale = _codes(bgr, thorough=False)
        return [_box_of(one, scale) for one in found]

    def _read(self, bgr: Bgr) -> tuple[list[Piece], bool]:
        """Return the pieces, and True for those of the picture upside down."""
        with self._lock:
            reader = self._load_text()
            if reader is None:
                return [], False
            pieces = looked_at(bgr, _pieces(_recognise(reader, bgr)))
            if pieces and _certainty(pieces) < _POOR:
                turned = np.asarray(cv2.rotate(bgr, cv2.ROTATE_180), np.uint8)
                other = looked_at(turned, _pieces(_recognise(reader, turned)))
                if _certainty(other) > _certainty(pieces) + 0.1:
                    return other, True
        return pieces, False

    def codes(self, bgr: Bgr) -> list[Code]:
        """Return the contents of QR codes, barcodes and the like."""
        found, scale = _codes(bgr)
        return [
            Code(_shown(told(one.text)), str(one.format), _box_of(one, scale), _whole(one.text))
            for one in found[:_CODES]
        ]

    def faces(self, bgr: Bgr) -> int | None:
        """Count the faces; None when the face model is not installed."""
        found = self.face_boxes(bgr)
        return len(found) if found is not None else None

    def face_boxes(self, bgr: Bgr) -> list[Box] | None:
        """Find the faces, surest first; None when the face model is not installed."""
        with self._lock:
            finder = self._load_faces()
        if finder is None:
            return None
        return [
            Box(face.left, face.top, face.right, face.bottom, "", face.score)
            for face in finder.find(bgr, _LEAST_FACE)
        ]

    def _load_text(self) -> Any:
        if self._ocr is None and not self._ocr_failed:
            cv2.setNumThreads(1)
            try:
                from rapidocr import RapidOCR

                self._ocr = RapidOCR(
                    params={
                        "Global.log_level": "critical",
                        # Guesses included: their scores show whether the picture is upside down.
                        "Global.text_score": 0.0,
                        "Global.use_cls": False,
                        "Det.limit_type": "max",
                        "Det.limit_side_len": _DETECT_SIDE,
                        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                    }
                )
            except Exception as exc:  # noqa: BLE001
                # Any failure to load: the engine reports it in its answers and does the rest.
                self._ocr_failed = True
                log.error("the text reader did not load", extra={"error": type(exc).__name__})
        return self._ocr

    def _load_faces(self) -> Any:
        if self._faces is None and not self._faces_failed:
            from server.media.picture.privacy import FaceDetector, FilterUnavailable

            try:
                self._faces = FaceDetector()
            except FilterUnavailable:
                self._faces_failed = True
                log.info("faces are not counted: the face model is not installed")
        return self._faces


def _codes(bgr: Bgr, *, thorough: bool = True) -> tuple[list[Any], float]:
    """Return ZXing's codes with a text, and the scale of the picture in which they are.

    `thorough`: those on their side, in light on dark and very large ones, too.
    """
    import zxingcpp

    longest = max(bgr.shape[:2])
    scale = 1.0
    if longest > _CODE_SIDE:
        scale = _CODE_SIDE / longest
        bgr = np.asarray(
            cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
    grey = np.ascontiguousarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
    found = zxingcpp.read_barcodes(
        grey, try_rotate=thorough, try_invert=thorough, try_downscale=thorough
    )
    return [one for one in found if one.text], scale


def _box_of(code: Any, scale: float) -> Box:
    at = code.position
    corners = (at.top_left, at.top_right, at.bottom_right, at.bottom_left)
    xs, ys = [corner.x / scale for corner in corners], [corner.y / scale for corner in corners]
    return Box(min(xs), min(ys), max(xs), max(ys))


def _recognise(reader: Any, bgr: Bgr) -> Any:
    return reader(np.ascontiguousarray(bgr), use_det=True, use_cls=False, use_rec=True)


def _pieces(found: Any) -> list[Piece]:
    if found.txts is None or found.boxes is None:
        return []
    return [
        Piece(
            text.translate(_SIGNS).strip(),
            float(score),
            tuple((float(x), float(y)) for x, y in box),
        )
        for text, score, box in zip(found.txts, found.scores, found.boxes, strict=True)
        if text.strip()
    ]


def _certainty(pieces: list[Piece]) -> float:
    """Return the mean score, weighted by length: upside down, much of a line is read as nothing."""
    lengths = [max(piece.width, piece.height) for piece in pieces]
    return sum(p.score * n for p, n in zip(pieces, lengths, strict=True)) / max(1.0, sum(lengths))


def _shown(text: str) -> str:
    text = printable(text)
    return f"{text[:_CODE_CHARS]}…" if len(text) > _CODE_CHARS else text


def _whole(text: str) -> str:
    """Return a code's text with its lines, and without other control characters."""
    return "".join(char for char in text if char in "\n\t" or not _is_control(char)).strip()


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs")


def printable(text: str) -> str:
    """Replace control characters, which a code may hold, by spaces."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


# Finds print and faces for guidance, without reading them, and what is at a place. Blocking.

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


# Around a line that somebody points at: in which a point counts as in it, and that is shown with it to
# be read, as shares of its height
_AT_LINE, _AROUND_LINE = 0.3, 0.5
# What is taken for a line there, though it is none: its shorter side is a larger share of the picture's,
# or it is shorter than so many of these for each character that was read
_HIGHEST, _SHORTEST = 0.35, 0.2


@dataclass(frozen=True, slots=True)
class Spot:
    """Something at a place. `box` is in pixels, and has its name or text."""

    kind: Literal["thing", "text", "code"]
    box: Box


class Finder:
    """Print by the reader's detector, faces by its face model if that is installed.

    `things` finds those; None where NAME_THINGS is off.
    """

    def __init__(self, reader: Reader, things: Beside | None = None) -> None:
        self._reader = reader
        self.things = things

    def at(self, bgr: Bgr, x: float, y: float, language: str) -> list[Spot]:
        """Find what is around a point, the smallest first. `language`: a BCP 47 tag for the names of things.

        Raises what the libraries raise.
        """
        found = [
            Spot("code", replace(one.box, label=one.name))
            for one in self._reader.codes(bgr)
            if one.box is not None and one.box.encloses(x, y)
        ]
        found += [Spot("text", box) for box in self._line_at(bgr, x, y)]
        if self.things is not None:
            found += [Spot("thing", box) for box in self.things.at(bgr, x, y, language)]
        return sorted(found, key=lambda spot: spot.box.area)

    def read(self, bgr: Bgr) -> list[Box]:
        """Find the lines of text, each with what it says as its label. Raises what the libraries raise."""
        return [
            replace(_around(np.asarray(piece.corners, np.float32)), label=piece.text)
            for piece in legible(self._reader.placed_text(bgr))[0]
        ]

    def _line_at(self, bgr: Bgr, x: float, y: float) -> list[Box]:
        """Return the smallest line of text around a point, if it can be read."""
        height, width = bgr.shape[:2]
        scale = min(1.0, _SIDE / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        quads = self._reader.lines(np.asarray(small, np.uint8)) or []
        hit = [
            quad / scale
            for quad in quads
            if _sides(quad)[0] <= _HIGHEST * min(size)
            and _grown(_around(quad / scale), _AT_LINE).encloses(x, y)
        ]
        if not hit:
            return []
        quad = min(hit, key=cv2.contourArea)
        line = _around(quad)
        part = _grown(line, _AROUND_LINE)
        top, left = max(0, int(part.y1)), max(0, int(part.x1))
        shown = bgr[top : math.ceil(part.y2), left : math.ceil(part.x2)]
        pieces = legible(self._reader.text(np.ascontiguousarray(shown)))[0]
        text = " ".join(row.text for row in reading_order(pieces))
        short, long = _sides(quad)
        if not text or long < _SHORTEST * len(text) * short:
            return []
        return [replace(line, label=text, confidence=max(piece.score for piece in pieces))]

    def seek(self, bgr: Bgr, sought: Sought, known: Box | None = None) -> list[Spotted]:
        """Find what somebody seeks in a picture, surest first; `known`: its box of a moment ago.

        Raises what the libraries raise.
        """
        return seek(self._reader, self.things, bgr, sought, known)

    def around(self, bgr: Bgr, known: Collection[Box], extra: Extra = "") -> list[Around]:
        """Find what a picture shows, as `surroundings.around` does. Raises what the libraries raise."""
        return around(self._reader, self.things, bgr, known, extra)

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


def _around(quad: NDArray[np.float32]) -> Box:
    (x1, y1), (x2, y2) = quad.min(axis=0).tolist(), quad.max(axis=0).tolist()
    return Box(x1, y1, x2, y2)


def _sides(quad: NDArray[np.float32]) -> tuple[float, float]:
    """Return the lengths of its sides, the shorter one first."""
    one, other = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[3] - quad[0])
    return float(min(one, other)), float(max(one, other))


def _grown(box: Box, share: float) -> Box:
    more = share * (box.y2 - box.y1)
    return Box(box.x1 - more, box.y1 - more, box.x2 + more, box.y2 + more)


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
