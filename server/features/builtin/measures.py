"""Finds figures with a unit: watts, degrees, grams. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from server.features.builtin.fields import matches
from server.features.builtin.lines import Figure, Row
from server.features.builtin.tables import count_named, names_any, overlapping, printed
from server.features.builtin.wants import Want
from server.models.routing import plain

# A figure: also with a space after the point, in groups of three digits, as a range, or with a fraction
_FIGURE = r"(?:\d{1,3}[\s-]?)?(?:[¼½¾⅓⅔⅛⅜⅝⅞]|\b\d{1,2}[/⁄](?:[23458]|16)(?!\d))|\d{1,3}(?:[.,' ]\d{3})+(?![\d])|\d+(?:[.,]\s?\d+)?"
_NUMBER = rf"(?:(?<![\w.,:°])[-−–+]\s?|(?<![\w.,:]))(?:(?:{_FIGURE})\s?[-–/]\s?)?(?:{_FIGURE})"
# By what is asked for
UNITS: dict[Want, str] = {
    Want.POWER: r"kW|MW|W|watts?",
    Want.VOLTAGE: r"kV|mV|V|volts?|VAC|VDC|V~",
    Want.CURRENT: r"mA|A|amps?|ampere",
    Want.TEMPERATURE: r"[°º˚]{1,2}\s?[CF]?|℃|℉",
    Want.ENERGY: r"kcal|kJ|cal|大卡|千焦",
    Want.CHARGE: r"mAh|Ah|Wh|kWh",
    Want.SPEED: r"km/h|kmh|mph|m/s|kph|rpm|U/min|tr/min",
    Want.PRESSURE: r"bar|mbar|hPa|kPa|MPa|psi",
    Want.FREQUENCY: r"Hz|kHz|MHz|GHz",
    Want.WEIGHT: r"kg|mg|µg|μg|g|oz|lbs?|克|公斤|千克",
    Want.VOLUME: r"ml|cl|dl|l|fl\.?\s?oz|升|毫升",
    Want.PERCENT: r"%|‰|％",
}
# Further units, for figures of any kind
_MORE = r"mm|cm|km|m|kB|KB|MB|GB|TB|db|dB|vol|min|rpm|lm|ppm|IE|IU"
_ALL = "|".join([*UNITS.values(), _MORE])


def _pattern(units: str) -> re.Pattern[str]:
    return re.compile(rf"{_NUMBER}\s?(?:x\s?(?:{_FIGURE})\s?)?(?:{units})(?![\w])", re.I)


# Units of a duration, and what is left on a display: "0:47"
_LASTING = (
    r"sec|seconds?|sek|sekunden?|secondes?|segundos?|secondi|min|minutes?|minuten?|minut[iy]?|minutos?|(?-i:h)|hrs?|hours?|std"
    r"|stunden?|heures?|horas?|or[ae]|uur|uren|godzin\w*|saat|days?|tage?n?|jours?|d[ií]as?|giorn[io]|dagen|dni|gün|weeks?"
    r"|wochen?|semaines?|semanas?|settiman[ae]|weken|tygodni\w*|hafta|months?|monate?n?|mois|mes(?:es)?|mesi|maanden"
    r"|miesi\w+|years?|jahre?n?|ans|años?|anni|anos?|jaar|lat|分钟?|分間|小时|時間|天|日間|周|週間|个月|か月|年"
)
_LEFT = re.compile(r"(?<![\d:])0:[0-5]\d(?![\d:])")
_PATTERNS = {want: _pattern(units) for want, units in UNITS.items()}
_ANY = _pattern(_ALL)
_DURATION = re.compile(f"{_pattern(_LASTING).pattern}|{_LEFT.pattern}", re.I)
# Rows of a display
_DISPLAY = 4
# The degree sign is small, so a question about degrees also accepts a bare C or F on a display, and signs as which it
# is misread.
_DEGREES = re.compile(rf"{_NUMBER}\s?(?:[°º˚'’\"*oO]\s?)?[CF](?!\w)|{_NUMBER}\s?(?:[°º˚]|℃|℉)")
# "Heat the oven to 170 C"
_HEATED = re.compile(r"\b(?:oven|heat|preheat|bake|ofen|backofen|four|horno|forno)\b")
# A display whose unit was hardly read
_BARE_ROW = re.compile(r"([-−]?\d+(?:[.,]\d+)?)\s?[A-Za-z]{0,2}")
# A lot or serial number that ends in a letter
_SERIAL = re.compile(r"\d{5,}+[A-Za-z]")
_PER_100 = re.compile(r"(?<!\w)(?:per|pro|pour|por|par|je|na|на)\s?1?00\s?(?:g|ml|г|мл)\b", re.I)
# "7 g per cup"
_FOR_ONE = re.compile(r"\d ?(?:m?g|ml) (?:per|pro|por|par|je|voor een) [^\W\d]", re.I)
_NET = printed("net")
_DOSE = re.compile(r"(?:mg|µg|μg)$", re.I)
# "1. 5 kg", and "103/4 oz" of 10¾
_SPACED_POINT = re.compile(r"(\d[.,])\s(\d)")
_STUCK = re.compile(r"(?<=\d)([1357]/[248]|[12]/3)(?=\s?(?:oz|fl|lbs?)\b)", re.I)


def measures(rows: Sequence[Row], want: Want, words: Sequence[str] = ()) -> list[Figure]:
    """Return the figures with a unit of a kind; the largest print first, then top to bottom.

    A net weight goes before others, but for those that `words` name.
    """
    pattern = _DURATION if want is Want.DURATION else _PATTERNS.get(want, _ANY)
    found = _all(rows, pattern)
    if not found and want is Want.TEMPERATURE:
        heated = [row for row in rows if len(rows) <= _DISPLAY or _HEATED.search(plain(row.text))]
        found = _all(heated, _DEGREES)
    if not found and want is Want.WEIGHT:
        found = _all(rows, _PATTERNS[Want.VOLUME])
    if want is Want.TEMPERATURE:
        found = [one for one in found if not one.text.endswith("°")] or found
    if want is Want.ENERGY:
        found = [one for one in found if "kj" not in one.text.lower()] or found
    if want is Want.WEIGHT:
        # A tablet's dose, and the glass of a wine list
        found = [one for one in found if not _DOSE.search(one.text)]
    if want in (Want.WEIGHT, Want.VOLUME):
        # "Per 100 g" is no weight of the thing, and "Net weight" surely is.
        found = [one for one in found if not _PER_100.search(one.row.text)] or found
        found = [one for one in found if not _FOR_ONE.search(one.row.text)] or found
        named = {id(one.row) for one in found if names_any(one.row.text, words)}
        net = {id(one.row) for one in found if _NET.search(plain(one.row.text))}
        found = [one for one in found if id(one.row) in (named | net)] or found
    # A label says "Power 1200 W"; a display has a large figure. Print of similar size ranks equal.
    largest = max((one.row.height for one in found), default=0.0)
    return sorted(found, key=lambda one: one.row.height < 0.7 * largest)


def under(rows: Sequence[Row], found: Sequence[Figure], words: Sequence[str]) -> Figure | None:
    """Return the first of the figures that stands below a column's head that `words` name, with its `plain` words."""
    for top, header in enumerate(rows):
        hits = [count_named(cell.text, words) for cell in header.cells]
        if len(hits) < 2 or not max(hits) or hits.count(max(hits)) > 1:
            continue
        head = header.cells[hits.index(max(hits))]
        for one in found:
            cell = overlapping(one.row, head)
            in_column = len(one.row.cells) > 1 and one.row in rows[top + 1 :]
            if cell is not None and one.text in cell.text and in_column:
                return replace(one, label=plain(head.text))
    return None


def bare(rows: Sequence[Row]) -> Figure | None:
    """Return the largest figure without a unit that fills its row, as on a display.

    None where a larger one stands beside words: it may be of those.
    """
    found = [
        Figure(match.group(1), row)
        for row in rows
        if (match := _BARE_ROW.fullmatch(row.text.strip()))
    ]
    best = max(found, key=lambda one: one.row.height, default=None)
    several = (row for row in rows if len(row.cells) > 1)
    beside = (row for row in several if any(cell.text.isdecimal() for cell in row.cells))
    larger = best is not None and any(row.height > best.row.height for row in beside)
    return None if larger else best


def _all(rows: Sequence[Row], pattern: re.Pattern[str]) -> list[Figure]:
    return [
        Figure(_STUCK.sub(r" \1", _SPACED_POINT.sub(r"\1\2", text)), row)
        for row in rows
        for text in matches((pattern,), row.text)
        if not _SERIAL.fullmatch(text)
    ]
