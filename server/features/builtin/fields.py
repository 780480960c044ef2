"""Finds dates, contacts, times and numbers in rows of text. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from itertools import islice, zip_longest
from statistics import median

from server.features.builtin.language import language
from server.features.builtin.lines import Figure, Row
from server.features.builtin.tables import count_named, printed
from server.models.routing import plain
from server.shared.dates import Date, dates

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++\s?@\s?[\w-]++(?:\.[\w-]++)++")
_URL = re.compile(
    r"(?<![@\w.])(?:https?://[^\s<>\"]+|www\.[^\s<>\"]+"
    r"|(?<!-)[a-z0-9-]++(?:\.[a-z0-9-]++)*\.(?:com|org|net|info|app|dev|io|eu|de|at|ch|fr|es|it|nl|be|pl|uk|us)\b(?:/[^\s<>\"]*)?)",
    re.I,
)
_PHONE = re.compile(r"(?<![\d.,/\w])(?:\+|\(0|00|0|\d)(?:[\s()/.-]{0,3}\d){6,14}(?!\d|[.,]\d)")
# "(8 - 17 h)" behind it
_OPENS = re.compile(r"\([^()]*$")
_LIKE_PHONE = re.compile(r"(?<![\w.,+-] )(?<![\w.,+-])\d{2,4}(?: \d{2,4}){2,3}(?![ ]?[\w%€$£])")
_PHONE_ROW = printed("phone")
# Written like a number to call: with so many digits, and the first after a zero no other sign
_MANY_DIGITS = 9
_WRITTEN = re.compile(r"\(?0\d[\d]*+[ /()-]|00\d")
_TIME = re.compile(
    r"(?<![\d:.,])(?:[01]\d|2[0-3]|[1-9])\s?[:：h]\s?[0-5]\d(?::[0-5]\d)?(?:\s?[ap]\.?m\b\.?)?(?![\d:])"
    r"|(?<![\d:.,])(?:1[0-2]|[1-9])(?:\.[0-5]\d)?\s?[ap]\.?m\b\.?"
    r"|(?<![\d:.,])(?:[01]?\d|2[0-4])(?:(?:\.[0-5]\d)?\s?(?:uhr|uur)\b|\s?h(?=\s?[-–à]\s?\d))"
    # "11 h" alone may be a duration; "avant 11 h" is a time.
    r"|(?:(?<=avant )|(?<=dès )|(?<=vers )|(?<=à )|(?<=[-–])|(?<=[-–] ))(?:[6-9]|1\d|2[0-4])\s?h(?![\w\d])",
    re.I,
)
_NUMBERS = printed("count")
# A figure, or a word for one
COUNT = re.compile(rf"\d|{_NUMBERS.pattern}", _NUMBERS.flags)
_NUMBER = re.compile(r"(?<![\w.,])[A-Z]{0,3}-?\d[\d.,:/-]*\w*(?!\w)")
# Also "EXP120227"
EXPIRY_ROW = re.compile(rf"{printed('expiry').pattern}|\b(?:exp|bb[de]?|mhd)(?=[a-z]{{0,3}}\d)")
_UNTIL_ROW = printed("until")


DOSE_WORDS = printed("dose")
# What a sentence about a dose names: a form of medicine or a rhythm
_DOSES, _RHYTHM = printed("doses"), printed("rhythm")
_SENTENCE = re.compile(r"[^.!?。！？\n]++(?:[.](?=\w)[^.!?。！？\n]*+)*+[.!?。！？]*")
# How much larger than most print a heading is
_HEADING = 1.3
# Sentences about a dose in an answer
_MOST_DOSES = 2


def expiry(rows: Sequence[str], order: str = "") -> Date | None:
    """Return the date beside or below the words for an expiry date; None without one. `order`: see `dates`."""
    for index, row in enumerate(rows):
        if named := EXPIRY_ROW.search(plain(row)):
            for near in rows[index : index + 2]:
                if found := dates(near, order):
                    # "Dispensed 20/11/2026  EXP 08/2028"
                    behind = [one for one in found if near.find(one.text) > named.start()]
                    return ((near is row and behind) or found)[0]
    return None


def tells_until(row: str) -> bool:
    """Find whether a row says until when something lasts, or when it is due."""
    return _UNTIL_ROW.search(plain(row)) is not None


def until(rows: Sequence[str], order: str = "") -> Date | None:
    """Return the only date that something lasts until or is due by; None without one, or with several."""
    found = [date for row in rows if tells_until(row) for date in dates(row, order)]
    return found[0] if len(found) == 1 else None


def emails(rows: Iterable[str]) -> list[str]:
    return unique(text.replace(" ", "") for row in rows for text in matches((_EMAIL,), row))


def urls(rows: Iterable[str]) -> list[str]:
    without_mail = (_EMAIL.sub(" ", row) for row in rows)
    return unique(text.rstrip(".,;)") for row in without_mail for text in matches((_URL,), row))


def phones(rows: Iterable[str]) -> list[str]:
    """Return phone numbers: 7 to 15 digits, written like one or in a row with a word for one."""
    found: list[str] = []
    for row in rows:
        named = _PHONE_ROW.search(plain(row)) is not None
        taken = [date.text for date in dates(row)]
        for text in (_OPENS.sub("", text).strip() or text for text in matches((_PHONE,), row)):
            digits = sum(char.isdigit() for char in text)
            written = text.startswith("+") or (
                digits >= _MANY_DIGITS and _WRITTEN.match(text) is not None
            )
            is_date = any(text in date or date in text for date in taken)
            if 7 <= digits <= 15 and not is_date and (named or written):
                found.append(text)
    return unique(found)


def like_phones(rows: Iterable[str]) -> list[str]:
    """Return what may be phone numbers: groups of digits that nothing calls one, and that are no date."""
    return unique(text for row in rows if not dates(row) for text in matches((_LIKE_PHONE,), row))


_ADDRESS = re.compile(
    r"\b\d{1,4}[a-z]?,? (?:[^\W\d_][\w'.-]{0,20} ){1,3}(?:street|st|road|rd|lane|ln|avenue|ave|drive|way|square|close|court|place|terrace"
    r"|grove|hill|row|boulevard|blvd|quay|crescent|gardens|yard|walk|mews)\b"
    r"|\b(?:rue|avenue|boulevard|place|quai|via|viale|piazza|corso|calle|plaza|avenida|paseo|rua|praca|largo|ulica|ul\.) [^\W\d_].{0,40}\d"
    r"|[^\W\d_] (?:street|road|lane|avenue|square), [^\W\d_]"
    # A part of a building: "Canal Yard 3, second floor"
    r"|[^\W\d_] (?:yard|house|hall|building|wharf|court|park) \d{1,3}\b|, (?:ground|first|second|third|\d(?:st|nd|rd|th)) floor\b"
    # Postcodes with their town
    r"|[^\W\d_],? [a-z]{1,2}\d{1,2}[a-z]? ?\d[a-z]{2}\b|\b\d{5} [^\W\d_]{3}"
    r"|[^\W\d_](?:strasse|str\.?|weg|platz|gasse|allee|damm|straat|laan|plein) \d"
)


def is_address(row: str) -> bool:
    """Find whether a row has a street with a house's number or a town, or a postcode."""
    return _ADDRESS.search(plain(row)) is not None


# A row of a timetable that has hours and minutes without a sign between: "Town Hall 0816 0916 1016"
_BARE_TIME = re.compile(r"(?<!\S)(?:[01]\d|2[0-3])[0-5]\d(?!\S)")
_LEAST_BARE = 3


def times(rows: Iterable[str]) -> list[str]:
    return unique(text for row in rows for text in _times(row))


def _times(row: str) -> list[str]:
    bare = _BARE_TIME.findall(row)
    return bare if len(bare) >= _LEAST_BARE and bare == sorted(bare) else matches((_TIME,), row)


def numbers(rows: Iterable[str]) -> list[str]:
    """Return every separate number, with the letters and signs that belong to it."""
    return unique(text.rstrip(".,:/-") for row in rows for text in matches((_NUMBER,), row))


def dose(rows: Sequence[Row]) -> str | None:
    """Return the sentences that say how much to take, whole, also where they go on in the next row."""
    most = median([row.height for row in rows] or [0])
    text = [row for row in rows if row.height <= _HEADING * most]
    # A row with a capital letter begins a sentence, and the size of the box is in none about a rhythm.
    whole = "".join(
        f"\n{row.text}" if row.apart or row.text[:1].isupper() else f" {row.text}" for row in text
    )
    found = [
        text.strip()
        for text in _SENTENCE.findall(whole)
        if _DOSES.search(plain(text)) and (COUNT.search(plain(text)) is not None)
    ]
    rhythms = [text for text in found if _RHYTHM.search(plain(text))]
    return " ".join((rhythms or found)[:_MOST_DOSES]) or None


# Least likeness of a misread text to the one that is asked about
_LIKE = 0.82


def says(rows: Sequence[str], target: str) -> str | None:
    """Return the row with the target, or with it in a few misread letters; None without one."""
    wanted = letters(target)
    if not wanted:
        return None
    for row in rows:
        if wanted in letters(row):
            return row
    whole = letters(" ".join(rows))
    if wanted in whole:
        return " ".join(rows)
    # Short words are too often a letter away from others.
    if len(wanted) < 5:
        return None
    for row in rows:
        text = letters(row)
        for start in range(max(1, len(text) - len(wanted) + 1)):
            window = text[start : start + len(wanted)]
            if SequenceMatcher(None, window, wanted, autojunk=False).ratio() >= _LIKE:
                return row
    return None


def similar(one: str, other: str) -> bool:
    """Find whether two rows are probably two readings of the same text."""
    a, b = letters(one), letters(other)
    return a == b or SequenceMatcher(None, a, b, autojunk=False).ratio() >= 0.8


def letters(text: str) -> str:
    return "".join(char for char in plain(text) if char.isalnum())


def matches(patterns: Iterable[re.Pattern[str]], row: str) -> list[str]:
    """Return all matches, left to right; of two that overlap, the first pattern's."""
    taken: list[tuple[int, int]] = []
    found: list[tuple[int, str]] = []
    for pattern in patterns:
        for match in pattern.finditer(row):
            if not any(match.start() < end and start < match.end() for start, end in taken):
                taken.append(match.span())
                found.append((match.start(), match.group().strip()))
    return [text for _, text in sorted(found)]


def unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


# Finds opening hours and departures in rows of text. Pure.

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
        self.one = re.compile(rf"(?<![^\W\d_])(?P<first>{name})s?(?![^\W\d_])\.?")
        self.range = re.compile(
            rf"(?<![^\W\d_])(?P<first>{name})\.?(?:\s?[-–—~至到]\s?|\s(?:to|bis|au|a|through|thru|по)\s)(?P<last>{name})(?![^\W\d_])\.?"
        )


@cache
def _days() -> _Days:
    return _Days()


_DAILY = printed("daily")
_WEEKDAYS = printed("weekdays")
_WEEKEND = printed("weekend")
_CLOSED = printed("closed")
_ASKS_CLOSED = printed("asks_closed")

# 9:00-18:00, 9-18, 9am - 5 pm, 9h-18h30
_CLOCK = r"(?:2[0-4]|[01]?\d)(?:\s?[:.：h]\s?[0-5]\d|\s?h(?!\w))?(?:\s?[ap]\.?m\b\.?|\s?uhr)?"

_SPAN = re.compile(
    rf"(?<![\d.,:]){_CLOCK}\s?(?:-|–|—|~|to|bis|a|à|alle|às|as|tot|until|до|至)\s?{_CLOCK}(?![\d:])",
    re.I,
)

_ONE = re.compile(_CLOCK)


# Hours without a day count when they are written as times of day, or stand alone.
_CLOCKED = re.compile(r"\d\s?[:.：h]\s?\d\d|[ap]m\b|\buhr\b|\d\s?h\s?[-–a]|^[\d\s–-]+$")


@dataclass(frozen=True, slots=True)
class Opening:
    """A row of opening hours as written, and its days; empty where it names none."""

    text: str
    days: frozenset[int]


# "Children 5-15 £3.10"
_COSTS = re.compile(r"[€£$¥₺]|\b(?:EUR|CHF|PLN|TL)\b")


def openings(rows: Sequence[Row]) -> list[Opening]:
    """Return the rows of opening hours, joined with their days where those stand above."""
    found: list[Opening] = []
    pending: tuple[str, frozenset[int]] | None = None
    parts = ((row, *part) for row in _with_ends(rows) for part in _parts(row.text.rstrip(".")))
    for row, text, closed in parts:
        folded = plain(text)
        days = weekdays(folded) - closed
        has_hours = tells_hours(text)
        if pending is not None and has_hours and _begins_with_hours(folded):
            found.append(Opening(f"{pending[0]} {text}", pending[1]))
            pending = None
        elif days and has_hours:
            found.append(Opening(text, days))
            pending = None
        elif days and sum(bool(weekdays(plain(cell.text))) for cell in row.cells) < 2:
            # Days side by side are the heads of a table.
            pending = (text, days)
        elif _SPAN.search(folded) and _CLOCKED.search(folded) and not _COSTS.search(row.text):
            # Hours alone go on with those of the row above.
            bare = found and not any(map(str.isalpha, _SPAN.sub("", folded)))
            days = found[-1].days if bare else frozenset()
            found.append(Opening(text, days))
    return found


def _with_ends(rows: Sequence[Row]) -> Iterable[Row]:
    """Return rows, those that end with a day joined with the hours of that day in the next: "Mon-Fri 9-19, Saturday", "9-13"."""
    taken = False
    for row, below in zip_longest(rows, rows[1:]):
        last = row.text.split()[-1:]
        ends = (
            bool(last and weekdays(plain(last[0])))
            and len(row.cells) == 1
            and tells_hours(row.text)
        )
        goes_on = below is not None and ends and _SPAN.match(plain(below.text)) is not None
        if not taken:
            yield replace(row, text=f"{row.text} {below.text}") if goes_on else row
        taken = goes_on and not taken


# What stands between the hours of one day and those of the next
_NEXT = re.compile(r"[,;]\s+")


def _parts(text: str) -> list[tuple[str, frozenset[int]]]:
    """Return the parts of a row that each have their days and hours, and the days on which another part says that it is closed."""
    parts = [""]
    for part in _NEXT.split(text):
        new = tells_hours(parts[-1]) and weekdays(plain(part))
        parts[-1:] = [parts[-1], part] if new else [f"{parts[-1]}, {part}" if parts[-1] else part]
    if len(parts) == 1 or not all(map(tells_hours, parts)):
        return [(text, frozenset())]
    shut = set(filter(is_closed, parts))
    closed = frozenset().union(*(weekdays(plain(one)) for one in shut))
    return [(one, frozenset() if one in shut else closed) for one in parts]


def is_closed(text: str) -> bool:
    """Find whether a text says that something is closed, and no hours."""
    folded = plain(text)
    return _CLOSED.search(folded) is not None and _SPAN.search(_without_days(folded)) is None


def tells_hours(text: str) -> bool:
    """Find whether a text has opening hours, or says that something is closed."""
    folded = plain(text)
    return _SPAN.search(_without_days(folded)) is not None or _CLOSED.search(folded) is not None


def _begins_with_hours(folded: str) -> bool:
    """Find whether a row has hours before any day: "from 10 to 18, Thursdays until 21"."""
    day = _days().one.search(folded)
    span = _SPAN.search(_without_days(folded))
    return day is None or (span is not None and span.start() < day.start())


_HOURS = printed("hours")
_LONGER = re.compile(r"[^\W\d_]{3,}")


def is_pure(one: Opening) -> bool:
    """Find whether a row has little beside days and hours: "Seen from 9:12 to 9:21 on 3 May" is of no door."""
    return len(_beside_hours(one)) < _MUCH and not dates(one.text)


def names_place(one: Opening) -> bool:
    """Find whether a row has a word beside days and hours: "Café, 7.30 to 19.00"."""
    return bool(_beside_hours(one))


def _beside_hours(one: Opening) -> list[str]:
    rest = _without_days(plain(one.text))
    for pattern in (_DAILY, _WEEKDAYS, _WEEKEND, _CLOSED, _HOURS):
        rest = pattern.sub(" ", rest)
    return _LONGER.findall(rest)


# Words beside a row's hours from which it is a text
_MUCH = 2


def names_closed(asked: str) -> bool:
    """Find whether a question, as `plain` text, asks whether something is closed, or closes."""
    return _ASKS_CLOSED.search(asked) is not None


_DAY = 24 * 60
_NOON = 12 * 60


def open_until(found: Iterable[Opening], weekday: int, clock: dt.time) -> str | None:
    """Return when what is open at a time of day closes, as written; None while it is closed."""
    now = 60 * clock.hour + clock.minute
    for one in found:
        for begin, end, _, closes in _spans(one.text):
            today = not one.days or weekday in one.days
            # Of yesterday's hours, those after midnight
            before = not one.days or (weekday - 1) % 7 in one.days
            if (today and begin <= now < end) or (before and now < end - _DAY):
                return closes
    return None


def opens_at(found: Iterable[Opening], weekday: int, clock: dt.time) -> str | None:
    """Return when it opens next on the same day, as written; None where it does not."""
    now = 60 * clock.hour + clock.minute
    later = (
        (begin, opens)
        for one in found
        if not one.days or weekday in one.days
        for begin, _, opens, _ in _spans(one.text)
        if begin > now
    )
    return min(later, default=(0, None))[1]


def _spans(text: str) -> Iterable[tuple[int, int, str, str]]:
    """Return when each of a row's hours begin and end: in minutes of the day, and as written.

    Hours that go on after midnight end later than the day.
    """
    folded = plain(text)
    shown = text if len(folded) == len(text) else folded
    for match in _SPAN.finditer(_without_days(folded)):
        first, last = islice(_ONE.finditer(folded, *match.span()), 2)
        begin, end = minutes(first.group()), minutes(last.group())
        halves = [_HALF.search(one.group()) is not None for one in (first, last)]
        if not any(halves) and end <= begin < _NOON:
            # "9 - 6"
            end += _NOON
        elif halves == [False, True] and begin + _NOON < end:
            # "1 - 5 pm"
            begin += _NOON
        if end <= begin:
            end += _DAY
        opens, closes = (shown[one.start() : one.end()].strip() for one in (first, last))
        yield begin, end, opens, closes


_HALF = re.compile(r"([ap])\.?m")


def minutes(clock: str) -> int:
    """Return the minute of the day of a time as written: "18", "18:30", "6 pm", "18h30", "1830"."""
    numbers = [int(one) for one in re.findall(r"\d\d?", clock)]
    hour, minute = numbers[0], numbers[1] if len(numbers) > 1 else 0
    if half := _HALF.search(clock):
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
    alone = not any(map(str.isalpha, _days().one.sub("", folded)))
    for match in _days().one.finditer(folded):
        is_day = alone or len(match["first"]) > _SHORT
        if is_day or any(one(folded, match.end()) for one in (_GOES_ON.match, _CLOSED.search)):
            found.add(_days().numbers[match["first"]])
    return frozenset(found)


# Letters of a day's name that may be another word ("do", "so"), and what follows it where it is a day
_SHORT = 2
_GOES_ON = re.compile(r"\s?(?:[:,;/&+–—-]|\d|(?:und|and|et|y|e|i)\b)")


def departure(rows: Sequence[Row], words: Sequence[str] = ()) -> Figure | None:
    """Return the first time of the row with the most of the words, of which it has one at least; without words, of all rows."""
    timed = [Figure(found[0], row) for row in rows if (found := times([row.text]))]
    hits = [count_named(one.row.text, words) for one in timed]
    most = max(hits, default=0)
    return timed[hits.index(most)] if timed and (most or not words) else None


def _without_days(folded: str) -> str:
    for pattern in (_days().range, _days().one):
        folded = pattern.sub(lambda match: " " * len(match.group()), folded)
    return folded
