"""Parse dates as written by people and on packages. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo

from server.models.routing import WORD_MARKS, plain

_NAMES = (
    "jan january januar janvier janv enero ene gennaio janeiro januari stycznia ocak января январь січня січень يناير जनवरी|gen sty oca",
    "feb february februar fevrier fevr fev febrero febbraio fevereiro februari lutego subat февраля февраль лютого лютий فبراير फरवरी फ़रवरी|lut sub",
    "mar march marz mrz mars marzo marco maart mrt marca mart марта март березня березень مارس मार्च|",
    "apr april avril avr abril abr aprile kwietnia nisan апреля апрель квітня квітень أبريل अप्रैल|kwi nis",
    "may mai mayo maggio maio mei maja mayis мая май травня травень مايو मई|mag maj",
    "jun june juni juin junio giugno junho czerwca haziran июня июнь червня червень يونيو जून|giu cze haz",
    "jul july juli juillet juil julio luglio julho lipca temmuz июля июль липня липень يوليو जुलाई|lug lip tem",
    "aug august aout agosto ago augustus sierpnia agustos августа август серпня серпень أغسطس अगस्त|sie agu",
    "sep sept september septembre septiembre setiembre settembre setembro wrzesnia eylul сентября сентябрь вересня вересень سبتمبر सितंबर सितम्बर|set sett wrz eyl",
    "oct october oktober okt octobre octubre ottobre outubro pazdziernika ekim октября октябрь жовтня жовтень أكتوبر अक्टूबर अक्तूबर|ott out paz eki",
    "nov november novembre noviembre novembro listopada kasim ноября ноябрь листопада листопад نوفمبر नवंबर नवम्बर|lis kas",
    "dec december dezember dez decembre diciembre dic dicembre dezembro grudnia aralik декабря декабрь грудня грудень ديسمبر दिसंबर दिसम्बर|gru ara",
)
# Names after the bar are also other words: they are used only beside a year.
_MONTHS = {
    plain(name): number
    for number, names in enumerate(_NAMES, 1)
    for name in names.replace("|", " ").split()
}
_SHORT = {plain(name) for names in _NAMES for name in names.partition("|")[2].split()}
# A word that may be the name of a month
_NAME = rf"(?P<n>[^\W\d_][\w{WORD_MARKS}]{{0,12}}?)(?![^\W\d_]|[{WORD_MARKS}])"
# Not after a digit, but allowed in "EXP.12/02/27"
_BEGIN = r"(?<!\d)(?<!\d[.,])"
# A year with two digits must not be a time of day.
_YEAR = r"(?P<y>(?:19|20)\d\d|\d\d(?!\s?[:h]\d|\s20\d\d))(?!\d)"
# Words on packages before a date without a year
_UNTIL = r"\b(?:exp(?:iry|ires)?|(?:best|use|used|sell|enjoy) (?:by|before)|bb[de]?|mhd|cad|scad|val|ddm|dlc|tht)[\W_]{0,3}"
# Day, month and year, as written
_NUMERIC = re.compile(
    rf"{_BEGIN}(?P<a>\d{{1,2}})\s?(?P<s>[./-])\s?(?P<b>\d{{1,2}})\s?(?P=s)\s?(?P<c>(?:19|20)?\d\d|\d)(?!\d|[.,]\d)"
)
_MOST_MONTHS, _MOST_DAYS = 12, 31
_DATES = (
    # 2027年3月12日, 2027년 3월, 27年3月12日
    re.compile(
        r"(?<!\d)(?P<y>(?:19|20)?\d\d)\s?[年년]\s?(?P<m>\d{1,2})\s?[月월](?:\s?(?P<d>\d{1,2})\s?[日일])?"
    ),
    # 2027-03-12, 2027.03
    re.compile(
        rf"{_BEGIN}(?P<y>(?:19|20)\d\d)[./-](?P<m>\d{{1,2}})(?:[./-](?P<d>\d{{1,2}}))?(?![\d,])"
    ),
    # 12 March 2027, 12. MRZ 27
    re.compile(
        rf"{_BEGIN}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[.\s/-]{{0,2}}(?:de\s)?{_NAME}[.,\s/-]{{0,2}}(?:de\s)?{_YEAR}"
    ),
    # March 12, 2027; MAR 12 27
    re.compile(
        rf"\b(?:exp)?{_NAME}[.\s/-]{{1,2}}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[.,\s/-]{{1,2}}(?=[2-4]|\d{{4}}){_YEAR}"
    ),
    # 2027 MAR 12
    re.compile(rf"(?<!\d)(?P<y>(?:19|20)\d\d)[\s./-]?{_NAME}[\s./-]?(?P<d>\d{{1,2}})(?!\d|[.:]\d)"),
    # 12MAR2027; MAR 2027; MAR1227
    re.compile(rf"{_BEGIN}(?P<d>\d{{1,2}}){_NAME}(?P<y>(?:19|20)?\d\d)(?!\d)"),
    re.compile(rf"\b(?:exp)?{_NAME}[.\s/-]{{0,2}}(?P<y>(?:19|20)\d\d)(?!\d)"),
    re.compile(rf"\b(?:exp)?{_NAME}(?P<d>\d\d)(?P<y>(?:20)?[2-4]\d)(?!\w)"),
    # 12 March; March 12, but in "Feb 27" the number may be a year.
    re.compile(
        rf"{_BEGIN}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[.\s/-]{{0,2}}(?:de\s)?{_NAME}(?!\w|[.,\s-]{{0,2}}\d{{3}})"
    ),
    re.compile(rf"\b{_NAME}\.?\s(?P<d>0?[1-9]|1\d|2[0-3])(?:st|nd|rd|th)?(?![\w%]|[.,:]\d)"),
    # 12.03.2027, 12/03/27; "7 - 10.30" is not a date.
    _NUMERIC,
    # 03/2027
    re.compile(r"(?<![\d,/])(?<!\d\.)(?P<m>\d{1,2})\s?[./-]\s?(?P<y>(?:19|20)\d\d)(?!\d|[.,]\d)"),
    # EXP 03/27, where 27 may also be a day; EXP311227
    re.compile(rf"{_UNTIL}(?P<m>0?[1-9]|1[0-2])[/.-](?:1[3-9]|[2-9]\d)(?![\d./-])"),
    re.compile(rf"{_UNTIL}(?P<y>20[2-4]\d)(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d)(?![\w.,])"),
    re.compile(rf"{_UNTIL}(?P<a>\d\d)(?P<b>\d\d)(?P<c>(?:20)?[2-4]\d)(?![\w.,])"),
    # 18 08 2027, EXP 08 2027
    re.compile(
        r"(?<![\d.,/] )(?<![\d.,/])(?P<a>0[1-9]|[12]\d|3[01])(?P<s>\s)(?P<b>0[1-9]|[12]\d|3[01])\s(?P<c>20[2-4]\d)(?!\d|[.,]\d|\s\d)"
    ),
    re.compile(r"(?<![\d.,/] )(?<![\d.,/])(?P<m>0[1-9]|1[0-2])\s(?P<y>20[2-4]\d)(?!\d|[.,]\d)"),
)
# Text on packages of countries that write the month, the day or the year first
_COUNTRIES = {
    "mdy": re.compile(
        r"\busa\b|\bu\.s\.|\bunited states\b|\bfl\.? ?oz\b|\bnet wt\b.{0,20}\boz\b|\bif used by\b|\benjoy by\b|\bfreeze by\b|\bdist(?:ributed|\.) by\b|, [a-z]{2} \d{5}\b"
    ),
    "dmy": re.compile(
        r"\b(?:mhd|haltbar\w*|verbrauchen|gmbh|consommer|peremption|dlc|ddm|consumir|caduc\w*|venc\w*|consumars\w*|consumare|scad\w*|preferibilmente|validade|houdbaar|tht|spozyc\w*|waznosci|kullanma|tuketim|skt|tett|годен|годност\w*|употребить|вжити|придатн\w*|ltd|england|ireland|australia|india)\b"
    ),
    "ymd": re.compile(r"[\u3040-\u30ff\uac00-\ud7af]|期"),
}


@dataclass(frozen=True, slots=True)
class Date:
    """A date as written; year and day are None if missing."""

    text: str
    year: int | None
    month: int
    day: int | None
    # Day and month may be exchanged.
    either: bool = False

    @property
    def clear(self) -> str:
        """The date as written, with its meaning if the order of its numbers follows only from the rest of the package."""
        if self.either or not (self.year and self.day) or not _ALL_NUMBERS(self.text):
            return self.text
        first = int(self.text[:4] if self.text[:4].isdigit() else re.split(r"\D", self.text)[0])
        sure = self.day > _MOST_MONTHS or self.day == self.month or "." in self.text
        if first == self.year or (first == self.day and sure):
            return self.text
        return f"{self.text} ({self.year}-{self.month:02}-{self.day:02})"


_ALL_NUMBERS = re.compile(r"[\d\s./-]+").fullmatch


def find_date_order(rows: Iterable[str]) -> str:
    """Return the order of day, month and year indicated by a package's text: "mdy", "dmy" or "ymd"; "" if unclear."""
    text = plain("\n".join(rows))
    found = {order for order, words in _COUNTRIES.items() if words.search(text)}
    for one in _NUMERIC.finditer(text):
        first, second = int(one["a"]) > _MOST_MONTHS, int(one["b"]) > _MOST_MONTHS
        found |= {"dmy"} if first > second else {"mdy"} if second > first else set()
    return "ymd" if "ymd" in found else found.pop() if len(found) == 1 else ""


def find_dates(row: str, order: str = "") -> list[Date]:
    """Return the valid dates in a row, left to right. `order`: result of `find_date_order` for the whole package."""
    # Folding keeps the length unless an accent is a separate mark; then the folded text is shown.
    folded = plain(row)
    shown = row if len(folded) == len(row) else folded
    known = cache(lambda: order or find_date_order([row]))
    found: list[tuple[int, int, Date]] = []
    for pattern in _DATES if any(map(str.isdigit, folded)) else ():
        for match in _find_overlapping(pattern, folded):
            parts = match.groupdict()
            name = parts.get("n")
            if name and (name not in _MONTHS or (name in _SHORT and not parts.get("y"))):
                continue
            begin = min(match.start(key) for key, part in parts.items() if part)
            if any(begin < end and start < match.end() for start, end, _ in found):
                continue
            if "a" in parts:
                readings = _list_readings(parts, known())
            else:
                month = _MONTHS[name] if name else int(parts["m"])
                readings = [(_parse_year(parts.get("y")), month, int(parts.get("d") or 0) or None)]
            # Without separators, a date must have only one reading.
            if not readings or ("a" in parts and "s" not in parts and len(readings) > 1):
                continue
            year, month, day = readings[0]
            if not 1 <= month <= _MOST_MONTHS or (day is not None and day > _MOST_DAYS):
                continue
            text = shown[begin : match.end()].strip(" .,-")
            one = Date(text, year, month, day, len(readings) > 1)
            found.append((begin, match.end(), one))
    return [date for _, _, date in sorted(found, key=lambda one: one[0])]


def _find_overlapping(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Yield matches, including those that begin inside another one: "12 et 13 décembre"."""
    match = pattern.search(text)
    while match is not None:
        yield match
        match = pattern.search(text, match.start() + 1)


# Year, month and day
_Parts = tuple[int | None, int, int | None]


def _parse_year(text: str | None) -> int | None:
    return int(text) + 2000 * (len(text) == 2) if text else None


def _list_readings(parts: Mapping[str, str], order: str) -> list[_Parts]:
    """Return the possible meanings of three numbers: in the given order; with points, the day is first."""
    found: list[_Parts] = []
    for one in (order, "dmy", "mdy") if order else ("dmy", "mdy"):
        part = dict(zip(one, (parts["a"], parts["b"], parts["c"]), strict=True))
        year, month, day = _parse_year(part["y"]), int(part["m"]), int(part["d"])
        possible = len(part["y"]) > 1 and 1 <= month <= _MOST_MONTHS and 1 <= day <= _MOST_DAYS
        late = one != "ymd" or (year or 0) >= _LEAST_YEAR
        if possible and late and (year, month, day) not in found:
            found.append((year, month, day))
        if found and (one == order or parts.get("s") == "."):
            break
    return found


# Minimum year of a package if the number may also be a day
_LEAST_YEAR = 2020


def get_zone(name: str) -> ZoneInfo | None:
    """Return the time zone with this IANA name; None if it is unknown, or without a time zone database."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # A folder of zones raises OSError.
        return None
