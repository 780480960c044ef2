"""Dates as people and packages write them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from server.models.routing import plain, word_pattern

_MONTHS = {
    plain(name): number
    for number, names in enumerate(
        (
            "jan january januar janvier janv enero ene gennaio janeiro januari stycznia ocak января январь січня січень يناير जनवरी",
            "feb february februar fevrier fevr fev febrero febbraio fevereiro februari lutego subat февраля февраль лютого лютий فبراير फरवरी फ़रवरी",
            "mar march marz mrz mars marzo marco maart mrt marca mart марта март березня березень مارس मार्च",
            "apr april avril avr abril abr aprile kwietnia nisan апреля апрель квітня квітень أبريل अप्रैल",
            "may mai mayo maggio maio mei maja mayis мая май травня травень مايو मई",
            "jun june juni juin junio giugno junho czerwca haziran июня июнь червня червень يونيو जून",
            "jul july juli juillet juil julio luglio julho lipca temmuz июля июль липня липень يوليو जुलाई",
            "aug august aout agosto ago augustus sierpnia agustos августа август серпня серпень أغسطس अगस्त",
            "sep sept september septembre septiembre settembre setembro wrzesnia eylul сентября сентябрь вересня вересень سبتمبر सितंबर सितम्बर",
            "oct october oktober okt octobre octubre ottobre outubro pazdziernika ekim октября октябрь жовтня жовтень أكتوبر अक्टूबर अक्तूबर",
            "nov november novembre noviembre novembro listopada kasim ноября ноябрь листопада листопад نوفمبر नवंबर नवम्बर",
            "dec december dezember dez decembre diciembre dic dicembre dezembro grudnia aralik декабря декабрь грудня грудень ديسمبر दिसंबर दिसम्बर",
        ),
        1,
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
# Without what is short for a day or another word, too
_NAMED_MONTH = word_pattern(",".join(one for one in _MONTHS if len(one) > 3 and one != "sept"))
_DATES = (
    # 2027年3月12日, 2027년 3월
    re.compile(
        r"(?P<y>(?:19|20)\d\d)\s?[年년]\s?(?P<m>\d{1,2})\s?[月월](?:\s?(?P<d>\d{1,2})\s?[日일])?"
    ),
    # 2027-03-12, 2027.03
    re.compile(
        r"(?<![\d.,])(?P<y>(?:19|20)\d\d)[./-](?P<m>\d{1,2})(?:[./-](?P<d>\d{1,2}))?(?![\d,])"
    ),
    # 12.03.2027, 12/03/27; "7 - 10.30" is none.
    re.compile(
        r"(?<![\d.,])(?P<d>\d{1,2})\s?(?P<s>[./-])\s?(?P<m>\d{1,2})\s?(?P=s)\s?(?P<y>(?:19|20)?\d\d)(?!\d|[.,]\d)"
    ),
    # 03/2027
    re.compile(r"(?<![\d.,/])(?P<m>\d{1,2})\s?[./-]\s?(?P<y>(?:19|20)\d\d)(?!\d|[.,]\d)"),
    # 18 08 2027, EXP 08 2027
    re.compile(
        r"(?<![\d.,/] )(?<![\d.,/])(?P<d>0[1-9]|[12]\d|3[01])\s(?P<m>0[1-9]|1[0-2])\s(?P<y>20[2-4]\d)(?!\d|[.,]\d|\s\d)"
    ),
    re.compile(r"(?<![\d.,/] )(?<![\d.,/])(?P<m>0[1-9]|1[0-2])\s(?P<y>20[2-4]\d)(?!\d|[.,]\d)"),
    # 12 March 2027, 12. MRZ 27, 12MAR2027
    re.compile(
        rf"(?<![\d.,])(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[.\s-]{{0,2}}(?:de\s)?(?P<n>{_MONTH})(?!\w)[.,\s-]{{0,2}}(?:de\s)?(?P<y>(?:19|20)?\d\d(?!\s?[:h]\d))?(?!\d)"
    ),
    re.compile(rf"(?<![\d.,])(?P<d>\d{{1,2}})(?P<n>{_MONTH})(?P<y>(?:19|20)?\d\d)(?!\d)"),
    # March 12, 2027; MAR 2027
    re.compile(
        rf"\b(?P<n>{_MONTH})[.\s]{{1,2}}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s(?P<y>(?:19|20)\d\d)(?!\d)"
    ),
    re.compile(rf"\b(?P<n>{_MONTH})[.\s/-]{{1,2}}(?P<y>(?:19|20)\d\d)(?!\d)"),
)


@dataclass(frozen=True, slots=True)
class Date:
    """A date as written; year and day are None when it does not name them."""

    text: str
    year: int | None
    month: int
    day: int | None


def names_month(text: str) -> bool:
    """Find whether a `plain` text has the name of a month, with or without a day."""
    return _NAMED_MONTH.search(text) is not None


def dates(row: str) -> list[Date]:
    """Return the dates in a row, left to right, without impossible ones."""
    # Folding keeps the length unless an accent is a mark of its own; then the folded text is shown.
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
            # 03/14/2027 is in American order.
            if month > 12 and day is not None and day <= 12:
                day, month = month, day
            if not 1 <= month <= 12 or (day is not None and not 1 <= day <= 31):
                continue
            if year is not None and year < 100:
                year += 2000
            text = shown[match.start() : match.end()].strip(" .,-")
            found.append((match.start(), match.end(), Date(text, year, month, day)))
    return [date for _, _, date in sorted(found, key=lambda one: one[0])]


def zone_of(name: str) -> ZoneInfo | None:
    """Return the time zone with this IANA name; None for an unknown one, or without a database of zones."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # A folder of zones is an OSError.
        return None
