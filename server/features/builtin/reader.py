"""Text, codes and faces of a picture, by libraries that load at first use. Calls block."""

from __future__ import annotations

import logging
import threading
import time
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from server.core.aio import is_cancelled
from server.core.logs import get_location
from server.features.builtin.codes import DecodedCode, format_code_text
from server.features.builtin.lines import TextPiece
from server.features.builtin.shapes import split_pieces
from server.media.picture.encode import Bgr, shrink
from server.media.picture.grounding import Box

log = logging.getLogger(__name__)

# Longest side of the picture for the detector, in pixels; letters are then read at full size. With 736 it
# finds a line of 10 px at 1280x720, in a third of the time of 1280.
_DETECT_SIDE = 736
# Mean score below which the picture may be upside down: upright text has 0.9 and more, inverted text 0.6
_POOR = 0.8
# Number of lines read upside down as a sample, longest first, and the length read of each, in heights
_SAMPLE, _SAMPLE_WIDE = 4, 24
# Bounds of reading one picture: lines, length of a line in heights (48 pixels each in the reader), and seconds of its
# thread, after which only the present line is finished. A letter of 40 lines takes 5 s.
MOST_LINES, MOST_WIDE, MOST_SECONDS = 150, 100, 6.0
# Height, in median heights, from which text is read first
_HEADING = 1.5
_LEAST_FACE = 0.5
# Longest side in the search for codes, in pixels: more take time without finding more
_CODE_SIDE = 1920
_CODES = 8
# Maximum number of characters of a code for display
_CODE_CHARS = 400
# Longest side in the quick search for text, in pixels: letters of 30 px at 1280x720 in 17 ms of one core
_NOTICE_SIDE = 160
# Large words: minimum height as a fraction of the picture's, maximum lines, and longest side of what is read, pixels
_LARGE_LINE, _MOST_LARGE, _LARGE_SIDE = 0.05, 4, 480
# Distance from the left or right edge, as a fraction of the width, within which text may be cut off
_LARGE_EDGE = 0.02
# Largest fraction of the picture that a line fills: the detector mistakes a plain picture with a disc for one
_LARGEST = 0.5
# Single characters that people type as two
_SIGNS = str.maketrans({"℃": "°C", "℉": "°F", "％": "%", "￥": "¥"})


class TextReader:
    """Text by PP-OCR (rapidocr, with its models), codes by ZXing, faces by CenterFace if installed.

    One thread at a time reads text.

    Bounds of reading a picture: 150 lines, each 100 times as wide as high, and 6 s; further ones count as not
    read. It ends between two lines once nobody waits for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ocr: Any = None
        self._faces: Any = None
        # A library that failed to load is not tried again.
        self._ocr_failed = False
        self._faces_failed = False

    @property
    def ocr_failed(self) -> bool:
        return self._ocr_failed

    def warm(self) -> None:
        """Load everything and run it once."""
        blank = np.full((360, 640, 3), 127, np.uint8)
        cv2.putText(blank, "Warm 123", (60, 200), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 3)
        self.read_text(blank)
        self.read_codes(blank)
        self.find_faces(blank)

    def read_text(self, bgr: Bgr) -> list[TextPiece]:
        """Return the pieces of text with their scores, guesses included; unread pieces have no text.

        The list is empty without text, and if the reader did not load (`ocr_failed`). A picture with
        poor scores is read upside down if that is better.
        """
        return self._read(bgr)[0]

    def read_text_from(self, bgr: Bgr, first: int) -> tuple[list[TextPiece], int]:
        """Return the pieces from line `first` on, and the line at which the next call continues; 0 after the last."""
        pieces, _, left = self._read(bgr, first)
        return pieces, left

    def read_placed_text(self, bgr: Bgr) -> list[TextPiece]:
        """Return the same pieces as `read_text`, with corners in the picture as it is, even if it is upside down."""
        pieces, turned, _ = self._read(bgr)
        if not turned:
            return pieces
        height, width = bgr.shape[:2]
        return [
            replace(piece, corners=tuple((width - x, height - y) for x, y in piece.corners))
            for piece in pieces
        ]

    def find_lines(self, bgr: Bgr) -> list[NDArray[np.float32]] | None:
        """Find the corners of all lines of text without reading them; None without a reader."""
        with self._lock:
            reader = self._load_text()
            if reader is None:
                return None
            return _find_quads(reader, bgr)

    def has_text(self, bgr: Bgr, codes: Sequence[Box] = ()) -> bool:
        """Return True if there is text outside the `read_codes`, in a small copy; False if there is no reader."""
        return any(
            not any(code.encloses(*quad.mean(axis=0)) for code in codes)
            for quad in self._find_large_lines(bgr)
        )

    def read_large_text(self, bgr: Bgr) -> list[TextPiece]:
        """Return the pieces of a few large words; none if the picture has more text."""
        height, width = bgr.shape[:2]
        edge = _LARGE_EDGE * width
        lines = [get_bounds(quad) for quad in self._find_large_lines(bgr)]
        large = [line for line in lines if line.height >= _LARGE_LINE * height]
        # A word that is cut off would be read as another word.
        large = [line for line in large if line.x1 >= edge and line.x2 <= width - edge]
        if not 0 < len(large) <= _MOST_LARGE:
            return []
        more = max(line.height for line in large)
        left, top = min(line.x1 for line in large), min(line.y1 for line in large)
        right, bottom = max(line.x2 for line in large), max(line.y2 for line in large)
        part = bgr[
            max(0, int(top - more)) : int(bottom + more),
            max(0, int(left - more)) : int(right + more),
        ]
        return self.read_text(shrink(part, _LARGE_SIDE)[0])

    def _find_large_lines(self, bgr: Bgr) -> list[NDArray[np.float32]]:
        """Find the corners of lines in a small copy, in pixels of the whole picture."""
        height, width = bgr.shape[:2]
        scale = min(1.0, _NOTICE_SIDE / max(width, height))
        # The detector needs multiples of 32 pixels.
        wide, high = (max(1, round(side * scale / 32)) * 32 for side in (width, height))
        resized = cv2.resize(bgr, (wide, high), interpolation=cv2.INTER_AREA)
        small = np.asarray(resized, np.uint8)
        quads = self.find_lines(small) or ()
        factors = np.array((width / wide, height / high), np.float32)
        return [quad * factors for quad in quads if is_line(quad, small)]

    def find_code_boxes(self, bgr: Bgr) -> list[Box]:
        """Find the boxes of codes, in a third of the time of `read_codes`.

        Sideways barcodes and light codes on a dark background are not found.
        """
        found, scale = _read_codes(bgr, thorough=False)
        return [_make_box(one, scale) for one in found]

    def _read(self, bgr: Bgr, first: int | None = None) -> tuple[list[TextPiece], bool, int]:
        """Return the pieces, True if the picture was read upside down, and the first unread line; 0 if there is none.

        `first`: the line to begin with; None: headings first.
        """
        with self._lock:
            reader = self._load_text()
            if reader is None:
                return [], False, 0
            end = time.thread_time() + MOST_SECONDS
            found = _PrintedText(reader, bgr, end)
            found.read(sample := found.find_longest())
            turned = 0 < _measure_certainty(found.pieces.values()) < _POOR and found.is_turned(
                sample
            )
            if turned:
                bgr = np.asarray(cv2.rotate(bgr, cv2.ROTATE_180), np.uint8)
                found = _PrintedText(reader, bgr, end)
            left = found.read(found.sort_lines(first))
            return found.get_pieces(), turned, left

    def read_codes(self, bgr: Bgr) -> list[DecodedCode]:
        """Return the contents of QR codes, barcodes and the like."""
        found, scale = _read_codes(bgr)
        return [
            DecodedCode(
                _shorten(format_code_text(one.text)),
                str(one.format),
                _make_box(one, scale),
                _clean_text(one.text),
            )
            for one in found[:_CODES]
        ]

    def find_faces(self, bgr: Bgr) -> list[Box] | None:
        """Find the faces, surest first; None if the face model is not installed."""
        with self._lock:
            finder = self._load_faces()
        if finder is None:
            return None
        found: list[Box] = finder.find(bgr, _LEAST_FACE)
        return found

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
                # Any failure to load: the engine reports it in its answers and continues without text.
                self._ocr_failed = True
                log.error(
                    "text reader failed to load",
                    extra={"error": type(exc).__name__, "at": get_location(exc.__traceback__)},
                )
        return self._ocr

    def _load_faces(self) -> Any:
        if self._faces is None and not self._faces_failed:
            from server.media.picture.privacy import FaceDetector, FilterUnavailable

            try:
                self._faces = FaceDetector()
            except FilterUnavailable:
                self._faces_failed = True
                log.info("face counting disabled", extra={"reason": "face model not installed"})
        return self._faces


def _read_codes(bgr: Bgr, *, thorough: bool = True) -> tuple[list[Any], float]:
    """Return ZXing's codes that have a text, and the scale of the searched picture.

    `thorough`: also sideways, light on dark, and very large codes.
    """
    import zxingcpp

    small, scale = shrink(bgr, _CODE_SIDE)
    grey = np.ascontiguousarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
    found = zxingcpp.read_barcodes(
        grey, try_rotate=thorough, try_invert=thorough, try_downscale=thorough
    )
    return [one for one in found if one.text], scale


def _make_box(code: Any, scale: float) -> Box:
    at = code.position
    corners = (at.top_left, at.top_right, at.bottom_right, at.bottom_left)
    xs, ys = [corner.x / scale for corner in corners], [corner.y / scale for corner in corners]
    return Box(min(xs), min(ys), max(xs), max(ys))


class _PrintedText:
    """The lines of text in a picture; `pieces` has the lines read so far, by number."""

    def __init__(self, reader: Any, bgr: Bgr, end: float) -> None:
        """Find the lines. `end`: deadline for reading, on the thread's clock."""
        self._reader, self._bgr, self._end = reader, np.ascontiguousarray(bgr), end
        self._lines = [
            TextPiece("", 0.0, tuple((float(x), float(y)) for x, y in quad))
            for quad in _find_quads(reader, self._bgr)
        ]
        self._lines = [line for line in self._lines if min(line.width, line.height) >= 1]
        self.pieces: dict[int, TextPiece] = {}

    def find_longest(self) -> list[int]:
        """Return the numbers of the longest lines."""
        return sorted(range(len(self._lines)), key=lambda n: -_get_length(self._lines[n]))[:_SAMPLE]

    def sort_lines(self, first: int | None = None) -> list[int]:
        """Return the numbers of the lines in the order of reading: from `first` on, or headings first."""
        if first is not None:
            return sorted(range(len(self._lines)), key=lambda n: n < first)
        heights = [min(line.width, line.height) for line in self._lines]
        high = _HEADING * median(heights or [0])
        return sorted(range(len(heights)), key=lambda n: heights[n] < high)

    def read(self, numbers: Iterable[int]) -> int:
        """Read these lines until the deadline. Return the number of the first unread line; 0 if there is none.

        Lines are read singly: batches take more time and memory.
        """
        for number in numbers:
            line = self._lines[number]
            wide = _get_length(line) > MOST_WIDE * min(line.width, line.height)
            if wide or number in self.pieces:
                continue
            if len(self.pieces) >= MOST_LINES or self._is_over():
                return number
            self.pieces[number] = self._read_piece(line, self._crop(line))
        return 0

    def is_turned(self, numbers: Iterable[int]) -> bool:
        """Return True if samples of these poorly read lines are read better upside down."""
        other = []
        for number in numbers:
            if number in self.pieces and not self._is_over():
                line = self._lines[number]
                part = self._crop(line)[::-1, ::-1]
                other.append(self._read_piece(line, part[:, : _SAMPLE_WIDE * part.shape[0]]))
        return _measure_certainty(other) > _measure_certainty(self.pieces.values()) + 0.1

    def get_pieces(self) -> list[TextPiece]:
        """Return the pieces in the order of the picture, and then the unread lines."""
        read = [self.pieces[number] for number in sorted(self.pieces)]
        unread = [line for number, line in enumerate(self._lines) if number not in self.pieces]
        return [*split_pieces(self._bgr, [piece for piece in read if piece.text]), *unread]

    def _is_over(self) -> bool:
        return time.thread_time() >= self._end or is_cancelled()

    def _crop(self, line: TextPiece) -> Bgr:
        quad = np.array([line.corners], np.float32)
        return np.asarray(self._reader.crop_text_regions(self._bgr, quad)[0], np.uint8)

    def _read_piece(self, line: TextPiece, crop: Bgr) -> TextPiece:
        found = self._reader.recognize_txt([np.ascontiguousarray(crop)])
        text = found.txts[0].translate(_SIGNS).strip()
        return replace(line, text=text, score=float(found.scores[0]))


def _find_quads(reader: Any, bgr: Bgr) -> list[NDArray[np.float32]]:
    # The reader remembers the options of a call, so each call sets all of them.
    found = reader(np.ascontiguousarray(bgr), use_det=True, use_cls=False, use_rec=False)
    return [] if found.boxes is None else [np.asarray(box, np.float32) for box in found.boxes]


def _get_length(piece: TextPiece) -> float:
    return max(piece.width, piece.height)


def _measure_certainty(pieces: Collection[TextPiece]) -> float:
    """Return the mean score, weighted by length, of the lines with text."""
    read = [piece for piece in pieces if piece.text]
    return sum(p.score * _get_length(p) for p in read) / max(1.0, sum(map(_get_length, read)))


def _shorten(text: str) -> str:
    text = replace_controls(text)
    return f"{text[:_CODE_CHARS]}…" if len(text) > _CODE_CHARS else text


def _clean_text(text: str) -> str:
    """Return a code's text with its line breaks, and without other control characters."""
    return "".join(char for char in text if char in "\n\t" or not _is_control(char)).strip()


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs")


def replace_controls(text: str) -> str:
    """Replace control characters, which a code may contain, by spaces."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


def get_bounds(quad: NDArray[np.float32]) -> Box:
    """Return the box around a quadrilateral, [4, 2] in pixels."""
    (x1, y1), (x2, y2) = quad.min(axis=0).tolist(), quad.max(axis=0).tolist()
    return Box(x1, y1, x2, y2)


def is_line(quad: NDArray[np.float32], bgr: Bgr) -> bool:
    """Return True if the detector's quadrilateral may be a line in a picture."""
    return bool(cv2.contourArea(quad) < _LARGEST * bgr.shape[0] * bgr.shape[1])
