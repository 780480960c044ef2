"""Pieces of text on a picture, put into reading order. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median, median_low

from server.media.picture.grounding import Box
from server.models.routing import plain
from server.shared.dates import names_month

Corners = tuple[tuple[float, float], ...]

# Least score of a piece that counts as read: of drawn print, sharp and blurred, none below it was right.
LEAST_SCORE = 0.8
# Share of a picture's height at its edges in which a line counts as cut off
CUT_EDGE = 0.006
# The signs as which the reader reads a drawn circle
_ROUND = frozenset("oO0Qo°〇○◯●•·.")
# More of them in a row are no number.
_NUMBER = 5
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
_SURE_ALONE = 0.93
# It belongs to a piece beside it already with this score, as a unit does.
_LEAST_BESIDE = 0.5
# Letters are not so many times wider than high.
_WIDE = 3
# So many letters of no more than two kinds are a pattern, and so are so many other signs: "wwwmww",
# "+++".
_PATTERN, _SIGNS = 6, 3
# Signs of a row of shapes in which each stands twice
_FEW_SIGNS = 4
# Dots that lead from a thing to its price, and the least score of a piece with some: they are read
# less surely than letters.
_LEAST_LEADER = 0.65
_LEADER = re.compile(r"\s?(?<![.·_…‥])(?:[.·_]{3,}+|[…‥]++)\s?(?=[€$£¥]?\d{1,6}[.,]\d)")
# Pieces that each of two columns has at least, and the letters of most lines of running text
_LINES = 4
_LETTERS = 12
# Widths of a piece, in heights, whose direction is measured well
_LONG = 3
# Pieces of one line overlap by so many of their heights at most.
_OVERLAP = 0.8
# Words of the longest heading
MOST_HEADING = 3
# Words of a label or a value, at most
_VALUE = 3
# A value is printed so many times as high as its caption, and so many of its heights below it at most; captions stand
# side by side. The next row is farther away than so many times that.
_LARGER, _NEAR, _PAIRS, _STEP = 1.15, 2.0, 2, 1.35
# The same for figures no larger than the words above them
_FAR = 4.0
# Lines of a list, at least
_LISTED = 3
# Of two columns so many lines at most stand on the same line, within so much of a height, and the
# others so far from it: a table that is seen from the side drifts less.
_MOST_LEVEL = 0.5
_SAME, _DRIFT = 0.1, 0.45
# Share of the labels on the left that have a value beside them in a table
_LABELLED = 0.85
# Lines that are farther apart are not side by side.
_BESIDE_LINE = 0.75
# What a line of a list ends in
_PRICE_END = re.compile(r"\d[.,]\d\d\D{0,4}$")
# Distance of two lines, in distances of most, from which a paragraph begins
_APART = 1.5
# Greek letters that stand alone in formulas and units
_SYMBOLS = frozenset("µμΩπαβγδλσφθ")


@dataclass(frozen=True, slots=True)
class Piece:
    """One run of text as the reader found it."""

    # Empty for print that was not read
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
        """The upright box around it, with its text."""
        xs, ys = zip(*self.corners, strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys), self.text, self.score)


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
    # True for the first one of a further paragraph or column
    apart: bool = False
    # Of a row in a list, the whole number at its end, where a price is asked for
    price: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A price, a measure or a time as written, and its row."""

    text: str
    row: Row
    # What it is of, as written: a thing, a unit, the head of its column
    label: str = ""


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
        if not piece.text:
            unread = True
            continue
        if _is_pattern(piece):
            continue
        if piece.score < _least(piece):
            unread = unread or (piece.width > 2 * piece.height and not _repeats(piece))
            continue
        words = piece.text.split()
        text = " ".join(word for word in words if not _misread(word, piece.score))
        unread = unread or len(text) < len(" ".join(words))
        text = _ZLOTY.sub("zł", _ONE.sub("1", text))
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
    return len(piece.text) <= _FEW and piece.score < _SURE_ALONE


def _least(piece: Piece) -> float:
    if len(piece.text) <= _FEW:
        return _LEAST_BESIDE
    return _LEAST_LEADER if _LEADER.search(piece.text) else LEAST_SCORE


def _is_pattern(piece: Piece) -> bool:
    text = piece.text.replace(" ", "")
    if not any(map(str.isalnum, text)) and len(text) >= _SIGNS:
        return True
    few = len(text) >= _PATTERN and len(set(text)) <= 2 and not any(map(str.isdigit, text))
    return few or piece.width > _WIDE * len(text) * piece.height


def _repeats(piece: Piece) -> bool:
    """Find whether each sign stands twice on average, as a row of coins or windows is read: "000日"."""
    text = piece.text.replace(" ", "")
    return len(text) >= _FEW_SIGNS and len(text) >= 2 * len(set(text))


def _is_beside(piece: Piece, other: Piece) -> bool:
    """Find whether a piece may belong to the line of another one, as a unit or an exponent does."""
    here, there = piece.box, other.box
    gap = max(here.x1 - there.x1 - other.width, there.x1 - here.x1 - piece.width)
    apart = max(here.y1 - there.y1 - other.height, there.y1 - here.y1 - piece.height)
    return gap < other.height and apart < 0


def whole_pieces(pieces: Sequence[Piece], height: int) -> list[Piece]:
    """Return the pieces that are read well, and not cut off at the upper or lower edge of a picture.

    A next picture shows the others better.
    """
    near = max(2.0, CUT_EDGE * height)
    return [
        piece
        for piece in pieces
        if piece.score >= LEAST_SCORE and piece.box.y1 > near and piece.box.y2 < height - near
    ]


# "I5.95", and "12 zt" for 12 złoty
_ONE = re.compile(r"(?<!\S)[Il](?=\d{1,3}[.,]\d\d(?!\S))")
_ZLOTY = re.compile(r"(?<=\d )zt(?!\S)")


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
    each = piece.width / max(1, len(text)) / max(1.0, piece.height)
    if set(text) <= _ROUND and each > (0.6 if len(text) > _NUMBER else 0.78):
        return len(text) > _NUMBER or len(text) < 3 or "0" not in text
    return len(text) == 1 and piece.score < 0.7


def upright(pieces: Sequence[Piece]) -> list[Piece]:
    """Turn print that mostly runs downwards, so that it runs to the right."""
    long = [piece for piece in pieces if len(piece.text) > 2]
    tall = [piece for piece in long if piece.height > 1.5 * piece.width]
    if not tall or len(tall) * 2 < len(long):
        return list(pieces)
    return [
        replace(piece, corners=tuple((y, -x) for x, y in (piece.corners[1:] + piece.corners[:1])))
        for piece in pieces
    ]


@dataclass(frozen=True, slots=True)
class _Spot:
    """A piece, and where it stands along and across the direction of most of the text, in pixels."""

    piece: Piece
    left: float
    right: float
    # Of its middle
    y: float
    height: float


def reading_order(pieces: Sequence[Piece]) -> list[Row]:
    """Return rows from top to bottom, each from left to right, also for leaning text.

    Pieces share a row when their middles are less than half the smaller height apart, measured
    across the direction of most of the text. A small unit belongs to the large figure beside it.
    Columns of text, or of lists with prices, follow one another; those of a table are rows.
    """
    if not pieces:
        return []
    # The reader's boxes around a few letters are level, however the text leans.
    long = [piece for piece in pieces if piece.width > _LONG * piece.height]
    lean = median(_angle(piece) for piece in long or pieces)
    cos, sin = math.cos(-lean), math.sin(-lean)

    def place(piece: Piece) -> _Spot:
        x = sum(corner[0] for corner in piece.corners) / len(piece.corners)
        y = sum(corner[1] for corner in piece.corners) / len(piece.corners)
        middle, half = x * cos - y * sin, piece.width / 2
        return _Spot(piece, middle - half, middle + half, x * sin + y * cos, piece.height)

    placed = sorted(map(place, pieces), key=lambda spot: spot.y)
    rows: list[Row] = []
    for block in _blocks(placed):
        first, *rest = _rows(block)
        rows += [replace(first, apart=bool(rows)), *rest]
    return _offers_apart(rows)


# A cell that is a price, or says that there is none; and the letters of a thing's name above it
_PRICE_ALONE = re.compile(
    r"[^\d\w]{0,2}\d{1,5}[.,]\d\d\W{0,2}(?:[A-Za-z]{1,3})?|free|gratis|kostenlos|gratuit[oa]?", re.I
)
_NAMED = 3


# How much larger than its name an offer's price is, and how many rows below it at most
_LARGER_PRICE, _MOST_BELOW = 1.25, 4
# How much taller than a row of names no row between them and their prices is
_AS_TALL = 1.15


def _offers_apart(rows: Sequence[Row]) -> list[Row]:
    """Put offers and price tags that stand side by side after one another, each name with its price, then what else it has."""
    found: list[Row] = []
    at = 0
    while at < len(rows):
        names, end = rows[at], _end_of_offers(rows, at)
        columns: list[list[Cell]] = [[] for _ in names.cells]
        for row in rows[at:end]:
            for cell in row.cells:
                columns[_column_of(names, cell)].append(cell)
        for name, *below in columns if end > at else ():
            price = next(cell for cell in below if _PRICE_ALONE.fullmatch(cell.text))
            text = f"{name.text} {price.text}"
            found.append(Row(text, names.height, (name, price), apart=bool(found)))
            rest = (cell for cell in below if cell is not price)
            found += [Row(cell.text, names.height, (cell,)) for cell in rest]
        if end == at:
            found.append(names)
        at = max(end, at + 1)
    return found


def _end_of_offers(rows: Sequence[Row], at: int) -> int:
    """Return the end of offers whose names are in this row; `at` itself without a price for each."""
    end = _prices_of(rows, at)
    if end == at:
        return at
    end += 1
    while end < len(rows) and is_level(rows[at], rows[end]) and _prices_of(rows, end) == end:
        end += 1
    return end


def _prices_of(rows: Sequence[Row], at: int) -> int:
    """Return the row with a price for each name in this row, right below or in larger print; `at` itself without one."""
    names = rows[at]
    # "16.5p per 100 ml" is no name.
    lettered = all(
        one.text[:1].isalpha() and sum(map(str.isalpha, one.text)) >= _NAMED for one in names.cells
    )
    for below in range(at + 1, min(at + 1 + _MOST_BELOW, len(rows))) if lettered else ():
        row = rows[below]
        tags = [one for one in row.cells if _PRICE_ALONE.fullmatch(one.text)]
        if tags:
            of_all = [_column_of(names, one) for one in tags] == [*range(len(names.cells))]
            larger = row.height >= _LARGER_PRICE * names.height
            right_below = below == at + 1 and tags == [*row.cells]
            several = len(tags) > 1
            return below if several and of_all and (larger or right_below) else at
        if row.height > _AS_TALL * names.height:
            # The small print of what is above; the names are below it.
            return at
    return at


def _column_of(heads: Row, cell: Cell) -> int:
    """Return the number of the head below which a cell begins."""
    return sum(one.left <= cell.left + heads.height / 2 for one in heads.cells[1:])


def is_level(first: Row, other: Row) -> bool:
    """Find whether two rows have as many cells, several, each below the other's."""
    return 1 < len(first.cells) == len(other.cells) and all(
        one.left < two.right and two.left < one.right
        for one, two in zip(first.cells, other.cells, strict=True)
    )


# Boxes of a form, as they are written: empty, and ticked
BOXES = EMPTY, TICKED = "☐", "☑"
# The end of a sentence in a line of running text, or a sign between two things. Short words with a dot are
# abbreviations ("Dr. Jo"), and short numbers with one are days and floors ("21. Mai").
_BETWEEN = re.compile(
    r"(?:(?<=[^\W\d_A-Z]{4}[.!])|(?<=\d{3}[.!])|(?<=[.,]\d\d[.!])|(?<=[\d ](?:am|pm|kg|cm|mm|km|ml|mg)[.!]))\s+(?=[A-ZÀ-Þ¿¡])"
    r"|(?<=\S)\s?[·•]\s?(?=[^\W\d_]{2}|\d{1,4} [^\W\d_]{3}|[€£$]\s?\d)"
)
# Words that do not end a sentence, and how many words a line has that goes on in a figure or in brackets
_OPEN = re.compile(
    r" (?:no\.|nr\.|n[º°]|number|about|at|by|from|of|the|and|or|until|till|after|before|around|um|ab|bis|gegen|vers|dès|à|las|les|alle|dalle|às|om|vanaf|rond|ulicy|ul\.)$"
    r"|\d [ap]m,$"
)
_PHRASE, _END = 4, 40
# Digits that go on a number from the line above
_REST = re.compile(r"\d[\d ]{1,14}(?:[.,;)]|$| [^\W\d_])")
_PHONE = re.compile(
    r"\b(?:tel|phone|call|ring|text|mobil|handy|appel|llam|chiam|bel)[a-z]{0,8}[.:]? \+?\d[\d ]{2,14}$",
    re.I,
)
# Words of a line of running text, and those of another line that can be the end of its sentence
_RUNNING, _SHORT_END = 9, 6
# Share of the widest line's right edge that another one has where it is full
_FULL = 0.88


def sentences(rows: Sequence[Row]) -> list[Row]:
    """Return rows with each sentence of a line as one of its own: a line's last one with what goes on below."""
    found: list[Row] = []
    open_end = full = False
    edge = max((row.cells[-1].right for row in rows if row.cells), default=0.0)
    for row in rows:
        if len(row.cells) > 1 and any(cell.text[:1] in BOXES for cell in row.cells):
            # Each box of a form is of its own.
            found += [replace(row, text=cell.text, cells=(cell,)) for cell in row.cells]
            open_end = full = False
            continue
        if len(row.cells) == 2 and _is_numbered(row):
            # "3", and beside it "Visitors are welcome in the lounge until"
            row = replace(row, cells=row.cells[:1])
        first, *more = _BETWEEN.split(row.text) if len(row.cells) < 2 else [row.text]
        span = found and found[-1].text.endswith("–") and first[:1].isdigit()
        # "From Monday 30", and below it "November to 1 March. Please empty"
        ends = full and more and first.endswith(".") and len(first.split()) < _SHORT_END
        # "Ingredients: oats, honey", and below it "(6 %), almonds"
        more_of_it = first[:1].islower() or first.startswith("(")
        # "2. Add boiling water to the mark", and below it "(280 ml)."; "back about", and below it "7."
        before = found[-1] if found and len(found[-1].cells) < 2 else None
        if before is not None and before.text.count(" ") + 1 >= _PHRASE:
            # Many lines may have been joined: its end alone is looked at.
            end = before.text[-_END:]
            opens = first.startswith("(") and before.text[-1:].isalnum()
            # "Call 020 7946", and below it "0388"
            phone = _REST.match(first) and _PHONE.search(end)
            span = span or opens or phone or _OPEN.search(end) is not None
        # "On Thursday 3", and below it "December"
        span = span or bool(
            found and found[-1].text[-1:].isdigit() and names_month(plain(first).partition(" ")[0])
        )
        goes_on = span or (open_end and more_of_it) or (ends and ":" not in first)
        if goes_on and first[:1] not in BOXES and not row.apart and len(row.cells) < 2:
            found[-1] = _line(found[-1], f"{found[-1].text} {first}")
        else:
            found.append(_line(row, first) if more else row)
        found += [replace(_line(row, text), apart=False) for text in more if text]
        # "Open Tuesday to Friday from 9 to 18, Saturday from 8:30", and below it "to 16"
        long = len(row.cells) < 2 and len(row.text.split()) >= _RUNNING
        open_end = found[-1].text[-1:] not in ".!?:" and bool(
            more or long or (open_end and more_of_it)
        )
        full = open_end and long and not more and row.cells[-1].right >= _FULL * edge
    return found


def _is_numbered(row: Row) -> bool:
    """Find whether a row of two cells is the number of a point and its text, and no row of a table."""
    number, text = row.cells
    return len(number.text) < 3 and number.text[:1].isdigit() and text.text.count(" ") + 1 > _PHRASE


def _line(row: Row, text: str) -> Row:
    return replace(row, text=text, cells=tuple(replace(cell, text=text) for cell in row.cells[:1]))


def _blocks(placed: list[_Spot]) -> list[list[_Spot]]:
    """Split text in columns into what is read one after the other; all of it is one block without."""
    found = _columns(placed)
    if found is None:
        return [placed]
    # What goes across, such as a headline, parts the columns above it from those below.
    return [block for part in found for block in _blocks(part)]


def _columns(placed: list[_Spot]) -> list[list[_Spot]] | None:
    """Return what is above two columns, in the first, in those beside it, and below; None without columns.

    Lists and running text are columns, and so is what does not stand on the same lines: the rows of
    a table do.
    """
    if len(placed) < 2 * _LINES:
        return None
    high = max(1.0, median(spot.height for spot in placed))
    starts, ends = sorted(spot.left for spot in placed), sorted(spot.right for spot in placed)
    best: tuple[float, list[list[_Spot]]] | None = None
    for begin in sorted({round(start / high): start for start in starts}.values())[1:]:
        edge = begin - high / 2
        if min(bisect_left(ends, edge), len(placed) - bisect_left(starts, edge)) < _LINES:
            continue
        across = [at for at, spot in enumerate(placed) if spot.left < edge < spot.right]
        for first, last in _bands(placed, across):
            left = [spot for spot in placed[first:last] if spot.left < edge]
            right = [spot for spot in placed[first:last] if spot.left >= edge]
            if min(len(left), len(right)) < _LINES:
                continue
            alike = any(all(map(kind, (left, right))) for kind in _KINDS)
            alike = (alike and not _are_answers(left, right)) or _are_text_and_table(left, right)
            level = 0.0 if alike or _begin_alike(left, right) else _level(left, right)
            if level <= (best[0] if best else _MOST_LEVEL):
                best = level, [placed[:first], left, right, placed[last:]]
    return None if best is None else [part for part in best[1] if part]


def _bands(placed: Sequence[_Spot], across: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Return the parts between what goes across and the lines of that, as first and last index."""
    for before, after in pairwise([-1, *across, len(placed)]):
        first, last = before + 1, after
        while first < last and before >= 0 and _same_line(placed[before], placed[first]):
            first += 1
        while first < last and after < len(placed) and _same_line(placed[after], placed[last - 1]):
            last -= 1
        if last - first >= 2 * _LINES:
            yield first, last


def _same_line(one: _Spot, other: _Spot) -> bool:
    return abs(one.y - other.y) < 0.5 * min(one.height, other.height)


def _level(left: Sequence[_Spot], right: Sequence[_Spot]) -> float:
    """Return the share of lines on the right that stand as one on the lines of the left; 1 for a table."""
    lines = [min(line, key=lambda spot: spot.left) for line in _lines(right)]
    if sum(sum(map(str.isalpha, spot.piece.text)) >= _NAMED for spot in lines) * 2 <= len(lines):
        # Figures
        return 1
    offsets = []
    for spot in lines:
        at = bisect_left(left, spot.y, key=lambda other: other.y)
        beside = min(left[max(0, at - 1) : at + 1], key=lambda other: abs(other.y - spot.y))
        offset = (spot.y - beside.y) / min(spot.height, beside.height)
        if abs(offset) < _BESIDE_LINE:
            offsets.append(offset)
    offsets.sort()
    if _are_labels(left) and len(offsets) >= _LABELLED * len(_lines(left)):
        return 1
    if len(offsets) < _LINES or offsets[-1] - offsets[0] < _DRIFT:
        return 1
    most = max(bisect_right(offsets, one + _SAME) - at for at, one in enumerate(offsets))
    return most / len(offsets)


def _are_labels(column: Sequence[_Spot]) -> bool:
    """Find whether a column has words of one or two, and no figures: "Type", "Valid until"."""
    texts = [spot.piece.text for spot in column]
    return median(len(text.split()) for text in texts) < _VALUE and 4 * sum(
        any(map(str.isdigit, text)) for text in texts
    ) < len(texts)


def _lines(placed: Sequence[_Spot]) -> list[list[_Spot]]:
    """Group pieces that are in the order of their middles into lines."""
    rows: list[list[_Spot]] = []
    for spot in placed:
        # Where print leans more than most, the end of a line is level with the begin of the next.
        for row in reversed(rows[-2:]):
            if not _same_line(row[-1], spot) and not _same_line(row[0], spot):
                continue
            gaps = [(max(one.left - spot.right, spot.left - one.right), one) for one in row]
            gap, nearest = min(gaps, key=lambda one: one[0])
            if gap > -_OVERLAP * spot.height and _same_line(nearest, spot):
                row.append(spot)
                break
        else:
            rows.append([spot])
    return rows


def _is_prose(column: Sequence[_Spot]) -> bool:
    """Find whether the lines of a column are full and go on in one another."""
    widest = max(spot.right - spot.left for spot in column)
    full = sum(spot.right - spot.left > 0.75 * widest for spot in column)
    if 2 * full < len(column):
        return False
    texts = [spot.piece.text for spot in column]
    goes_on = sum(text[:1].islower() or text[:1] > "\u2e80" for text in texts)
    long = median(sum(1 + (char > "\u2e80") for char in text) for text in texts)
    return long >= _LETTERS and 4 * goes_on >= len(texts)


def _is_list(column: Sequence[_Spot]) -> bool:
    """Find whether a column is a list of things with prices, each thing another one."""
    texts = [spot.piece.text for spot in column]
    things = {text.rstrip("0123456789.,€$£ ") for text in texts if text[:1].isalpha()}
    priced = sum(_PRICE_END.search(text) is not None for text in texts)
    return min(len(things), priced) >= _LISTED and priced >= 0.6 * len(things)


def _is_text(column: Sequence[_Spot]) -> bool:
    """Find whether most pieces of a column have as many words as no label or value has."""
    # A heading of one word stands above some.
    texts = [spot.piece.text for spot in column]
    lines = [text for text in texts if " " in text]
    if 2 * len(lines) <= len(texts):
        return False
    words = median(len(text.split()) for text in lines)
    return words > _VALUE and median(map(len, lines)) >= _LETTERS


# What a line of a list begins with: a mark, or a time and what is on then
_BULLET = re.compile(r"[•·▪●*–-]\s?[^\W\d_]{2}|(?:[01]?\d|2[0-3])[.:][0-5]\d\s?[^\W\d_]{3}")


def _is_marked(column: Sequence[_Spot]) -> bool:
    """Find whether most lines of a column begin as those of a list do: of a programme, or of things to do."""
    lines = [min(line, key=lambda spot: spot.left).piece.text for line in _lines(column)]
    marked = sum(_BULLET.match(text) is not None for text in lines)
    return marked >= _LISTED and 2 * marked > len(lines)


_KINDS = (_is_prose, _is_list, _is_text, _is_marked)


_FIGURE = re.compile(r"\d")
# A figure of a table of nutrients
_NUTRIENT = re.compile(r"\d\s?(?:m?g|µg|k[jJ]|kcal)\b")


def _are_text_and_table(left: Sequence[_Spot], right: Sequence[_Spot]) -> bool:
    """Find whether a package's text stands beside the table of its nutrients."""
    lines = [_from_left(line) for line in _lines(right)]
    named = [line for line in lines if not any(map(str.isdigit, line[0].piece.text))]
    figures = sum(any(_NUTRIENT.search(spot.piece.text) for spot in line[1:]) for line in named)
    return figures >= _LISTED and 2 * figures > len(lines) and _is_text(left)


def _are_answers(left: Sequence[_Spot], right: Sequence[_Spot]) -> bool:
    """Find whether each line on the right has the day of a thing on the left: "Paper", "Tue 8 December"."""
    lines, others = _lines(left), _lines(right)
    if len(lines) != len(others) or any(
        not _same_line(_from_left(one)[-1], _from_left(other)[0])
        for one, other in zip(lines, others, strict=True)
    ):
        return False
    left_texts, texts = (
        [" ".join(spot.piece.text for spot in line) for line in column]
        for column in (lines, others)
    )
    days = sum(names_month(plain(text)) and _FIGURE.search(text) is not None for text in texts)
    return days >= _LISTED and 2 * days >= len(texts) and not any(map(_FIGURE.search, left_texts))


def _begin_alike(left: Sequence[_Spot], right: Sequence[_Spot]) -> bool:
    """Find whether the lines of two columns begin with the same words: two timetables side by side."""
    if len(_firsts(left) & _firsts(right)) < _LISTED:
        return False
    firsts = [_firsts([_from_left(line)[0] for line in _lines(column)]) for column in (left, right)]
    both = firsts[0] & firsts[1]
    return len(both) >= _LISTED and 2 * len(both) > max(map(len, firsts))


def _firsts(spots: Sequence[_Spot]) -> set[str]:
    """Return the first words of pieces that begin with one."""
    words = (spot.piece.text.partition(" ")[0] for spot in spots)
    return {word for word in words if any(map(str.isalpha, word))}


def _from_left(line: Sequence[_Spot]) -> list[_Spot]:
    return sorted(line, key=lambda spot: spot.left)


def _rows(placed: Sequence[_Spot]) -> list[Row]:
    """Return the rows of one block, whose pieces are in the order of their middles."""
    large = [spot for spot in placed if _may_be_figure(spot.piece.text.strip()[-1:])]
    figures = {
        id(spot): figure for spot in placed if (figure := _figure_of(spot, large)) is not None
    }
    rows = _lines([spot for spot in placed if id(spot) not in figures])
    steps = [after[0].y - row[0].y for row, after in pairwise(rows)]
    apart = [False, *(step > _APART * median_low(steps) for step in steps)]
    for spot in placed:
        figure = figures.get(id(spot))
        # A unit may belong to decimals that belong to a figure.
        while figure is not None and id(figure) in figures:
            figure = figures[id(figure)]
        if figure is not None:
            next(row for row in rows if any(one is figure for one in row)).append(spot)
    lines = list(zip(map(_from_left, rows), apart, strict=True))
    return [_row(line, far) for line, far in _with_captions(lines)]


def _with_captions(rows: Sequence[tuple[list[_Spot], bool]]) -> Iterator[tuple[list[_Spot], bool]]:
    """Put each small caption of a row with the larger value below it in a row of their own."""
    at = 0
    while at < len(rows):
        (row, apart), *further = rows[at : at + 3]
        pairs = _captions(row, *(one for one, _ in further))
        if not pairs:
            yield row, apart
            at += 1
            continue
        paired = {id(spot) for pair in pairs for spot in pair}
        rest = ([spot for spot in one if id(spot) not in paired] for one in (row, further[0][0]))
        for line in (*filter(None, rest), *pairs):
            yield line, apart
            apart = False
        at += 2


def _captions(row: Sequence[_Spot], *further: Sequence[_Spot]) -> list[list[_Spot]]:
    """Return the captions of a row, each with the value below it; none where most are no larger, or head a table."""
    if not further:
        return []
    pairs = [
        [one, value]
        for one in row
        for value in further[0]
        if sum(map(str.isalpha, one.piece.text)) >= 2
        and max(one.left, value.left) < min(one.right, value.right)
        and value.y - one.y < _NEAR * value.height
    ]
    if len({id(spot) for pair in pairs for spot in pair}) < 2 * max(_PAIRS, len(pairs)):
        return []
    larger = 2 * sum(value.height >= _LARGER * one.height for one, value in pairs) > len(pairs)
    figures = all(_has_digit(value) and not _has_digit(one) for one, value in pairs)
    if not (larger or figures):
        return []
    step = _STEP if larger else _FAR
    goes_on = sum(
        any(_goes_on(one, value, other, step) for other in further[-1]) for one, value in pairs
    )
    return pairs if len(further) == 1 or 2 * goes_on < len(pairs) else []


def _has_digit(spot: _Spot) -> bool:
    return any(map(str.isdigit, spot.piece.text))


def _goes_on(head: _Spot, value: _Spot, other: _Spot, step: float) -> bool:
    """Find whether another value follows one below a head, as far away and as large as that: a table's column."""
    overlap = value.left < other.right and other.left < value.right
    return (
        overlap
        and other.height * _STEP > value.height
        and other.y - value.y < step * (value.y - head.y)
    )


def _row(row: Sequence[_Spot], apart: bool) -> Row:
    cells = tuple(
        Cell(_LEADER.sub(" ", spot.piece.text.strip()), spot.left, spot.right) for spot in row
    )
    text = " ".join(cell.text for cell in cells)
    # "21 .7" becomes 21.7.
    text = re.sub(r"(?<=\d) (?=[.,]\d)", "", text)
    return Row(text, max(spot.height for spot in row), cells, apart)


def _may_be_figure(last: str) -> bool:
    """Find whether a piece with this last character may be a figure that has its unit beside it."""
    return last.isdigit() or last in "°.,"


def _figure_of(spot: _Spot, figures: Sequence[_Spot]) -> _Spot | None:
    """Return the large figure right beside a small piece, on its left; None without one."""
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


def _angle(piece: Piece) -> float:
    (x0, y0), (x1, y1) = piece.corners[:2]
    return math.atan2(y1 - y0, x1 - x0)
