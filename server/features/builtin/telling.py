"""Finds the rows of print that tell what a question asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, takewhile

from server.features.builtin import fields, measures, prices, tables
from server.features.builtin.colours import NAMES
from server.features.builtin.detector import PERSON
from server.features.builtin.lines import MOST_HEADING, TICKED, Row, row_of
from server.features.builtin.speaker import (
    ITEMS,
    PAGE,
    PRINTED,
    SOME,
    Speaker,
    has_digit,
)
from server.features.builtin.tables import plain_words
from server.features.builtin.wants import Want
from server.features.builtin.wordings import CALLS, FEASTS, OFTEN
from server.models.routing import plain
from server.shared.dates import dates

YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


# What somebody must not eat: one row says too little.
_ALLERGENS = re.compile(
    r"\b(?:(?:pea)?nuts?|erdnuss|cacahuet|arachid|nuss|nusse|noix|nuez|nueces|frutos|noci|nozes|noten|orzech|findik|gluten|lacto|lakto|allerg|alerg|vegan|veget|halal|kosher|koscher)"
    r"|орех|горіх|глютен|лактоз|веган|аллерг|алерг|مكسرات|نباتي|حلال|मेवे|शाकाहारी|ナッツ|견과|坚果|素食|过敏|アレルギ|알레르"
)


# What has them, by how a word for them begins
_HAVE_ALLERGENS = [
    (re.compile(begin), tables.printed(name))
    for begin, name in (
        (
            r"^(?:nut|nuss|noix|nuez|nuec|frutos|noci|nozes|noten|orzech|орех|горіх|frutta (?:a guscio|secca)|fruits? a coque|schalenfr)",
            "nuts",
        ),
        (r"gluten", "gluten"),
        (r"lacto|lakto|^(?:milk|dairy|milch|lait|leche|latte|leite|melk|mleko)", "lactose"),
    )
]


_NOT = re.compile(
    r"\b(?:no|not|without|free (?:of|from)|0 ?%|ohne|kein\w*|frei von|sans|pas de|sin|libre de|senza|non|privo di|sem|livre de|zonder|geen|vrij van|bez|nie|без|не) (?:\w+ ){0,3}$"
)
_FREE_OF = re.compile(r"^\w{0,2}[ -](?:free|frei|vrij)\b")


def denies(text: str, word: str) -> bool:
    """Find whether a text says that something is not in it: "No silicones", "lactose-free"."""
    folded = plain(text)
    before, _, after = folded.partition(plain(word))
    return _NOT.search(before) is not None or _FREE_OF.search(after) is not None


def has_allergen(row: Row, word: str) -> bool:
    """Find whether a row names something that has what must not be eaten: cream has milk."""
    kinds = (kind for begin, kind in _HAVE_ALLERGENS if begin.search(word))
    return any(kind.search(plain(row.text)) for kind in kinds)


def is_title(s: Speaker, row: Row) -> bool:
    """Find whether a row of words is larger than most of many, or the first of them in capital letters."""
    heads = s.is_large(row) or (row is s.rows[0] and row.text.isupper())
    return len(s.rows) >= PAGE and not has_digit(row) and heads


_WRONG = re.compile(
    r"^(?:wrong|matter|problem\w*|kaputt|falsch|nicht stimmt|panne|pasa|rotto|stuk|mis|zepsut\w*|случилось)$"
)
_TROUBLE = tables.printed("trouble")


_ERROR = re.compile(r"^(?:line|errors?|fehler\w*|erreurs?|errore?s?|foutmelding|hata)$")
# "File "shop.py", line 6, in total"
_OF_FILE = re.compile(r"\bline \d")
# "KeyError: 'price'"
_RAISED = re.compile(r"\b[A-Z]\w{0,30}(?:Error|Exception)\b")


def _traces(s: Speaker) -> bool:
    return sum(_OF_FILE.search(row.text) is not None for row in s.rows) > 1


def _troubles(s: Speaker, of_line: bool = False) -> list[Row]:
    if of_line and (of_file := [row for row in s.rows if _OF_FILE.search(row.text)]):
        # The innermost call is the last one.
        return [row_of(of_file[-1].text)]
    if raised := [row for row in s.rows if _RAISED.search(row.text)]:
        return raised
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


# "Bus 47", or its number alone
_LINES = re.compile(
    r"(?:bus|tram|train|ferry|line|linie|ligne|linea|linha|lijn|linia) ?\w{1,4}|[a-z]?\d{1,3}[a-z]?"
)
_WAY = re.compile(r"\S (?:to|nach|à|a|naar|do|–|-|→|>|<>|↔) \S")


_FAREWELL = tables.printed("farewell")
# Words of a farewell: "With love from us all"
_MOST_FAREWELL = 6
_SIGNED = re.compile(r", [A-ZÀ-Þ]\w")


def _says_farewell(row: Row) -> bool:
    """Find whether a row is the last line of a letter, below which a name stands."""
    found = _FAREWELL.match(plain(row.text))
    return found is not None and len(row.text.split()) <= _MOST_FAREWELL and not has_digit(row)


# What print says about ages
_AGE = re.compile(
    r"\bage[sd]? \d|\b\d{1,2} ?\+(?! ?\d)|\b(?:under|over|from|below|above) (?:the age of )?\d|\d (?:years|yrs)\b"
)
_OLD = re.compile(
    r"\d (?:years|yrs)\b|\bage[ds]?\b|\bborn\b|\bdob\b|\b(?:jahre alt|geboren|geb\.|ans|anos|anni|jaar)\b"
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


_PARCEL = re.compile(
    r"parcel|package|delivery|paket|colis|paquete|pacco|encomenda|pakje|pakket|paczka"
)
# Who has it
_LEFT = re.compile(
    r"\b(?:neighbou?rs?|safe place|nachbar\w*|voisine?s?|vecin[oa]s?|vicin[oa]|vizinh[oa]s?|buren|buurman|buurvrouw|sasiad\w*)\b"
)
# Where and when it is fetched
_FETCHED = re.compile(
    r"\b(?:collect\w*|depot|locker|post office|filiale|abhol\w*|point relais|recoger|ritir\w*|levantar|afhal\w*|ophalen|odbi\w*)\b"
)


def _marked(s: Speaker, signs: Sequence[str]) -> list[Row]:
    """Return the rows with one of these signs."""
    return [row for row in s.rows if any(sign in row.text.casefold() for sign in signs)]


_FROM = re.compile(r"\bfrom\W*$|\b(?:von wem|de qui|da chi|de quien|de quem|van wie)\b")


def _letterhead(s: Speaker) -> list[Row]:
    """Return the large name at the top of a bill, where it is asked whom it is from."""
    asked = _FROM.search(plain(s.intent.question))
    is_bill = any(map(prices.has_money, s.rows))
    return [row for row in s.rows[:2] if asked and is_bill and s.is_large(row)]


def are_parties(row: Row) -> bool:
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
        if head is not None and are_parties(row):
            table = takewhile(partial(_has_cells, len(row.cells)), s.rows[at + 1 : at + 1 + ITEMS])
            cells = (tables.overlapping(one, head) for one in table)
            return [cell.text for cell in cells if cell is not None]
    return []


_MADE_OF = re.compile(
    r"\b(?:made (?:of|from|with|up)|aus|fabrique a partir|hecho (?:de|con)|fatto (?:di|con)|feito (?:de|com)|gemaakt van)\b"
)


def addresses(s: Speaker) -> list[Row]:
    return [row for row in s.rows if fields.is_address(row.text)]


def _of_place_or_person(s: Speaker) -> list[Row] | None:
    """Return the rows that tell where something goes, whom it is for or who sent it; None for another question."""
    words = s.words
    if words == ("towards",):
        # "Where does the bus go?"
        begins = _BEGINS["towards"]
        found = [r for r in s.rows if any(_begins_with(row_of(c.text), begins) for c in r.cells)]
        # "TO", and beside or below it "LISBON LIS"
        values = [
            row_of(" ".join(cell.text for cell in row.cells[1:]))
            for row in s.rows
            if len(row.cells) > 1 and begins.fullmatch(plain(row.cells[0].text).strip(" :"))
        ]
        # "Bus 47", and beside it "Harbour Road to Elmwood Hospital"
        values += [
            row
            for row in s.rows
            if row.cells and _LINES.fullmatch(plain(row.cells[0].text)) and _WAY.search(row.text)
        ]
        return found or values
    of_parcel = any(map(_PARCEL.fullmatch, words))
    ticked = [row for row in s.rows if row.text.startswith(TICKED)]
    ticked = [row for row in ticked if of_parcel or names_some(row, words)]
    if s.intent.where and ticked:
        # "Where is my parcel?" of a card with boxes: "We left it with a neighbour"
        return ticked
    if s.intent.where and of_parcel:
        left = [row for row in s.rows if _LEFT.search(plain(row.text))]
        if rows := left or _fetched(s, ()):
            return rows
    made = naming(s, words) if s.intent.where and words == ("made",) else []
    if of := [row for row in made if _MADE_OF.search(plain(row.text))]:
        # "Bottle made of recycled plastic" tells not where.
        return [row for row in made if row not in of]
    named = naming(s, words) if s.intent.where and len(words) == 1 else []
    if named and all(is_title(s, row) for row in named):
        # A heading "PARTY" tells not where it is.
        return addresses(s)
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
    return told or s.rows[: int(is_letter)] or _letterhead(s)


def _rhythms(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the rows that say how often: of what words name, or of what is taken."""
    head = next((row for row in s.rows if OFTEN.search(plain(row.text))), None)
    if head is not None:
        # "Age", and beside it "How often"
        return [head, *s.announced(head)]
    rows = [row for row in s.rows if _RHYTHM.search(plain(row.text))]
    rows = [row for row in rows if _EVERY.search(plain(row.text))] or rows
    named = [row for row in rows if names_some(row, words)]
    takes = fields.DOSE_WORDS.search(plain(s.intent.question)) is not None
    return named or (rows if takes or not words else [])


def _reasons(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the rows that say why, on a page that names one of these words."""
    is_of_it = not words or any(names_some(row, words) for row in s.rows)
    found = [row for row in s.rows if is_of_it and _REASON.search(plain(row.text))]
    # "The light blinks red? There is too little water."
    asked = [row for row in s.rows if row.text.endswith("?") and hits_of(row, words) > 1]
    return found or [one for row in asked for one in (row, *_next(s, row))]


def _next(s: Speaker, row: Row) -> list[Row]:
    """Return the row below one, in a list; none below the last."""
    at = next(at for at, one in enumerate(s.rows) if one is row)
    return s.rows[at + 1 : at + 2]


def _looks(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the row with most colours, on a page that names one of these words."""

    def hues(row: Row) -> int:
        text = plain(row.text)
        return sum(s.language.colour(at).search(text) is not None for at in range(len(NAMES)))

    is_of_it = not words or any(names_some(row, words) for row in s.rows)
    best = max(s.rows, key=hues)
    return [best] if is_of_it and hues(best) else []


# A rhythm, and not a number of times
_EVERY = re.compile(
    r"\b(?:every|daily|weekly|monthly|(?:a|per) (?:day|week|month|year)|alle|jede[ns]?|taglich|wochentlich|tous les|toutes les|chaque|par (?:jour|semaine)|cada"
    r"|al dia|ogni|al giorno|por dia|ao dia|elke|per (?:dag|week)|om de|dziennie|codziennie|co \d|her|gunde|каждые|кожні|ежедневно|щодня)\b"
)
_RHYTHM, _REASON = tables.printed("rhythm"), tables.printed("reason")
_OPENED = tables.printed("opened")


def _opened(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the rows about what has been opened: "Once opened, keep cold and use within 5 days"."""
    return [row for row in s.rows if _OPENED.search(plain(row.text)) and has_digit(row)]


_CARE = re.compile(r"\b(?:(?:hand|machine)? ?wash\w*|bleach|tumble|dry|iron)\b")
_FILE = re.compile(r"[\w-]{1,40}\.[A-Za-z]\w{0,4}")


def _care(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the rows about how something is washed, dried and ironed."""
    return [row for row in s.rows if _CARE.search(plain(row.text))]


def _fetched(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the rows about where and when something is fetched, each with the one below it: "Collect from", and the place."""
    found = [row for row in s.rows if _FETCHED.search(plain(row.text))]
    return list(dict.fromkeys(one for row in found for one in (row, *_next(s, row))))


def _lengths(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the rows that say how long something may take, before those of what it costs."""
    found = [row for row in s.rows if measures.measures([row], Want.DURATION)]
    return [row for row in found if not prices.has_money(row)] or found


def _files(s: Speaker, words: Sequence[str]) -> list[Row] | None:
    """Return the rows that are names of files and nothing else; None for a question for their number."""
    if s.intent.want is Want.ITEMS:
        return None
    return [row for row in s.rows if all(map(_FILE.fullmatch, row.text.split()))]


# What print says by other words than the question's, by a key before its words; one of two words is no word of a question
_TOLD_BY_KEY: dict[str, Callable[[Speaker, Sequence[str]], list[Row] | None]] = {
    "rhythm": _rhythms,
    "reason": _reasons,
    "looks": _looks,
    "opened": _opened,
    "to wash": _care,
    "files": _files,
    "to fetch": _fetched,
    "for long": _lengths,
}
_ALLERGIC = re.compile(r"al+erg|алерг|аллерг")
# "Over 12", "from 3 years"
_OVER = re.compile(
    r"\b(?:over|above|from|older than|uber|ab|plus de|des|mas de|a partir de|sopra i|dai|vanaf|boven|powyzej|od) (\d{1,2})\b|\b(\d{1,2}) ?\+"
)


def _is_timed(row: Row) -> bool:
    """Find whether a row has a time of day: "Open from 8 am" tells no age."""
    return bool(fields.times([row.text]))


def _of_age(row: Row, age: int) -> bool:
    """Find whether a row may be about somebody of an age: "over 12" is not about 4 years."""
    over = _OVER.search(plain(row.text))
    return over is None or age >= int(over[1] or over[2])


def _of_diet(s: Speaker, diet: Sequence[str]) -> list[Row]:
    """Return the rows about what these words of the question say that somebody must not eat."""
    words = s.words
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
        row for row, text in texts if any(stem in text or has_allergen(row, stem) for stem in stems)
    ]
    if any(map(_ALLERGIC.search, diet)):
        # "If I'm allergic to eggs": "May contain egg"
        others = [word for word in words if word not in diet]
        rows += [row for row in naming(s, others) if row not in rows]
    # "Not suitable for", and below it "nut allergies"
    begun = (s.sentence_of(row) if row.text[:1].islower() else [row] for row in rows)
    return [one for some in begun for one in some]


def of_kind(s: Speaker) -> list[Row] | None:
    """Return the rows about how one pays, what one must not eat, or what is wrong; None for another question."""
    words = s.words
    if words and (tells := _TOLD_BY_KEY.get(words[0])) is not None:
        return tells(s, words[1:])
    if floor := _on_floor(s):
        # "What's on the second floor?"
        return floor
    if (told := _of_place_or_person(s)) is not None:
        return told
    if s.intent.who and any(map(CALLS.fullmatch, words)):
        # "Who do we call if something breaks?"
        reached = [
            row for row in s.rows if fields.phones([row.text]) or _PHONE_ROW.search(plain(row.text))
        ]
        return reached or naming(s, [word for word in words if not CALLS.fullmatch(word)])
    if words == ("age",):
        # "How old is she?"
        return [row for row in s.rows if _OLD.search(plain(row.text)) and not _is_timed(row)]
    if s.intent.yes_no and {"year", "old"} <= {*words} and spanning(s) is None:
        # "Is it OK for a six year old?"
        ages = [int(word) for word in words if word.isdigit()]
        rows = [row for row in s.rows if _AGE.search(plain(row.text)) and not _is_timed(row)]
        # "Adults and children over 12" alone says that a child of 5 is none of them.
        return [row for row in rows if all(_of_age(row, age) for age in ages)] or rows
    if any(map(_TICKED.search, words)):
        return [row for row in s.rows if row.text.startswith(TICKED)]
    if s.intent.yes_no and (paid := [word for word in words if prices.is_payment(word)]):
        # "Can I pay by card?": "Cash only"
        rows = [row for row in s.rows if any(map(prices.is_payment, plain_words(row.text)))]
        # "£35 if paid within 14 days" tells of no way to pay.
        ways = [row for row in rows if {"paid", "points"}.isdisjoint(plain_words(row.text))]
        return [row for row in ways if names_some(row, paid)] or ways or rows
    if diet := [word for word in words if _ALLERGENS.search(word)]:
        return _of_diet(s, diet)
    if words and all(map(_ERROR.search, words)) and (words != ("line",) or _traces(s)):
        # "What's the error?", "Which line is the error in?"
        return _troubles(s, of_line="line" in words)
    if any(map(_WRONG.search, words)):
        # "What's wrong with the printer?"
        named = naming(s, [word for word in words if not _WRONG.search(word)])
        return [row for row in named if not is_title(s, row)] + _troubles(s)
    return None


# Words of a question of which a row has to name two
MANY = 4


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
    if not named or len(numbers) != 1 or len(s.words) > MANY:
        return []
    return [row for row in s.rows if plain_words(row.text)[:1] == numbers and len(row.cells) > 1]


def of_feast(s: Speaker) -> list[Row]:
    """Return the rows with the date of the feast that a question names, or with a span that it is in."""
    asked = plain(s.intent.question)
    feast = next((day for day, named in FEASTS if named.search(asked)), None)
    return [row for row in s.rows if feast is not None and _covers(row, feast)]


def _covers(row: Row, day: tuple[int, int]) -> bool:
    found = [(one.month, one.day) for one in dates(row.text) if one.day is not None]
    if len(found) != 2:
        return day in found
    first, last = found
    # "24 December to 2 January" goes over the end of a year.
    return first <= day <= last if first <= last else day >= first or day <= last


def of_date(s: Speaker) -> list[Row] | None:
    """Return the rows of the day that a question names, of a page with days; None for another question or page."""
    if feast := of_feast(s):
        # "Does it run on Christmas Day?"
        return feast
    asked = [(one.month, one.day) for one in dates(s.intent.question) if one.day is not None]
    days = [(row, [(one.month, one.day) for one in dates(row.text)]) for row in s.rows]
    if len(asked) != 1 or sum(bool(found) for _, found in days) < PRINTED:
        # "Do I have to pay tomorrow?": "Sundays free"
        return (_of_asked_day(s) or None) if s.intent.yes_no else None
    return [row for row, found in days if asked[0] in found]


def of_near_day(s: Speaker) -> Row | None:
    """Return the only row of a table of days that is of today or tomorrow, as the question has it; None without one."""
    if s.intent.in_days is None or s.intent.yes_no:
        return None
    day = (s.today.weekday() + s.intent.in_days) % 7
    days = [(row, fields.weekdays(plain(row.text))) for row in s.rows]
    of_day = [row for row, found in days if found == {day}]
    is_table = sum(len(found) == 1 for _, found in days) >= PRINTED
    return of_day[0] if is_table and len(of_day) == 1 else None


def _of_asked_day(s: Speaker) -> list[Row]:
    """Return the rows that name today or tomorrow, as the question has it, by the day of the week; none of many."""
    if s.intent.in_days is None:
        return []
    day = (s.today.weekday() + s.intent.in_days) % 7
    rows = [row for row in s.rows if fields.weekdays(plain(row.text)) == {day}]
    return rows if len(rows) <= SOME else []


# What tells that a row is about what something is made of, what it is for, or what is to be done
TOLD_BY = {want: tables.printed(want.value) for want in (Want.MATERIAL, Want.PURPOSE, Want.STEPS)}


# "For dry, tickly coughs", and not "For more, ask us": a package's line has no verb, and goes on
_FOR = re.compile(
    r"^(?:for|fur|pour|para|per|voor) (?!(?:more|further|questions|details|weitere|fragen|plus|mas|info\w*|each|your|adults|children|kinder|erwachsene|enfants|adultes)\b)\w+,? [\w ,]+(?: ·|\.?$)"
)
# Where a sentence begins
_SENTENCE = re.compile(r"(?:^|[.!?:·–] )(?:[\d•·-]+[.)]? )?")


def tells(row: Row, want: Want) -> bool:
    """Find whether a row has words of a kind: where something is to be done, first in a sentence of some words."""
    text = plain(row.text)
    if want is Want.PURPOSE and _FOR.match(text):
        return True
    if want is not Want.STEPS:
        return TOLD_BY[want].search(text) is not None
    begins = (found.end() for found in _SENTENCE.finditer(text))
    return len(text.split()) >= MOST_HEADING and any(TOLD_BY[want].match(text, at) for at in begins)


def has_count(row: Row) -> bool:
    """Find whether a row has a figure that is no year."""
    return any(map(str.isdigit, YEAR.sub("", row.text)))


def counts(row: Row, words: Sequence[str]) -> bool:
    """Find whether a row has a figure right before one of these words: "Approx. 300 seeds", "2 large eggs", "two visitors"."""
    tokens = row.text.split()
    at = [at for at, one in enumerate(tokens) if tables.names_any(one, words)]
    if 1 in at and (tokens[0].isdecimal() or tables.is_number_word(plain(tokens[0]))):
        # "4 eggs", and not "2. Eggs"
        return True
    before = [tokens[max(0, one - 2) : one] for one in at if one > 1]
    return any(
        any(map(str.isdigit, near[-1 - near[-1].islower()]))
        or tables.is_number_word(plain(near[-1]))
        for near in before
    )


def of_people(s: Speaker) -> list[Row]:
    """Return the rows with a word for people where the question counts them: "Adults"."""
    if not (s.intent.how_many and PERSON in s.intent.things):
        return []
    return [row for row in s.rows if PERSON in s.thing_words.named_in(plain(row.text))]


# "Amoxicillin 500 mg capsules"
_STRENGTH = re.compile(r"[^\W\d_]{4} \d[\d.,]{0,5} ?(?:mg|mcg|µg)\b")
# Words of a row that names a medicine
_MOST_MEDICINE = 6


def of_strength(s: Speaker) -> Row | None:
    """Return the only row of few words that names a medicine by its strength; None without one."""
    found = [
        row
        for row in s.rows
        if _STRENGTH.search(row.text) and len(row.text.split()) <= _MOST_MEDICINE
    ]
    return found[0] if len(found) == 1 else None


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


_SPAN = re.compile(
    r"(?<![\d.,:])(\d{1,3})\s?(?:-|–|to|bis|à|a|und|and|t/m|al?|hasta|ate|até|do)\s?(\d{1,3})(?![\d.,]|:\d)"
)


# "My 8 year old", and of whom print says how old they are
_YEARS = re.compile(r"years?|old|ans|jahre?|alt\w*|anos|anni|jaar|oud")
_AGED = re.compile(
    r"\b(?:child\w*|kinder|enfants?|nin[oa]s?|bambin[ie]|criancas?|kinderen|aged?|years?|jahre|ans|anos|anni|jaar)\b"
)


def spanning(s: Speaker) -> Row | None:
    """Return the row with the span that a question's number is in: "a 7 year old" in "6 to 11 years"; None without one."""
    told = {word: tables.figure_of(word) for word in s.words}
    figures = [one for one in told.values() if one is not None]
    others = [word for word, one in told.items() if one is None]
    if len(figures) != 1:
        return None
    aged = of_age(s)
    named = [row for row in s.rows if row in aged or names_some(row, others)]
    for row in named:
        span = _SPAN.search(row.text)
        if span and int(span[1]) <= figures[0] <= int(span[2]):
            return row
    return _up_to(named, figures[0])


def of_age(s: Speaker) -> list[Row]:
    """Return the rows about how old somebody is where a question names an age alone: "for a 9 year old"."""
    others = [word for word in s.words if not word.isdigit()]
    if not all(map(_YEARS.fullmatch, others)) or len(others) == len(s.words):
        return []
    return [row for row in s.rows if _AGED.search(plain(row.text))]


# "Up to 4 hours £4.20" and "Children under 12"
_UP_TO = re.compile(
    r"\b(?:up to|bis(?: zu)?|jusqu'a|hasta|fino a|ate|tot|do|(under|unter|moins de|menor(?:es)? de|menos de|sotto i|meno di|onder)) (\d{1,3})(?![\d.,:])"
)


def _up_to(named: Sequence[Row], figure: int) -> Row | None:
    """Return the row with the lowest bound that a question's number is within; None where a row has that number."""
    if any(tables.names_it(row.text, str(figure)) for row in named):
        return None
    bounds = ((_UP_TO.search(plain(row.text)), row) for row in named)
    within = [(int(to[2]), row) for to, row in bounds if to and int(to[2]) >= figure + bool(to[1])]
    return min(within, key=lambda one: one[0])[1] if within else None


def hits_of(row: Row, words: Sequence[str]) -> int:
    """Count the words that a row names; a figure, as of "tray 1", counts twice, but alone not at all."""
    named = [word for word in words if tables.names_it(row.text, word)]
    if len(named) < len(words) and all(
        word.isdecimal() or tables.is_number_word(word) for word in named
    ):
        return 0
    return sum(1 + word.isdigit() for word in named)


def special(s: Speaker, words: Sequence[str]) -> Sequence[str]:
    """Return the words that a page's title does not name, if there are any: of an exam timetable "history", and not "exam"."""
    return (untitled(s, words) or words) if len(s.rows) >= PAGE else words


def untitled(s: Speaker, words: Sequence[str]) -> Sequence[str]:
    """Return the words that a page's title does not name."""
    large = (row for row in s.title() if s.is_large(row))
    # "Bin collection - December 2026"
    title = [row for row in large if not has_count(row)]
    return [word for word in words if not any(names_some(row, [word]) for row in title)]


def naming(s: Speaker, words: Sequence[str]) -> list[Row]:
    """Return the rows that name most of these words; none where none names any."""
    hits = [hits_of(row, special(s, words)) for row in s.rows]
    most = max(hits, default=0)
    best = [row for row, count in zip(s.rows, hits, strict=True) if most and count == most]
    if len(best) == 1 and len(best[0].cells) > 1 and s.announced(best[0]):
        # The heads name columns, and the other words a row: "the flight to Oslo".
        rest = [word for word in words if not names_some(best[0], [word])]
        return [row for row in s.rows if names_some(row, rest)] if rest else best
    return best


def called(s: Speaker) -> list[Row]:
    """Return the rows that say whom to call for what a question names; none where it names nothing that is printed."""
    words = [word for word in s.words if not CALLS.fullmatch(word)]
    calls = [row for row in s.rows if has_digit(row) and CALLS.search(plain(row.text))]
    named = naming(s, words)
    numbers = [row for row in named if fields.phones([f"tel. {row.text}"])]
    reached = [row for row in s.rows if fields.phones([row.text])]
    return (numbers or calls or [*named[:1], *reached]) if words else []


def names_some(row: Row, words: Sequence[str]) -> bool:
    return hits_of(row, words) > 0
