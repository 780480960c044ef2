"""Finds opening hours and departures in rows of text. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.engines.builtin.fields import times
from server.engines.builtin.languages import DAYS
from server.engines.builtin.lines import Row
from server.engines.builtin.tables import names_it
from server.engines.matching import plain, word_pattern

# Names of days on signs, in any language: word to weekday, Monday is 0.
_DAY_NAMES: dict[str, int] = {
    name: number
    for days in DAYS.values()
    for number, names in enumerate(days)
    for name in plain(names).split()
}
_NAME = "|".join(sorted(map(re.escape, _DAY_NAMES), key=len, reverse=True))
_DAY = re.compile(rf"(?<![^\W\d_])(?P<first>{_NAME})(?![^\W\d_])\.?")
_RANGE = re.compile(
    rf"(?<![^\W\d_])(?P<first>{_NAME})\.?(?:\s?[-–—~至到]\s?|\s(?:to|bis|au|a|through|thru|по)\s)(?P<last>{_NAME})(?![^\W\d_])\.?"
)
_DAILY = word_pattern(
    "daily, every day, taglich, tous les jours, todos los dias, diario, mon-sun, 7 days, ежедневно",
    "每天, 每日",
)
_WEEKDAYS = word_pattern("weekdays, werktags, en semaine, laborables, entre semana")
_WEEKEND = word_pattern("weekend, weekends, wochenende, week-end, fin de semana")
_CLOSED = word_pattern(
    "closed, geschlossen, ruhetag, zu, ferme, fermee, cerrado, cerrada, закрыто", "休息, 关门, 休业"
)
# 9:00-18:00, 9-18, 9am - 5 pm, 9h-18h30
_CLOCK = r"(?:[01]?\d|2[0-4])(?:\s?[:.：h]\s?[0-5]\d|h)?(?:\s?[ap]\.?m\b\.?|\s?uhr)?"
_SPAN = re.compile(
    rf"(?<![\d.,:]){_CLOCK}\s?(?:-|–|—|~|to|bis|a|à|until|до|至)\s?{_CLOCK}(?![\d:])", re.I
)

# Hours without a day count when they are written as times of day, or stand alone.
_CLOCKED = re.compile(r"\d\s?[:.：h]\s?\d\d|[ap]m\b|^[\d\s–-]+$")


@dataclass(frozen=True, slots=True)
class Opening:
    """A row of opening hours as written, and its days; empty where it names none."""

    text: str
    days: frozenset[int]


def openings(rows: Sequence[Row]) -> list[Opening]:
    """Return the rows of opening hours, joined with their days where those stand above."""
    found: list[Opening] = []
    pending: tuple[str, frozenset[int]] | None = None
    for row in rows:
        folded = plain(row.text)
        days = weekdays(folded)
        has_hours = (
            _SPAN.search(_without_days(folded)) is not None or _CLOSED.search(folded) is not None
        )
        if days and has_hours:
            found.append(Opening(row.text, days))
            pending = None
        elif days:
            pending = (row.text, days)
        elif has_hours and pending is not None:
            found.append(Opening(f"{pending[0]} {row.text}", pending[1]))
            pending = None
        elif _SPAN.search(folded) and _CLOCKED.search(folded):
            found.append(Opening(row.text, frozenset()))
    return found


def weekdays(folded: str) -> frozenset[int]:
    """Return the days that `plain` text names: five for "Mon-Fri". Monday is 0."""
    if _DAILY.search(folded):
        return frozenset(range(7))
    found: set[int] = set()
    if _WEEKDAYS.search(folded):
        found |= set(range(5))
    if _WEEKEND.search(folded):
        found |= {5, 6}
    for match in _RANGE.finditer(folded):
        first, last = _DAY_NAMES[match["first"]], _DAY_NAMES[match["last"]]
        found |= {(first + n) % 7 for n in range((last - first) % 7 + 1)}
    for match in _DAY.finditer(folded):
        found.add(_DAY_NAMES[match["first"]])
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Departure:
    """A time as written, and its row."""

    time: str
    row: Row


def departure(rows: Sequence[Row], words: Sequence[str]) -> Departure | None:
    """Return the first time in the row with the most of the words; None if no such row has any."""
    timed = [(found[0], row) for row in rows if (found := times([row.text]))]
    hits = [(sum(names_it(row.text, word) for word in words), time, row) for time, row in timed]
    named = [(time, row) for count, time, row in hits if count == max(h[0] for h in hits) and count]
    for time, row in named:
        return Departure(time, row)
    return None


def first_departure(rows: Sequence[Row]) -> Departure | None:
    for row in rows:
        if found := times([row.text]):
            return Departure(found[0], row)
    return None


def _without_days(folded: str) -> str:
    return _DAY.sub(" ", _RANGE.sub(" ", folded))
