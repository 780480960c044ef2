"""Finds the value beside or under a word: "Gate B12", a value in its column. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from itertools import takewhile
from pathlib import Path

from server.features.builtin.language import LATIN, language
from server.features.builtin.lines import Cell, Row
from server.models.routing import plain, word_pattern

_PRINT = tomllib.loads(Path(__file__).with_name("print_words.toml").read_text("utf-8"))
# Names of one thing on signs, in several languages
_SYNONYMS = tuple(frozenset(plain(line).split()) for line in _PRINT["synonyms"])
_NUMBERISH = re.compile(r"[\d:.,/-]+")


@dataclass(frozen=True, slots=True)
class Beside:
    """A value and the word beside it, as written; and the column's word if there is one."""

    label: str
    value: str
    row: Row
    column: str = ""
    # The word stands inside of other words, so that no one of them is its value.
    prose: bool = False


_ORDINAL = re.compile(r"^(\d{1,2})(?:st|nd|rd|th)$")


def printed(name: str) -> re.Pattern[str]:
    """Return the pattern of words of print, to search `plain` text with."""
    return word_pattern(*_PRINT["words"][name])


def plain_words(line: str) -> list[str]:
    """Return words in the form in which they are compared: lower case, without accents."""
    return plain(line).split()


def names_it(text: str, word: str) -> bool:
    """Find whether a text has a word: also as plural, in a compound, misread, or as a synonym; a figure alone."""
    folded = plain(text)
    # "On the 29th" is no time of day.
    day, word = word, _ORDINAL.sub(r"\1", word)
    kin = _kin(word)
    figures = [one for one in kin if one.isdecimal()]
    # "2" is no part of "2.00", and "two" not the second of a list.
    listed = rf"(?!^{figures[0]}\. )" if figures and not word.isdecimal() else ""
    clock = ":" if day != word else ""
    if any(
        re.search(rf"{listed}(?<![\d.,{clock}]){one}(?!\d|[.,{clock}]\d)", folded)
        for one in figures
    ):
        return True
    wanted = [one for one in kin if not one.isdecimal()]
    if word.isdecimal() or not wanted:
        # "2" finds no "two".
        return False
    if any(not one.isascii() and one in folded for one in wanted if not _spaced(one)):
        return True
    return any(
        any(_is_plural(token, one) for one in wanted) or _same(token, word)
        for token in _tokens(folded)
    )


def names_any(text: str, words: Iterable[str]) -> bool:
    return any(names_it(text, word) for word in words)


def names_all(text: str, words: Iterable[str]) -> bool:
    return all(names_it(text, word) for word in words)


def count_named(text: str, words: Iterable[str]) -> int:
    """Count the words that a text has."""
    return sum(names_it(text, word) for word in words)


def is_number_word(word: str) -> bool:
    """Find whether a `plain` word is a number: "two"."""
    return not word.isdecimal() and figure_of(word) is not None


def figure_of(word: str) -> int | None:
    """Return the figure that a `plain` word is: 2 of "two" and "2"; None of another word."""
    return next((int(one) for one in (word, *_kin(word)) if one.isdecimal()), None)


def beside(
    rows: Sequence[Row], words: Sequence[str], *, digits: bool = False, kind: str = ""
) -> Beside | None:
    """Return the value beside the words asked for; with `digits`, only one with a digit.

    `kind`: the word that goes before others, "floor" of "Which floor is this ward on?".
    """
    best: tuple[int, bool, bool, Beside] | None = None
    for index, row in enumerate(rows):
        hits = count_named(row.text, words)
        if not hits or (best is not None and hits < best[0]):
            continue
        found = _in_row(rows, index, words)
        if found is None or (digits and not any(map(str.isdigit, found.value))):
            continue
        # "Eyes: rinse with water" before "causes eye damage"
        begins = row.text.startswith(found.label)
        of_kind = bool(kind) and names_it(row.text, kind)
        if best is None or (hits, of_kind, begins) > best[:3]:
            best = hits, of_kind, begins, found
    return best[3] if best is not None else None


def crossing(rows: Sequence[Row], words: Sequence[str]) -> Beside | None:
    """Return the value in one word's row and another word's column; None without both."""
    # Each row is looked at below each head; what takes time is done once.
    named_by = cache(names_it)
    columns = cache(lambda top, rest: _in_columns(rows[top:], rest, named_by))
    for top, header in enumerate(rows):
        if len(header.cells) < 2:
            continue
        heads = [
            (head, [word for word in words if named_by(head.text, word)]) for head in header.cells
        ]
        # "Day" before "Half day"
        for head, named in sorted(heads, key=lambda one: (-len(one[1]), len(one[0].text.split()))):
            rest = [word for word in words if word not in named]
            if not named or not rest:
                continue
            for row in rows[top + 1 :]:
                if not any(named_by(row.text, word) for word in rest):
                    continue
                if all(any(map(str.isdigit, one.cells[0].text)) for one in (header, row)):
                    # "Tue 1  Green bin" is no head of "Tue 15  Blue bin".
                    continue
                cell = overlapping(row, head)
                if cell is not None and not any(named_by(cell.text, word) for word in rest):
                    labels = (c for c in row.cells if any(named_by(c.text, w) for w in rest))
                    label = next(labels, row.cells[0])
                    if label is not row.cells[0] and columns(top, tuple(rest)) > 1:
                        # "Tom" stands below several days.
                        continue
                    return Beside(label.text, cell.text, row, head.text)
    return None


def in_column(rows: Sequence[Row], words: Sequence[str]) -> Row | None:
    """Return the row that has, below the head that words name, the other words: "Which circuit is spare?"."""
    named_by = cache(names_it)
    for top, header in enumerate(rows):
        if len(header.cells) < 2 or any(map(str.isdigit, header.text)):
            continue
        for head in header.cells:
            rest = [word for word in words if not named_by(head.text, word)]
            if not 0 < len(rest) < len(words):
                continue
            below = (row for row in rows[top + 1 :] if len(row.cells) > 1)
            told = (row for row in below if all(named_by(row.text, w) for w in rest))
            cells = ((row, overlapping(row, head)) for row in told)
            named = [
                row for row, cell in cells if cell and all(named_by(cell.text, w) for w in rest)
            ]
            if len(named) == 1:
                return named[0]
    return None


def below_unit(rows: Sequence[Row], words: Sequence[str], unit: re.Pattern[str]) -> Beside | None:
    """Return the figure in the row that words name below the one head that has a unit: "Lasagne" below "Minutes"."""
    for top, header in enumerate(rows):
        heads = [cell for cell in header.cells if unit.search(plain(cell.text))]
        if len(heads) != 1 or len(header.cells) < _MANY or any(map(str.isdigit, header.text)):
            continue
        hits = [count_named(row.text, words) for row in rows[top + 1 :]]
        most = max(hits, default=0)
        if not most or hits.count(most) > 1:
            continue
        row = rows[top + 1 + hits.index(most)]
        cell = overlapping(row, heads[0])
        if cell is not None and cell is not row.cells[0] and any(map(str.isdigit, cell.text)):
            return Beside(row.cells[0].text, cell.text, row, heads[0].text)
    return None


def _in_columns(
    rows: Sequence[Row], words: Sequence[str], named_by: Callable[[str, str], bool]
) -> int:
    """Return below how many of the first row's cells there are words."""
    header, *below = rows
    cells = (
        cell for row in below for cell in row.cells if any(named_by(cell.text, w) for w in words)
    )
    heads = [overlapping(header, cell) for cell in cells]
    return len({head.left for head in heads if head is not None})


def _below(label: str, below: Row | None) -> Beside | None:
    """Return the row below as a label's value, unless it announces others or begins a paragraph."""
    if below is None or below.apart or below.text.rstrip().endswith(":"):
        return None
    return Beside(label, below.text, below)


# "butter (unsalted)"
_ASIDE = re.compile(r"[^()]{1,60}\(([^()]{2,60})\)[.,;]?")


def _in_row(rows: Sequence[Row], index: int, words: Sequence[str]) -> Beside | None:
    row = rows[index]
    below = rows[index + 1] if index + 1 < len(rows) else None
    cells = row.cells or (Cell(row.text, 0, 1),)
    hits = [count_named(cell.text, words) for cell in cells]
    # "Gate closes" before "Gate"
    for n in sorted(range(len(cells)), key=lambda at: -hits[at]):
        cell = cells[n]
        if not hits[n]:
            break
        label, value = _split(cell.text, words)
        prose = _is_prose(cell.text, label, value, alone=len(cells) == 1)
        if value:
            tail = " ".join(one.text for one in cells[n + 1 :])
            # "Lot: " may end a cell, with its value in the next one.
            value = f"{value} {tail}".strip() if len(value) < 3 else value
            value = _NEXT_LABEL.split(value)[0] if not prose else value
            return Beside(label, value, row, prose=prose)
        right = cells[n + 1] if n + 1 < len(cells) else None
        under = overlapping(below, cell) if below is not None else None
        if len(cells) > 1 and (
            found := _own(row, n) or _under_caption(rows[index : index + 3], cell)
        ):
            return Beside(cell.text.rstrip(" :"), *found)
        if len(cells) > 1 and _is_column(rows[index : index + 3], cell):
            # Each row below has a value of its own.
            return Beside(label, cell.text, row, prose=True)
        # A column's head: its value stands below, and another head stands beside it.
        if (
            right is not None
            and under is not None
            and below is not None
            and len(below.cells) > 1
            and not any(map(str.isdigit, cell.text))
            and not any(map(str.isdigit, right.text))
            and (any(map(str.isdigit, under.text)) or _is_head(row, below))
        ):
            return Beside(label, under.text, below)
        if right is None and under is not None and below is not None and _is_head(row, below):
            return Beside(label, under.text, below)
        if right is not None:
            return Beside(label, _together(cells[n + 1 :]), row)
        if n and not (prose and not any(map(str.isdigit, _together(cells[:n])))):
            # "12 g sugar": the value is in front.
            return Beside(label, _together(cells[:n]), row)
        if prose:
            return Beside(label, cell.text, row, prose=True)
        aside = _ASIDE.fullmatch(cell.text)
        last = Beside(label, aside[1], row) if aside else _below(label, below)
        if last is not None:
            return last
    return None


def _own(row: Row, at: int) -> tuple[str, Row] | None:
    """Return what stands between a cell with a colon and the next one, and the row: "Milk:  oat  Credit:  2.40"."""
    own = [*takewhile(lambda one: not one.text.endswith(":"), row.cells[at + 1 :])]
    return (_together(own), row) if own and row.cells[at].text.endswith(":") else None


# A value is printed so many times as high as the caption above it.
_LARGER = 1.2


def _under_caption(rows: Sequence[Row], cell: Cell) -> tuple[str, Row] | None:
    """Return what stands in larger print below a cell of small captions, and its row; None without it."""
    row, *further = rows
    if any(map(str.isdigit, cell.text)):
        return None
    for below in further:
        value = overlapping(below, cell)
        if value is not None:
            return (value.text, below) if below.height >= _LARGER * row.height else None
    return None


def _is_column(rows: Sequence[Row], cell: Cell) -> bool:
    """Find whether a cell is the head of a column: words, with figures in both rows below it."""
    row, *below = rows
    under = [overlapping(one, cell) for one in below]
    figures = [one is not None and any(map(str.isdigit, one.text)) for one in under]
    return not any(map(str.isdigit, row.text)) and len(figures) > 1 and all(figures)


# Cells of a row that can only be the heads of columns
_MANY = 3


def _is_head(row: Row, below: Row | None) -> bool:
    """Find whether a row has the heads of the columns below: words alone above figures."""
    if below is None or len(row.cells) < _MANY or len(below.cells) < _MANY:
        return False
    return not any(map(str.isdigit, row.text)) and any(map(str.isdigit, below.text))


# What stands between a word and its value, or begins a value
_MARKED = re.compile(r"\W{0,3}[:：=#|]|\s?[^\w\s.!?]?\s?[\d+€$£¥<>≤≥-]")


def _is_prose(text: str, label: str, value: str, *, alone: bool) -> bool:
    """Find whether a word stands behind others, or before others in a row of several cells.

    A figure beside it, or a mark behind it, is its value.
    """
    before, _, after = text.partition(label)
    if not _spaced(text):
        return False
    if after.strip() == ":" and len(before.split()) >= _MANY:
        # "In the morning please bring:"
        return True
    if not any(map(str.isalpha, before)):
        words = before.strip() == "" and value and re.sub(r"[ .,!?]", "", value).isalpha()
        long = not alone or len(value.split()) >= _MANY
        return bool(words) and long and not _MARKED.match(after)
    return (
        after.strip(" .!?") == ""
        if not value
        else not _MARKED.match(after) and (value not in before or before.lstrip()[0].isalpha())
    )


# The next label of a line with several: "Coach: 6   Seat: 14D"
_NEXT_LABEL = re.compile(r"(?<=\S) (?=[^\W\d_][\w.-]{0,20}[:：](?!//)\s?\S)")


def _together(cells: Sequence[Cell]) -> str:
    """Join cells into one value, with commas between figures."""
    columns = all(any(map(str.isdigit, cell.text)) for cell in cells)
    return (", " if columns else " ").join(cell.text for cell in cells)


# Further words of a label, up to its colon
_LABEL_END = re.compile(r"( [^\W\d_]+(?: [^\W\d_]+)?)\s?[:：]\s?\S")


_IN_BRACKETS = re.compile(r"\([^()]*\)")


def _split(text: str, words: Sequence[str]) -> tuple[str, str]:
    """Split a text into label and value; the value is behind the label, or a figure in front."""
    spans = [
        match.span() for match in re.finditer(r"[^\s:=]+", text) if names_any(match.group(), words)
    ]
    if not spans:
        # In an unspaced script, find the word as a part.
        for word in words:
            for one in _kin(word):
                at = plain(text).find(one)
                if at >= 0:
                    spans.append((at, at + len(one)))
    if not spans:
        return text, ""
    start, end = min(spans)
    for begin, last in sorted(spans):
        # "Water depth 0.9 m, water 28 °C" has two labels, and what is behind a colon is a value.
        if not any(one.isdigit() or one in ":：" for one in text[end:begin]):
            end = max(end, last)
    if found := _LABEL_END.match(text, end):
        # "Served by: Maria"
        end = found.end(1)
    label, value = text[start:end].strip(" .:#=-"), text[end:].strip(" .:：#=-–")
    value = re.sub(
        r"^(?:(?:no|nr|n°|number|nummer|num)\b\.?\s?[:#]?|(?:code|name)\s?[:#])\s*",
        "",
        value,
        flags=re.I,
    )
    if _IN_BRACKETS.fullmatch(value):
        # "Wi-Fi name (5 GHz)", and beside it the name
        return f"{label} {value}", ""
    if value:
        return label, value
    front = text[:start].strip(" .:#=-")
    if any(map(str.isdigit, front)):
        return label, front
    return label, ""


def overlapping(row: Row, head: Cell) -> Cell | None:
    """Return the row's cell that overlaps most with a cell of another row; None without one."""
    best, most = None, 0.0
    for cell in row.cells:
        shared = min(cell.right, head.right) - max(cell.left, head.left)
        share = shared / max(1.0, min(cell.right - cell.left, head.right - head.left))
        if share > max(most, 0.3):
            best, most = cell, share
    return best


def _kin(word: str) -> Iterable[str]:
    for group in _SYNONYMS:
        if word in group:
            return group
    return (word, *_short_days().get(word, ()))


@cache
def _short_days() -> dict[str, frozenset[str]]:
    """Return the abbreviations of each day's name, as timetables have them: "fri" of "friday"."""
    found: dict[str, frozenset[str]] = {}
    for code in LATIN:
        for names in language(code).days:
            forms = [name for name in plain(names).split() if name.isalpha()]
            short = frozenset(name for name in forms if len(name) <= _DAY)
            found |= {name: short for name in forms if len(name) > _DAY}
    return found


# Letters of a day's abbreviation, at most
_DAY = 4


def _spaced(word: str) -> bool:
    return not any("\u3400" <= char <= "\u9fff" for char in word)


# "6eggs", and not "6 kg" or "2nd"
_GLUED = re.compile(r"(?<!\w)(\d{1,3})(?=[^\W\d_]{4})")


def _tokens(folded: str) -> list[str]:
    # "S/N" and "Wi-Fi" are one.
    folded = _GLUED.sub(r"\1 ", folded.replace("wi-fi", "wifi"))
    return re.findall(r"(?<![^\W_])[^\W_]/[^\W_](?![^\W_])|[^\W_]+", folded)


def _is_plural(token: str, word: str) -> bool:
    """Find whether two words are one, or one of them is the other's plural."""
    short, long = sorted((token, word), key=len)
    ends: tuple[str, ...] = ("s", "es")
    # "Tonnen", but not "car" and "care"; "gelbe" and "gelber"
    ends += ("n", "en", "e") if len(short) >= _REST else ()
    ends += ("r",) if len(short) > _REST else ()
    if (
        len(token) == len(word) >= _STEM
        and token[:-1] == word[:-1]
        and {token[-1], word[-1]} <= set("aeio")
    ):
        # "Guasto" and "guasti"
        return True
    return token == word or (len(short) >= 3 and long in {short + end for end in ends})


# Letters of a stem, at least, and of what may stand behind it
_STEM, _ENDING = 6, 3
# "Cambiar" and "cambios"
_INFINITIVE = ("ar", "ir", "are", "ire")
# Letters of a compound's first part: "Orangensaft", and not "rent" in "current"
_REST = 4


def _same(token: str, word: str) -> bool:
    """Find whether two words that are no plural of each other are one: in a compound, inflected or misread."""
    short = min((token, word), key=len)
    # "Orangensaft" has "saft", "Cappuccinos" is a plural; digits must be the same.
    if _NUMBERISH.fullmatch(token) or _NUMBERISH.fullmatch(word):
        return False
    if (
        len(word) >= 4
        and len(token) > len(word)
        and (token.startswith(word) or (token.endswith(word) and len(token) >= len(word) + _REST))
    ):
        return True
    same = next(
        (at for at, (a, b) in enumerate(zip(token, word, strict=False)) if a != b), len(short)
    )
    least = _STEM - word.endswith(_INFINITIVE)
    if same >= least and max(len(token), len(word)) - same <= _ENDING:
        # "Inspected" and "inspector"
        return True
    return len(short) >= 5 and SequenceMatcher(None, token, word, autojunk=False).ratio() >= 0.84
