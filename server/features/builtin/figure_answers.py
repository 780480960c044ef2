"""Answers that are figures of print: a measure, a number, a price, a sum. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from server.features.builtin import fields, measures, prices, tables
from server.features.builtin.fields import letters
from server.features.builtin.lines import MOST_HEADING, Figure, Row, row_of
from server.features.builtin.speaker import (
    ITEMS,
    PAGE,
    PRINTED,
    SOME,
    Answer,
    Speaker,
    has_digit,
)
from server.features.builtin.tables import plain_words
from server.features.builtin.telling import (
    YEAR,
    called,
    hits_of,
    names_some,
    naming,
    of_age,
    spanning,
)
from server.features.builtin.text_answers import (
    GENERAL,
    KNOWN,
    KNOWN_OF_ALL,
    in_section,
    lookup,
    none_found,
)
from server.features.builtin.wants import Want
from server.features.builtin.wordings import CALLS
from server.models.routing import plain

# What a display shows without its unit, in print so many times larger than that of other figures
_SHOWN = frozenset({Want.TEMPERATURE, Want.VOLTAGE, Want.CURRENT, Want.SPEED, Want.PRESSURE})
_DISPLAY = 1.5
# Letters of small words
_SHORT = 4
# Share of the first figure's height that others of the same print have
_SIMILAR = 0.7


# A figure without its unit
_BARE = re.compile(r"\d{1,6}(?:[.,]\d{1,4})?")


# The head of a column of temperatures
_DEGREES = re.compile(r"°|\btemp")


# Degrees, also without their sign
_HEAT = re.compile(r"\d ?(?:[°º˚] ?)?C\b")


def temperature(s: Speaker) -> Answer:
    """Answer with the figure in a table's column of temperatures, else as of any other unit."""
    below = tables.below_unit(s.rows, s.words, _DEGREES)
    if below is not None:
        return s.crossed(below)
    heated = [row for row in s.rows if len(_HEAT.findall(row.text)) > 1]
    named = [row for row in heated if names_some(row, s.words)]
    # "180 C (160 °C fan)", of which one sign may not be read
    return s.quote(named[0]) if len(named) == 1 else measure(s)


# "How fast are they going?", and not "How fast may I go?"
_GO = re.compile(r"\b(?:is|are|it|they|he|she) (?:going|driving|moving)\b")


def measure(s: Speaker) -> Answer:
    """Answer with a figure of the unit asked for: in the named row, else in the largest print."""
    words = [word for word in s.words if word not in GENERAL]
    if s.intent.want is Want.AMOUNT:
        return _amount(s, words)
    found = measures.measures(s.rows, s.intent.want, words)
    # "Humidity" is the subject and a word of the row.
    subject = [word for word in s.intent.asked.split() if len(word) > _SHORT]
    near = tables.beside(s.rows, subject, digits=True) if subject and not s.words else None
    if near is not None and near.row.text.startswith(near.label) and _BARE.fullmatch(near.value):
        # "Litres 38.42"
        return s.beside(near)
    named = [one for one in found if names_some(one.row, words)]
    named = named or [one for one in found if names_some(one.row, subject)]
    words = words or subject
    column = measures.under(s.rows, found, words)
    # "Room 20 °C" and a figure below "Room" go before "Target room 21 °C".
    named.sort(key=lambda one: not _names_only(one.row, words))
    if column is not None and named and column.label == " ".join(words):
        named = []
    if named:
        return _of_row(s, named[0], words)
    if column is not None:
        return s.say("value", value=column.text), s.row(column.row, column.text, *words)
    row = next((row for row in s.rows if names_some(row, words)), None)
    if row is not None and len({id(one.row) for one in found}) > 1:
        # It has no such figure.
        return s.quote(row)
    alone = measures.bare(s.rows)
    goes = _GO.search(plain(s.intent.question)) is not None
    energy = s.intent.want is Want.ENERGY and len(s.rows) >= PAGE
    if alone is not None and (YEAR.fullmatch(alone.text) or goes or energy):
        # The number of a racing car is not how fast it is going, and a pack's weight has no calories.
        alone = None
    shown = s.intent.want in _SHOWN and alone is not None
    several = {one.text: 0 for one in found if one.row.height > _SIMILAR * found[0].row.height}
    if s.intent.want is Want.TEMPERATURE and len(several) > 1:
        return s.say("values", items=s.items(several)), ""
    if words and found and sum(one.row is found[0].row for one in found) > 1:
        # "Calories per slice" of a table with figures per 100 g and per pack
        return s.closest_of([found[0].row])
    if found and not (shown and alone and alone.row.height > _DISPLAY * found[0].row.height):
        return _value(s, found[0])
    if alone is not None:
        return s.say("bare", value=alone.text), ""
    return none_found(s, "none_measure")


def _of_row(s: Speaker, found: Figure, words: Sequence[str]) -> Answer:
    """Answer with a figure and the word of its row that the question names."""
    tokens = re.findall(r"[^\W\d_]+", found.row.text)
    label = next((one for one in tokens if tables.names_any(one, words)), "")
    if not label:
        # "80 % in 14 minutes", which is named by its figure
        return s.quote(found.row)
    return s.say("beside", label=label, value=found.text), s.row(found.row, found.text, label)


def _names_only(row: Row, words: Sequence[str]) -> bool:
    """Find whether a row has a cell with these words alone."""
    return any(plain_words(cell.text) == [*words] for cell in row.cells)


_USED = re.compile(
    r"used?|consum\w*|verbrauch\w*|gastad[oa]s?|gast(?:e|ei|o|ou)|usei|usado|consomm\w*|depensee?|verbruik\w*|zuzy\w*"
)
_USAGE = re.compile(r"\b(?:consum\w*|usage|used|verbrauch|verbruik|zuzycie)\b")


# "612 kWh at 24.8p"
_METERED = re.compile(r"^\d[\d.,]{0,9} ?(?:kwh|m3|m³)(?!\w)")


def _usage(s: Speaker) -> list[Row]:
    """Return the rows of a bill that tell how much was used: in no money, else those that begin with what was metered."""
    named = [
        row
        for row in s.rows
        if _USAGE.search(plain(row.text)) and has_digit(row) and not prices.has_money(row)
    ]
    return named or [row for row in s.rows if _METERED.search(plain(row.text))]


def _amount(s: Speaker, words: list[str]) -> Answer:
    """Answer "how much?": with the dose, the price or the figure of what was named, else the only one."""
    if (dose := fields.dose(s.rows)) and (not words or _asks_dose(s)):
        return s.say("reads", text=dose), ""
    if (spanned := spanning(s)) is not None:
        return s.quote(spanned)
    cross = tables.crossing(s.rows, words) if words else None
    if cross is not None:
        return s.crossed(cross)
    if len(words) > 1 and any(map(_USED.fullmatch, words)) and len(used := _usage(s)) == 1:
        # "How much water did I use?" asks for no price.
        s.sources[used[0].text] = " ".join(words)
        return s.say("reads", text=used[0].text), ""
    paid = prices.item(s.rows, words)
    if paid is not None:
        return s.say("beside", label=paid.label, value=paid.text), ""
    listed = [row for row in s.rows if len(row.cells) == 2 and _BEGINS.match(row.cells[1].text)]
    if len(of_it := [row for row in listed if names_some(row_of(row.cells[0].text), words)]) == 1:
        # "of which sugars", and beside it "18.5 g": not the sugar among the ingredients
        label, value = of_it[0].cells
        return s.beside(tables.Beside(label.text, value.text, of_it[0]))
    if words:
        near = tables.beside(s.rows, words, digits=True)
        return s.beside(near) if near is not None else none_found(s, "none_measure")
    if prices.tags(s.rows):
        return price(s)
    found = measures.measures(s.rows, Want.AMOUNT)
    if not found:
        return none_found(s, "none_measure")
    if len(found) > 1:
        return s.say("values", items=s.items(one.text for one in found)), ""
    return _value(s, found[0])


# What somebody has set, and not what it is
_SET = re.compile(r"\b(?:set|target|soll|eingestellt|consigne|ajuste|impostat[ao])\b")


def _value(s: Speaker, found: Figure) -> Answer:
    told, asked = (_SET.search(plain(one)) for one in (found.row.text, s.intent.question))
    if s.intent.want is Want.TEMPERATURE and told and not asked:
        # "How warm is it in here?"
        return s.closest_of([found.row])
    return s.say("value", value=found.text), s.row(found.row, found.text)


# A figure with its unit, as a table has it
_BEGINS = re.compile(r"\d[\d.,]{0,6} ?(?:m?g|ml|kcal|kj|%)(?!\w)", re.I)


def _asks_dose(s: Speaker) -> bool:
    return fields.DOSE_WORDS.search(plain(" ".join((s.intent.asked, *s.words)))) is not None


# "Beginners to grade 8" is no number.
_WORDY = re.compile(r"[^\W\d_]{4}")


# Characters of a number that somebody calls
_MOST_CALLED = 20


def number(s: Speaker) -> Answer:
    words = [word for word in (*s.intent.asked.split(), *s.words) if word not in GENERAL]
    if any(word.isdigit() for word in s.words):
        # "What's number 31?": the row that begins with it goes before others that have it.
        figures = [word for word in s.words if word.isdigit()]
        named = [row for row in s.rows if plain_words(row.text)[:1] == figures]
        named = named or naming(s, figures)
        return s.quote(named[0]) if named else (s.cannot_here, s.seen())
    if (told := in_section(s)) is not None:
        return told
    near = tables.beside(s.rows, words, digits=True) if words else _captioned(s)
    if CALLS.search(plain(s.intent.question)) and (near is None or len(near.value) > _MOST_CALLED):
        # "What number can I ring about a new deal?"
        return s.closest_of(called(s))
    if near is not None and (near.label in near.row.text or not _WORDY.search(near.value)):
        return s.beside(near)
    if s.words and not any(names_some(row, s.words) for row in s.all_rows):
        if len(s.rows) < PRINTED and any(map(has_digit, s.rows)):
            # "What number is on the boat?", and not of a page
            return s.closest_of([row for row in s.rows if has_digit(row)])
        return s.cannot_here, s.seen()
    if named := naming(s, words):
        # "Text Fran", and her number below it
        return s.counted(named[0])
    found = fields.numbers(s.texts)
    if not found:
        return none_found(s, "none_number")
    if len(found) == 1:
        return s.say("number", value=found[0]), ""
    return s.say("numbers", items=s.items(found)), ""


def _captioned(s: Speaker) -> tables.Beside | None:
    """Return the figure below the only label that has the question's word for a number: "Your number", "C 207"."""
    labels = [
        (row, below)
        for row, below in pairwise(s.rows)
        if names_some(row, s.intent.asked.split()) and len(row.text.split()) <= MOST_HEADING
    ]
    if len(labels) != 1:
        return None
    ((label, below),) = labels
    short = len(below.text.split()) <= MOST_HEADING
    return tables.Beside(label.text, below.text, below) if short and has_digit(below) else None


# What is to pay is no sum of all prices of a list.
_TO_PAY = re.compile(r"pay|owe|spen[dt]|ausge|depens|gast|spes|zahl|pag|betal|zapl|ode|плат")


def total(s: Speaker) -> Answer:
    words = [word for word in s.words if word not in KNOWN_OF_ALL]
    of_it = s.intent.weekday is not None or any(map(prices.is_payment, s.words))
    if s.intent.yes_no and (of_it or naming(s, words)):
        # "Did I pay by card?" and "Do I have to pay on Sunday?"
        return lookup(s)
    if s.intent.yes_no and not s.words and (open_then := fields.openings(s.rows)):
        # "Do I have to pay now?"
        return s.closest_of((*open_then, *_costs_nothing(s)))
    named = naming(s, words) if _TO_PAY.search(s.intent.asked) else []
    if any(prices.has_figure(row) or prices.tags([row]) for row in named):
        # "How much do I pay for the gym?"
        return price(s)
    if any(map(prices.has_money, named)):
        # "How much tax did I pay?"
        return lookup(s)
    found = prices.total(s.rows)
    if found is not None:
        return s.say("total", value=found.text), s.row(found.row, found.text)
    added = None if prices.current(prices.bill(s.rows)) else prices.added(s.rows)
    if added is not None and not _TO_PAY.search(s.intent.asked):
        return s.say("added", count=added.count, value=added.text), ""
    return s.say("no_total"), _prices_read(s)


_NUMBERED = re.compile(r"\d{1,2}\.?\s(?![x×*]\s)")


def items(s: Speaker) -> Answer:
    """Count the things that are listed with a price, or those of them that the question names."""
    if (dose := fields.dose(s.rows)) and _asks_dose(s):
        return s.say("reads", text=dose), ""
    listed = prices.listed(s.rows)
    named = [one for one in listed if tables.names_any(one.label, s.words)]
    if not named and (not s.intent.asked or not prices.is_list(s.rows)):
        return lookup(s)
    shown = named or listed
    if not named and (told := _told_count(s)) is not None:
        return s.quote(told)
    best = naming(s, s.words)
    if len(named) > 1 and len(best) == 1 and hits_of(best[0], s.words) > 1:
        # "How many units at night?"
        return s.quote(best[0])
    if named and any(_NUMBERED.match(one.label) for one in named):
        # "2 Flat white" are two, or the second dish.
        return s.closest_of(one.row for one in named)
    count = sum(map(prices.pieces, named)) if named else len(listed)
    return s.say("items", count=count, items=s.items(one.label for one in shown)), ""


def _told_count(s: Speaker) -> Row | None:
    """Return the row that tells how many there are: "Items sold: 8"."""
    (*_, thing) = s.intent.asked.split() or [""]
    for row in s.rows:
        alone = has_digit(row) and not prices.has_money(row) and not prices.has_figure(row)
        if alone and thing and tables.names_it(row.text, thing):
            return row
    return None


def money_back(s: Speaker) -> Answer:
    found = prices.money_back(s.rows)
    if found is not None:
        return s.say("money_back", value=found.text), s.row(found.row, found.text)
    return none_found(s, "none_price")


_FREE = tables.printed("free")


def _free(s: Speaker) -> list[Row]:
    """Return the rows of what costs nothing, where the question names no thing: "Free entry"."""
    named = not KNOWN[Want.PRICE].issuperset(s.words)
    return [] if named else _costs_nothing(s)


def _costs_nothing(s: Speaker) -> list[Row]:
    """Return the rows that say that something is free; eggs of free-range hens cost something."""
    texts = ((row, plain(row.text).replace("free range", "")) for row in s.rows)
    return [row for row, text in texts if _FREE.search(text)]


# What a row begins with that tells the price
_COSTS = re.compile(
    r"(?:price|costs?|fee|preis|kosten|gebuhr|prix|tarif|cout|precio|coste|costo|prezzo|preco|custo|prijs|cena|koszt|fiyat|цена|стоимость|ціна)\b"
)


# Words beside a price that are a thing's name, and prices beside the largest that are the same thing's
_MOST_LABEL, _MOST_TAGS = 5, 3


def _words_of(label: str) -> list[str]:
    return [word for word in label.split() if letters(word)]


def price(s: Speaker) -> Answer:
    """Answer with the named thing's price, else with the only or largest one, else with all."""
    if (spanned := spanning(s)) is not None:
        return s.quote(spanned)
    if aged := of_age(s):
        # "How much is it for a 9 year old?" asks for no adult's ticket.
        return s.closest_of(aged[:SOME])
    cross = tables.crossing(s.rows, s.words) if len(s.words) > 1 else None
    if cross is not None and not any(map(str.isalpha, cross.value)):
        # "How much is a bottle of Rioja?"
        return s.crossed(cross)
    if s.intent.yes_no and (free := _costs_nothing(s)):
        # "Does it cost anything at eight in the evening?"
        return s.closest_of(free[:SOME])
    # A child's ticket is "Child", and no other ticket.
    words = [word for word in s.words if word not in KNOWN[Want.PRICE]] or s.words
    found = prices.item(s.rows, words) or prices.of_section(s.rows, words)
    if found is not None:
        several = prices.has_several(found.row, s.rows)
        unsure = several and prices.paired(found.row, s.words) != found
        if unsure or len(_words_of(found.label)) > _MOST_LABEL:
            # "Tickets can be exchanged up to 48 hours before for £3"
            return s.quote(found.row)
        # A whole number in a column may be no price.
        key = "beside" if found.text == found.row.price else "item"
        text = s.say(key, label=found.label, value=found.text)
        return text, s.row(found.row, found.text, found.label)
    if s.intent.yes_no and s.words and not naming(s, s.words):
        # "Is that a fair price?"
        return s.cannot_here, s.seen()
    figures = [row for row in naming(s, s.words) if prices.has_figure(row)]
    # "17:22 Reading 11 On time" has no price of a ticket.
    if named := [row for row in figures if not fields.times([row.text]) or prices.has_money(row)]:
        # "02 Oct  Rent  695.00  117.40": a date and two figures
        return s.closest_of(named[:SOME])
    if tags := prices.tags(s.rows):
        return _any_price(s, tags)
    if prices.unit_prices(s.rows):
        return unit_price(s)
    free = _free(s)
    return s.closest_of(free[:SOME], s.say("none_price")) if free else none_found(s, "none_price")


def _any_price(s: Speaker, tags: Sequence[Figure]) -> Answer:
    """Answer with the sum, the only or the largest price, else with all: no row names the thing."""
    sum_of_all = prices.total(s.rows)
    if sum_of_all is not None and not s.words:
        return s.say("total", value=sum_of_all.text), s.row(sum_of_all.row, sum_of_all.text)
    # "How much is it worth?" names no thing.
    target = " ".join(word for word in s.words if word not in KNOWN[Want.PRICE])
    if target and sum_of_all is not None:
        return s.say("no_item", target=target), s.prices_of("other_prices", prices.bill(s.rows))
    if free := _free(s):
        # It may cost nothing, and the price may be another thing's.
        return s.closest_of((*free, *(one.row for one in tags)))
    labelled = [one for one in tags if _COSTS.match(plain(one.row.text))]
    if not target and len(labelled) == 1:
        # "Pocket money: £25" and "Cost: £218"
        tags = labelled
    first = tags[0]
    if len(tags) == 1 and not target and len(_words_of(first.label)) > _MOST_LABEL:
        # "Expenses of 38,400 euros, agreed on in September"
        return s.quote(first.row)
    if len(tags) == 1 or (len(tags) <= _MOST_TAGS and first.row.height > 1.3 * tags[1].row.height):
        named = any(tables.names_it(row.text, word) for row in s.rows for word in s.words)
        if target and not named:
            return s.say("no_item", target=target), s.prices_of("other_prices", tags)
        return s.say("price", value=first.text), s.row(first.row, first.text)
    if target and len(s.words) <= 2:
        return s.say("no_item", target=target), s.prices_of("other_prices", tags)
    if (holds := prices.current(tags)) is not None:
        return s.say("price", value=holds.text), s.prices_of("other_prices", tags)
    return s.prices_of("prices", tags, count=len(tags)), ""


# What is listed, whatever it is
_ANY = frozenset(
    plain_words(
        "thing item dish meal option one product food drink menu list here gericht ding artikel plat produit plato producto piatto prodotto"
    )
)


def extreme(s: Speaker) -> Answer:
    """Answer with the thing of the lowest or highest price; one price alone is told as it is."""
    highest = s.intent.want is Want.DEAREST
    if prices.asks_by_unit(s.words):
        by_unit = sorted(prices.unit_prices(s.rows), key=lambda one: prices.amount(one.text))
        if not by_unit:
            return s.say("none_price"), _prices_read(s)
        end = by_unit[-1 if highest else 0]
        return s.say("unit_price", value=end.text, unit=end.label), s.row(end.row, end.text)
    section = prices.section(s.rows, s.words)
    found = prices.extreme(section or s.rows, highest=highest)
    if not found:
        return price(s)
    about = [word for word in s.words if word not in _ANY]
    if about and not (section or naming(s, about)):
        # "What's the cheapest day?"
        return s.cannot_here, _prices_read(s)
    if found[0].row.price or (not section and naming(s, s.words)):
        # Whole numbers may be no prices; of "the cheapest red" other rows tell which are red.
        return s.closest_of(one.row for one in found[:ITEMS])
    if not letters(found[0].label):
        ends = [prices.amount(one.text) for one in prices.tags(s.rows)]
        if ends and prices.amount(found[0].text) != (max if highest else min)(ends):
            # Not each price is understood.
            return s.cannot_here, _prices_read(s)
        return s.say("price", value=found[0].text), ""
    said = [s.say("item", label=one.label, value=one.text) for one in found[:ITEMS]]
    return s.sentence(*said), ""


def unit_price(s: Speaker) -> Answer:
    found = prices.unit_prices(s.rows, s.words)
    if not found:
        return none_found(s, "none_price")
    first = found[0]
    text = s.say("unit_price", value=first.text, unit=first.label)
    return text, s.row(first.row, first.text, first.label)


def _prices_read(s: Speaker) -> str:
    tags = prices.tags(s.rows)
    if not tags:
        return s.seen()
    return s.prices_of("other_prices", tags)
