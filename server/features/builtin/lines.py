"""Pieces of text in a picture, and their reading order. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median, median_low

from server.media.picture.grounding import Box

Corners = tuple[tuple[float, float], ...]

# Minimum score of a piece that counts as read: in tests with sharp and blurred text, all pieces below were wrong
LEAST_SCORE = 0.8
# Distance from the upper or lower edge, as a fraction of the height, within which a line counts as cut off
CUT_EDGE = 0.006
# Characters that the reader returns for a drawn circle
_ROUND = frozenset("oO0Qo°〇○◯●•·.")
# Maximum number of these characters in a number
_NUMBER = 5
# Small text beside a large figure: a unit, or the decimals
_BESIDE = re.compile(r"[°º'’]?\s?[CF]|[°º℃℉%]|[.,]\s?\d{1,2}|[a-zA-Zµ]{1,4}(?:/[a-z]{1,3})?|[€$£¥]")
# The reader returns a mixture of these and Latin letters for a Cyrillic word.
_GREEK = re.compile(r"[\u0370-\u03ff]")
_LATIN = re.compile(r"[A-Za-z]")
# Latin letters that look like Cyrillic ones; a word of only these needs a higher score.
_LOOKALIKES = frozenset("ABCEHKMOPTXYNRaceopxy")
_SURE = 0.9
# Maximum length of a short piece, in characters, and its minimum score without a neighbour: the reader finds such
# pieces in any pattern.
_FEW = 2
_SURE_ALONE = 0.93
# Minimum score of a short piece, such as a unit, beside another one
_LEAST_BESIDE = 0.5
# Largest width of a letter, in heights
_WIDE = 3
# Minimum lengths of a pattern: of letters of at most two kinds ("wwwmww"), and of other signs ("+++")
_PATTERN, _SIGNS = 6, 3
# Minimum score of a piece with leader dots between an item and its price: dots lower the score
_LEAST_LEADER = 0.65
_LEADER = re.compile(r"\s?(?<![.·_…‥])(?:[.·_]{3,}+|[…‥]++)\s?(?=[€$£¥]?\d{1,6}[.,]\d)")
# Minimum number of pieces in each of two columns, and the minimum median length of lines of running text
_LINES = 4
_LETTERS = 12
# Minimum width of a piece, in heights, for a reliable direction
_LONG = 3
# Largest overlap of two pieces of one line, in heights
_OVERLAP = 0.8
# Maximum number of words of a heading
MOST_HEADING = 3
# Maximum number of words of a label or a value
_VALUE = 3
# Minimum number of lines of a list
_LISTED = 3
# The end of a line of a list: a price
_PRICE_END = re.compile(r"\d[.,]\d\d\D{0,4}$")
# Distance of two lines from which a paragraph begins, in median distances
_APART = 1.5
# Greek letters of formulas and units
_SYMBOLS = frozenset("µμΩπαβγδλσφθ")


@dataclass(frozen=True, slots=True)
class TextPiece:
    """One run of text as the reader found it."""

    # Empty for text that was not read
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

    @property
    def box(self) -> Box:
        """The axis-aligned box around the piece, with its text."""
        xs, ys = zip(*self.corners, strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys), self.text, self.score)

    def get_part_corners(self, begin: float, end: float) -> Corners:
        """Return the corners of a part of the piece, from one fraction of its width to another."""
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = self.corners
        above = tuple((x0 + (x1 - x0) * at, y0 + (y1 - y0) * at) for at in (begin, end))
        below = tuple((x3 + (x2 - x3) * at, y3 + (y2 - y3) * at) for at in (end, begin))
        return above + below


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
    # True: the row begins another paragraph or column
    apart: bool = False


def select_legible(pieces: Sequence[TextPiece]) -> tuple[list[TextPiece], bool]:
    """Return the pieces of legible text, and True if other text was left out.

    Shapes that look like letters, and words in unsupported scripts, are removed.
    """
    kept = []
    unread = False
    for piece in pieces:
        if not piece.text:
            unread = True
            continue
        if _is_pattern(piece):
            continue
        if piece.score < _get_least_score(piece):
            unread = unread or piece.width > 2 * piece.height
            continue
        words = piece.text.split()
        text = " ".join(word for word in words if not _is_misread(word, piece.score))
        unread = unread or len(text) < len(" ".join(words))
        if text and not _is_drawing(replace(piece, text=text)):
            kept.append(replace(piece, text=text))
    sure = [piece for piece in kept if not _is_doubtful(piece)]
    kept = [
        piece
        for piece in kept
        if not _is_doubtful(piece) or any(_is_beside(piece, other) for other in sure)
    ]
    return kept, unread


def _is_doubtful(piece: TextPiece) -> bool:
    return len(piece.text) <= _FEW and piece.score < _SURE_ALONE


def _get_least_score(piece: TextPiece) -> float:
    if len(piece.text) <= _FEW:
        return _LEAST_BESIDE
    return _LEAST_LEADER if _LEADER.search(piece.text) else LEAST_SCORE


def _is_pattern(piece: TextPiece) -> bool:
    text = piece.text.replace(" ", "")
    if not any(map(str.isalnum, text)) and len(text) >= _SIGNS:
        return True
    few = len(text) >= _PATTERN and len(set(text)) <= 2 and not any(map(str.isdigit, text))
    return few or piece.width > _WIDE * len(text) * piece.height


def _is_beside(piece: TextPiece, other: TextPiece) -> bool:
    """Return True if a piece may belong to the line of another one, as a unit or an exponent does."""
    here, there = piece.box, other.box
    gap = max(here.x1 - there.x1 - other.width, there.x1 - here.x1 - piece.width)
    apart = max(here.y1 - there.y1 - other.height, there.y1 - here.y1 - piece.height)
    return gap < other.height and apart < 0


def select_whole(pieces: Sequence[TextPiece], height: int) -> list[TextPiece]:
    """Return the well-read pieces that the upper or lower edge of a picture does not cut off.

    A later picture will show the others better.
    """
    near = max(2.0, CUT_EDGE * height)
    return [
        piece
        for piece in pieces
        if piece.score >= LEAST_SCORE and piece.box.y1 > near and piece.box.y2 < height - near
    ]


def _is_misread(word: str, score: float) -> bool:
    """Return True if a word is probably Cyrillic or Greek that was read as Latin."""
    if score < _SURE and len(word) > 2 and _LOOKALIKES.issuperset(word):
        return True
    greek = [char for char in word if _GREEK.match(char)]
    if not greek:
        return False
    return len(greek) > 1 or greek[0] not in _SYMBOLS or len(_LATIN.findall(word)) > 2


def _is_drawing(piece: TextPiece) -> bool:
    """Return True if a piece is probably no text: a ring or disc, without letter, digit or sign, or one unsure character."""
    text = piece.text.replace(" ", "")
    if not any(char.isalnum() or unicodedata.category(char) in {"Sc", "Po", "Sm"} for char in text):
        return True
    # Printed letters and digits are narrower than high.
    each = piece.width / max(1, len(text)) / max(1.0, piece.height)
    if set(text) <= _ROUND and each > (0.6 if len(text) > _NUMBER else 0.78):
        return len(text) > _NUMBER or len(text) < 3 or "0" not in text
    return len(text) == 1 and piece.score < 0.7


def turn_upright(pieces: Sequence[TextPiece]) -> list[TextPiece]:
    """Rotate the boxes of text that mostly runs downwards, so that it runs to the right."""
    long = [piece for piece in pieces if len(piece.text) > 2]
    tall = [piece for piece in long if piece.height > 1.5 * piece.width]
    if not tall or len(tall) * 2 < len(long):
        return list(pieces)
    return [
        replace(piece, corners=tuple((y, -x) for x, y in (piece.corners[1:] + piece.corners[:1])))
        for piece in pieces
    ]


@dataclass(frozen=True, slots=True)
class _PlacedPiece:
    """A piece with its position along and across the main direction of the text, in pixels."""

    piece: TextPiece
    left: float
    right: float
    # Position of its middle across the text
    y: float
    height: float


def sort_into_rows(pieces: Sequence[TextPiece]) -> list[Row]:
    """Return rows from top to bottom, each from left to right, also for inclined text.

    Pieces share a row if their middles are less than half the smaller height apart, measured
    across the main direction of the text. A small unit belongs to the large figure beside it.
    Columns of text, or of lists with prices, follow one another; the lines of a table are rows.
    """
    if not pieces:
        return []
    # The reader's boxes around a few letters are level even in inclined text.
    long = [piece for piece in pieces if piece.width > _LONG * piece.height]
    lean = median(_measure_angle(piece) for piece in long or pieces)
    cos, sin = math.cos(-lean), math.sin(-lean)

    def place(piece: TextPiece) -> _PlacedPiece:
        x = sum(corner[0] for corner in piece.corners) / len(piece.corners)
        y = sum(corner[1] for corner in piece.corners) / len(piece.corners)
        middle, half = x * cos - y * sin, piece.width / 2
        return _PlacedPiece(piece, middle - half, middle + half, x * sin + y * cos, piece.height)

    placed = sorted(map(place, pieces), key=lambda spot: spot.y)
    rows: list[Row] = []
    for block in _split_blocks(placed):
        first, *rest = _make_rows(block)
        rows += [replace(first, apart=bool(rows)), *rest]
    return rows


# Characters for the boxes of a form: empty, and ticked
BOXES = EMPTY, TICKED = "☐", "☑"
# The end of a sentence in a line of running text, or a sign between two items. Short words with a dot are
# abbreviations ("Dr. Jo"), and short numbers with one are days and floors ("21. Mai").
_BETWEEN = re.compile(
    r"(?:(?<=[^\W\d_A-Z]{4}[.!])|(?<=\d{3}[.!])|(?<=[.,]\d\d[.!])|(?<=[\d ](?:am|pm|kg|cm|mm|km|ml|mg)[.!]))\s+(?=[A-ZÀ-Þ¿¡])"
    r"|(?<=\S)\s?[·•]\s?(?=[^\W\d_]{2}|\d{1,4} [^\W\d_]{3}|[€£$]\s?\d)"
)
# An e-mail or web address
_ADDRESS = re.compile(r"(?<!\S)[^\s@]++@|www\.|https?:")
# The end of a row of a table: "of which sugars 18.5 g"
_FIGURE_END = re.compile(r"\d\s?(?:[mµ]?g|k[jJ]|kcal|[%€$£])?\W?$")


def split_sentences(rows: Sequence[Row]) -> list[Row]:
    """Split lines into sentences, one per row; a line's last sentence includes its continuation below."""
    found: list[Row] = []
    for row in rows:
        if len(row.cells) > 1 and any(cell.text[:1] in BOXES for cell in row.cells):
            # Each box of a form becomes a row.
            found += [replace(row, text=cell.text, cells=(cell,)) for cell in row.cells]
            continue
        first, *more = _BETWEEN.split(row.text) if len(row.cells) < 2 else [row.text]
        if found and len(row.cells) < 2 and not row.apart and _is_continued(found[-1], first):
            found[-1] = _make_line(found[-1], f"{found[-1].text} {first}")
        else:
            found.append(_make_line(row, first) if more else row)
        found += [replace(_make_line(row, text), apart=False) for text in more if text]
    return found


def _is_continued(row: Row, below: str) -> bool:
    """Return True if the line below continues a row's sentence: it begins with a small letter."""
    if len(row.cells) > 1 or row.text[-1:] in ".!?:" or below[:1] in BOXES:
        return False
    is_value = _FIGURE_END.search(below) or _ADDRESS.match(below)
    return below[:1] == "(" or (below[:1].islower() and not is_value)


def _make_line(row: Row, text: str) -> Row:
    return replace(row, text=text, cells=tuple(replace(cell, text=text) for cell in row.cells[:1]))


def _split_blocks(placed: list[_PlacedPiece]) -> list[list[_PlacedPiece]]:
    """Split text in columns into blocks in reading order; text without columns is one block."""
    # A wide line, such as a headline, separates the columns above it from those below.
    return [block for part in _split_columns(placed) for block in _split_blocks(part)] or [placed]


def _split_columns(placed: list[_PlacedPiece]) -> list[list[_PlacedPiece]]:
    """Return the part above two columns, the left and the right column, and the part below; empty without columns.

    Only lists and running text count as columns.
    """
    if len(placed) < 2 * _LINES:
        return []
    high = max(1.0, median(spot.height for spot in placed))
    starts, ends = sorted(spot.left for spot in placed), sorted(spot.right for spot in placed)
    found: list[list[_PlacedPiece]] = []
    for begin in sorted({round(start / high): start for start in starts}.values())[1:]:
        edge = begin - high / 2
        if min(bisect_left(ends, edge), len(placed) - bisect_left(starts, edge)) < _LINES:
            continue
        across = [at for at, spot in enumerate(placed) if spot.left < edge < spot.right]
        for first, last in _find_bands(placed, across):
            left = [spot for spot in placed[first:last] if spot.left < edge]
            right = [spot for spot in placed[first:last] if spot.left >= edge]
            if min(len(left), len(right)) < _LINES:
                continue
            if any(all(map(kind, (left, right))) for kind in (_is_list, _is_text)):
                found = [placed[:first], left, right, placed[last:]]
    return [part for part in found if part]


def _find_bands(placed: Sequence[_PlacedPiece], across: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the bands between wide pieces and their lines, as begin and end index."""
    for before, after in pairwise([-1, *across, len(placed)]):
        first, last = before + 1, after
        while first < last and before >= 0 and _is_same_line(placed[before], placed[first]):
            first += 1
        while (
            first < last and after < len(placed) and _is_same_line(placed[after], placed[last - 1])
        ):
            last -= 1
        if last - first >= 2 * _LINES:
            yield first, last


def _is_same_line(one: _PlacedPiece, other: _PlacedPiece) -> bool:
    return abs(one.y - other.y) < 0.5 * min(one.height, other.height)


def _group_lines(placed: Sequence[_PlacedPiece]) -> list[list[_PlacedPiece]]:
    """Group pieces, sorted by their middles, into lines."""
    rows: list[list[_PlacedPiece]] = []
    for spot in placed:
        # In text that is more inclined, the end of a line is level with the beginning of the next.
        for row in reversed(rows[-2:]):
            if not _is_same_line(row[-1], spot) and not _is_same_line(row[0], spot):
                continue
            gaps = [(max(one.left - spot.right, spot.left - one.right), one) for one in row]
            gap, nearest = min(gaps, key=lambda one: one[0])
            if gap > -_OVERLAP * spot.height and _is_same_line(nearest, spot):
                row.append(spot)
                break
        else:
            rows.append([spot])
    return rows


def _is_list(column: Sequence[_PlacedPiece]) -> bool:
    """Return True if a column is a list of different items with prices."""
    texts = [spot.piece.text for spot in column]
    things = {text.rstrip("0123456789.,€$£ ") for text in texts if text[:1].isalpha()}
    priced = sum(_PRICE_END.search(text) is not None for text in texts)
    return min(len(things), priced) >= _LISTED and priced >= 0.6 * len(things)


def _is_text(column: Sequence[_PlacedPiece]) -> bool:
    """Return True if most pieces of a column have more words than labels and values."""
    # Single words are left out: they may be headings.
    texts = [spot.piece.text for spot in column]
    lines = [text for text in texts if " " in text]
    if 2 * len(lines) <= len(texts):
        return False
    words = median(len(text.split()) for text in lines)
    return words > _VALUE and median(map(len, lines)) >= _LETTERS


def _sort_by_left(line: Sequence[_PlacedPiece]) -> list[_PlacedPiece]:
    return sorted(line, key=lambda spot: spot.left)


def _make_rows(placed: Sequence[_PlacedPiece]) -> list[Row]:
    """Return the rows of one block of pieces, sorted by their middles."""
    large = [spot for spot in placed if _may_be_figure(spot.piece.text.strip()[-1:])]
    figures = {
        id(spot): figure for spot in placed if (figure := _find_figure(spot, large)) is not None
    }
    rows = _group_lines([spot for spot in placed if id(spot) not in figures])
    steps = [after[0].y - row[0].y for row, after in pairwise(rows)]
    apart = [False, *(step > _APART * median_low(steps) for step in steps)]
    for spot in placed:
        figure = figures.get(id(spot))
        # A unit may belong to decimals that belong to a figure.
        while figure is not None and id(figure) in figures:
            figure = figures[id(figure)]
        if figure is not None:
            next(row for row in rows if any(one is figure for one in row)).append(spot)
    lines = list(zip(map(_sort_by_left, rows), apart, strict=True))
    return [_make_row(line, far) for line, far in lines]


def _make_row(row: Sequence[_PlacedPiece], apart: bool) -> Row:
    cells = tuple(
        Cell(_LEADER.sub(" ", spot.piece.text.strip()), spot.left, spot.right) for spot in row
    )
    text = " ".join(cell.text for cell in cells)
    # "21 .7" becomes 21.7.
    text = re.sub(r"(?<=\d) (?=[.,]\d)", "", text)
    return Row(text, max(spot.height for spot in row), cells, apart)


def _may_be_figure(last: str) -> bool:
    """Return True if a piece with this last character may be a figure with its unit beside it."""
    return last.isdigit() or last in "°.,"


def _find_figure(spot: _PlacedPiece, figures: Sequence[_PlacedPiece]) -> _PlacedPiece | None:
    """Return the large figure directly on the left of a small piece; None if there is none."""
    if not _BESIDE.fullmatch(spot.piece.text.strip()):
        return None
    for other in figures:
        if other is spot or other.height < 1.25 * spot.height:
            continue
        gap = spot.left - other.right
        level = abs(spot.y - other.y) < 0.6 * other.height
        if level and -0.35 * other.height < gap < 0.8 * other.height:
            return other
    return None


def _measure_angle(piece: TextPiece) -> float:
    (x0, y0), (x1, y1) = piece.corners[:2]
    return math.atan2(y1 - y0, x1 - x0)
