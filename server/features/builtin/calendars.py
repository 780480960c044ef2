"""Reads the page of a month and the timetable of a week: what stands below each day. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, takewhile
from statistics import median

from server.features.builtin.fields import tells_hours, weekdays
from server.features.builtin.lines import Cell, Row, row_of
from server.models.routing import plain
from server.shared.dates import names_month

_NUMBER = re.compile(r"[1-9]|[12]\d|3[01]")
# Weeks and days a week from which numbers are a calendar
_WEEKS, _DAYS = 3, 5
# Days in the head of a timetable
_HEADS = 3
# Widths of a column that print in it has at most
_WIDE = 1.2
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def by_day(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with what stands below each day as one of its own, in place of a month's page or a week's timetable.

    "Friday 20 November: Pizza night", "Mon 18:00 Boxing". Days without anything are left out, and any other rows are
    returned as they are.
    """
    weeks = _weeks(rows)
    if sum(len(rows[at].cells) >= _DAYS for at in weeks) < _WEEKS:
        return _timetable(rows)
    month = next((row.text for row in rows[: weeks[0]] if names_month(plain(row.text))), "")
    month = " ".join(_YEAR.sub("", month).split())
    heads = next((row for row in rows[: weeks[0]] if _names_days(row)), None)
    apart = _pitch(max((rows[at].cells for at in weeks), key=len))
    found = [row for row in rows[: weeks[0]] if row is not heads]
    for at, end in pairwise([*weeks, len(rows)]):
        numbers = rows[at].cells
        below = list(takewhile(partial(_fits, numbers, apart), rows[at + 1 : end]))
        for number in numbers:
            cells = (cell for row in below for cell in row.cells)
            told = [cell.text for cell in cells if _nearest(numbers, cell) is number]
            if told:
                day = _nearest(heads.cells, number).text if heads is not None else ""
                named = " ".join(filter(None, (day, number.text, month)))
                text = f"{named}: {' '.join(told)}"
                found.append(row_of(text, median(row.height for row in below)))
        found += rows[at + 1 + len(below) : end]
    return found


def _timetable(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with each cell below the name of a day as one of its own, with the time in front of it."""
    if hours := _of_hours(rows):
        return hours
    top = next((at for at, row in enumerate(rows) if _names_days(row, _HEADS)), len(rows))
    heads = [cell for row in rows[top : top + 1] for cell in row.cells if _is_day(cell)]
    table = _unwrapped(heads, rows[top + 1 :])
    below = list(takewhile(bool, (_below(heads, row) for row in table)))
    if not below:
        return list(rows)
    return [*rows[:top], *(row for one in below for row in one), *table[len(below) :]]


# One of an hour's minutes, "02 17 32 47" or "12a", also read as "1040"; and an hour
_MINUTE = re.compile(r"([0-5]\d)[a-z*]? ?", re.I)
_HOUR = re.compile(r"[01]?\d|2[0-3]")
# Columns and hours from which it is a stop's timetable
_COLUMNS, _HOURS = 2, 3


def _of_hours(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of a stop's timetable with minutes as times of day: "Saturday 7:12 7:42"; none of other print."""
    top = next((at for at, row in enumerate(rows) if _names_days(row, _COLUMNS)), len(rows))
    heads = [cell for row in rows[top : top + 1] for cell in row.cells if _is_day(cell)]
    told, hours, last = list[Row](), 0, 0
    for row in rows[top + 1 :]:
        labels = [cell.text for cell in row.cells if cell.right < heads[0].left]
        lists = [cell for cell in row.cells if cell.right >= heads[0].left]
        named = len(labels) == 1 and _HOUR.fullmatch(labels[0]) is not None
        # An hour that was not read comes after the one above it.
        hour = int(labels[0]) if named else last + 1
        goes_on = named if labels or not hours else True
        if not goes_on or (hours and hour <= last) or not all(map(_is_minutes, lists)):
            break
        hours, last = hours + 1, hour
        for cell in lists:
            times = " ".join(f"{hour}:{minute}" for minute in _MINUTE.findall(cell.text))
            told.append(row_of(f"{_nearest(heads, cell).text} {times}", row.height))
    return [*rows[: top + 1], *told, *rows[top + 1 + hours :]] if hours >= _HOURS else []


def _is_minutes(cell: Cell) -> bool:
    return not _MINUTE.sub("", cell.text)


def _unwrapped(heads: Sequence[Cell], rows: Sequence[Row]) -> list[Row]:
    """Return rows, what goes on in a line of its own joined with the cell above it: "Tomato", "soup"."""
    found: list[Row] = []
    for row in rows:
        above = (
            {id(_nearest(heads, cell)): cell for cell in found[-1].cells} if found and heads else {}
        )
        here = {id(_nearest(heads, cell)): cell for cell in row.cells} if above else {}
        small = all(cell.text[:1].islower() for cell in row.cells)
        label = bool(above) and found[-1].cells[0].right < heads[0].left <= row.cells[0].right
        if not (
            label and small and here.keys() <= above.keys() and _fits(heads, _pitch(heads), row)
        ):
            found.append(row)
            continue
        cells = []
        for cell in found[-1].cells:
            more = here.get(id(_nearest(heads, cell))) if cell.right >= heads[0].left else None
            cells.append(replace(cell, text=f"{cell.text} {more.text}") if more else cell)
        text = " ".join(cell.text for cell in cells)
        found[-1] = replace(found[-1], text=text, cells=tuple(cells))
    return found


def _below(heads: Sequence[Cell], row: Row) -> list[Row]:
    """Return what a row of a timetable has below the days' names; nothing for any other row."""
    apart = _pitch(heads)
    times = [cell for cell in row.cells if cell.right < heads[0].left]
    told = [cell for cell in row.cells if cell not in times]
    pairs = [(_nearest(heads, cell), cell) for cell in told]
    labelled = len(times) == 1 or (not times and all(tells_hours(cell.text) for cell in told))
    if not (labelled and _fits(heads, apart, replace(row, cells=tuple(told)))):
        return []
    if len({head for head, _ in pairs}) < len(pairs):
        return []
    # "Mon 18:00 Boxing", "Thu Bathroom: Tom", "Sun: closed"
    mark = "" if times and any(map(str.isdigit, times[0].text)) else ":"
    return [
        row_of(f"{' '.join(one.text for one in (head, *times))}{mark} {cell.text}", row.height)
        for head, cell in pairs
    ]


def _weeks(rows: Sequence[Row]) -> list[int]:
    """Return the places of the rows that have the days of a month, one number after the other."""
    found, last = list[int](), 0
    for at, row in enumerate(rows):
        numbers = [int(cell.text) for cell in row.cells if _NUMBER.fullmatch(cell.text)]
        in_order = numbers == list(range(last + 1, last + 1 + len(numbers)))
        if numbers and len(numbers) == len(row.cells) and in_order:
            found.append(at)
            last = numbers[-1]
    return found


def _names_days(row: Row, least: int = _DAYS) -> bool:
    return sum(map(_is_day, row.cells)) >= least


def _is_day(cell: Cell) -> bool:
    return bool(weekdays(plain(cell.text)))


def _pitch(heads: Sequence[Cell]) -> float:
    """Return how far columns are from each other, in pixels of the picture."""
    return min(right.left - left.left for left, right in pairwise(heads))


def _fits(heads: Sequence[Cell], apart: float, row: Row) -> bool:
    """Find whether each cell of a row is in a column below one of these heads."""
    return all(
        cell.right - cell.left <= _WIDE * apart
        and _distance(_nearest(heads, cell), cell) <= apart / 2
        for cell in row.cells
    )


def _nearest(heads: Sequence[Cell], cell: Cell) -> Cell:
    """Return the head that a cell stands below."""
    return min(heads, key=lambda head: _distance(head, cell))


def _distance(head: Cell, cell: Cell) -> float:
    """Return how far a cell stands from the middle of its head's column, or from its left side."""
    middles = abs(head.left + head.right - cell.left - cell.right) / 2
    return min(abs(head.left - cell.left), middles)
