"""Finds dates, prices, numbers and the like in rows of text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from server.prompts import plain, word_pattern

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar janvier janv enero ene",
            "feb february februar fevrier fevr fev febrero",
            "mar march marz mrz mars marzo",
            "apr april avril avr abril abr",
            "may mai mayo",
            "jun june juni juin junio",
            "jul july juli juillet juil julio",
            "aug august aout agosto ago",
            "sep sept september septembre septiembre",
            "oct october oktober okt octobre octubre",
            "nov november novembre noviembre",
            "dec december dezember dez decembre diciembre dic",
        ),
        1,
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_SEP = r"\s?[./-]\s?"
_DATES = (
    # 2027-03-12, 2027.03
    re.compile(
        r"(?<![\d.,])(?P<y>(?:19|20)\d\d)[./-](?P<m>\d{1,2})(?:[./-](?P<d>\d{1,2}))?(?![\d,])"
    ),
    # 12.03.2027, 12/03/27
    re.compile(
        rf"(?<![\d.,])(?P<d>\d{{1,2}}){_SEP}(?P<m>\d{{1,2}}){_SEP}(?P<y>(?:19|20)?\d\d)(?!\d|[.,]\d)"
    ),
    # 03/2027
    re.compile(r"(?<![\d.,/])(?P<m>\d{1,2})\s?[./-]\s?(?P<y>(?:19|20)\d\d)(?!\d|[.,]\d)"),
    # 12 March 2027, 12. MRZ 27, 12MAR2027
    re.compile(
        rf"(?<![\d.,])(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[.\s-]{{0,2}}(?:de\s)?(?P<n>{_MONTH})\b[.,\s-]{{0,2}}(?:de\s)?(?P<y>(?:19|20)?\d\d)?(?!\d)"
    ),
    re.compile(rf"(?<![\d.,])(?P<d>\d{{1,2}})(?P<n>{_MONTH})(?P<y>(?:19|20)?\d\d)(?!\d)"),
    # March 12, 2027; MAR 2027
    re.compile(
        rf"\b(?P<n>{_MONTH})[.\s]{{1,2}}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s(?P<y>(?:19|20)\d\d)(?!\d)"
    ),
    re.compile(rf"\b(?P<n>{_MONTH})[.\s/-]{{1,2}}(?P<y>(?:19|20)\d\d)(?!\d)"),
)
_CURRENCY = r"(?:€|\$|£|¥|₹|eur|euro|euros|usd|gbp|chf|fr\.|sek|nok|dkk|pln|zł|kr)"
_MONEY = r"\d{1,3}(?:[.,' ]\d{3})*(?:[.,](?:\d{2}|-{1,2}))?|\d+(?:[.,]\d{2})?"
_PRICES = (
    re.compile(rf"(?:{_CURRENCY})\s?(?:{_MONEY})(?![\d])", re.I),
    re.compile(rf"(?<![\d.,])(?:{_MONEY})\s?(?:{_CURRENCY})(?!\w)", re.I),
)
# What looks like a price even without a currency, where a row speaks of one.
_BARE_PRICE = re.compile(r"(?<![\d.,/-])\d{1,5}[.,]\d{2}(?![\d.,/-])")
_PRICE_ROW = word_pattern(
    "price, total, sum, amount due, preis, summe, gesamt, zu zahlen, prix, total ttc, montant, precio, importe, a pagar"
)
_TOTAL_ROW = word_pattern(
    "total, sum, amount due, summe, gesamt, zu zahlen, montant, importe, a pagar"
)
_EMAIL = re.compile(r"[\w.+-]+\s?@\s?[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(
    r"(?<![@\w.])(?:https?://[^\s<>\"]+|www\.[^\s<>\"]+"
    r"|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|org|net|info|app|dev|io|eu|de|at|ch|fr|es|it|nl|be|pl|uk|us)\b(?:/[^\s<>\"]*)?)",
    re.I,
)
_PHONE = re.compile(r"(?<![\d.,/\w])(?:\+|\(0|00|0|\d)(?:[\s()/.-]{0,2}\d){6,14}(?!\d|[.,]\d)")
_PHONE_ROW = word_pattern(
    "tel, tel., phone, call, mobile, fax, hotline, telefon, mobil, ruf, rufnummer, telephone, appelez, telefono, movil, llame"
)
_AMOUNT = re.compile(
    r"(?<![\w.,])\d+(?:[.,]\d+)?\s?(?:x\s?\d+(?:[.,]\d+)?\s?)?"
    r"(?:%|‰|(?:kg|mg|µg|g|ml|cl|dl|l|oz|lbs?|mm|cm|km|m|kcal|kj|mah|kwh|kw|w|v|a|hz|khz|mhz|ghz|kb|mb|gb|tb|°\s?c|°\s?f|bar|db|vol)(?!\w))",
    re.I,
)
_WEIGHT = re.compile(r"(?:kg|mg|µg|g|oz|lbs?)$", re.I)
_VOLUME = re.compile(r"(?:ml|cl|dl|l)$", re.I)
_TIME = re.compile(
    r"(?<![\d:.])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:\s?[ap]\.?m\.?)?(?![\d:])", re.I
)
_NUMBER = re.compile(r"(?<![\w.,])[A-Z]{0,3}-?\d[\d.,:/-]*\w*(?!\w)")
EXPIRY_ROW = word_pattern(
    "best before, best by, use by, sell by, exp, exp., expiry*, expires, expiration*, bbe, bb, valid until, valid thru, "
    "mhd, mindestens haltbar*, haltbar bis, zu verbrauchen bis, verbrauchen bis, verwendbar bis, gültig bis, ablauf*, "
    "à consommer*, de préférence avant, dlc, ddm, dluo, valable jusqu*, expire*, péremption, "
    "consumir*, consumo preferente*, cad, cad., caduc*, vence*, vto, válido hasta, val, "
    "da consumarsi*, scad*, validade, tht, ten minste houdbaar*"
)


@dataclass(frozen=True, slots=True)
class Date:
    """As it was written; month and day None when it does not name them."""

    text: str
    year: int | None
    month: int
    day: int | None


def dates(row: str) -> list[Date]:
    """Dates in a row, left to right; what can not be a date is left out."""
    # Same length as the row unless an accent was written as a mark of its own; then the folded text is shown.
    folded = plain(row)
    shown = row if len(folded) == len(row) else folded
    found: list[tuple[int, int, Date]] = []
    for pattern in _DATES:
        for match in pattern.finditer(folded):
            if any(match.start() < end and start < match.end() for start, end, _ in found):
                continue
            parts = match.groupdict()
            day = int(parts["d"]) if parts.get("d") else None
            year = int(parts["y"]) if parts.get("y") else None
            month = _MONTHS[parts["n"]] if parts.get("n") else int(parts["m"])
            # 03/14/2027 is the American order.
            if month > 12 and day is not None and day <= 12:
                day, month = month, day
            if not 1 <= month <= 12 or (day is not None and not 1 <= day <= 31):
                continue
            if year is not None and year < 100:
                year += 2000
            text = shown[match.start() : match.end()].strip(" .,-")
            found.append((match.start(), match.end(), Date(text, year, month, day)))
    return [date for _, _, date in sorted(found, key=lambda one: one[0])]


def expiry(rows: Sequence[str]) -> Date | None:
    """The date that a row calls an expiry date, in that row or in the next one; None when none does."""
    for index, row in enumerate(rows):
        if EXPIRY_ROW.search(plain(row)):
            for near in rows[index : index + 2]:
                if found := dates(near):
                    return found[0]
    return None


def prices(rows: Sequence[str]) -> list[str]:
    """Prices as written, those of a total first."""
    found: list[tuple[bool, str]] = []
    for row in rows:
        folded = plain(row)
        total = _TOTAL_ROW.search(folded) is not None
        here = _matches(_PRICES, row)
        if not here and _PRICE_ROW.search(folded) and not dates(row):
            here = _matches((_BARE_PRICE,), row)
        found += [(not total, text) for text in here]
    return _unique(text for _, text in sorted(found, key=lambda one: one[0]))


def emails(rows: Iterable[str]) -> list[str]:
    return _unique(text.replace(" ", "") for row in rows for text in _matches((_EMAIL,), row))


def urls(rows: Iterable[str]) -> list[str]:
    without_mail = (_EMAIL.sub(" ", row) for row in rows)
    return _unique(text.rstrip(".,;)") for row in without_mail for text in _matches((_URL,), row))


def phones(rows: Iterable[str]) -> list[str]:
    """Phone numbers: 7 to 15 digits that are written like one, or stand in a row that speaks of one."""
    found: list[str] = []
    for row in rows:
        named = _PHONE_ROW.search(plain(row)) is not None
        taken = [date.text for date in dates(row)]
        for text in _matches((_PHONE,), row):
            digits = sum(char.isdigit() for char in text)
            written = text.startswith(("+", "00", "(0")) or (
                text.startswith("0") and any(char in " /()-" for char in text)
            )
            if 7 <= digits <= 15 and text not in taken and (named or written):
                found.append(text)
    return _unique(found)


def amounts(rows: Iterable[str]) -> list[str]:
    return _unique(text for row in rows for text in _matches((_AMOUNT,), row))


def percentages(rows: Iterable[str]) -> list[str]:
    return [text for text in amounts(rows) if text.endswith(("%", "‰"))]


def weights(rows: Iterable[str]) -> list[str]:
    """Weights, or where there are none, volumes."""
    everything = amounts(rows)
    return [text for text in everything if _WEIGHT.search(text)] or [
        text for text in everything if _VOLUME.search(text)
    ]


def times(rows: Iterable[str]) -> list[str]:
    return _unique(text for row in rows for text in _matches((_TIME,), row))


def numbers(rows: Iterable[str]) -> list[str]:
    """Everything with a digit that stands for itself."""
    return _unique(text.rstrip(".,:/-") for row in rows for text in _matches((_NUMBER,), row))


def says(rows: Sequence[str], target: str, *, near: float = 0.82) -> str | None:
    """The row that holds the words asked for, or something within a misread letter or two of them; None when none."""
    wanted = _letters(target)
    if not wanted:
        return None
    for row in rows:
        if wanted in _letters(row):
            return row
    whole = _letters(" ".join(rows))
    if wanted in whole:
        return " ".join(rows)
    # Short words differ in a letter from too many others.
    if len(wanted) < 5:
        return None
    for row in rows:
        text = _letters(row)
        for start in range(max(1, len(text) - len(wanted) + 1)):
            window = text[start : start + len(wanted)]
            if SequenceMatcher(None, window, wanted, autojunk=False).ratio() >= near:
                return row
    return None


def lookup(rows: Sequence[str], words: Sequence[str]) -> str | None:
    """The row that names what was asked for, like "Total 12.40" for "total"; with the next one where it only names it."""
    best: tuple[int, int] | None = None
    for index, row in enumerate(rows):
        have = set(re.findall(r"\w+", plain(row)))
        hits = sum(1 for word in words if word in have)
        if hits and (best is None or hits > best[0]):
            best = (hits, index)
    if best is None:
        return None
    row = rows[best[1]]
    rest = [word for word in re.findall(r"\w+", plain(row)) if word not in words]
    if not rest and best[1] + 1 < len(rows):
        return f"{row} {rows[best[1] + 1]}"
    return row


def similar(one: str, other: str) -> bool:
    """Whether two rows are the same text, read twice."""
    a, b = _letters(one), _letters(other)
    return a == b or SequenceMatcher(None, a, b, autojunk=False).ratio() >= 0.8


def _letters(text: str) -> str:
    return "".join(char for char in plain(text) if char.isalnum())


def _matches(patterns: Iterable[re.Pattern[str]], row: str) -> list[str]:
    taken: list[tuple[int, int]] = []
    found: list[tuple[int, str]] = []
    for pattern in patterns:
        for match in pattern.finditer(row):
            if not any(match.start() < end and start < match.end() for start, end in taken):
                taken.append(match.span())
                found.append((match.start(), match.group().strip()))
    return [text for _, text in sorted(found)]


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
