"""Finds opening hours and departures in rows of text. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from server.features.builtin.fields import times
from server.features.builtin.language import language
from server.features.builtin.lines import Row
from server.features.builtin.tables import names_it
from server.models.routing import plain, word_pattern

# Languages whose names of days may stand on signs that can be read; the first one that has a name
# decides: "do" is Thursday in German and Dutch.
_SIGNS = ("en", "de", "fr", "es", "ru", "zh", "it", "pt", "nl", "pl", "tr", "ja")


class _Days:
    """Names of days on signs. Monday is 0."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        for code in _SIGNS:
            for number, names in enumerate(language(code).days):
                for name in plain(names).split():
                    self.numbers.setdefault(name.rstrip("*"), number)
        name = "|".join(sorted(map(re.escape, self.numbers), key=len, reverse=True))
        self.one = re.compile(rf"(?<![^\W\d_])(?P<first>{name})(?![^\W\d_])\.?")
        self.range = re.compile(
            rf"(?<![^\W\d_])(?P<first>{name})\.?(?:\s?[-–—~至到]\s?|\s(?:to|bis|au|a|through|thru|по)\s)(?P<last>{name})(?![^\W\d_])\.?"
        )


@cache
def _days() -> _Days:
    return _Days()


_DAILY = word_pattern(
    "daily, every day, taglich, tous les jours, todos los dias, diario, mon-sun, 7 days, ежедневно",
    "每天, 每日",
)
_WEEKDAYS = word_pattern("weekdays, werktags, en semaine, laborables, entre semana")
_WEEKEND = word_pattern("weekend, weekends, wochenende, week-end, fin de semana")
_CLOSED = word_pattern(
    "closed, geschlossen, ruhetag, zu, ferme, fermee, cerrado, cerrada, закрыто", "休息, 关门, 休业"
)
_ASKS_CLOSED = word_pattern(
    "clos*, shut*, geschlossen, zu, schließ*, ferm*, cerr*, chius*, chiud*, fech*, gesloten, dicht, sluit*, zamkn*, zamyk*, "
    "закр*, зачин*, kapa*, مغلق, مغلقة, बंद",
    "关, 關, 閉, 休, 닫",
)
# 9:00-18:00, 9-18, 9am - 5 pm, 9h-18h30
_CLOCK = r"(?:[01]?\d|2[0-4])(?:\s?[:.：h]\s?[0-5]\d|h)?(?:\s?[ap]\.?m\b\.?|\s?uhr)?"
_SPAN = re.compile(
    rf"(?<![\d.,:]){_CLOCK}\s?(?:-|–|—|~|to|bis|a|à|until|до|至)\s?{_CLOCK}(?![\d:])", re.I
)

_ONE = re.compile(_CLOCK)
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


def names_closed(asked: str) -> bool:
    """Find whether a question, as `plain` text, asks whether something is closed, or closes."""
    return _ASKS_CLOSED.search(asked) is not None


def until(text: str, clock: dt.time) -> str | None:
    """Return when what is open at a time of day closes, as written; None while it is closed."""
    now = 60 * clock.hour + clock.minute
    folded = plain(text)
    shown = text if len(folded) == len(text) else folded
    for match in _SPAN.finditer(_without_days(folded)):
        first, last = islice(_ONE.finditer(folded, *match.span()), 2)
        begin, end = _minutes(first.group()), _minutes(last.group())
        if begin <= now < end or (end <= begin and (now >= begin or now < end)):
            return shown[last.start() : last.end()].strip()
    return None


def _minutes(clock: str) -> int:
    """Return the minute of the day of a time as written: "18", "18:30", "6 pm", "18h30"."""
    numbers = [int(one) for one in re.findall(r"\d+", clock)]
    hour, minute = numbers[0], numbers[1] if len(numbers) > 1 else 0
    if half := re.search(r"([ap])\.?m", clock):
        hour = hour % 12 + (12 if half[1] == "p" else 0)
    return 60 * hour + minute


def weekdays(folded: str) -> frozenset[int]:
    """Return the days that `plain` text names: five for "Mon-Fri". Monday is 0."""
    if _DAILY.search(folded):
        return frozenset(range(7))
    found: set[int] = set()
    if _WEEKDAYS.search(folded):
        found |= set(range(5))
    if _WEEKEND.search(folded):
        found |= {5, 6}
    for match in _days().range.finditer(folded):
        first, last = (_days().numbers[match[end]] for end in ("first", "last"))
        found |= {(first + n) % 7 for n in range((last - first) % 7 + 1)}
    for match in _days().one.finditer(folded):
        found.add(_days().numbers[match["first"]])
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
    for pattern in (_days().range, _days().one):
        folded = pattern.sub(lambda match: " " * len(match.group()), folded)
    return folded
