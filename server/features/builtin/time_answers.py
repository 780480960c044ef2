"""Answers about dates, times, opening hours and departures. Pure."""

from __future__ import annotations

import calendar
import datetime as dt

from server.features.builtin import fields, hours, tables
from server.features.builtin.speaker import Answer, Speaker
from server.features.builtin.tables import plain_words

# Words of a question about departures that name no destination
_TRAVEL = frozenset(
    plain_words(
        "train bus tram flight next zug nächste nächster bahn flug prochain tren autobús próximo поезд автобус "
        "leave leaves depart departs time uhr heure hora does when"
    )
)
# Words with which a question is about an arrival, not a departure
_ARRIVALS = ("arriv", "ankunft", "kommt", "llega", "прибы", "到达")


def expiry(s: Speaker) -> Answer:
    texts = [row.text for row in s.rows]
    named = fields.expiry(texts)
    if named is not None:
        return s.sentence(s.say("expiry", value=named.text), _passed(s, named)), s.scripts()
    if any(fields.dates(text) for text in texts):
        # No row calls one of them an expiry date, so they are only listed below.
        return s.say("none_expiry"), date(s)[0]
    return s.say("none_expiry"), s.seen()


def date(s: Speaker) -> Answer:
    timed = [row for row in s.rows if fields.dates(row.text)]
    named = [row for row in timed if any(tables.names_it(row.text, word) for word in s.words)]
    found = list(
        dict.fromkeys(one.text for row in named or timed for one in fields.dates(row.text))
    )
    if len(found) == 1:
        second = s.row((named or timed)[0], found[0])
        return s.say("date", value=found[0]), second
    if found:
        return s.say("values", items=s.items(found)), s.scripts()
    if fields.times(s.texts):
        return time(s)
    return s.say("none_date"), s.seen()


def time(s: Speaker) -> Answer:
    leaves = hours.departure(s.rows, s.words) if s.words else None
    if leaves is not None:
        return _named(s, leaves)
    timed = [row for row in s.rows if fields.times([row.text])]
    if not timed:
        return s.say("none_time"), s.seen()
    largest = max(timed, key=lambda row: row.height)
    found = fields.times([row.text for row in timed])
    if len(found) == 1 or largest.height > 1.3 * sorted(row.height for row in timed)[-2:][0]:
        shown = fields.times([largest.text])[0]
        return s.say("time", value=shown), s.row(largest, shown)
    return s.say("values", items=s.items(found)), s.scripts()


def opening(s: Speaker) -> Answer:
    found = hours.openings(s.rows)
    if not found and s.intent.yes_no and s.words:
        # "Is the door open?"
        return s.say("cannot_here"), s.seen()
    if not found:
        return s.say("none_hours"), s.seen()
    everything = s.items((one.text for one in found), 7)
    day = s.intent.weekday
    if day is None and s.intent.in_days is not None:
        day = (s.today.weekday() + s.intent.in_days) % 7
    if (said := _now(s, found)) is not None:
        return said, s.say("hours", items=everything)
    if day is not None:
        here = [one.text for one in found if day in one.days]
        if here:
            return s.say("hours_day", items=s.items(here)), s.scripts()
        if any(one.days for one in found):
            return s.say("no_day"), s.say("hours", items=everything)
    return s.say("hours", items=everything), s.scripts()


def _now(s: Speaker, found: list[hours.Opening]) -> str | None:
    """Say whether it is open now, and until when; None for a question about another time."""
    intent = s.intent
    if s.clock is None or not intent.yes_no or intent.weekday is not None or intent.in_days:
        return None
    if hours.names_closed(intent.asked):
        return None
    today = [one for one in found if not one.days or s.today.weekday() in one.days]
    ends = (hours.until(one.text, s.clock) for one in today)
    end = next((one for one in ends if one is not None), None)
    now = s.clock.strftime("%H:%M")
    return s.say("open_now", value=end, now=now) if end else s.say("closed_now", now=now)


def departure(s: Speaker) -> Answer:
    words = [word for word in s.words if word not in _TRAVEL]
    cross = tables.crossing(s.rows, words) if len(words) > 1 else None
    if cross is not None:
        return s.crossed(cross)
    places = [word for word in words if len(word) > 2]
    found = hours.departure(s.rows, places) if places else None
    if found is None and places:
        near = tables.beside(s.rows, places)
        if near is not None:
            return s.beside(near)
    if found is None and not places:
        found = hours.first_departure(s.rows)
    if found is None:
        return s.say("cannot_here"), s.seen()
    if places and s.intent.asked.startswith(_ARRIVALS):
        return _named(s, found)
    return s.say("departure", value=found.time), s.row(found.row, found.time)


def _named(s: Speaker, found: hours.Departure) -> Answer:
    """Answer with a time and the word beside it."""
    cells = [cell.text for cell in found.row.cells]
    label = next((one for one in cells if any(tables.names_it(one, word) for word in s.words)), "")
    if found.time in label or not label:
        return s.say("time", value=found.time), s.row(found.row, found.time)
    return s.say("beside", label=label, value=found.time), s.row(found.row, found.time, label)


def _passed(s: Speaker, date: fields.Date) -> str:
    """Say whether a day has passed; "" when that depends on which number is the month."""
    ends = _last_days(date)
    if not ends:
        return ""
    if all(end < s.today for end in ends):
        return s.say("is_past")
    return s.say("is_ahead") if all(end > s.today for end in ends) else ""


def _last_days(date: fields.Date) -> list[dt.date]:
    """Return the last day that a date can mean, for each possible order of day and month."""
    if date.year is None:
        return []
    orders = [(date.month, date.day)]
    if date.day is not None and date.day <= 12 and "/" in date.text and date.day != date.month:
        orders.append((date.day, date.month))
    found = []
    for month, day in orders:
        last = calendar.monthrange(date.year, month)[1]
        found.append(dt.date(date.year, month, min(day or last, last)))
    return found
