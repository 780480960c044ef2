"""Answers from print about dates, times, durations, opening hours and departures, with the row that has it. Pure."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Sequence
from itertools import pairwise, takewhile

from server.features.builtin import fields, measures, prices, tables
from server.features.builtin.fields import letters
from server.features.builtin.lines import MOST_HEADING, Figure, Row, row_of
from server.features.builtin.speaker import PAGE, PRINTED, SOME, Answer, Speaker, has_digit
from server.features.builtin.telling import (
    YEAR,
    addresses,
    figure_row,
    hits_of,
    names_some,
    naming,
    of_feast,
    untitled,
)
from server.features.builtin.text_answers import TRAVEL, none_found
from server.features.builtin.wants import Want
from server.features.builtin.wordings import FIRST, LAST, NEXT, ORDER, PAYS
from server.models.routing import plain
from server.shared.dates import Date, dates, names_month, order_in

# What stands beside the time of a departure, or above it
_LEAVES, _ARRIVES = ("departs",), ("arrives",)


# The heading of a board of departures
_DEPARTURES = re.compile(
    r"\b(?:departures?|abfahrt|abflug|departs?|salidas|partenze|partidas|vertrek|odjazdy|odloty)\b"
)
# Words with which a question is about an arrival, not a departure
_ARRIVALS = ("arriv", "ankunft", "kommt", "llega", "chega", "aankom", "прибы", "到达")


# Words of "How long does it keep?" that name nothing
_LONG = frozenset({"long", "lange", "lang", "longtemps", "temps", "tiempo", "tempo"})


# It may be said of a bill, of an offer, of a shop.
_BY_WHEN = re.compile(
    r"\b(?:by when|until when|till when|bis wann|jusqu'a quand|pour quand|hasta cuando|para cuando|fino a quando|entro quando"
    r"|ate quando|tot wanneer|do kiedy|ne zamana kadar)\b|до какого|до коли|до когда"
)


def expiry(s: Speaker) -> Answer:
    if s.intent.weekday is not None and s.words and _BY_WHEN.search(s.intent.asked):
        # "Until when are they open on Thursday?"
        return opening(s)
    texts = [row.text for row in s.rows]
    lasts = {id(one.row) for one in measures.measures(s.rows, Want.DURATION)}
    words = [word for word in s.words if word not in _LONG]
    if told := [row for row in naming(s, words) if id(row) in lasts]:
        # "How long does it keep once open?"
        return s.quote(told[0])
    order = order_in(texts)
    named = _below_until(s) or fields.expiry(texts, order)
    ends = [row for row in s.rows if fields.EXPIRY_ROW.search(plain(row.text))]
    if len(ends) == 1 and (end := _ending(s, ends[0], named)) is not None:
        return end
    timed = [row for row in naming(s, s.words) if fields.times([row.text])]
    if named is None and len(timed) == 1:
        # "Until when is the pool open?"
        return s.quote(timed[0])
    if named is not None and s.intent.yes_no and s.words:
        # "Is it safe to eat for vegans?"
        of_it = [row for row in s.rows if named.text in row.text]
        return s.closest_of(of_it or [row_of(named.text)])
    if named is not None:
        return s.sentence(s.say("expiry", value=named.clear), _passed(s, named)), ""
    by = _BY_WHEN.search(s.intent.asked) is not None
    if (s.words or by) and (last := fields.until(texts, order)) is not None:
        # "Until when do I have to pay?"
        told = [row for row in s.rows if fields.tells_until(row.text) and has_digit(row)]
        if len(told) > 1:
            # "Kitchen until 19.30" and "Open until 4 October"
            return s.closest_of(told[:SOME])
        return s.sentence(s.say("date", value=last.clear), _passed(s, last)), ""
    found = {one.text: one for text in texts for one in dates(text, order)}
    if found:
        # No row calls one of them an expiry date, so they are only listed below.
        if s.words or by:
            dated = [row for row in s.rows if dates(row.text)]
            of_it = [row for row in dated if names_some(row, s.words)]
            return s.closest_of(of_it or dated[-SOME:])
        if len(found) > 1:
            return s.say("none_expiry"), s.say("values", items=s.items(found))
        (one,) = found.values()
        return s.say("none_expiry"), s.sentence(s.say("date", value=one.clear), _passed(s, one))
    return none_found(s, "none_expiry", s.intent.asked.split())


def _below_until(s: Speaker) -> Date | None:
    """Return the day below the head of a column that tells until when: "Valid from  Valid until"."""
    for header, row in pairwise(s.rows):
        heads = [cell for cell in header.cells if fields.tells_until(cell.text)]
        if len(header.cells) < 2 or len(heads) != 1 or has_digit(header):
            continue
        cell = tables.overlapping(row, heads[0])
        if cell is not None and (found := dates(cell.text)):
            return found[0]
    return None


def _ending(s: Speaker, row: Row, named: Date | None) -> Answer | None:
    """Answer with the only row that says that something ends, where it has an hour or a year, or the hour stands below."""
    if named is None and (fields.times([row.text]) or YEAR.search(row.text)):
        # "Expires: 12:22" and "Expires 2041"
        return s.quote(row)
    at = s.rows.index(row) + 1
    below = [one for one in s.rows[at : at + 2] if fields.times([one.text]) or dates(one.text)]
    if has_digit(row) or not any(fields.times([one.text]) for one in below):
        return None
    # "EXPIRES", and below it "15:40" and the day
    return s.closest_of((row, *below))


# A question about a day, which no time of day answers, and about a year
_DAYS = re.compile(
    r"\b(?:dates?|days?|datum|tag|jour|fecha|dia|data|giorno|dag|dzien|gun|tarih)\b|числ|дат|день|日期|几号|日付|何日|날짜|며칠|تاريخ|तारीख"
)
_YEARS = re.compile(
    r"\b(?:year|jahr|annee|ano|anno|jaar|rok|yil)\b|год|рік|哪年|何年|몇 년|عام|سنة|साल"
)


def _asks_when(s: Speaker) -> bool:
    """Tell "When is it?", which a time of day may answer, from "What is the date?"."""
    return _DAYS.search(s.intent.asked) is None


# "When do I have to pay?"
# A day of a month, "10.12."; also a time, "8:15"
_DAY = re.compile(r"(?<!\d)\d{1,2}\s?[./:-]\s?\d{1,2}(?!\d)")


def date(s: Speaker) -> Answer:
    timed = [row for row in s.rows if dates(row.text)]
    if _YEARS.search(s.intent.asked):
        # "What year is it from?"
        years = [row for row in s.rows if YEAR.search(row.text)]
        return s.closest_of(years) if years else (s.cannot_here, s.seen())
    if _asks_when(s) and fields.openings(s.rows) and (not timed or s.intent.weekday is not None):
        # "When is it open?" and "When are they there on Friday?"
        if s.words and s.intent.weekday is None and not naming(s, s.words):
            # "When do they want breakfast?"
            return s.closest_of(fields.openings(s.rows)[:SOME])
        return opening(s)
    same = [row for row in naming(s, s.words) if fields.times([row.text])]
    if len(same) > 1:
        # "When is boxing?" of a timetable
        return s.closest_of(same[:SOME])
    if (near := _beside_all(s)) is not None:
        # "Gate closes" above "13:05"
        return s.beside(near)
    due = [row for row in timed if fields.tells_until(row.text)]
    pays = [row for row in due if any(map(PAYS.fullmatch, tables.plain_words(row.text)))]
    # "Your next meter reading is due on 28 January" is no bill's day.
    due = pays if len(pays) == 1 else due
    of_sum = all(fields.tells_until(word) or PAYS.fullmatch(word) for word in s.words)
    if len(due) == 1 and s.words and of_sum:
        # "When is it due?": "Please pay by 9 December"
        return s.quote(due[0])
    words = (untitled(s, s.words) if len(s.rows) >= PAGE else ()) or s.words
    best = max((hits_of(row, words) for row in timed), default=0)
    named = [row for row in timed if best and hits_of(row, words) == best]
    at = fields.departure(s.rows, s.words) if s.words and not named else None
    if at is not None:
        # "When do the doors open?"
        return _named(s, at)
    most = max((hits_of(row, words) for row in named), default=0)
    others = [row for row in s.rows if row not in timed and most and hits_of(row, words) == most]
    if others:
        # "Sow from March on" and "Sow by: 12/2028"; "Your new appointment is on" has its day in the next row.
        shown = [id(row) for row in (*others, *named)]
        below = [id(row) for above, row in pairwise(s.rows) if above in others and row in timed]
        return s.closest_of([row for row in s.rows if id(row) in (*shown, *below)])
    headed = _headed(s)
    if headed and not named and any(row not in headed for row in timed):
        # "Story time", and below it "Wednesdays 10.30"
        return s.closest_of(headed)
    row = max(s.rows, key=lambda row: hits_of(row, words))
    folded = plain(row.text)
    told = _DAY.search(folded) or names_month(folded) or fields.weekdays(folded)
    heads = sum(bool(fields.weekdays(plain(cell.text))) for cell in row.cells) > 1
    # "Repeat in 3 months"
    clocked = [one for one in timed if fields.times([one.text])]
    # but not "lasts 30 minutes" where a day with an hour stands
    lasts = len(clocked) != 1 and bool(measures.measures([row], Want.DURATION))
    all_named = (len(words) > 1 or lasts) and has_digit(row)
    all_named = all_named and hits_of(row, words) >= len(words)
    if hits_of(row, words) > most and (told or all_named) and not heads:
        # "Return the books by Friday", "Paper 10.12. and 24.12.", "Next service at 70,000 miles"
        return s.quote(row)
    if timed and s.intent.in_days == 0 and not named:
        # "What day is it today?"
        return s.closest_of(timed[:SOME])
    return _dates_of(s, timed, named)


# Words of a row that says no more than what is on a day
_MOST_WORDS = 8


def _headed(s: Speaker) -> list[Row]:
    """Return rows of words alone that name what is asked about, each with the time or day below it."""
    found = []
    for above, below in pairwise(s.rows):
        told = fields.times([below.text]) or dates(below.text) or fields.weekdays(plain(below.text))
        if told and not has_digit(above) and hits_of(above, s.words) == len(s.words):
            found += [above, below]
    return found if s.words else []


# Characters in which such a day stands
_MOST_BEFORE = 12
# "12 and" of "12 and 13 December"
_FIRST_DAYS = re.compile(
    r"(?<![\w.:/-])\d{1,2}\.? ?(?:-|–|&|to|and|und|bis|et|au|y|al|a|e|en|t/m) ?$", re.I
)


def _days_of(row: str, date: Date) -> str:
    """Return a date as a row has it, with the day before it: "12 and 13 December"."""
    before = row[: row.find(date.text)]
    first = _FIRST_DAYS.search(before[-_MOST_BEFORE:]) if date.text[:1].isdigit() else None
    return f"{first[0]}{date.text}" if first else date.text


def _dates_of(s: Speaker, timed: Sequence[Row], named: Sequence[Row]) -> Answer:
    """Answer with the days in the rows that are named, else in all that have one."""
    found = list(
        dict.fromkeys(_days_of(row.text, one) for row in named or timed for one in dates(row.text))
    )
    if len(found) == 1 and named and len(named[0].text.split()) > _MOST_WORDS:
        # "The cost of the trip is to be paid by 27 November" is no day of the trip.
        return s.quote(named[0])
    clocked = [row for row in timed if fields.times([row.text])]
    if len(found) > 1 and len(clocked) == 1 and not named and _asks_when(s):
        # "When is my appointment?" of a letter with its own day, and one with an hour
        return s.closest_of(clocked)
    lasting = [] if named or not s.words else _lasting(s)
    if found and lasting:
        # "When do I have to be at the gate?" of a boarding pass with its day
        return s.closest_of(lasting)
    if len(found) > 1 and s.words and not naming(s, s.words):
        # The days of a bill do not tell when the bicycle can be fetched.
        return s.cannot_here, s.seen()
    if len(found) == 1:
        second = s.row((named or timed)[0], found[0])
        if not named and _stands_alone(s, timed[0], found[0]):
            # Nothing else can be meant.
            s.sources.clear()
        return s.say("date", value=found[0]), second
    if found and s.words:
        # Which of them is meant is in their rows.
        return s.closest_of((named or timed)[:SOME])
    if found:
        return s.say("values", items=s.items(found)), ""
    if _asks_when(s) and (clocks := fields.times(s.texts)) and (not s.words or naming(s, s.words)):
        # "When should we be there?" of a chat, where each message has a time
        return time(s) if len(clocks) <= SOME or s.words else (s.cannot_here, s.seen())
    return none_found(s, "none_date")


def _lasting(s: Speaker) -> list[Row]:
    """Return the rows that name all that is asked about, if one of them has a time: "Gate closes 15 minutes before"."""
    rows = [row for row in s.rows if tables.names_all(row.text, s.words)]
    timed = (measures.measures([row], Want.DURATION) or fields.times([row.text]) for row in rows)
    return rows if len(rows) <= SOME and any(timed) else []


def _beside_all(s: Speaker) -> tables.Beside | None:
    """Return the day or time beside or below the words that name all that is asked about; None without one."""
    near = tables.beside(s.rows, s.words) if s.words else None
    if near is None or not tables.names_all(near.label, s.words):
        return None
    told = [one.text for one in dates(near.value)] or fields.times([near.value])
    return near if told and _stands_alone(s, row_of(near.value), told[0]) else None


def _arrival(s: Speaker) -> Answer | None:
    """Answer with the time below "Arrives" in the row of a place that somebody wants to get to; None without one."""
    found = tables.crossing(s.rows, (*s.words, *_ARRIVES)) if s.intent.towards else None
    is_arrival = found is not None and tables.names_it(found.column, _ARRIVES[0])
    return s.crossed(found) if found is not None and is_arrival else None


def _stands_alone(s: Speaker, row: Row, date: str) -> bool:
    """Find whether a row has a date and no word that tells of what: "Fri 22 January", "Date 12.12.26"."""
    words = tables.plain_words(row.text.replace(date, " "))
    return all(
        not letters(word) or fields.weekdays(word) or s.language.asks(Want.DATE, word)
        for word in words
    )


# A figure that may be an hour, and not "B7"
_FIGURE = re.compile(r"(?<!\w)\d++(?![A-Z])")


def _may_tell(row: Row) -> bool:
    """Find whether a row has an hour that is not written as one, or a text with a figure."""
    long = len(row.text.split()) > MOST_HEADING and len(row.cells) < 2
    return has_digit(row) and bool(_FIGURE.search(row.text) or long)


def time(s: Speaker) -> Answer:
    timed = _clocked(s)
    same = [row for row in naming(s, s.words) if row in timed]
    if 1 < len(same) <= SOME and _have_days(same):
        # "What time is boxing?" of a timetable
        return s.closest_of(same)
    if not timed:
        return none_found(s, "none_time")
    lasts = {id(one.row) for one in measures.measures(s.rows, Want.DURATION)}
    named = [row for row in s.rows if names_some(row, s.words) and not prices.tags([row])]
    row = next((row for row in named if _may_tell(row) and id(row) not in lasts), None)
    if row is not None and not any(row in timed for row in named):
        # "10.00 Feeding the rabbits", and "Open 9.30 – 17.00 uur"
        return s.quote(row)
    largest = max(timed, key=lambda row: row.height)
    found = fields.times([row.text for row in timed])
    larger = largest.height > 1.3 * sorted(row.height for row in timed)[-2:][0]
    if len(found) == 1 or (larger and not s.words):
        shown = fields.times([largest.text])[0]
        return s.say("time", value=shown), s.row(largest, shown)
    if row is not None:
        # "Dinner at 8", and "Put the bin out by 7.30" before "Green bin: 2 and 16 December"
        return s.quote(next((one for one in named if one in timed), row))
    if s.words:
        return s.closest_of(timed[:SOME])
    return s.say("values", items=s.items(found)), ""


def _have_days(rows: Sequence[Row]) -> bool:
    return all(fields.weekdays(plain(row.text)) for row in rows)


# It asks for the days on which it is not open, and not for the hour at which it closes.
_SHUT = re.compile(
    r"\bclosed|geschlossen|ruhetag|\bfermee?s?\b|cerrad|chius|fechad|gesloten|zamkniet|kapali|закрыт|зачинен|休"
)


def _closed(s: Speaker, found: Sequence[fields.Opening]) -> list[fields.Opening]:
    """Return the rows that a question "When is it closed?" asks for; none for another one."""
    if s.intent.yes_no or s.intent.weekday is not None or not _SHUT.search(s.intent.asked):
        return []
    return [one for one in found if fields.is_closed(one.text)]


def _tells_when(text: str) -> bool:
    return bool(fields.times([text]) or fields.weekdays(text) or dates(text))


def opening(s: Speaker) -> Answer:
    found = fields.openings(s.rows)
    if not found:
        return none_found(s, "none_hours")
    asked = [word for word in s.words if not _DAYS.search(word)]
    named = [one for one in found if tables.names_any(one.text, asked)]
    if named := named or _closed(s, found):
        return _hours_of(s, named)
    places = addresses(s)
    rows = (row for row in s.rows if _may_tell(row) and not s.is_large(row) and row not in places)
    words = untitled(s, asked)
    if (row := next((row for row in rows if names_some(row, words)), None)) is not None:
        # "When is yoga on Friday?", and not "Is the surgery open?" of one on the second floor
        text = plain(row.text)
        if not s.intent.yes_no or fields.names_closed(text) or _tells_when(text):
            return s.quote(row)
    day = s.weekday
    if s.intent.other_time:
        return _at_another_time(s, found, day)
    pure = [one for one in found if fields.is_pure(one)]
    of_other = len(asked) > 1 and all(map(fields.names_place, pure))
    if not pure or of_other:
        # "Seen on 3 May from 9:12 to 9:21" says nothing of a door, and "Café, 7.30 to 19.00" nothing of a ward.
        return s.closest_of(found[:SOME])
    found = pure
    everything = s.items((one.text for one in found), 7)
    of_day = s.today.weekday() if day is None else day
    if not any(any(map(str.isdigit, one.text)) or of_day in one.days for one in found):
        # "Closed on Mondays" tells not whether it is open on a Saturday.
        return s.closest_of(found)
    if (said := _now(s, found)) is not None:
        return said, s.say("hours", items=everything)
    if day is not None:
        here = [one.text for one in found if day in one.days]
        if here:
            return s.say("hours_day", items=s.items(here)), ""
        if any(one.days for one in found):
            return s.say("no_day"), s.say("hours", items=everything)
    # Many of no day are hours to choose from.
    choice = len(found) > _MOST_HOURS and not any(one.days for one in found)
    return s.say("values" if choice else "hours", items=everything), ""


# Days on which other hours hold
_HOLIDAY = tables.printed("holiday")


def _at_another_time(s: Speaker, found: Sequence[fields.Opening], day: int | None) -> Answer:
    """Answer "Is it open at noon?" and "on Christmas Eve?" with the hours of that day, and with special ones."""
    dated, feast = naming(s, [word for word in s.words if word[:1].isdigit()]), of_feast(s)
    special = [
        row
        for row in s.rows
        if s.words and (row in feast or row in dated or _HOLIDAY.search(plain(row.text)))
    ]
    of_day = [one for one in found if day is None or day in one.days]
    return s.closest_of([*special, *(of_day or found)])


def _hours_of(s: Speaker, named: Sequence[fields.Opening]) -> Answer:
    """Answer with the hours that a word of the question stands beside: "Is it closed on holidays?"."""
    texts, day = [one.text for one in named], s.intent.weekday
    if day is not None and any(one.days and day not in one.days for one in named):
        return s.closest_of(named)
    if day is None and not s.intent.other_time:
        if any(
            not any(tables.names_it(text, word) for text in texts) for word in untitled(s, s.words)
        ):
            # "When does the park close in summer?", and not for mowing
            return s.closest_of(named)
        return s.say("reads", text=s.items(texts)), ""
    return s.say("hours_day", items=s.items(texts)), ""


# Rows of one day's hours: two, where it closes at noon
_MOST_HOURS = 2


def _now(s: Speaker, found: list[fields.Opening]) -> str | None:
    """Say whether it is open now, and until when; None for a question about another time."""
    intent = s.intent
    if s.clock is None or intent.weekday is not None or intent.in_days:
        return None
    end = fields.open_until(found, s.today.weekday(), s.clock)
    now = s.clock.strftime("%H:%M")
    if fields.names_closed(intent.asked):
        # "Is it closed?" and "When does it close?"
        if end:
            return s.say("still_open", value=end, now=now)
        return s.say("now_closed", now=now) if intent.yes_no else None
    if not intent.yes_no:
        return None
    if end:
        return s.say("open_now", value=end, now=now)
    begin = fields.opens_at(found, s.today.weekday(), s.clock)
    return s.sentence(s.say("closed_now", now=now), s.say("opens_at", value=begin) if begin else "")


# A time in a row of a stop's timetable, as `calendars` has it
_CLOCK = re.compile(r"\d{1,2}:\d\d")


# An hour of each of two days, and one more
_LEAST_COLUMNS = 4


def _head_of(row: Row) -> str:
    """Return the head of a row that has nothing else than times of day: "Saturday"; "" for any other row."""
    words = row.text.split()
    head = list(takewhile(lambda word: not word[:1].isdigit(), words))
    times = words[len(head) :]
    return " ".join(head) if times and all(map(_CLOCK.fullmatch, times)) else ""


def _of_stop(s: Speaker) -> Answer | None:
    """Answer with the next, first or last time of a day in a stop's timetable; None without one, or for another place."""
    day = s.weekday if s.weekday is not None else s.today.weekday()
    columns = [(row, head) for row in s.rows if (head := _head_of(row))]
    clocks = sorted(
        (fields.minutes(clock), clock, row.text)
        for row, head in columns
        if day in fields.weekdays(plain(head))
        for clock in fields.times([row.text])
    )
    others = [word for word in s.words if not _is_when(s, word)]
    if len(columns) < _LEAST_COLUMNS or any(not naming(s, [word]) for word in others):
        return None
    named = fields.times([s.intent.question])
    is_today = s.intent.weekday is None and not s.intent.in_days
    now = 60 * s.clock.hour + s.clock.minute if s.clock is not None and is_today else 0
    least = fields.minutes(named[0]) if named else now if FIRST.isdisjoint(s.words) else 0
    after = [one for one in clocks if one[0] >= least]
    if not after:
        return None
    minutes, clock, text = after[0 if LAST.isdisjoint(s.words) else -1]
    # Its words are the day, the hour and the way.
    s.sources[text] = " ".join(s.words)
    hours = {int(one.partition(":")[0]) for row, _ in columns for one in fields.times([row.text])}
    if least and not hours.issuperset(range(least // 60, minutes // 60)):
        # An hour before it was not read.
        return s.closest()
    return s.say("departure", value=clock), s.say("row", text=text)


def _is_when(s: Speaker, word: str) -> bool:
    """Find whether a word of a question says when a bus is wanted: a day, an hour, the next one."""
    if word in TRAVEL | ORDER or not letters(word).isalpha() or fields.weekdays(word):
        return True
    times = ("today", "tomorrow", "other_time")
    return any(s.language.common(name).search(word) for name in times)


# Above all departures or arrivals
_BOARD = re.compile(
    r"\b(?:departures|arrivals|abfahrten|abfluge|salidas|llegadas|partenze|arrivi|partidas|chegadas|vertrektijden|odjazdy)\b"
)


def departure(s: Speaker) -> Answer:
    timed = _clocked(s)
    is_board = len(timed) > 2 and _BOARD.search(plain(timed[0].text))
    if is_board and not s.intent.asked.startswith(_ARRIVALS):
        # "Departures 14:31": the time is that of the board.
        s.rows = [row for row in s.rows if row is not timed[0]]
    return _of_stop(s) or _of_rows(s)


def _of_rows(s: Speaker) -> Answer:
    words = [word for word in s.words if word not in TRAVEL | ORDER]
    if (clock := figure_row(s)) is not None:
        # "Which train leaves at 14:20?"
        return s.quote(clock)
    if (of_day := _below_day(s)) is not None:
        gone = s.cannot_here, s.seen()
        return (s.say("departure", value=of_day), "") if of_day else gone
    cross = tables.crossing(s.rows, words) if len(words) > 1 else None
    if cross is not None:
        return s.crossed(cross)
    places = [word for word in words if len(word) > 2]
    found = fields.departure(s.rows, places) if places else None
    is_arrival = s.intent.asked.startswith(_ARRIVALS)
    if found is None and not naming(s, places) and (told := _told(s, is_arrival)) is not None:
        return told
    if found is None and (named := naming(s, places)) and (timed := _clocked(s)):
        # Which of the times belongs to the place is in the rows.
        return s.closest_of((*named, *timed)[:SOME])
    if found is None and not places:
        found = fields.departure(s.rows)
        asked = [row for row in s.rows if names_some(row, s.intent.asked.split())]
        if len(asked) == 1 and len(fields.times([asked[0].text])) > 1:
            # "Arrive from 2 pm, leave by 11 am"
            return s.quote(asked[0])
    if found is None:
        return s.cannot_here, s.seen()
    if (several := _of_several(s, found.row, places)) is not None:
        return several
    if _is_gone(s, found.text):
        return s.cannot_here, s.seen()
    if is_arrival:
        return _named(s, found)
    return s.say("departure", value=found.text), s.row(found.row, found.text)


def _below_day(s: Speaker) -> str | None:
    """Return the next, first or last time in the column of the day that is asked about, or of a list of nothing but times.

    "" where all are gone; None without one.
    """
    asked = [word for word in s.words if not _is_when(s, word)]
    if asked or ORDER.isdisjoint(s.words) or s.clock is None:
        return None
    days = fields.weekdays(plain(s.intent.question))
    day = min(days) if days and s.weekday is None else s.weekday
    day = s.today.weekday() if day is None else day
    for at, header in enumerate(s.rows):
        heads = [(cell, fields.weekdays(plain(cell.text))) for cell in header.cells]
        mine = [cell for cell, days in heads if day in days]
        if sum(map(bool, (days for _, days in heads))) < 2 or len(mine) != 1:
            continue
        cells = (tables.overlapping(row, mine[0]) for row in s.rows[at + 1 :])
        clocks = _with_rhythm([cell.text for cell in cells if cell])
        if clocks:
            return _chosen(s, clocks, every=bool(days))
    texts = [row.text for row in _clocked(s)]
    clocks = fields.times(texts)
    minutes = [fields.minutes(one) for one in clocks]
    alone = all(_CLOCK.fullmatch(word) for text in texts for word in text.split())
    if not alone or days or len(clocks) < 2 or minutes != sorted(minutes):
        return None
    return _chosen(s, clocks, every=False)


def _chosen(s: Speaker, clocks: Sequence[str], *, every: bool) -> str:
    """Return the next, first or last of these times; "" where all are gone. `every`: also of those that are."""
    left = [one for one in clocks if every or not _is_gone(s, one)]
    return left[-1 if LAST.intersection(s.words) else 0] if left else ""


# "then every 30 min until", and the minutes of an hour
_EVERY = re.compile(
    r"\b(?:every|alle|jede|toutes les|cada|a cada|ogni|elke|iedere|om de|co) (?:(\d{1,2}) ?(?:min|m\b|minut)|(?:hour|stunde|heures?|hora|ora|uur|godz))|\bhourly\b|\bstundlich\b"
)
_HOUR = 60


def _with_rhythm(cells: Sequence[str]) -> list[str]:
    """Return the times of a column, also those that it does not write out: "09:52", "then every 30 min until", "17:22"."""
    found: list[str] = []
    every = 0
    for cell in cells:
        clocks = fields.times([cell])
        if every and found and clocks:
            ends = fields.minutes(clocks[0])
            between = range(fields.minutes(found[-1]) + every, ends, every)
            found += [f"{one // _HOUR:02}:{one % _HOUR:02}" for one in between]
        found += clocks
        if told := _EVERY.search(plain(cell)):
            every = int(told[1] or _HOUR)
        elif clocks:
            every = 0
    return found


def _is_gone(s: Speaker, clock: str) -> bool:
    """Find whether the next departure is asked for, and this one is earlier than now."""
    if NEXT.isdisjoint(s.words) or s.clock is None or s.intent.weekday is not None:
        return False
    return not s.intent.in_days and fields.minutes(clock) < 60 * s.clock.hour + s.clock.minute


def _told(s: Speaker, is_arrival: bool) -> Answer | None:
    """Answer with the time beside the word for a departure, or for an arrival; None without one."""
    near = tables.beside(s.rows, _ARRIVES if is_arrival else _LEAVES, digits=True)
    clocks = fields.times([near.value]) if near is not None else []
    if near is None or not clocks:
        return None
    said = s.say("time" if is_arrival else "departure", value=clocks[0])
    return said, s.row(near.row, clocks[0])


def _of_line(s: Speaker, row: Row) -> str | None:
    """Return the first, the last or the next of a line's times, which stand in a row; None where that is not asked for."""
    clocks = fields.times([row.text])
    minutes = [fields.minutes(one) for one in clocks]
    if len(clocks) < 2 or minutes != sorted(minutes) or len(row.cells) <= len(clocks):
        return None
    if s.intent.towards:
        # At the place it arrives then.
        return None
    if not LAST.isdisjoint(s.words):
        return clocks[-1]
    if not FIRST.isdisjoint(s.words):
        return clocks[0]
    if NEXT.isdisjoint(s.words) or s.clock is None or s.intent.weekday is not None:
        return None
    days = [named for one in s.rows if (named := fields.weekdays(plain(one.text)))]
    if any(s.today.weekday() not in named for named in days[:1]):
        # "Monday to Friday" above the lines
        return None
    now = 60 * s.clock.hour + s.clock.minute
    return next((one for one, at in zip(clocks, minutes, strict=True) if at >= now), None)


def _in_order(s: Speaker, rows: Sequence[Row]) -> Row | None:
    """Return the last or the next of several departures, one a row; None where that is not asked for, or all are gone."""
    minutes = [fields.minutes(fields.times([row.text])[0]) for row in rows]
    if minutes != sorted(minutes):
        return None
    if not LAST.isdisjoint(s.words):
        return rows[-1]
    if NEXT.isdisjoint(s.words) or s.clock is None or s.intent.weekday is not None:
        return None
    now = 60 * s.clock.hour + s.clock.minute
    return next((row for row, at in zip(rows, minutes, strict=True) if at >= now), None)


def _of_several(s: Speaker, row: Row, places: Sequence[str]) -> Answer | None:
    """Answer with all departures to a place, or all times of one; None where there is one alone, or the next is asked for."""
    if (clock := _of_line(s, row)) is not None:
        return s.say("departure", value=clock), s.row(row, clock)
    same = [one for one in naming(s, places) if fields.times([one.text])]
    if 1 < len(same) <= SOME and row in same and ORDER.isdisjoint(s.words):
        return s.closest_of(same)
    if len(same) > 1 and (one := _in_order(s, same)) is not None:
        clock = fields.times([one.text])[0]
        return s.say("departure", value=clock), s.row(one, clock)
    if len(row.cells) > 1 and len(fields.times([row.text])) > 1:
        # What is expected stands beside what is planned, or one bus beside the next.
        days = [one for one in s.rows[: s.rows.index(row)] if fields.weekdays(plain(one.text))]
        other = [one for one in days if s.today.weekday() not in fields.weekdays(plain(one.text))]
        # "Monday to Friday", on a Saturday
        return s.closest_of((*other[:1], row)) if other else s.quote(row)
    return None


def _clocked(s: Speaker) -> list[Row]:
    """Return the rows with a time of day."""
    return [row for row in s.rows if fields.times([row.text])]


def _named(s: Speaker, found: Figure) -> Answer:
    """Answer with a time and the word beside it, or with an arrival's."""
    if (told := _arrival(s)) is not None:
        return told
    if any(_DEPARTURES.search(plain(row.text)) for row in s.rows[:PRINTED]):
        # A board of departures tells no arrival.
        return s.closest_of([found.row])
    cells = [cell.text for cell in found.row.cells]
    label = next((one for one in cells if tables.names_any(one, s.words)), "")
    if found.text in label or not label:
        return s.say("time", value=found.text), s.row(found.row, found.text)
    return s.say("beside", label=label, value=found.text), s.row(found.row, found.text, label)


def _passed(s: Speaker, date: Date) -> str:
    """Say whether a day has passed, and which days it may be when day and month are not clear."""
    ends = sorted(_last_days(date))
    if not ends:
        return ""
    said = ""
    if len(ends) > 1:
        said = s.say("either", first=ends[0].isoformat(), second=ends[1].isoformat())
    for key, holds in (
        ("is_past", all(end < s.today for end in ends)),
        ("is_today", all(end == s.today for end in ends)),
        ("is_ahead", all(end > s.today for end in ends)),
    ):
        if holds:
            return s.sentence(said, s.say(key))
    return said


def _last_days(date: Date) -> list[dt.date]:
    """Return the last day that a date can mean, for each possible order of day and month."""
    if date.year is None:
        return []
    orders = [(date.month, date.day)]
    if date.either and date.day is not None:
        orders.append((date.day, date.month))
    found = []
    for month, day in orders:
        last = calendar.monthrange(date.year, month)[1]
        found.append(dt.date(date.year, month, min(day or last, last)))
    return found


# The head of a column of durations
_MINUTES = re.compile(r"\b(?:min(?:ute[ns]?|uti|utos)?|zeit|dauer|duree|temps|time)\b")
_LENGTH = re.compile(
    r"\d\s?(?:[kcm]?m|kilomet\w+|met(?:re|er|ro)s?|miles?|ft|feet|inch\w*)\b", re.I
)
# How long, as displays have it
_LASTS = re.compile(r"\d{1,2}:\d\d(?::\d\d)?")


# "Please arrive 15 minutes before the film starts" tells not how long it is.
_AHEAD = re.compile(
    r"\b(?:minut\w*|min|stunden?|heures?|ore|horas?|hours?) (?:before|vor|avant|antes|prima|voor)\b"
)


def duration(s: Speaker) -> Answer:
    """Answer with the row of what is named that tells how long; else the rows that do come closest."""
    near = tables.beside(s.rows, s.words) if s.words else None
    if near is not None and _LASTS.fullmatch(near.value):
        # "Time left", and below it "1:48"
        return s.beside(near)
    if (below := tables.below_unit(s.rows, s.words, _MINUTES)) is not None:
        return s.crossed(below)
    found = {id(one.row) for one in measures.measures(s.rows, Want.DURATION)}
    lasts = [row for row in s.rows if id(row) in found]
    lasts = [row for row in lasts if not _AHEAD.search(plain(row.text))] or lasts
    named = [row for row in naming(s, s.words) if row in lasts or id(row) not in found]
    if told := [
        [row, below]
        for row, below in pairwise(s.rows)
        if id(below) in found and prices.is_item(row, s.words)
    ]:
        # "2 Classic £8", and below it "foam and dry, 7 min"
        return s.closest_of(told[0])
    both = [row for row in named if id(row) in found]
    if len(both) == 1:
        text, second = s.quote(both[0])
        # "Oven 180 °C" stands beside "45 minutes".
        timed = measures.measures([row_of(text)], Want.DURATION)
        return text if timed else s.say("reads", text=both[0].text), second
    if not lasts and len(long := [row for row in s.rows if _LENGTH.search(row.text)]) == 1:
        # "How long is the race?"
        return s.closest_of(long)
    if not lasts:
        return none_found(s, "none_measure")
    return s.closest_of((both or [*named[:1], *lasts])[:SOME])
