"""Answers from print that are words: a row, a name, a sentence, what it says of something. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from itertools import pairwise, takewhile

from server.features.builtin import fields, prices, tables
from server.features.builtin.detector import PERSON
from server.features.builtin.lines import TICKED, Row, row_of
from server.features.builtin.speaker import (
    BOOK,
    ITEMS,
    MOST_HEADING,
    PAGE,
    PRINTED,
    SOME,
    Answer,
    Speaker,
    has_digit,
)
from server.features.builtin.tables import plain_words
from server.features.builtin.wants import Want
from server.features.builtin.wordings import ORDER
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
YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
# A question with one of these words is answered from a form's label first.
_LABELS = frozenset(
    {"name", "nom", "nombre", "titel", "title", "titre", "titulo", "brand", "marke"}
)


def none_found(s: Speaker, key: str, words: Sequence[str] = ()) -> Answer:
    """Say that nothing of a kind was found: as a fact only where the question names nothing else.

    Else the rows that name some of its words, or of `words`, come closest.
    """
    known = KNOWN_OF_ALL.union(KNOWN.get(s.intent.want, ()))
    more = [word for word in s.words if word not in known]
    small = s.language.stop.split()
    if named := naming(s, [word for word in (*more, *words) if word not in small]):
        s.sources = dict.fromkeys((row.text for row in named[:SOME]), "")
        # A figure that was not understood may be one.
        sure = key == "none_measure" or not any(map(has_digit, named[:SOME]))
        return s.closest(s.say(key) if sure else "")
    return s.cannot_here if more else s.say(key), s.seen()


def read(s: Speaker) -> Answer:
    if not s.rows:
        return s.code_sentence(), ""
    if len(s.rows) == 1 and len(s.rows[0].text) == 1:
        # It may be an edge or a fold.
        s.sources = {s.rows[0].text: ""}
        return s.closest()
    second = s.code_sentence() if s.codes else ""
    unread = s.say("unread" if len(s.rows) < 2 else "some_unread") if s.facts.unread else ""
    return s.reads("reads"), second or s.scripts(unread)


def read_instead(s: Speaker) -> Answer:
    """Answer with the text itself, when a translation or a summary was asked for."""
    return s.reads(s.intent.want.value, s.rows or s.all_rows), s.scripts()


def says(s: Speaker) -> Answer:
    row = fields.says(s.texts, s.intent.target)
    if row is not None:
        return s.say("yes_says", row=row), s.scripts()
    if has := [row for row in s.rows if _has_allergen(row, plain(s.intent.target))]:
        # "Does it contain milk?": "cream (4 %)"
        s.sources = {row.text: "" for row in has[:SOME]}
        return s.closest()
    return s.say("no_says", target=s.intent.target), s.seen()


# What somebody must not eat: one row says too little.
_ALLERGENS = re.compile(
    r"\b(?:(?:pea)?nuts?|erdnuss|cacahuet|arachid|nuss|nusse|noix|nuez|nueces|frutos|noci|nozes|noten|orzech|findik|gluten|lacto|lakto|allerg|alerg|vegan|veget|halal|kosher|koscher)"
    r"|орех|горіх|глютен|лактоз|веган|аллерг|алерг|مكسرات|نباتي|حلال|मेवे|शाकाहारी|ナッツ|견과|坚果|素食|过敏|アレルギ|알레르"
)


# What has them, by how a word for them begins
_HAVE_ALLERGENS = [
    (re.compile(begin), tables.printed(name))
    for begin, name in (
        (r"^(?:nut|nuss|noix|nuez|nuec|frutos|noci|nozes|noten|orzech|орех|горіх)", "nuts"),
        (r"gluten", "gluten"),
        (r"lacto|lakto|^(?:milk|dairy|milch|lait|leche|latte|leite|melk|mleko)", "lactose"),
    )
]


def _has_allergen(row: Row, word: str) -> bool:
    """Find whether a row names something that has what must not be eaten: cream has milk."""
    kinds = (kind for begin, kind in _HAVE_ALLERGENS if begin.search(word))
    return any(kind.search(plain(row.text)) for kind in kinds)


def _is_title(s: Speaker, row: Row) -> bool:
    """Find whether a row of words is larger than most of many, or the first of them in capital letters."""
    heads = s.is_large(row) or (row is s.rows[0] and row.text.isupper())
    return len(s.rows) >= PAGE and not has_digit(row) and heads


_WRONG = re.compile(
    r"^(?:wrong|matter|problem\w*|kaputt|falsch|nicht stimmt|panne|pasa|rotto|stuk|mis|zepsut\w*|случилось)$"
)
_TROUBLE = tables.printed("trouble")


def _troubles(s: Speaker) -> list[Row]:
    told = {id(row) for row in s.rows if _TROUBLE.search(plain(row.text))}
    # "Fault" may be a caption.
    told |= {
        id(row) for above, row in pairwise(s.rows) if id(above) in told and " " not in above.text
    }
    return [row for row in s.rows if id(row) in told]


# Letters of an airport's code
_MOST_CODE = 3
_BEGINS = {
    key: re.compile(rf"(?:{tables.printed(key).pattern})(?!\w)")
    for key in ("recipient", "sender", "towards")
}


def _begins_with(row: Row, begins: re.Pattern[str]) -> bool:
    """Find whether a row begins with one of some words, and a name after it: "To: Jo", and not "To open, press here"."""
    found = begins.match(plain(row.text))
    names = row.text.split()[len(found[0].split()) :] if found else []
    return bool(names) and names[0][:1].isupper()


_FAREWELL = tables.printed("farewell")
_SIGNED = re.compile(r", [A-ZÀ-Þ]\w")
# Words of a farewell: "With love from us all"
_MOST_FAREWELL = 6


def _says_farewell(row: Row) -> bool:
    """Find whether a row is the last line of a letter, below which a name stands."""
    found = _FAREWELL.match(plain(row.text))
    return found is not None and len(row.text.split()) <= _MOST_FAREWELL and not has_digit(row)


# What print says about ages
_AGE = re.compile(
    r"\bage[sd]? \d|\b\d{1,2} ?\+|\b(?:under|over|from|below|above) (?:the age of )?\d|\d (?:years|yrs)\b"
)
_OLD = re.compile(
    rf"{_AGE.pattern}|\bage\b|\baged\b|\bborn\b|\bdob\b|\b(?:jahre alt|geboren|geb\.|ans|anos|anni|jaar)\b"
)
# How somebody is reached by telephone
_CALLS = re.compile(
    r"^(?:call|ring|phone|dial|anruf\w*|ruf\w*|appel\w*|llam\w*|chiam\w*|lig\w*|bel|bellen|dzwoni\w*)$"
)
_PHONE_ROW = tables.printed("phone")
# What somebody has marked on a form
_TICKED = re.compile(
    r"^(?:tick|check|cross)(?:ed|box)\w*$|^(?:angekreuzt|cochee?s?|marcad[oa]s?|barrat[aeo]|spuntat[aeo]|aangevinkt|zaznaczon\w+)$"
)
_DEAR = re.compile(
    r"(?:dear|sehr geehrte\w?|liebe[rs]?|chere?s?|madame|monsieur|estimad[oa]s?|querid[oa]s?|gentile|caro|cara|beste|geachte|szanown\w{1,3})\b"
)
# As menus mark what is vegetarian
_VEGETARIAN, _VEGAN = ("(v)", "(vg)", "(ve)"), ("(vg)", "(ve)", "(vgn)")


def _marked(s: Speaker, signs: Sequence[str]) -> list[Row]:
    """Return the rows with one of these signs."""
    return [row for row in s.rows if any(sign in row.text.casefold() for sign in signs)]


_FROM = re.compile(r"\bfrom\W*$|\b(?:von wem|de qui|da chi|de quien|de quem|van wie)\b")


def _letterhead(s: Speaker) -> list[Row]:
    """Return the large name at the top of a bill, where it is asked whom it is from."""
    title = s.title()
    asked = _FROM.search(plain(s.intent.question))
    is_bill = len(s.rows) >= PAGE and any(map(prices.has_money, s.rows))
    heads = is_bill and len(title) == 1 and title[0] in s.rows[:2]
    return title if heads and asked and s.is_large(title[0]) else []


def _are_parties(row: Row) -> bool:
    """Find whether a row is the heads of two addresses: from whom, and to whom."""
    kinds = (_BEGINS["sender"], _BEGINS["recipient"])
    texts = [plain(cell.text) for cell in row.cells]
    return len(texts) > 1 and all(any(kind.fullmatch(text) for kind in kinds) for text in texts)


def _has_cells(count: int, row: Row) -> bool:
    return len(row.cells) == count and not row.apart


def _below_head(s: Speaker, named: re.Pattern[str]) -> list[str]:
    """Return the cells of an address below "SENDER", where "RECIPIENT" stands beside it; none without such heads."""
    for at, row in enumerate(s.rows):
        head = next((cell for cell in row.cells if named.fullmatch(plain(cell.text))), None)
        if head is not None and _are_parties(row):
            table = takewhile(partial(_has_cells, len(row.cells)), s.rows[at + 1 : at + 1 + ITEMS])
            cells = (tables.overlapping(one, head) for one in table)
            return [cell.text for cell in cells if cell is not None]
    return []


def _of_place_or_person(s: Speaker) -> list[Row] | None:
    """Return the rows that tell where something goes, whom it is for or who sent it; None for another question."""
    words = s.words
    if words == ("towards",):
        # "Where does the bus go?"
        return [
            row
            for row in s.rows
            if any(_begins_with(row_of(cell.text), _BEGINS["towards"]) for cell in row.cells)
        ]
    if not s.intent.who or words not in (("recipient",), ("sender",)):
        return None
    if column := _below_head(s, _BEGINS[words[0]]):
        return [row_of(", ".join(column))]
    told = [
        row
        for row in s.rows
        if _begins_with(row, _BEGINS[words[0]])
        or any(_begins_with(row_of(cell.text), _BEGINS[words[0]]) for cell in row.cells[1:])
    ]
    # "Yours sincerely", and below it who
    signed = [one for one in s.rows if _BEGINS[words[0]].fullmatch(plain(one.text).strip(" ,"))]
    farewells = [one for one in s.rows if words == ("sender",) and _says_farewell(one)]
    # "Love, Mina x"
    told += [one for one in farewells if _SIGNED.search(one.text)]
    signed += [one for one in farewells if one not in told]
    below = [row for above, row in pairwise(s.rows) if above in signed]
    # "TO", and below it "LIS", is no person.
    told += [row for row in below if len(row.text) > _MOST_CODE or not row.text.isupper()]
    # The head of a letter says whom it is from.
    is_letter = words == ("sender",) and any(_DEAR.match(plain(row.text)) for row in s.rows)
    return told or s.rows[: int(is_letter)] or (words == ("sender",) and _letterhead(s)) or []


def _of_kind(s: Speaker) -> list[Row] | None:
    """Return the rows about how one pays, what one must not eat, or what is wrong; None for another question."""
    words = s.words
    if floor := _on_floor(s):
        # "What's on the second floor?"
        return floor
    if (told := _of_place_or_person(s)) is not None:
        return told
    if s.intent.who and any(map(_CALLS.search, words)):
        # "Who do we call if something breaks?"
        reached = [
            row for row in s.rows if fields.phones([row.text]) or _PHONE_ROW.search(plain(row.text))
        ]
        return reached or naming(s, [word for word in words if not _CALLS.search(word)])
    if words == ("age",):
        # "How old is she?"
        return [row for row in s.rows if _OLD.search(plain(row.text))]
    if s.intent.yes_no and {"year", "old"} <= {*words} and spanning(s) is None:
        # "Is it OK for a six year old?"
        return [row for row in s.rows if _AGE.search(plain(row.text))]
    if any(map(_TICKED.search, words)):
        return [row for row in s.rows if row.text.startswith(TICKED)]
    if s.intent.yes_no and (paid := [word for word in words if prices.is_payment(word)]):
        # "Can I pay by card?": "Cash only"
        rows = [row for row in s.rows if any(map(prices.is_payment, plain_words(row.text)))]
        # "£35 if paid within 14 days" tells of no way to pay.
        ways = [row for row in rows if {"paid"}.isdisjoint(plain_words(row.text))]
        return [row for row in rows if names_some(row, paid)] or ways or rows
    if diet := [word for word in words if _ALLERGENS.search(word)]:
        # Another row may name more of them.
        signs = _VEGETARIAN if any(word.startswith("veget") for word in diet) else ()
        if any(word.startswith("vega") for word in diet):
            # "(V)" alone may be vegan; beside "(VG)" it is not.
            signs = _VEGAN if _marked(s, _VEGAN) else _VEGETARIAN
        marked = _marked(s, signs)
        rows = [row for row in s.rows if row in marked or names_some(row, diet)]
        if of_it := [row for row in marked if names_some(row, [w for w in words if w not in diet])]:
            # "Is the soup vegan?"
            return of_it
        # "ALLERGY: LATEX" is of "allergic", too, and almonds are nuts.
        stems = [found[0] for word in diet if (found := _ALLERGENS.search(word))]
        texts = ((row, plain(row.text)) for row in s.rows if row not in rows)
        rows += [
            row
            for row, text in texts
            if any(stem in text or _has_allergen(row, stem) for stem in stems)
        ]
        # "Not suitable for", and below it "nut allergies"
        begun = (s.sentence_of(row) if row.text[:1].islower() else [row] for row in rows)
        return [one for some in begun for one in some]
    if any(map(_WRONG.search, words)):
        # "What's wrong with the printer?"
        named = naming(s, [word for word in words if not _WRONG.search(word)])
        return [row for row in named if not _is_title(s, row)] + _troubles(s)
    return None


# Words of a question of which a row has to name two
_MANY = 4


# "On the second floor"
_NTH = {
    word: str(number)
    for number, forms in enumerate(
        (
            "first 1st erste ersten erster premier primer primera primo eerste",
            "second 2nd zweite zweiten zweiter deuxieme second segundo segunda secondo tweede",
            "third 3rd dritte dritten dritter troisieme tercer tercera terzo derde",
            "fourth 4th vierte vierten vierter quatrieme cuarto cuarta quarto vierde",
            "fifth 5th funfte funften funfter cinquieme quinto quinta vijfde",
        ),
        start=1,
    )
    for word in forms.split()
}


def _on_floor(s: Speaker) -> list[Row]:
    """Return the rows of a board that begin with the floor that is asked about."""
    named = [word for word in s.words if tables.names_it("floor", word)]
    numbers = [_NTH.get(word, word) for word in s.words if word in _NTH or word.isdecimal()]
    if not named or len(numbers) != 1 or len(s.words) > _MANY:
        return []
    return [row for row in s.rows if plain_words(row.text)[:1] == numbers and len(row.cells) > 1]


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
            s.sources = {one.text: "" for one in (row, *told)}
            return s.closest()
    return None


def _of_table(s: Speaker) -> Answer | None:
    """Answer with the cell, or the row, that words name together with a column's head."""
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
    if rows and _is_title(s, rows[0]) and any(names_some(row, words) for row in rows[1:]):
        # "SEAT RESERVATION" above a seat
        rows = rows[1:]
    # "SENDER", and beside it "RECIPIENT"
    rows = [row for row in rows if not _are_parties(row)]
    near = tables.beside(rows, _special(s, words), kind=kind)
    # "Last check: february 2026"
    nobody = near is not None and s.intent.who and not near.prose and near.value.islower()
    return None if nobody else near


def lookup(s: Speaker) -> Answer:
    words = s.words
    if (kind := _of_kind(s)) is not None:
        s.sources = {row.text: "" for row in kind}
        return s.closest() if kind else s.why_not(s.cannot_here)
    if figure := figure_row(s) or spanning(s):
        # "Is 9.26 right?" and "Can a 7 year old take it?"
        return s.quote(figure)
    if not s.intent.yes_no and (told := in_section(s) or _of_table(s)) is not None:
        return told
    if (
        len(words) >= _MANY + s.intent.yes_no
        and max((hits_of(row, words) for row in s.rows), default=0) < 2
    ):
        # One word of many is of another question.
        return s.why_not(s.cannot_here)
    if s.intent.yes_no or s.intent.how_many or s.intent.want is Want.ITEMS:
        return _yes_or_count(s)
    listed = [] if s.intent.who else prices.listed(prices.section(s.rows, words))
    if len(listed) > 1:
        return s.prices_of("prices", listed, count=len(listed)), s.scripts()
    days = [word for word in words if fields.weekdays(word)]
    of_day = [row for row in s.rows if names_some(row, days)]
    if len(of_day) > 1 and max(hits_of(row, words) for row in of_day) == len(days):
        # "What's on on Friday?"
        s.sources = {row.text: "" for row in of_day[:PAGE]}
        return s.closest()
    near = _beside(s, words)
    if near is not None and near.prose and len(named := naming(s, words)) > 1 and len(words) > 1:
        # "What happens if I pay late?"
        s.sources = {row.text: "" for row in named[:SOME]}
        return s.closest()
    # No figure answers "Who is this parcel for?".
    if near is not None and s.intent.who and not (near.prose or near.label in near.row.text):
        # "RESERVED", and below it for whom; "LOST CAT", and below it what it looks like; "Headteacher", and above it a name
        named = naming(s, words)[:1]
        above = [one for one, row in pairwise(s.rows) if row in named and _NAME.fullmatch(one.text)]
        s.sources = {row.text: "" for row in (*above, *named, near.row)}
        return s.closest()
    if near is not None and (not s.intent.who or near.prose or any(map(str.isalpha, near.value))):
        return s.beside(near)
    if (
        s.intent.where
        and not s.intent.acts
        and len(words) < 2
        and (places := [row for row in s.rows if fields.is_address(row.text)])
    ):
        # "Where is the concert?"
        s.sources = {row.text: "" for row in places}
        return s.closest()
    return s.why_not(s.cannot_here)


# What tells that a row is about what something is made of, what it is for, or what is to be done
TOLD_BY = {want: tables.printed(want.value) for want in (Want.MATERIAL, Want.PURPOSE, Want.STEPS)}


# "For dry, tickly coughs", and not "For more, ask us": a package's line has no verb, and goes on
_FOR = re.compile(
    r"^(?:for|fur|pour|para|per|voor) (?!(?:more|further|questions|details|weitere|fragen|plus|mas|info\w*|each|your)\b)\w+,? [\w ,]+(?: ·|$)"
)
# "5 % cashmere"
_SHARE = re.compile(r"^\d{1,3} ?% ")
# Where a sentence begins
_SENTENCE = re.compile(r"(?:^|[.!?:·–] )(?:[\d•·-]+[.)]? )?")


def _tells(row: Row, want: Want) -> bool:
    """Find whether a row has words of a kind: where something is to be done, first in a sentence of some words."""
    text = plain(row.text)
    if want is Want.PURPOSE and _FOR.match(text):
        return True
    if want is not Want.STEPS:
        return TOLD_BY[want].search(text) is not None
    begins = (found.end() for found in _SENTENCE.finditer(text))
    return len(text.split()) >= MOST_HEADING and any(TOLD_BY[want].match(text, at) for at in begins)


def told(s: Speaker) -> Answer:
    """Answer with the rows that have words of what is asked for: "Relief of hay fever", "80 % cotton"."""
    rows = [row for row in s.rows if _tells(row, s.intent.want)]
    if s.intent.want is Want.MATERIAL and any(_SHARE.match(row.text) for row in rows):
        rows = [row for row in s.rows if row in rows or _SHARE.match(row.text)]
    if s.words and not naming(s, s.words):
        rows = []
    elif s.words:
        # "What is the red lever for?"
        return lookup(s)
    s.sources = {row.text: "" for row in rows[:SOME]}
    return s.closest() if rows else s.why_not(s.cannot_here)


def _counts(row: Row, words: Sequence[str]) -> bool:
    """Find whether a row has a figure right before one of these words: "Approx. 300 seeds", "2 large eggs", "two visitors"."""
    tokens = row.text.split()
    at = [at for at, one in enumerate(tokens) if any(tables.names_it(one, word) for word in words)]
    before = [tokens[max(0, one - 2) : one] for one in at if one > 1]
    return any(
        any(map(str.isdigit, near[-1 - near[-1].islower()]))
        or tables.is_number_word(plain(near[-1]))
        for near in before
    )


def _of_people(s: Speaker) -> list[Row]:
    """Return the rows with a word for people where the question counts them: "Adults"."""
    if not (s.intent.how_many and PERSON in s.intent.things):
        return []
    return [row for row in s.rows if PERSON in s.thing_words.named_in(plain(row.text))]


def _yes_or_count(s: Speaker) -> Answer:
    """Answer with the row itself: "No dogs", or which of its figures counts the thing: "80 recipes", "per biscuit: 12 g", "two visitors"."""
    named = naming(s, s.words) or _of_people(s)
    if len(s.words) > 1:
        named = [row for row in named if not _is_title(s, row)]
    if not named:
        return s.why_not(s.cannot_here)
    other = [word for word in s.words if not tables.names_it(named[0].text, word)]
    if s.intent.yes_no and any(names_some(row, other) for row in named):
        # "Double room" and "No smokers"
        s.sources = {row.text: "" for row in named[:SOME]}
        return s.closest()
    # A sentence before a heading, but a figure where something is counted: "4 eggs"
    is_count = s.intent.how_many or s.intent.want is Want.ITEMS
    named.sort(
        key=lambda row: (
            is_count and not _counts(row, s.words),
            is_count and not has_digit(row),
            is_count and not row.text[:1].isdigit(),
            len(row.text.split()) <= MOST_HEADING,
        )
    )
    if s.intent.yes_no and named[0].text[:1].islower() and (at := s.rows.index(named[0])):
        # It is the end of what the row above begins.
        s.sources = {row.text: "" for row in s.rows[at - 1 : at + 1]}
        return s.closest()
    if s.intent.yes_no and 1 < len(named) <= SOME and len(s.words) > 1:
        # "Night Ferry 21:45" and "NIGHT FERRY: sold out"
        s.sources = {row.text: "" for row in named}
        return s.closest()
    return s.counted(named[0]) if is_count else s.quote(named[0])


# A few words, each with a capital letter
_NAME = re.compile(r"(?:[A-ZÀ-Þ][\w.'’-]{0,30}(?: (?=\S)|$)){1,4}")


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
    near = tables.beside(s.rows, s.words) if s.words and not s.intent.things else None
    if near is not None and not near.prose and _NAME.fullmatch(near.value):
        # "Driver: Lee"
        return s.beside(near)
    title = s.title()
    if not any(char.isalpha() for row in s.rows for char in row.text):
        # A barcode's number
        return s.why_not(s.cannot_here)
    unsure = {*s.intent.things} - {BOOK}
    if len(s.rows) >= PRINTED:
        # "What's the name of the doctor?" is no headline.
        others = (word for word in s.words if not s.thing_words.knows(word))
        unsure |= {word for word in others if not naming(s, [word])}
    if unsure or s.intent.colours or (len(s.rows) >= PAGE and title[0] not in s.rows[:3]):
        # Of several books the red one is asked about, or a laptop's brand, or a form.
        named = naming(s, s.words) if len(s.rows) >= PRINTED else []
        s.sources = {row.text: "" for row in named[:SOME] or title}
        return s.closest()
    rest = [row for row in s.rows if row not in title]
    second = s.say("also", text=s.listing(rest, SOME)) if rest else ""
    return s.say("name", value=" ".join(row.text for row in title)), s.scripts(second)


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


# The name of a line or a flight: "S 2", "BA 123"
_LINE = re.compile(r"\b([A-Z]{1,3}) ?(\d{1,4})\b")


def figure_row(s: Speaker) -> Row | None:
    """Return the row with the time or price that a question names, or alone with a line; None without one."""
    if named := _LINE.search(s.intent.question):
        line = re.compile(rf"\b{named[1]} ?{named[2]}\b")
        of_line = [row for row in s.rows if line.search(row.text)]
        if len(of_line) == 1:
            return of_line[0]
    figures = [word for word in s.words if word.isdigit()]
    shown = re.compile(r"(?<!\d)" + r"\D".join(figures) + r"(?!\d)") if len(figures) == 2 else None
    return next((row for row in s.rows if shown and shown.search(row.text)), None)


_SPAN = re.compile(r"(?<![\d.,:])(\d{1,3})\s?(?:-|–|to|bis|à|a|und|and)\s?(\d{1,3})(?![\d.,]|:\d)")


# "My 8 year old", and of whom print says how old they are
_YEARS = re.compile(r"years?|old|ans|jahre?|alt\w*|anos|anni|jaar|oud")
_AGED = re.compile(
    r"\b(?:child\w*|kinder|enfants?|nin[oa]s?|bambin[ie]|criancas?|kinderen|aged?|years?|jahre|ans|anos|anni|jaar)\b"
)


def spanning(s: Speaker) -> Row | None:
    """Return the row with the span that a question's number is in: "a 7 year old" in "6 to 11 years"; None without one."""
    figures = [int(word) for word in s.words if word.isdigit()]
    others = [word for word in s.words if not word.isdigit()]
    if len(figures) != 1:
        return None
    of_age = all(map(_YEARS.fullmatch, others))
    spans = (
        (row, _SPAN.search(row.text))
        for row in s.rows
        if names_some(row, others) or (of_age and _AGED.search(plain(row.text)))
    )
    return next(
        (row for row, span in spans if span and int(span[1]) <= figures[0] <= int(span[2])), None
    )


def hits_of(row: Row, words: Sequence[str]) -> int:
    """Count the words that a row names; a figure, as of "tray 1", counts twice, but alone not at all."""
    named = [word for word in words if tables.names_it(row.text, word)]
    if len(named) < len(words) and all(
        word.isdecimal() or tables.is_number_word(word) for word in named
    ):
        return 0
    return sum(1 + word.isdigit() for word in named)


def _special(s: Speaker, words: Sequence[str]) -> Sequence[str]:
    """Return the words that a page's title does not name, if there are any: of an exam timetable "history", and not "exam"."""
    return (untitled(s, words) or words) if len(s.rows) >= PAGE else words


def untitled(s: Speaker, words: Sequence[str]) -> Sequence[str]:
    """Return the words that a page's title does not name."""
    large = (row for row in s.title() if s.is_large(row))
    # "Bin collection - December 2026"
    title = [row for row in large if not any(map(str.isdigit, YEAR.sub("", row.text)))]
    return [word for word in words if not any(names_some(row, [word]) for row in title)]


def naming(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the rows that name most of these words; none where none names any."""
    hits = [hits_of(row, _special(s, words)) for row in s.rows]
    most = max(hits, default=0)
    best = [row for row, count in zip(s.rows, hits, strict=True) if most and count == most]
    if len(best) == 1 and len(best[0].cells) > 1 and s.announced(best[0]):
        # The heads name columns, and the other words a row: "the flight to Oslo".
        rest = [word for word in words if not names_some(best[0], [word])]
        return [row for row in s.rows if names_some(row, rest)] if rest else best
    return best


def names_some(row: Row, words: Sequence[str]) -> bool:
    return hits_of(row, words) > 0
