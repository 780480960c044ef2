"""Finds prices: of a thing, in total, by the kilo. Figures stay as written. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise, takewhile

from server.features.builtin.fields import letters, matches, unique
from server.features.builtin.lines import MOST_HEADING, Cell, Figure, Row
from server.features.builtin.tables import count_named, names_any, overlapping, printed
from server.models.routing import plain
from server.shared.dates import dates

# Words of print are in the languages whose letters the engine reads.
_CURRENCY = r"(?:€|\$|£|¥|₹|₽|元|円|eur|euro|euros|usd|gbp|chf|fr\.|sek|nok|dkk|pln|zł|(?<=\d)zt|(?<=\d )zt|kč|kr|rub|руб|rmb|cny|jpy|₺|tl|try|brl)"
_MONEY = r"\d{1,3}(?:[.,' ]\d{3})*(?:[.,](?:\d{2}|-{1,2}))?|\d+(?:[.,]\d{2})?"
_PRICES = (
    # In "3 € 5 €" no mark stands in front.
    re.compile(
        rf"(?:(?<!\d)(?<!\d\s)(?:{_CURRENCY})\s?|(?:{_CURRENCY}))(?:{_MONEY})(?!\d|[.,]\d)", re.I
    ),
    re.compile(rf"(?<![\d.,])(?:{_MONEY})\s?(?:{_CURRENCY})(?!\w)", re.I),
    re.compile(r"(?<![\w.,])\d{1,2}p(?!\w)"),
)
# A number that looks like a price without a currency, for a row with a word for prices
_BARE = re.compile(
    r"(?<![\d.,/:])(?<!\w-)(?:\d{1,3}(?:[.,']\d{3}){1,3}|\d{1,5})[.,]\d{2}(?![\d.,/:%]|-\d|\s?(?:%|[ap]\.?m\b|uhr\b|(?:g|kg|mg|ml|l|cl|kcal|kj|w|v|a|mm|cm|m|°)\b))|(?<![\d.,/:])(?<!\w-)\d{1,5}[.,]-{1,2}",
    re.I,
)
_PRICE_ROW = printed("price")
_TOTAL = printed("total")
# Words that name the sum to pay more surely than "total"
_DUE = printed("due")
_NOT_TOTAL = printed("not_total")
_INCLUDING = printed("including")
_NOW = printed("now")
_OLD = printed("old")
# Between a word and a sign of money that stands close to it: "Was£4.99"
_GLUED = re.compile(r"(?<=[^\W\d_])(?=[€£$])")
# Cells, or prices, of "Was £4.99" beside "£3.49"
_PAIR = 2
# Share of the largest price's height that another one of the same thing has
_AS_LARGE = 0.7
_MONEY_BACK = printed("money_back")
_PAID = printed("paid")
_UNIT_NAME = r"(?:kg|kilo|kilogramm?|g|gr|l|liter|litre|litro|ltr|ml|lb|oz|stk|stück|st|piece|pc|pièce|pieza|unit|m|公斤|斤|kg)"
_UNIT = re.compile(rf"per|pro|por|par|{_UNIT_NAME}s?", re.I)
_PER = re.compile(
    rf"(?:/|\bper\b|\bpro\b|\bje\b|\bpor\b|\bpar\b|\ble\b|\bau\b|\bel\b|\bal\b|\bthe\b|每)\s?(?P<unit>(?:1|10|100)?\s?{_UNIT_NAME})\b"
    rf"|\b(?P<first>1\s?{_UNIT_NAME}|100\s?(?:g|ml))\s?[=:]"
    rf"|\b(?P<before>kg|kilo|liter|litre)[\s-]?(?:price|preis|prix)",
    re.I,
)


def prices(rows: Sequence[str]) -> list[str]:
    """Return the prices as written."""
    return unique(text for row in rows for text in _money(row))


def total(rows: Sequence[Row]) -> Figure | None:
    """Return the total that a row names most surely; of equals, the largest."""
    best: tuple[int, Decimal] | None = None
    found = None
    for index, row in enumerate(rows):
        folded = plain(row.text)
        due = _DUE.search(folded) is not None
        if not due and _TOTAL.search(folded) is None:
            continue
        if _NOT_TOTAL.search(folded) and not _INCLUDING.search(folded):
            continue
        text = _beside_total(row) or _last_money(rows, index)
        if text is None:
            continue
        rank = (int(due), amount(text))
        if best is None or rank > best:
            best, found = rank, Figure(text, row)
    return found


def _beside_total(row: Row) -> str | None:
    """Return the price right behind the word: "Total 34.50  Paid 10.00" has another one at its end."""
    at = next((at for at, one in enumerate(row.cells) if names_total(plain(one.text))), None)
    near = row.cells[at : at + 2] if at is not None else ()
    return next((here[0] for one in near if (here := _money(one.text, bare=True))), None)


def money_back(rows: Sequence[Row]) -> Figure | None:
    for index, row in enumerate(rows):
        if _MONEY_BACK.search(plain(row.text)):
            text = _last_money(rows, index)
            if text is not None:
                return Figure(text, row)
    return None


def item(rows: Sequence[Row], words: Sequence[str]) -> Figure | None:
    """Return the price in the row that names a thing, or the next row if that is only a price.

    Of a thing in several sizes it has all prices.
    """
    found = [
        (hits, index)
        for index, row in enumerate(rows)
        if (hits := count_named(row.text, words)) and _last_money(rows, index) is not None
    ]
    best = max(found, key=lambda one: one[0], default=(0, 0))
    equals = [one for one in found if one[0] == best[0]]
    if best[0] < len(words) and len(equals) > 1:
        # "Rice milk" is none of several other milks; "a ticket for children" is "Children", and no other ticket.
        equals = [one for one in equals if _is_named(rows[one[1]], words)]
        best = equals[0] if len(equals) == 1 else (0, 0)
    if not best[0]:
        return None
    row = rows[best[1]]
    if has_several(row, rows) and (one := paired(row, words)) is not None:
        return one
    text = _last_money(rows, best[1])
    assert text is not None
    if all(pattern.search(plain(row.text)) is None for pattern in (_PIECES, _PER, _NOW, _OLD)):
        text = " / ".join(_money_of(row)) or text
    label = next(
        (cell.text for cell in row.cells if names_any(cell.text, words)),
        row.text,
    )
    return Figure(text, row, _without_money(label))


def paired(row: Row, words: Sequence[str]) -> Figure | None:
    """Return the price behind the words of a row that name a thing: "Adult £9  Child £6"; None unless one is named best."""
    found, begin = list[tuple[int, Figure]](), 0
    for text in _money(row.text, bare=True):
        at = row.text.find(text, begin)
        label = _without_money(row.text[begin:at])
        if at < 0 or not letters(label):
            return None
        hits = count_named(label, words)
        found.append((hits, Figure(text, row, label)))
        begin = at + len(text)
    most = max(hits for hits, _ in found)
    best = [price for hits, price in found if hits == most]
    return best[0] if most and len(best) == 1 and not row.text[begin:].strip() else None


def _is_named(row: Row, words: Sequence[str]) -> bool:
    """Find whether words have all that a row says beside its price."""
    label = [one for one in _without_money(row.text).split() if any(map(str.isalpha, one))]
    return bool(label) and all(names_any(one, words) for one in label)


def is_item(row: Row, words: Sequence[str]) -> bool:
    """Find whether a row is a thing that words name whole, with its price."""
    return bool(_money_of(row)) and _is_named(row, words)


def is_list(rows: Sequence[Row]) -> bool:
    """Find whether there is a list of things with prices: two rows, one below the other, each end in one."""
    ends = [bool(one) and row.text.endswith(one[-1]) for row in rows for one in [_money_of(row)]]
    return any(one and other for one, other in pairwise(ends))


def has_several(row: Row, rows: Sequence[Row]) -> bool:
    """Find whether a row has several things, each with its price: "Tea 3,00  Coffee 3,40"; sizes stand in other rows, too."""
    found = _money(row.text, bare=True)
    if len(found) < 2:
        return False
    begin = row.text.find(found[0]) + len(found[0])
    between = _without_money(row.text[begin : row.text.rfind(found[-1])])
    others = (one.text for one in rows if one is not row)
    if _NOW.fullmatch(plain(between).strip(" ,;:–-")):
        # "Before 5,60, now 4,50"
        return False
    return any(map(str.isalpha, between)) and not any(between in text for text in others)


def names_total(text: str) -> bool:
    """Find whether a `plain` text has a word for a sum."""
    return _TOTAL.search(text) is not None or _DUE.search(text) is not None


def is_payment(word: str) -> bool:
    """Find whether a `plain` word says how something is paid: "card"."""
    return _PAID.search(word) is not None


def asks_by_unit(words: Sequence[str]) -> bool:
    """Find whether words ask for a price by weight, volume or piece: "per litre"."""
    return _PER.search(" ".join(words)) is not None


def is_unit(word: str) -> bool:
    """Find whether a `plain` word is of a unit that things are sold by: "per", "kilo"."""
    return _UNIT.fullmatch(word) is not None


# A figure alone
_ALONE = re.compile(r"\d{1,4}(?:[.,]\d{1,3})?")


def unit_prices(rows: Sequence[Row], words: Sequence[str] = ()) -> list[Figure]:
    """Return the prices by weight, volume or piece, with their units as written.

    Those in rows that `words` name are enough.
    """
    found = []
    for index, row in enumerate(rows):
        for match in _PER.finditer(row.text):
            unit = match["unit"] or match["first"] or match["before"]
            here = matches((*_PRICES, _BARE), row.text) or _FUEL.findall(row.text)
            # A figure alone below it is its own, and one above that of another caption.
            below = rows[index + 1].text if index + 1 < len(rows) else ""
            if not here:
                here = [below] if _ALONE.fullmatch(below) else matches((*_PRICES, _BARE), below)
            if not here and index:
                here = matches((*_PRICES, _BARE), rows[index - 1].text)
            # "7,98 €/kg" has its price in front; "1 kg = 7,98 €" and "per kg: 7,98" have it behind.
            before = matches((*_PRICES, _BARE), row.text[: match.start()])
            behind = row.text[match.end() :]
            after = matches((*_PRICES, _BARE), behind) or _FUEL.findall(behind)
            if match["unit"] and before:
                here = before[-1:]
            elif after:
                here = after[:1]
            if here:
                found.append(Figure(here[0], row, re.sub(r"^1\s?(?=\D)", "", unit.strip())))
    named = [one for one in found if names_any(one.row.text, words)]
    return named or found


_ASIDE = re.compile(r"\([^()]*\)")
# "8.99 instead of 11.49"
_INSTEAD = re.compile(
    r"\b(?:instead of|statt|zamiast|au lieu de|en (?:lugar|vez) de|invece di|em vez de|in plaats van) \S+(?: \S{1,3}\b)?",
    re.IGNORECASE,
)


def _apart(rows: Sequence[Row]) -> Iterator[Row]:
    """Return rows, and "Was £4.99" with "£3.49" beside it as two."""
    for row in rows:
        cells = [replace(row, text=cell.text, cells=(cell,)) for cell in row.cells]
        was = [one for one in cells if _OLD.search(plain(_GLUED.sub(" ", one.text)))]
        yield from (
            cells
            if len(cells) == _PAIR and len(was) == 1 and all(_money(c.text) for c in cells)
            else [row]
        )


def tags(rows: Sequence[Row]) -> list[Figure]:
    """Return prices of things, not by the kilo; the largest print first, then top to bottom."""
    found: list[Figure] = []
    head: Row | None = None
    for row in _apart(rows):
        text = _INSTEAD.sub(" ", _PER_PRICE.sub(" ", row.text))
        # "Price £148 (with a deposit of £5)"
        here = _money(_ASIDE.sub(" ", text)) or _money(text)
        if not here and len(row.cells) > 1:
            head = row
        if _PER.search(row.text) and len(_money(row.text)) < 2:
            continue
        columns = _columns(head, row) if head is not None and len(here) > 1 else {}
        for price in here:
            if all(price != other.text for other in found):
                label = ", ".join(filter(None, (_without_money(row.text), columns.get(price))))
                found.append(Figure(price, row, label))
    return sorted(found, key=lambda one: -one.row.height)


def _columns(head: Row, row: Row) -> dict[str, str]:
    """Return the words of a table's head above each of a row's prices; none where one has none."""
    priced = [(cell, one[0]) for cell in row.cells if len(one := _money(cell.text)) == 1]
    above = {price: overlapping(head, cell) for cell, price in priced}
    return (
        {price: cell.text for price, cell in above.items() if cell} if all(above.values()) else {}
    )


_TIMED = re.compile(r"([01]?\d|2[0-3])[.:]([0-5]\d)\s?[^\W\d_]{2}[^\d]*$")
# Rows of a programme, at least, and the share of them that are later than the one above
_PROGRAMME, _LATER = 3, 0.7


def _programme(rows: Sequence[Row]) -> set[int]:
    """Return the places of rows that begin with times of day, one later than the other: "7.30 Mastermind"."""
    timed = [(at, found) for at, row in enumerate(rows) if (found := _TIMED.match(row.text))]
    clocks = [(int(found[1]), int(found[2])) for _, found in timed]
    later = sum(one < other for one, other in pairwise(clocks))
    is_one = len(clocks) >= _PROGRAMME and later >= _LATER * (len(clocks) - 1)
    return {at for at, _ in timed} if is_one else set()


def bill(rows: Sequence[Row]) -> list[Figure]:
    """Return the things on a bill: rows that end in a price, and are no sum, tax or change."""
    words = (_TOTAL, _DUE, _NOT_TOTAL, _MONEY_BACK, _PAID)
    timed = _programme(rows)
    return [
        Figure(here[-1], row, _without_money(row.text.removesuffix(row.price)))
        for at, row in enumerate(rows)
        if (here := _money_of(row))
        and at not in timed
        and not any(pattern.search(plain(row.text)) for pattern in words)
    ]


def listed(rows: Sequence[Row]) -> list[Figure]:
    """Return the things on a bill that have a name, without prices by the kilo."""
    return [
        one
        for one in bill(rows)
        if not _PER.search(one.row.text) and sum(map(str.isalpha, _UNITS.sub("", one.label))) > 1
    ]


# What stands behind a price at the end of its row: a currency, a rate of tax
_BEHIND_IT = re.compile(r"\W*(?:[^\W\d_]{1,3}\W*)?$")


@dataclass(frozen=True, slots=True)
class Added:
    """A computed sum, written as its prices are, and how many they are."""

    text: str
    count: int


def added(rows: Sequence[Row]) -> Added | None:
    """Add up the things that are listed, and take off what is given off.

    None for less than two prices, or for more than one currency.
    """
    things = listed(rows)
    off = [
        Figure(here[-1], row)
        for row in rows
        if _NOT_TOTAL.search(plain(row.text))
        and (here := _money(row.text, bare=True))
        and _is_minus(row.text, here[-1])
    ]
    # Of most of them a minus is only a dash in front of the price.
    dashes = 2 * sum(_is_minus(one.row.text, one.text) for one in things) > len(things)
    whole = sum(
        (-1 if _is_minus(one.row.text, one.text) and not dashes else 1) * amount(one.text)
        for one in things
    ) - sum(amount(one.text) for one in off)
    texts = [one.text for one in things]
    currencies = {_SAME.get(one, one) for text in texts if (one := _currency(text))}
    # "Entry £2 a head" and "First prize £60 and a hat" are no bill.
    ends = [_BEHIND_IT.match(one.row.text.rpartition(one.text)[2]) is not None for one in things]
    if len(things) < 2 or len(currencies) > 1 or 2 * sum(ends) < len(things):
        return None
    shape = next(filter(_currency, texts), texts[0])
    mark = next((found[1] for text in texts if (found := _CENTS.search(text))), "")
    number = f"{whole:.2f}".replace(".", mark) if mark else f"{whole:.0f}"
    return Added(_FIGURE.sub(number, shape, count=1), len(things))


# A number of pieces on a bill, in front of a thing or behind it
_PIECES = re.compile(
    r"(?<!\w)(?P<front>\d{1,3})\s?[x×*](?!\w)|(?<!\w)[x×*]\s?(?P<behind>\d{1,3})(?!\w)"
)
# What may stand beside a number of pieces in place of a thing
_UNITS = re.compile(r"(?<!\w)(?:stk|stück|st|pcs|x|à|a|eur|kg|g|l|ml)(?!\w)", re.I)
# The figure in a price, and the mark before its cents
_FIGURE = re.compile(r"\d[\d.,' ]*(?:-{1,2})?(?<! )")
_CENTS = re.compile(r"([.,])\d\d(?!\d)")
# Names of one currency
_SAME = {
    "eur": "€",
    "euro": "€",
    "euros": "€",
    "usd": "$",
    "gbp": "£",
    "jpy": "¥",
    "cny": "¥",
    "rmb": "¥",
}
# What a till prints behind a price: its rate of tax, a mark
_BEHIND = re.compile(r"\s?[A-Za-z*#]{1,2}\s?|[-−]")


def pieces(price: Figure) -> int:
    """Return the number of pieces that a row of a bill names; 1 without one."""
    found = _PIECES.search(price.row.text)
    return int(found["front"] or found["behind"]) if found else 1


def priced(row: Row) -> Figure | None:
    """Return a row's price with the words before it, when the row ends in its only price.

    A mark behind it belongs to it.
    """
    here = _money(row.text, bare=True)
    if len(here) != 1:
        return None
    begin = row.text.rfind(here[0])
    behind = row.text[begin + len(here[0]) :].rstrip()
    label = _without_money(row.text[:begin])
    if (behind and not _BEHIND.fullmatch(behind)) or not letters(label):
        return None
    return Figure(row.text[begin:].strip(), row, label)


# What is paid beside a thing: "Gluten-free bread 80p extra"
_EXTRA = re.compile(
    r"\+ ?[£$€]?\d|\b(?:extra|add-?ons?|supplement|aufpreis|zuschlag|en sus|suplemento|supplemento|meerprijs|toeslag|doplata)\b"
)


def extreme(rows: Sequence[Row], *, highest: bool = False) -> list[Figure]:
    """Return the things of the lowest or highest price; prices alone where none has a name.

    None where fewer than two can be compared. Of a thing in several sizes all prices count.
    """
    things = listed(rows) or [one for one in bill(rows) if not _PER.search(one.row.text)]
    each = [
        price
        for one in things
        if not _is_minus(one.row.text, one.text) and not _EXTRA.search(plain(one.row.text))
        for price in (_sizes(one) if _PIECES.search(one.row.text) is None else [one])
    ]
    if len(each) < 2:
        return []
    end = (max if highest else min)(amount(one.text) for one in each)
    return [one for one in each if amount(one.text) == end]


def _sizes(price: Figure) -> list[Figure]:
    """Return a price for each that stands in the row, with the row's first words."""
    here = _money(price.row.text, bare=True)
    if len(here) < 2:
        return [price]
    label = _without_money(price.row.cells[0].text if price.row.cells else price.label)
    return [Figure(text, price.row, label) for text in here]


def section(rows: Sequence[Row], words: Sequence[str]) -> list[Row]:
    """Return the rows with prices below the heading that names most `words`, up to the next one; none without it."""
    best, most = list[Row](), 0
    for at, row in enumerate(rows):
        heads = not _money_of(row) and len(row.text.split()) <= MOST_HEADING
        named = count_named(row.text, words) if heads else 0
        if named > most:
            below = takewhile(_money_of, rows[at + 1 :])
            if found := list(below):
                best, most = found, named
    return best


def of_section(rows: Sequence[Row], words: Sequence[str]) -> Figure | None:
    """Return the price of the one thing below a heading of which `words` have the whole name: "Cut" below "Men"."""
    found = [
        one
        for one in listed(section(rows, words))
        if all(names_any(part, words) for part in one.label.split())
    ]
    return found[0] if len(found) == 1 else None


def current(found: Sequence[Figure]) -> Figure | None:
    """Return the price that holds where a second one is crossed out: "was 9.99, now 7.49"."""
    # What is printed smaller is of several: "Any 2 for £6"
    large = [one for one in found if one.row.height >= _AS_LARGE * found[0].row.height]
    now = [one for one in large if _NOW.search(plain(one.row.text))]
    old = [one for one in large if _OLD.search(plain(_GLUED.sub(" ", one.row.text)))]
    left = [one for one in now or large if one not in old]
    return left[0] if (now or old) and len(left) == 1 and len(large) == _PAIR else None


_PER_PRICE = re.compile(
    rf"(?:(?:{_CURRENCY})\s?|(?<![\d.,]))(?:{_MONEY})\s?(?:{_CURRENCY})?\s?{_PER.pattern}", re.I
)


def _money(row: str, *, bare: bool = False) -> list[str]:
    row = _untaxed(row)
    here = matches(_PRICES, row)
    if not here and (bare or _PRICE_ROW.search(plain(row))) and not dates(row):
        here = matches((_BARE,), row)
    return here


def _money_of(row: Row) -> list[str]:
    return _money(row.text, bare=True) or ([row.price] if row.price else [])


# As many whole numbers make a column of prices, with right edges that differ by so many times their height.
_COLUMN, _ALIGNED = 3, 0.6
_WHOLE = re.compile(r"[1-9]\d{0,3}")


def with_columns(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of a list with the whole numbers in its last column as their prices: "Dry cut  33"."""
    ends = [
        row.cells[-1]
        if len(row.cells) == 2
        and _WHOLE.fullmatch(row.cells[1].text)
        and letters(row.cells[0].text)
        else None
        for row in rows
    ]

    def lines_up(end: Cell, row: Row) -> bool:
        near = (one for one in ends if one and abs(one.right - end.right) < _ALIGNED * row.height)
        return sum(1 for _ in near) >= _COLUMN

    return [
        replace(row, price=end.text) if end is not None and lines_up(end, row) else row
        for row, end in zip(rows, ends, strict=True)
    ]


def has_money(row: Row) -> bool:
    """Find whether a row has an amount: a price, a tax, a sum."""
    return bool(_money_of(row))


def has_figure(row: Row) -> bool:
    """Find whether a row has no price, but a figure that looks like one: beside a day."""
    return not _money_of(row) and _BARE.search(row.text) is not None


def _last_money(rows: Sequence[Row], index: int) -> str | None:
    """Return a row's last price; if it has none, the next row's if that is only a price."""
    here = _money_of(rows[index])
    if here:
        return here[-1]
    if any(char.isdigit() for char in rows[index].text) or index + 1 == len(rows):
        return None
    after = rows[index + 1].text
    found = _money(after, bare=True)
    if len(found) == 1 and len(letters(after)) - len(letters(found[0])) <= 3:
        return found[0]
    return None


# The price of a litre of fuel: "1.459"
_FUEL = re.compile(r"(?<![\d.,])\d[.,]\d{3}(?![\d.,])")
# The price of each piece belongs to the thing: "2 @ 2.25".
_EACH = re.compile(r"@\s?\d{1,5}[.,]\d\d")


def _without_money(text: str) -> str:
    text = _untaxed(text)
    each = _EACH.search(text)
    kept, text = (text[: each.end()], text[each.end() :]) if each else ("", text)
    for pattern in (*_PRICES, _BARE):
        text = pattern.sub(" ", text)
    # "Want a table? Tables cost $10."
    text = kept + text.rpartition("? ")[2]
    return re.sub(r"\s+", " ", text).strip(" .:;,-–_*=/☐☑") or text.strip()


def amount(text: str) -> Decimal:
    """Return the amount of a price as written: "1.234,50 €", "¥1,200", "3,40", "12.-", "50p"."""
    if text.endswith("p") and text[:-1].isdecimal():
        return Decimal(text[:-1]) / 100
    digits = re.sub(r"[^\d.,]", "", text).replace(",", ".")
    whole, _, cents = digits.rpartition(".")
    if len(cents) == 2 and whole:
        return Decimal(f"{whole.replace('.', '')}.{cents}")
    return Decimal(digits.replace(".", "") or 0)


# The letter of a rate of tax at the end of a row, which is none of amperes
_TAX = re.compile(r"(?<=\d[.,]\d\d)\s?[A-D*]{1,2}\s*$")
_ELECTRIC = re.compile(r"\d\s?(?:V|W|Hz|mA|mAh|kWh)(?!\w)")


def _untaxed(row: str) -> str:
    return row if _ELECTRIC.search(row) else _TAX.sub("", row)


def _currency(text: str) -> str:
    return re.sub(r"[\d.,' -]", "", text).casefold()


def _is_minus(row: str, price: str) -> bool:
    """Find whether a minus stands right before or behind a row's last price: "-1.50", "1.50-"."""
    begin = row.rfind(price)
    before, behind = row[:begin].rstrip("€$£¥"), row[begin + len(price) :]
    return bool(re.search(r"(?:^|\s)[-−]$", before)) or behind[:1] in ("-", "−")
