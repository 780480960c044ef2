"""Dates, times, prices, measures and contacts in printed text. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from server.features.builtin.language import get_language
from server.features.builtin.wants import Want
from server.models.routing import make_word_pattern, plain
from server.shared.dates import Date, find_date_order, find_dates

PRINT_WORDS = tomllib.loads(Path(__file__).with_name("print_words.toml").read_text("utf-8"))


def make_print_pattern(name: str) -> re.Pattern[str]:
    """Return the pattern of a list of printed words, for `plain` text."""
    return make_word_pattern(*PRINT_WORDS["words"][name])


_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++\s?@\s?[\w-]++(?:\.[\w-]++)++")
_URL = re.compile(
    r"(?<![@\w.])(?:https?://[^\s<>\"]+|www\.[^\s<>\"]+"
    r"|(?<!-)[a-z0-9-]++(?:\.[a-z0-9-]++)*\.(?:com|org|net|info|app|dev|io|eu|de|at|ch|fr|es|it|nl|be|pl|uk|us)\b(?:/[^\s<>\"]*)?)",
    re.I,
)
_PHONE = re.compile(r"(?<![\d.,/\w])(?:\+|\(0|00|0|\d)(?:[\s()/.-]{0,3}\d){6,14}(?!\d|[.,]\d)")
_PHONE_ROW = make_print_pattern("phone")
# Number of digits from which a number without a label is a phone number; digits of any phone number; and its spelling
_MANY_DIGITS, _DIGITS = 9, range(7, 16)
_WRITTEN = re.compile(r"\(?0\d[\d]*+[ /()-]|00\d|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}$")
_TIME = re.compile(
    r"(?<![\d:.,])(?:[01]\d|2[0-3]|[1-9])\s?[:：h]\s?[0-5]\d(?::[0-5]\d)?(?:\s?[ap]\.?m\b\.?)?(?![\d:])"
    r"|(?<![\d:.,])(?:1[0-2]|[1-9])(?:\.[0-5]\d)?\s?[ap]\.?m\b\.?"
    r"|(?<![\d:.,])(?:[01]?\d|2[0-4])(?:(?:\.[0-5]\d)?\s?(?:uhr|uur)\b|\s?h(?=\s?[-–à]\s?\d))|[0-2]?\d[時时点點]",
    re.I,
)
_CURRENCY = r"(?:€|\$|£|¥|₹|₽|元|円|eur|euro|euros|usd|gbp|chf|fr\.|sek|nok|dkk|pln|zł|kč|kr|rub|руб|rmb|cny|jpy|₺|tl|try|brl)"
_MONEY = r"\d{1,3}(?:[.,' ]\d{3})*(?:[.,](?:\d{2}|-{1,2}))?|\d+(?:[.,]\d{2})?"
_PRICES = (
    # In "3 € 5 €" the currency follows the figure.
    re.compile(
        rf"(?:(?<!\d)(?<!\d\s)(?:{_CURRENCY})\s?|(?:{_CURRENCY}))(?:{_MONEY})(?!\d|[.,]\d)", re.I
    ),
    re.compile(rf"(?<![\d.,])(?:{_MONEY})\s?(?:{_CURRENCY})(?!\w)", re.I),
    re.compile(r"(?<![\w.,])\d{1,2}p(?!\w)"),
)
# A price without a currency, at the end of a row
_BARE = re.compile(r"(?<![\d.,/:-])\d{1,5}[.,]\d{2}(?=\W{0,2}[A-Z*]?$)")
# "$8.99/lb"
_PER = re.compile(
    r"^\s?(?:/|per|pro|je)\s?(?:1?0?0\s?)?(?:kg|g|l|ml|lb|oz|stk|st|each|ea|count|ct)\b", re.I
)
# A figure, also with a space after the point, in groups of three digits, as a range, or with a fraction
_FIGURE = r"(?:\d{1,3}[\s-]?)?(?:[¼½¾⅓⅔⅛⅜⅝⅞]|\b\d{1,2}[/⁄](?:[23458]|16)(?!\d))|\d{1,3}(?:[.,' ]\d{3})+(?![\d])|\d+(?:[.,]\s?\d+)?"
_NUMBER = rf"(?:(?<![\w.,:°])[-−–+]\s?|(?<![\w.,:]))(?:(?:{_FIGURE})\s?[-–/]\s?)?(?:{_FIGURE})"
_ANY_NUMBER = re.compile(r"(?<![\w.,])[A-Z]{0,3}-?\d[\d.,:/-]*\w*(?!\w)|[¼½¾⅓⅔⅛]")
_UNITS = {
    Want.TEMPERATURE: r"[°º˚]{1,2}\s?[CF]?|℃|℉|[CF](?=\W*$)",
    Want.WEIGHT: r"kg|mg|µg|μg|mcg|g|oz|lbs?|ml|cl|dl|l|fl\.?\s?oz|克|公斤|千克|升|毫升",
    Want.DURATION: r"sec|seconds?|sek|sekunden?|secondes?|segundos?|secondi|min|minutes?|minuten?|minut[iy]?|minutos?|(?-i:h)|hrs?|hours?|std"
    r"|stunden?|heures?|horas?|or[ae]|uur|uren|godzin\w*|saat|days?|tage?n?|jours?|d[ií]as?|giorn[io]|dagen|dni|gün|weeks?"
    r"|wochen?|semaines?|semanas?|settiman[ae]|weken|tygodni\w*|hafta|months?|monate?n?|mois|mes(?:es)?|mesi|maanden"
    r"|miesi\w+|years?|jahre?n?|ans|años?|anni|anos?|jaar|lat|分钟?|分間|小时|時間|天|日間|周|週間|个月|か月|年",
}
_MEASURES = {
    want: re.compile(rf"{_NUMBER}\s?(?:x\s?(?:{_FIGURE})\s?)?(?:{units})(?![\w])", re.I)
    for want, units in _UNITS.items()
}
# Remaining time on a display: "0:47"
_LEFT = re.compile(r"(?<![\d:])\d?\d:[0-5]\d(?![\d:])")
# "10¾ oz" is read as "103/4 oz"
_STUCK = re.compile(r"(?<=\d)([1357]/[248]|[12]/3)(?=\s?(?:oz|fl|lbs?)\b)", re.I)


def find_emails(row: str) -> list[str]:
    return [text.replace(" ", "") for text in _EMAIL.findall(row)]


def find_urls(row: str) -> list[str]:
    return [text.rstrip(".,;)") for text in _URL.findall(_EMAIL.sub(" ", row))]


def find_phones(row: str) -> list[str]:
    """Return phone numbers: 7 to 15 digits, spelled like a phone number or in a row with a word for it."""
    named = _PHONE_ROW.search(plain(row)) is not None
    found = []
    for text in map(str.strip, _PHONE.findall(row)):
        digits = sum(map(str.isdigit, text))
        written = text.startswith("+") or (digits >= _MANY_DIGITS and bool(_WRITTEN.match(text)))
        if digits in _DIGITS and (named or written):
            found.append(text)
    return found


def find_times(row: str) -> list[str]:
    return [found.group().strip() for found in _TIME.finditer(row)]


def find_prices(row: str) -> list[str]:
    """Return prices as written; prices by weight or volume come last."""
    found = sorted(
        (match for pattern in _PRICES for match in pattern.finditer(row)), key=re.Match.start
    )
    if not found and not find_dates(row):
        found = [*_BARE.finditer(row)]
    each = [(bool(_PER.match(row[match.end() :])), match.group().strip()) for match in found]
    return list(dict.fromkeys(text for _, text in sorted(each, key=lambda one: one[0])))


def has_piece_price(row: str) -> bool:
    """Return True if a row has a price other than one by weight or volume."""
    ends = [match.end() for pattern in _PRICES for match in pattern.finditer(row)]
    return any(not _PER.match(row[end:]) for end in ends) or (not ends and bool(find_prices(row)))


def find_measures(want: Want, row: str) -> list[str]:
    """Return the figures with a unit of this kind, as written."""
    row = _STUCK.sub(r" \1", row)
    found = [match.group().strip() for match in _MEASURES[want].finditer(row)]
    return found or (_LEFT.findall(row) if want is Want.DURATION else [])


def find_numbers(row: str) -> list[str]:
    return _ANY_NUMBER.findall(row)


# By subject: the function that finds its figures in a row
FINDERS: dict[Want, Callable[[str], Sequence[object]]] = {
    Want.EXPIRY: find_dates,
    Want.DATE: lambda row: find_dates(row) or list(find_weekdays(plain(row))) or find_times(row),
    Want.TIME: find_times,
    Want.HOURS: lambda row: find_hours(row),
    Want.PRICE: find_prices,
    Want.TOTAL: find_prices,
    Want.PHONE: find_phones,
    Want.EMAIL: find_emails,
    Want.URL: find_urls,
    Want.AMOUNT: find_numbers,
    **{want: partial(find_measures, want) for want in _MEASURES},
}
# Patterns of printed labels beside the requested figure
LABELS = {
    want: make_print_pattern(name)
    for want, name in {
        Want.EXPIRY: "expiry",
        Want.TOTAL: "total",
        Want.PRICE: "price",
        Want.WEIGHT: "net",
        Want.AMOUNT: "doses",
        Want.HOURS: "hours",
        Want.WIFI: "wifi",
    }.items()
}
_DUE, _NOT_TOTAL = make_print_pattern("due"), make_print_pattern("not_total")
SETTING = make_print_pattern("setting")


def rank_sum(row: str) -> int:
    """Return 2 for a row with the sum to pay, 1 for a possible sum, 0 for any other."""
    text = plain(row)
    if _DUE.search(text):
        return 2
    return int(LABELS[Want.TOTAL].search(text) is not None and not _NOT_TOTAL.search(text))


# Also "EXP120227"
_EXPIRY = re.compile(rf"{LABELS[Want.EXPIRY].pattern}|\b(?:exp|bb[de]?|mhd)(?=[a-z]{{0,3}}\d)")
# Number of rows below a label that are searched for its date
_BELOW = 2


@dataclass(frozen=True, slots=True)
class Expiry:
    """A date with the words before it, as written, and the indices of their first and last row."""

    text: str
    date: Date
    first: int
    last: int


def find_expiry(rows: Sequence[str]) -> Expiry | None:
    """Return the date beside or below the label of an expiry date, or None if there is none."""
    order = find_date_order(rows)
    for at, row in enumerate(rows):
        named = _EXPIRY.search(plain(row))
        if named is None:
            continue
        # "USE OR FREEZE BY", and not "LOT 4471 EXP"
        begin = named.start() if any(map(str.isdigit, row[: named.start()])) else 0
        for last, near in enumerate(rows[at : at + 1 + _BELOW], start=at):
            found = find_dates(near, order)
            if not found:
                continue
            # "Dispensed 20/11/2026  EXP 08/2028"
            behind = [one for one in found if last > at or near.find(one.text) >= named.start()]
            # "Valid from", "Valid until", and below them both dates
            second = last > at and 2 * named.start() >= len(row) and begin == 0
            date = (behind or found)[-1 if second else 0]
            words = (
                [row[begin:], *rows[at + 1 : last]]
                if last > at
                else [row[begin : row.find(date.text)]]
            )
            said = " ".join([*(one.strip(" :") for one in words), date.clear])
            return Expiry(said.strip(), date, at, last)
    return None


# Languages of the names of days on signs. The first language with a name decides: "do" is Thursday in German and Dutch.
_SIGNS = ("en", "de", "fr", "es", "ru", "zh", "it", "pt", "nl", "pl", "tr", "ja")
_DAILY, _WEEKDAYS, _WEEKEND = (
    make_print_pattern("daily"),
    make_print_pattern("weekdays"),
    make_print_pattern("weekend"),
)
CLOSED = make_print_pattern("closed")
# 9:00-18:00, 9-18, 9am - 5 pm, 9h-18h30
_CLOCK = r"(?:2[0-4]|[01]?\d)(?:\s?[:.：h]\s?[0-5]\d|\s?h(?!\w))?(?:\s?[ap]\.?m\b\.?|\s?uhr)?"
_SPAN = re.compile(
    rf"(?<![\d.,:]){_CLOCK}\s?(?:-|–|—|~|～|to|bis|a|à|alle|às|as|tot|until|до|至)\s?{_CLOCK}(?![\d:])",
    re.I,
)
# Longest name of a day that may be another word ("do", "so"), and the text that must follow it then
_SHORT = 2
_GOES_ON = re.compile(r"\s?(?:[:,;/&+–—-]|\d|(?:und|and|et|y|e|i)\b)")


@cache
def _make_day_patterns() -> tuple[dict[str, int], re.Pattern[str], re.Pattern[str]]:
    """Return the numbers of days by name, and the patterns of a day and of a range. Monday is 0."""
    numbers: dict[str, int] = {}
    for code in _SIGNS:
        for number, names in enumerate(get_language(code).days):
            for name in plain(names).split():
                numbers.setdefault(name.rstrip("*"), number)
    name = "|".join(sorted(map(re.escape, numbers), key=len, reverse=True))
    one = re.compile(rf"(?<![^\W\d_])(?P<first>{name})s?(?![^\W\d_])\.?")
    both = re.compile(
        rf"(?<![^\W\d_])(?P<first>{name})\.?(?:\s?[-–—~至到]\s?|\s(?:to|bis|au|a|through|thru|по)\s)(?P<last>{name})(?![^\W\d_])\.?"
    )
    return numbers, one, both


def find_weekdays(folded: str) -> frozenset[int]:
    """Return the days in `plain` text, such as five for "Mon-Fri". Monday is 0."""
    if _DAILY.search(folded):
        return frozenset(range(7))
    found = set(range(5)) if _WEEKDAYS.search(folded) else set()
    found |= {5, 6} if _WEEKEND.search(folded) else set()
    numbers, one, both = _make_day_patterns()
    for match in both.finditer(folded):
        first, last = numbers[match["first"]], numbers[match["last"]]
        found |= {(first + n) % 7 for n in range((last - first) % 7 + 1)}
    alone = not any(map(str.isalpha, one.sub("", folded)))
    for match in one.finditer(folded):
        is_day = alone or len(match["first"]) > _SHORT
        if is_day or _GOES_ON.match(folded, match.end()) or CLOSED.search(folded, match.end()):
            found.add(numbers[match["first"]])
    return frozenset(found)


def find_hours(row: str) -> list[str]:
    """Return the opening hours in a row, and its words for "closed"."""
    folded = plain(row)
    for pattern in _make_day_patterns()[1:][::-1]:
        folded = pattern.sub(lambda match: " " * len(match.group()), folded)
    return [*_SPAN.findall(folded), *(found.group() for found in CLOSED.finditer(folded))]
