"""Answers from print that are words: a row, a name, a sentence, what it says of something. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from server.features.builtin import fields, prices, tables
from server.features.builtin.lines import MOST_HEADING, row_of
from server.features.builtin.speaker import (
    BOOK,
    PAGE,
    PRINTED,
    SOME,
    Answer,
    Speaker,
    has_digit,
)
from server.features.builtin.tables import plain_words
from server.features.builtin.telling import (
    MANY,
    addresses,
    are_parties,
    counts,
    denies,
    figure_row,
    has_allergen,
    has_count,
    hits_of,
    is_title,
    names_some,
    naming,
    of_date,
    of_kind,
    of_near_day,
    of_people,
    of_strength,
    spanning,
    special,
    tells,
)
from server.features.builtin.wants import Want
from server.features.builtin.wordings import BOUGHT, INSIDE, IS, ORDER
from server.models.routing import plain

GENERAL = frozenset(
    plain_words(
        "number numbers nummer zahl zahlen numero nombre digits номер amount much name brand"
    )
)
# What a label calls who made a thing
_MAKERS = frozenset(
    plain_words("maker manufacturer hersteller fabricant fabricante produttore fabrikant producent")
)
# A question with one of these words is answered from a form's label first.
_LABELS = frozenset(
    {"name", "nom", "nombre", "titel", "title", "titre", "titulo", "brand", "marke"}
)


# The number of a point in a list
POINT = re.compile(r"^\d{1,2}[.)] ")


def none_found(s: Speaker, key: str, words: Sequence[str] = ()) -> Answer:
    """Say that nothing of a kind was found: as a fact only where the question names nothing else.

    Else the rows that name some of its words, or of `words`, come closest.
    """
    known = KNOWN_OF_ALL.union(KNOWN.get(s.intent.want, ()))
    more = [word for word in s.words if word not in known]
    small = s.language.stop.split()
    if named := naming(s, [word for word in (*more, *words) if word not in small]):
        figures = [row for row in named if has_digit(row_of(POINT.sub("", row.text)))]
        told = [row for row in figures if not fields.times([row.text])]
        if key in ("none_price", "none_measure") and not told:
            # "1. Fill the kettle" has no price of it.
            return s.say(key), s.seen()
        # A figure that was not understood may be one.
        sure = key == "none_measure" or not any(map(has_digit, named[:SOME]))
        return s.closest_of(named[:SOME], s.say(key) if sure else "")
    return s.cannot_here if more else s.say(key), s.seen()


def read(s: Speaker) -> Answer:
    if not s.rows:
        return s.code_sentence(), ""
    if len(s.rows) == 1 and len(s.rows[0].text) == 1:
        # It may be an edge or a fold.
        return s.no_text() if s.intent.yes_no else s.closest_of(s.rows)
    second = s.code_sentence() if s.codes else ""
    unread = s.say("unread" if len(s.rows) < 2 else "some_unread") if s.facts.unread else ""
    return s.reads("reads"), second or unread


def read_instead(s: Speaker) -> Answer:
    """Answer with the text itself, when a translation or a summary was asked for."""
    return s.reads(s.intent.want.value, s.rows or s.all_rows), ""


def says(s: Speaker) -> Answer:
    row = fields.says(s.texts, s.intent.target)
    if row is not None and denies(row, s.intent.target):
        # "Does it contain silicones?": "No silicones"
        return s.closest_of([row_of(row)])
    if row is not None:
        return s.say("yes_says", row=row), ""
    if has := [row for row in s.rows if has_allergen(row, plain(s.intent.target))]:
        # "Does it contain milk?": "cream (4 %)"
        return s.closest_of(has[:SOME])
    return s.say("no_says", target=s.intent.target), s.seen()


def in_section(s: Speaker) -> Answer | None:
    """Answer with the rows below a heading of a word of the question that name its other words; None without any."""
    for row in s.rows:
        heads = plain_words(row.text)
        named = [word for word in s.words if any(tables.names_it(one, word) for one in heads)]
        rest = [word for word in s.words if word not in named]
        if not named or not rest or len(heads) > len(named) or row.text.endswith("."):
            continue
        inside = (one for one in s.announced(row) if not names_some(one, named))
        if told := [one for one in inside if hits_of(one, rest) == len(rest)]:
            return s.closest_of((row, *told))
    return None


def _of_page(s: Speaker) -> Answer | None:
    """Answer from a receipt, a section or a table; None where the question names none of its parts."""
    if BOUGHT.search(plain(s.intent.question)) and (bought := prices.listed(s.rows)):
        return s.prices_of("prices", bought, count=len(bought)), ""
    if (section := in_section(s)) is not None:
        return section
    if (cross := tables.crossing(s.rows, s.words)) is not None:
        return s.crossed(cross)
    row = tables.in_column(s.rows, s.words)
    return s.quote(row) if row is not None else None


# "Which floor is it on?"
_WHICH = re.compile(
    r"^\W*(?:(?:on|in|at|auf|a|en|su) )?(?:which|welche\w?|quel\w*|quale?|que|welke?) "
)


def _beside(s: Speaker, words: Sequence[str]) -> tables.Beside | None:
    """Return the value beside the words that are asked about; none that is nobody where somebody is asked for."""
    by_kind = s.intent.who or _WHICH.match(plain(s.intent.question))
    kind = words[0] if words and by_kind else ""
    rows = s.rows
    if rows and is_title(s, rows[0]) and any(names_some(row, words) for row in rows[1:]):
        # "SEAT RESERVATION" above a seat
        rows = rows[1:]
    # "SENDER", and beside it "RECIPIENT"
    rows = [row for row in rows if not are_parties(row)]
    near = tables.beside(rows, special(s, words), kind=kind)
    # "Last check: february 2026"
    nobody = near is not None and s.intent.who and not near.prose and near.value.islower()
    return None if nobody else near


_LABEL_FOR = re.compile(r" (?:for|fur|pour|para|per|voor)$")


def _of_label(s: Speaker, near: tables.Beside) -> Answer | None:
    """Answer with what stands beside a word of the question; None where that is a figure, and somebody is asked for."""
    words = s.words
    if near.prose and len(named := naming(s, words)) > 1 and len(words) > 1:
        # "What happens if I pay late?"
        return s.closest_of(named[:SOME])
    if s.intent.where and (
        _LABEL_FOR.search(plain(near.label)) or fields.phones([f"tel. {near.value}"])
    ):
        # "Parcel for J. Brandt" and "Workshop 01273 555 018"
        return None
    if s.intent.where and near.value.endswith(("!", "?")):
        # "PaketBlitz", and below it "We missed you!"
        return None
    # No figure answers "Who is this parcel for?".
    if s.intent.who and not (near.prose or near.label in near.row.text):
        # "RESERVED", and below it for whom; "LOST CAT", and below it what it looks like; "Headteacher", and above it a name
        named = naming(s, words)[:1]
        above = [one for one, row in pairwise(s.rows) if row in named and _NAME.fullmatch(one.text)]
        return s.closest_of((*above, *named, near.row))
    if not s.intent.who or near.prose or any(map(str.isalpha, near.value)):
        return s.beside(near)
    return None


# "Card no. 55 8102 7"
_NUMBERED = re.compile(r"(?:\w{1,12} )?(?:no|nr|number|ref)\b", re.I)


def lookup(s: Speaker) -> Answer:
    words = s.words
    kind = s.below_heading() or of_kind(s)
    if kind is None:
        # "Which bin goes out on 10 December?"
        kind = of_date(s)
    if kind is not None:
        return s.closest_of(kind)
    if row := figure_row(s) or spanning(s):
        # "Is 9.26 right?" and "Can a 7 year old take it?"
        return s.quote(row)
    if not s.intent.yes_no and (told := _of_page(s)) is not None:
        return told
    if (
        len(words) >= MANY + s.intent.yes_no
        and max((hits_of(row, words) for row in s.rows), default=0) < 2
    ):
        # One word of many is of another question.
        return s.why_not(s.cannot_here)
    if s.intent.yes_no or s.intent.how_many or s.intent.want is Want.ITEMS:
        return _yes_or_count(s)
    listed = [] if s.intent.who or s.intent.where else prices.listed(prices.section(s.rows, words))
    if len(listed) > 1:
        return s.prices_of("prices", listed, count=len(listed)), ""
    days = [word for word in words if fields.weekdays(word)]
    of_day = [row for row in s.rows if names_some(row, days)]
    if len(of_day) > 1 and max(hits_of(row, words) for row in of_day) == len(days):
        # "What's on on Friday?"
        return s.closest_of(of_day[:PAGE])
    if (near := _beside(s, words)) is not None and (told := _of_label(s, near)) is not None:
        tells = any(map(str.islower, near.value)) and not _NUMBERED.match(near.value)
        inside = INSIDE.search(plain(s.intent.question)) and not tells
        # "Parcel no.: SL 8830" tells not what is in it.
        return s.why_not(s.cannot_here) if inside else told
    if row := of_near_day(s):
        # "What's the weather like tomorrow?"
        return s.quote(row)
    if s.intent.where and not s.intent.acts and len(words) < 2 and (places := addresses(s)):
        # "Where is the concert?"
        return s.closest_of(places)
    return s.why_not(s.cannot_here)


# "5 % cashmere"
_SHARE = re.compile(r"^\d{1,3} ?% ")


def told(s: Speaker) -> Answer:
    """Answer with the rows that have words of what is asked for: "Relief of hay fever", "80 % cotton"."""
    if s.words:
        # "What is the red lever for?"
        return lookup(s)
    rows = [row for row in s.rows if tells(row, s.intent.want)]
    if s.intent.want is Want.MATERIAL and any(_SHARE.match(row.text) for row in rows):
        rows = [row for row in s.rows if row in rows or _SHARE.match(row.text)]
    return s.closest_of(rows[:SOME])


def _yes_or_count(s: Speaker) -> Answer:
    """Answer with the row itself: "No dogs", or which of its figures counts the thing: "80 recipes", "per biscuit: 12 g", "two visitors"."""
    named = naming(s, s.words) or of_people(s)
    if len(s.words) > 1:
        others = [row for row in named if not is_title(s, row)]
        # "Is it a return ticket?": "OFF-PEAK DAY RETURN" and "Ticket no."
        known = [word for word in s.words if any(names_some(row, [word]) for row in others)]
        named = [row for row in named if row in others or (known and not names_some(row, known))]
    is_count = s.intent.how_many or s.intent.want is Want.ITEMS
    if is_count:
        # "Visitors in 2025" above a chart counts none.
        named = [
            row for row in named if row is not s.rows[0] or not has_digit(row) or has_count(row)
        ]
    if not named:
        return s.why_not(s.cannot_here)
    if s.intent.yes_no and 1 < len(named) <= SOME and len(s.words) > 1:
        # "Night Ferry 21:45" and "NIGHT FERRY: sold out"
        return s.closest_of(named)
    # A sentence before a heading, but a figure where something is counted: "4 eggs"
    named.sort(
        key=lambda row: (
            is_count and not counts(row, s.words),
            is_count and not has_digit(row),
            is_count and not row.text[:1].isdigit(),
            len(row.text.split()) <= MOST_HEADING,
        )
    )
    at = s.rows.index(named[0])
    if s.intent.yes_no and named[0].text[:1].islower() and at:
        # It is the end of what the row above begins.
        return s.closest_of(s.rows[at - 1 : at + 1])
    acts = s.intent.yes_no and not IS.search(plain(s.intent.question))
    if acts and " " not in named[0].text and not has_digit(named[0]):
        # "DOUBLE", "PARKING", "PROHIBITED"
        return s.closest_of(s.rows[max(0, at - 1) : at + 2])
    return s.counted(named[0]) if is_count else s.quote(named[0])


# A few words, each with a capital letter
_NAME = re.compile(r"(?:[A-ZÀ-Þ][\w.'’-]{0,30}(?: (?=\S)|$)){1,4}")


# A name within a sentence
_NAMED = re.compile(r"[A-ZÀ-Þ][\w.'’-]{0,30}+ [A-ZÀ-Þ]")


_MEDICINE = re.compile(
    r"\b(?:medic\w*|medikament\w*|medizin|arznei\w*|farmac\w*|remedio|pills?|tablets?|drug|lek|ilac)\b|лекарств|препарат|ліки|药|薬|약|دواء|दवा"
)


def name(s: Speaker) -> Answer:
    """Answer with the text beside the word, as on a form, else with the largest line."""
    asked = [word for word in s.intent.asked.split() if word in _LABELS]
    if s.intent.who and not s.words:
        # "Who made it?"
        firsts = [plain_words(row.text)[0].strip(":") for row in s.rows if plain_words(row.text)]
        asked += [word for word in firsts if word in _MAKERS]
    if asked:
        near = tables.beside(s.rows, asked)
        if near is not None:
            return s.beside(near)
    medicine = of_strength(s) if _MEDICINE.search(plain(s.intent.question)) else None
    if medicine is not None and [medicine] != s.title():
        # Above it the chemist's name is printed larger.
        return s.quote(medicine)
    near = tables.beside(s.rows, s.words) if s.words and not s.intent.things else None
    if near is not None and not near.prose and _NAME.fullmatch(near.value):
        # "Driver: Lee"
        return s.beside(near)
    if near is not None and near.prose and _NAMED.match(near.value):
        # "with our dentist S. Bakker, room 3"
        return s.quote(near.row)
    title = s.title()
    named = naming(s, s.words or s.intent.asked.split())
    called = [one for one in named if _NAME.fullmatch(one.text) and not one.text.isupper()]
    if len(called) == 1 and called[0] not in title and " " in called[0].text:
        # "Pinebrook Café" of "What is the café called?"
        return s.quote(called[0])
    if not any(char.isalpha() for row in title for char in row.text):
        # A barcode's number, or a racing car's
        return s.why_not(s.cannot_here)
    unsure = {*s.intent.things} - {BOOK}
    if len(s.rows) >= PRINTED:
        # "What's the name of the doctor?" is no headline.
        others = (word for word in s.words if not s.thing_words.knows(word))
        unsure |= {word for word in others if not naming(s, [word])}
    if unsure or s.intent.colours or (len(s.rows) >= PAGE and title[0] not in s.rows[:3]):
        # Of several books the red one is asked about, or a laptop's brand, or a form.
        named = naming(s, s.words) if len(s.rows) >= PRINTED else []
        # "Scan for our menu" is no restaurant's name.
        called = [row for row in s.rows if _NAMED.match(row.text) and _NAME.fullmatch(row.text)]
        is_name = s.intent.things or any(_NAME.fullmatch(row.text) for row in title)
        return s.closest_of(named[:SOME] or (title if is_name else called[:1] or title))
    rest = [row for row in s.rows if row not in title]
    second = s.say("also", text=s.listing(rest, SOME)) if rest else ""
    return s.say("name", value=" ".join(row.text for row in title)), second


# Words of a question about departures that name no destination
TRAVEL = frozenset(
    plain_words(
        "train bus tram flight boat ferry ship treno traghetto barco trem trein boot bateau poezd autobus pociag tren vapur zug bahn flug tren autobús поезд автобус "
        "leave leaves depart departs time uhr heure hora does when ab"
    )
)


# What stands before a network's name, the surest first; the last is a colour in English.
NAMES_NETWORK = (("ssid",), ("network", "netzwerk", "réseau"), ("wifi", "wlan"), ("red",))
NETWORK = tuple(word for words in NAMES_NETWORK for word in words)
# Words of a question that say no more than that something is asked for: of all, and by what
KNOWN_OF_ALL = GENERAL | frozenset(plain_words("code código kode код value wert valeur valor left"))
KNOWN = {
    **dict.fromkeys((Want.DATE, Want.TIME), TRAVEL),
    Want.DEPARTURE: TRAVEL | ORDER,
    Want.PRICE: frozenset(
        plain_words(
            "worth wert valeur valor valore waarde ticket tickets entry admission billet billets eintritt biglietto entrada bilhete kaartje bilet bilety"
        )
    ),
    **dict.fromkeys(
        (Want.EMAIL, Want.URL),
        frozenset(
            plain_words("address adresse direccion dirección indirizzo endereço adres adresi")
        ),
    ),
    Want.PASSWORD: frozenset((*NETWORK, "wi", "fi")),
    Want.NETWORK: frozenset((*NETWORK, "called")),
}
