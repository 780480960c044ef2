"""Finds the subject and the language of a question. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice

from server.core.frames import Route
from server.features.builtin import wordings
from server.features.builtin.colours import NAMES
from server.features.builtin.detector import PERSON
from server.features.builtin.language import (
    HAN,
    LANGUAGES,
    LATIN,
    UNSPACED,
    WORD,
    code_of,
    is_other_latin,
    language,
    language_of,
    languages_of,
)
from server.features.builtin.thing_words import names_in, thing_words
from server.features.builtin.wants import SOCIAL, Want
from server.models.routing import ends, plain, route_of, way_in, word_pattern
from server.shared.dates import names_month

# Most words of a question that are compared with each word of the picture
_MOST_WORDS = 16
_FIGURE = re.compile(r"\d")
# Languages whose small words are no subject in questions of any language in Latin letters
_MIXED = ("en", "de", "fr", "es")
# The text to find, after "does it say ...": in quotes, or the rest of the question
_QUOTED = re.compile(r"[「『](.{1,80}?)[」』]|[\"“”„«»‘'](.{1,80}?)[\"“”„«»’'](?=\W|$)")
_PUNCTUATION = " ?!.:,\"'«»„“”？。！，：「」¿¡؟،؛।、"


@dataclass(frozen=True, slots=True)
class Intent:
    want: Want
    language: str
    # The text to find for SAYS, as written
    target: str = ""
    # The question's `plain` words that may name a row, without those that give its subject
    words: tuple[str, ...] = ()
    # The words that give its subject
    asked: str = ""
    # True for a question that yes or no answers
    yes_no: bool = False
    # "left", "top" and so on; "" when the question names none
    place: str = ""
    # 0 is Monday; None when the question names no day.
    weekday: int | None = None
    # Days from today; None when the question names none
    in_days: int | None = None
    # It names an hour, a part of the day, a month or a holiday.
    other_time: bool = False
    # The names from `colours.NAMES` that the question has
    colours: tuple[str, ...] = field(default=())
    # The things that it names, and whether it asks how many
    things: tuple[str, ...] = ()
    how_many: bool = False
    # It asks what somebody wears, or for its colour.
    wears: bool = False
    # It asks for somebody, for a place, or for the way to one.
    who: bool = False
    where: bool = False
    towards: bool = False
    # It asks what somebody does there: "Where do I pay?"
    acts: bool = False
    # The thing that it asks for, as written, where nothing here knows it; all of it where it is not `understood`
    sought: str = ""
    # False where none of its words is known in any language
    understood: bool = True
    # The question, as written
    question: str = ""


# Subjects that give way to others, by their places in `Language.asked`: "Was kannst du sehen?", "How much for two
# hours?" and "When does it get dark?"
_GIVES_WAY = {
    want: [list(Want).index(other) for other in others]
    for want, others in {
        Want.HELP: (Want.SUMMARY,),
        Want.HOURS: (Want.PRICE, Want.AMOUNT),
        Want.DURATION: (Want.HOURS,),
        Want.LIGHT: (Want.DATE,),
        # "How much is a colour print?" and "Was kostet eine Fahrt?"
        **dict.fromkeys((Want.COLOUR, Want.DEPARTURE), (Want.PRICE,)),
    }.items()
}
# What a question with the name of a thing may be about besides the thing
_MAY_BE_THINGS = frozenset(
    {Want.FACES, Want.ITEMS, Want.LOOKUP, Want.OTHER, Want.NUMBER, Want.AMOUNT, Want.PHONE}
)


def understand(question: str, chosen: str | None = None, page: str = "") -> Intent:
    """Find a question's subject and the things that it names.

    `chosen`: a BCP 47 tag; it decides the language of the answer if it is one of `LANGUAGES`. `page`: the page's
    language, for a question whose words tell none.
    """
    question = ends(question)
    text = plain(question)
    intent = _whom_or_where(_subject(question, text, chosen, page), text)
    codes = languages_of(text)
    intent = replace(_reconsidered(intent, text, codes), question=question)
    # The language of the answer is that of the question, unless it is chosen.
    own = (language_of(question) if chosen else None) or intent.language
    spoken = sorted(codes, key=lambda code: code != own)
    # "Is it orange?" names no fruit.
    is_hue = intent.want is Want.COLOUR and len(intent.asked.split()) > 1
    rest = wordings.NO_THING.sub("", text)
    things = names_in(_without(rest, intent.asked) if is_hue else rest, spoken[:1])
    intent, things = _without_others(intent, things, text)
    if not things or wordings.SERVES.search(text):
        return _without_things(intent, question, text, spoken)
    one = language(spoken[0])
    how_many = one.common("how_many").search(text) is not None
    begin, there = _patterns(one.code)[0], one.common("exists").search(text)
    is_open = begin is not None and begin.search(text) is not None
    said = there.group().split() if there else ()
    only = _only_things([word for word in intent.words if word not in said], text, one.code)
    asks = (intent.yes_no or (there and not is_open)) and only
    # "Is it for children?" and "For how many people?" are asked of a label.
    meant, many = one.common("meant").search(text), one.common("how_many").search(text)
    if len(things) == 1 and wordings.DOES.search(text):
        # "Can it fly?"
        return replace(intent, want=Want.OTHER)
    is_meant = meant is not None and (many is None or meant.start() < many.start())
    is_thing = intent.want in _MAY_BE_THINGS and bool(how_many or asks) and not is_meant
    if intent.want is Want.COLOUR and not intent.asked and len(things) == 1:
        # "Is there an orange?"
        is_thing = only
    # "How many books can I borrow?" is asked of a library's card.
    of_print = how_many and wordings.MAY.search(text)
    want = Want.LOOKUP if of_print else Want.THING if is_thing else intent.want
    if want in (Want.LIGHT, Want.SHARP):
        # "Is the lamp on?" and "Are the scissors sharp?"
        want = Want.LOOKUP
    if intent.want is Want.FACES and PERSON not in things and not how_many:
        # "Is there anybody in the boats?"
        want = Want.LOOKUP
    if want is Want.FACES and not how_many and route_of(question) is not Route.WHERE:
        # "What is the person wearing?"
        about = only or _only_people(intent.words, one.code)
        want = want if about and not is_open else Want.LOOKUP
    of_person = {*things} == {PERSON} and not _only_people(intent.words, one.code)
    if want is Want.COLOUR and (of_person or _names_part(intent, text, one.code)):
        # "What colour is the man's shirt?" and "What colour are the dogs eyes?"
        return replace(intent, things=(), sought=" ".join(intent.words) or text)
    if want in (Want.READ, Want.SAYS) and len(things) > 1 and text.startswith("steht "):
        # "Steht neben der Tasse ein Glas?"
        want = Want.THING
    others = (wordings.IS_ON, wordings.GLASSES)
    if want is Want.THING and (
        any(map(re.Pattern.search, others, (text, text))) or _counts_parts(text, one.code)
    ):
        want = Want.OTHER
    if want is Want.FACES and is_meant:
        want = Want.LOOKUP
    chooses = _chooses_people(text, one.code)
    of_a_kind = how_many and not chooses and wordings.OF_A_KIND.search(text)
    if want in (Want.FACES, Want.THING) and (of_a_kind or (chooses and not how_many)):
        want = Want.OTHER
    return replace(intent, want=want, things=things, how_many=how_many)


def _whom_or_where(intent: Intent, text: str) -> Intent:
    """Add whether a `plain` question asks for somebody, what is worn, a place, or the way to one."""
    of_clothes = intent.want is Want.COLOUR and wordings.CLOTHES.search(text) is not None
    wears = of_clothes or wordings.WEARS.search(text) is not None
    return replace(
        intent,
        wears=wears and not intent.yes_no and not wordings.ELSEWHERE.search(text),
        who=wordings.WHO.search(text) is not None,
        where=wordings.WHERE.search(text) is not None,
        towards=wordings.TOWARDS.search(text) is not None,
        acts=any(map(re.Pattern.search, (wordings.WHERE_DOES, wordings.GOES), (text, text)))
        and not wordings.SAYS.search(text),
    )


def _without_others(
    intent: Intent, things: tuple[str, ...], text: str
) -> tuple[Intent, tuple[str, ...]]:
    """Return a question without the things that it is not about: who wears "a watch", what "the van" stands behind."""
    near = wordings.NEAR.search(text) if intent.want is Want.COLOUR and things else None
    if near is not None:
        about = names_in(text[: near.start()], [intent.language])
        return (intent, about) if about else (replace(intent, sought=text), ())
    about_one = intent.want is Want.FACES and intent.yes_no and not intent.place
    if not about_one or len(things) < 2 or wordings.THERE_ARE.search(text):
        return intent, things
    return replace(intent, want=Want.LOOKUP), tuple(one for one in things if one != PERSON)


def _reconsidered(intent: Intent, text: str, codes: Iterable[str]) -> Intent:
    """Return the intent of a `plain` question whose other words say that its subject is another one."""
    if (of_print := _of_all_print(intent, text) or _asks_of_print(intent, text)) is not None:
        return of_print
    of_use = intent.want in (Want.SUMMARY, Want.READ) and _asks_doing(text, codes)
    if of_use or intent.want is Want.PURPOSE:
        # "What is this code for?"
        want = Want.BEYOND if of_use else intent.want
        return replace(intent, want=Want.CODE if wordings.CODE.search(text) else want)
    if intent.want is Want.TOTAL and (
        (intent.where and intent.acts)
        or (intent.yes_no and intent.words and intent.language in LATIN)
    ):
        # "Where do I pay?" and "Do I have to pay tomorrow?"
        asked = intent.asked.split() if intent.where else ()
        return replace(intent, want=Want.LOOKUP, words=(*asked, *intent.words))
    if intent.want in (Want.TOTAL, Want.MOTION, Want.HOURS, Want.DATE, Want.TIME):
        return _of_time(intent, text)
    if intent.want is Want.NAME and intent.asked in wordings.NAME and wordings.MY.search(text):
        # No headline is the name of who asks.
        return replace(intent, want=Want.LOOKUP, words=(intent.asked,))
    if (
        intent.want is Want.READ
        and (about := wordings.ABOUT.search(text))
        and len(intent.words) > 1
    ):
        # "What does it say about children?"
        words = tuple(word for word in intent.words if word not in about[0])
        return replace(intent, want=Want.LOOKUP, words=words, yes_no=True)
    if intent.want is Want.DEPARTURE:
        return _of_departure(intent, text)
    if intent.want in (Want.LIGHT, Want.COLOUR):
        return _of_light(intent, text)
    if intent.want is Want.FACES and wordings.WHO_ARE.search(text):
        return replace(intent, want=Want.OTHER)
    if intent.who and intent.want in (Want.OTHER, Want.READ, Want.LOOKUP):
        # "Who is it for?" and "Who is this letter from?", but not "Who is the coach of the team?"
        told_by = {"sender": wordings.SENT, "recipient": wordings.FOR_WHOM}
        keys = [key for key, wording in told_by.items() if wording.search(text)]
        return replace(intent, want=Want.LOOKUP, words=tuple(keys[:1])) if keys else intent
    changes = (wordings.WHICH, wordings.COINS, wordings.CHANGES)
    of_other = any(wording.search(text) for wording in changes)
    if (intent.want is Want.CHANGE and of_other) or (intent.want is Want.HELP and intent.who):
        # "Which stop do I change at?" and "Who can help me?"
        return _of_all_words(intent)
    return intent


# Subjects of whole questions about a print, and the words that its rows are found by
_WHOLE = (
    (wordings.PRINT_ABOUT, Want.SUMMARISE, ()),
    (wordings.PRINT_FOR, Want.SUMMARY, ()),
    (wordings.BEFORE_OTHERS, Want.OTHER, ()),
    (wordings.MEDICINE_FOR, Want.PURPOSE, ()),
    (wordings.MEDICINE_IS, Want.NAME, ()),
    (wordings.TAKES, Want.AMOUNT, ()),
    (wordings.WASHES, Want.LOOKUP, ("to wash",)),
    (wordings.WHICH_LINE, Want.LOOKUP, ("towards",)),
    (wordings.HAS_OPEN, Want.HOURS, ()),
    (wordings.FETCHES, Want.LOOKUP, ("to fetch",)),
)


def _of_all_print(intent: Intent, text: str) -> Intent | None:
    """Return the intent of a question for what a print is about, or for; None for another."""
    return next(
        (
            replace(intent, want=want, words=words)
            for asks, want, words in _WHOLE
            if asks.search(text)
        ),
        None,
    )


def _of_all_words(intent: Intent) -> Intent:
    """Return the intent of a question for a row that any of its words may name."""
    return replace(intent, want=Want.LOOKUP, words=(*intent.words, *intent.asked.split()))


# Subjects of questions that print may answer by words of another kind than the question's
_OF_PRINT = frozenset({Want.LOOKUP, Want.BEYOND, Want.OTHER, Want.ITEMS, Want.DURATION})


def _asks_of_print(intent: Intent, text: str) -> Intent | None:
    """Return the intent of a question for how often, why, how something looks, how long what is open keeps, where one goes, an age, advice or a sum; None for another."""
    if intent.want is Want.AMOUNT and intent.words:
        # "Wie viel muss ich bezahlen?"
        pays = all(map(wordings.PAYS.fullmatch, intent.words))
        return replace(intent, want=Want.TOTAL, words=()) if pays else None
    if intent.want in _OF_PRINT | {Want.EXPIRY, Want.HOURS} and wordings.OPENED.search(text):
        return replace(intent, want=Want.LOOKUP, words=("opened",))
    may_return = intent.want is Want.EXPIRY or (intent.want is Want.LOOKUP and intent.yes_no)
    if may_return and wordings.BRINGS_BACK.search(text):
        rest = tuple(word for word in intent.words if word not in wordings.BACK)
        return replace(intent, want=Want.LOOKUP, words=("returns", *rest))
    if intent.want is Want.COLOUR and wordings.WHERE_CAN.search(text):
        # "Wo kann ich alte Farbe abgeben?"
        return _of_all_words(intent)
    if intent.want not in _OF_PRINT:
        return None
    for key, wording in (
        ("rhythm", wordings.OFTEN),
        ("reason", wordings.WHY),
        ("looks", wordings.LOOKS_LIKE),
        ("missed", wordings.STAYS_AWAY),
        ("refund", wordings.REFUNDS),
    ):
        if found := wording.search(text):
            rest = tuple(word for word in intent.words if word not in found[0].split())
            want = intent.want if key == "reason" else Want.LOOKUP
            return replace(intent, want=want, words=(key, *rest))
    if intent.want is Want.LOOKUP and wordings.CODE_KIND.search(text):
        return replace(intent, want=Want.CODE)
    if intent.where and wordings.TRAVELS.search(text):
        return replace(intent, want=Want.LOOKUP, words=("towards",))
    if intent.want is not Want.LOOKUP:
        return None
    if wordings.AGE.search(text):
        # Print may tell an age.
        return replace(intent, words=("age",))
    return replace(intent, want=Want.BEYOND) if wordings.ADVICE.search(text) else None


def _of_time(intent: Intent, text: str) -> Intent:
    """Return the intent of a question about a total, motion, hours or a day, which may be another of these, or of a place."""
    if intent.want is Want.TIME:
        opens = wordings.OPEN.search(text)
        rest = tuple(word for word in intent.words if not opens or word != opens[0])
        # "Tot hoe laat zijn ze open?"
        return replace(intent, want=Want.HOURS, words=rest) if opens else intent
    if intent.want is Want.DATE:
        if intent.where and intent.acts:
            # "Where do I go when it's my turn?"
            return replace(intent, want=Want.LOOKUP)
        if shut := wordings.SHUT.search(text):
            # "In che giorno sono chiusi?"
            rest = tuple(word for word in intent.words if word != shut[0])
            return replace(intent, want=Want.HOURS, asked=shut[0], words=rest)
        return replace(intent, want=Want.LOOKUP) if wordings.IN_CLAUSE.search(text) else intent
    if intent.want is Want.HOURS and intent.yes_no and wordings.FOR_LONG.search(text):
        # "Can I park here for three hours?"
        return replace(intent, want=Want.LOOKUP, words=("for long", *intent.words))
    if intent.want is Want.HOURS:
        at_feast = any(named.search(text) for _, named in wordings.FEASTS)
        other = intent.other_time or at_feast or bool(wordings.CLOSED_FOR.search(text))
        return replace(intent, other_time=other)
    if intent.want is Want.TOTAL and wordings.AT_WHAT_TIME.search(text):
        # "A che ora ho pagato?"
        return replace(intent, want=Want.TIME, words=())
    if wordings.WHEN.search(text):
        # "When do I have to pay by?" and "When can I move in?"
        return replace(intent, want=Want.DATE, words=(*intent.words, *intent.asked.split()[-1:]))
    if intent.want is Want.TOTAL and wordings.HOW.search(text):
        # "How did I pay?"
        return replace(intent, want=Want.LOOKUP, words=(*intent.words, "paid"), yes_no=True)
    return intent


def _of_departure(intent: Intent, text: str) -> Intent:
    """Return the intent of a question about a departure, which may be one about where it goes."""
    if wordings.WHERE.search(text):
        return replace(intent, want=Want.LOOKUP, words=("towards",))
    if wordings.LEFT_BEHIND.search(text):
        return replace(intent, want=Want.LOOKUP)
    # "Next bus" gives the subject, too.
    order = (word for word in WORD.findall(text) if word in wordings.ORDER - {*intent.words})
    return replace(intent, words=(*intent.words, *order))


def _of_light(intent: Intent, text: str) -> Intent:
    """Return the intent of a question about light or colours, which may be one about a lamp or what it means."""
    if intent.colours and wordings.MEANS.search(text):
        return _of_all_words(intent)
    if intent.want is Want.COLOUR:
        # "What colour is the one in the top right corner?"
        in_corner = wordings.CORNER.search(text) is not None
        return replace(intent, place="whole") if in_corner else intent
    if wordings.USED_UP.search(text):
        # "¿Cuánta luz he gastado?"
        return replace(intent, want=Want.AMOUNT)
    if wordings.LIGHTS.search(text):
        return replace(intent, want=Want.OTHER)
    if intent.colours:
        # "What does a red light mean?"
        return replace(intent, want=Want.LOOKUP, words=(*intent.words, intent.asked))
    if (named := wordings.LIGHT_OF.search(text)) and named[1] in intent.words:
        # "Is there a light switch?"
        return replace(intent, want=Want.LOOKUP, words=(intent.asked, *intent.words))
    return intent


def _names_part(intent: Intent, text: str, code: str) -> bool:
    """Find whether a question ends with a word behind that of a thing: with a part of it."""
    words, named = WORD.findall(text), thing_words(code)
    if len(words) < 2 or not named.of_word(words[-2]):
        return False
    of_colour = any(language(code).colour(at).search(words[-1]) for at in range(len(NAMES)))
    return words[-1] in intent.words and not named.knows(words[-1]) and not of_colour


def _counts_parts(text: str, code: str) -> bool:
    """Find whether a question counts what a thing has: "How many legs does the dog have?"."""
    found = wordings.PARTS.search(text)
    return found is not None and not thing_words(code).of_word(next(filter(None, found.groups())))


def _chooses_people(text: str, code: str) -> bool:
    """Find whether a question has two words for people: "Are they men or women?"."""
    of_word = thing_words(code).of_word
    return len({word for word in WORD.findall(text) if of_word(word) == PERSON}) > 1


def _asks_doing(text: str, codes: Iterable[str]) -> bool:
    """Find whether a `plain` question is of what something does or is for, and no "What is it?" or "Read it"."""
    return any(language(code).doing.search(text) for code in codes)


def asks_origin(question: str) -> bool:
    """Find whether a question about "where" asks where something is from."""
    return wordings.ORIGIN.search(plain(question)) is not None


# How much a small word tells of its language, next to one of its most common ones
_OF_SMALL_WORDS = 0.4
# Wants of questions whose words nothing else knows
_UNCLEAR = frozenset({Want.LOOKUP, Want.ITEMS, Want.OTHER})
# More words are no name of a thing.
_MOST_NAME = 2
# Characters of a question that is quoted
_MOST_QUOTED = 40


def _without_things(intent: Intent, question: str, text: str, spoken: Sequence[str]) -> Intent:
    """Add the thing that it asks for, and find whether any of its words is known."""
    if wordings.SERVES.search(text):
        counted = replace(intent, things=(PERSON,), how_many=True)
        return replace(counted, want=Want.LOOKUP, words=("portion",))
    about = _only_people(intent.words, intent.language) and not wordings.WEARS.search(text)
    if intent.want is Want.FACES and not about:
        # "Can someone sit on it?" and "What is he wearing on his face?"
        return replace(intent, want=Want.LOOKUP)
    if intent.want not in _UNCLEAR and intent.want is not Want.COLOUR:
        return intent
    if intent.want is Want.COLOUR and intent.place:
        return intent
    route, of_colour = route_of(question), intent.want is Want.COLOUR
    if wordings.WHERE_DOES.search(text):
        return intent
    if route is Route.NOW and not of_colour and not any(_knows_some(text, code) for code in spoken):
        said = question.strip(_PUNCTUATION)
        short = f"{said[:_MOST_QUOTED]}…" if len(said) > _MOST_QUOTED else said
        return replace(intent, sought=short, understood=False)
    one = language(spoken[0])
    asks = (
        of_colour
        or route is Route.WHERE
        or any(one.common(name).search(text) for name in ("exists", "how_many"))
    )
    rest = one.common("exists").sub(" ", _without(text, intent.asked) if of_colour else text)
    for at in range(len(NAMES)):
        rest = one.colour(at).sub(" ", rest)
    rest = wordings.WOULD.sub(" ", rest)
    if one.unspaced:
        words = [
            word
            for word in WORD.findall(_small(one.code).sub(" ", rest))
            if HAN.search(word) or len(word) > 1
        ]
    else:
        words = [word for word in _words(rest, one.code) if word not in _fillers(one.code)]
    if not asks or not 1 <= len(words) <= _MOST_NAME or _asks_doing(text, spoken):
        return intent
    if route is Route.WHERE and asks_origin(text):
        return intent
    written = [word for word in WORD.findall(question) if plain(word) in words]
    return replace(intent, sought=" ".join(written or words))


def _without(text: str, asked: str) -> str:
    """Return a text without the words that give its subject."""
    return text.replace(asked, " ") if asked else text


def _knows_some(text: str, code: str) -> bool:
    """Find whether a language has any word of a `plain` text."""
    one = language(code)
    if one.unspaced and one.stops().search(text):
        return True
    words = {word for word in WORD.findall(text) if len(word) > 1}
    if words & _stop(code) or (one.ends and re.search(one.ends, text)):
        return True
    return any(
        one.common(name).search(text)
        for name in ("hints", "fillers", "how_many", "today", "tomorrow", "exists")
    )


def _only_things(words: Iterable[str], text: str, code: str) -> bool:
    """Find whether all words name things or say nothing more: "Is the cat asleep?" asks for more."""
    named, fillers = thing_words(code), _fillers(code)
    if language(code).unspaced:
        return not WORD.search(_small(code).sub(" ", named.cut(text)[1]))
    # "Coffee" is a word of "cup of coffee", and no thing by itself.
    rest = set(WORD.findall(named.cut(text)[1]))
    return all(word in fillers or word not in rest for word in words)


@cache
def _small(code: str) -> re.Pattern[str]:
    """Return the pattern of the parts of an unspaced language that name nothing."""
    one = language(code)
    parts = (
        *one.stop.split(),
        *str(one.watch["fillers"]).split(),
        *str(one.watch["people"]).split(),
        *str(one.watch["faces"]).split(),
    )
    names = ("exists", "how_many", "fillers", "today")
    return re.compile(
        "|".join(
            [
                # First: small words are parts of "有没有".
                *(one.common(name).pattern for name in names),
                word_pattern("", ",".join(parts)).pattern,
            ]
        )
    )


@cache
def _fillers(code: str) -> frozenset[str]:
    """Return the `plain` words that name nothing: "thing", "something"."""
    return frozenset(plain(str(language(code).watch["fillers"])).split())


@cache
def _places(code: str) -> frozenset[str]:
    """Return the `plain` words for places in the picture."""
    return frozenset(re.split(r"[, ]+", plain(",".join(language(code).places.values()))))


def _only_people(words: Iterable[str], code: str) -> bool:
    """Find whether all words may stand beside a person: "Is anyone at the door on the left?"."""
    watch = language(code).watch
    known = frozenset(
        plain(" ".join(str(watch[name]) for name in ("people", "faces", "door"))).split()
    )
    known |= _fillers(code) | _places(code)
    return all(word in known or thing_words(code).knows(word) for word in words)


def _subject(question: str, text: str, chosen: str | None, page: str) -> Intent:
    tag = (chosen or "").partition("-")[0].lower()
    fixed = tag if tag in LANGUAGES else None
    likely = fixed or page.partition("-")[0].lower()
    candidates = languages_of(text)
    if not candidates or (candidates == LATIN and is_other_latin(question)):
        return Intent(Want.FOREIGN, fixed or code_of(page))
    asked = cache(lambda code: language(code).asked(text))
    spoken = _likeliest(candidates, text, question, likely, asked)
    answer_in = fixed or spoken
    if not text.strip(_PUNCTUATION) or way_in(question) is not None:
        return Intent(Want.SUMMARY, answer_in)
    if target := _says(question, text, spoken, candidates):
        return Intent(Want.SAYS, answer_in, target, _words(text, spoken))
    yes_no = _patterns(spoken)[1].search(text) is not None
    # The guessed language alone first: "son" and "parole" mean different things in different ones. Its small words are no
    # subject of another one: the French "le" is a Portuguese order to read. The English "flu" is a blurred picture in Turkish.
    small = _stop(spoken) | _places(spoken) | {"flu"}
    others = tuple(other for other in candidates if other != spoken)
    how_many = language(spoken).common("how_many").search(text) is not None
    if how_many or spoken == fixed:
        # "How many dice?" asks for no text, as the Spanish "dice" does.
        others = ()
    for order in ((spoken,), others):
        for at, want in enumerate(Want):
            for one in order:
                match = asked(one)[at]
                if match is None or (one != spoken and set(match.group().split()) <= small):
                    continue
                # "What time does the help desk shut?"
                whole = want is not Want.HELP or match.group() in wordings.HELP
                whole &= one not in UNSPACED or want not in (Want.SELF, Want.HEARS)
                if want in SOCIAL and whole and not _only(match.re, text, one):
                    continue
                if any(asked(one)[other] is not None for other in _GIVES_WAY.get(want, ())):
                    continue
                words = _words(match.re.sub(" ", text), one)
                details = _details(text, one)
                matched = fixed or _settle(one, spoken, text)
                return Intent(want, matched, "", words, match.group(), yes_no, *details)
    # In "Zit er melk in?" nobody asks for a seat.
    words = _words(text.removeprefix("zit er"), spoken)
    details = _details(text, spoken)
    if yes_no and details[-1] and _ends_with_colour(text, spoken):
        # "Is the cup red?"
        return Intent(Want.COLOUR, answer_in, "", words, "", yes_no, *details)
    rest = Want.ITEMS if how_many else Want.LOOKUP
    return Intent(rest if words else Want.OTHER, answer_in, "", words, "", yes_no, *details)


def _likeliest(
    candidates: tuple[str, ...],
    text: str,
    question: str,
    likely: str,
    asked: Callable[[str], Sequence[object]],
) -> str:
    """Return the likeliest language by its own letters, most common words and subjects that are `asked`;
    of equals the `likely` one, else the first.
    """
    if candidates == ("zh", "ja"):
        # Without kana it may be either.
        return "ja" if likely == "ja" else "zh"
    raw, words = question.casefold(), set(WORD.findall(text))
    scores: dict[str, float] = {}
    for code in candidates:
        one = language(code)
        scores[code] = len(one.common("hints").findall(text)) + 0.5 * (code == likely)
        scores[code] += 2 * any(letter in raw for letter in one.letters)
        scores[code] += bool(thing_words(code).named_in(text))
        scores[code] += _OF_SMALL_WORDS * len(words & _small_words(code))
        scores[code] += sum(match is not None for match in asked(code))
    return max(candidates, key=lambda code: scores[code])


def _settle(matched: str, spoken: str, text: str) -> str:
    """Return the answer's language: a single word of another language does not change it."""
    return spoken if language(spoken).common("hints").search(text) else matched


def _only(pattern: re.Pattern[str], text: str, code: str) -> bool:
    """Find whether a text has only the pattern and courtesies."""
    rest = language(code).common("fillers").sub(" ", pattern.sub(" ", text))
    hello = language(code).asked(rest)[list(Want).index(Want.HELLO)]
    return not WORD.search(hello.re.sub(" ", rest) if hello else rest)


@cache
def _small_words(code: str) -> frozenset[str]:
    """Return a language's `plain` words that name nothing."""
    return frozenset(plain(language(code).stop).split())


# "He", where things are called so, too; they say little of the language.
_PRONOUNS = {"de": "er ihn", "nl": "hij hem", "it": "lui lei", "es": "ella", "pt": "ele ela"}


@cache
def _stop(code: str) -> frozenset[str]:
    """Return the `plain` words that do not help to find a subject."""
    pronouns = _PRONOUNS.get(code, "").split()
    return frozenset(pronouns).union(*(_small_words(one) for one in (code, *_MIXED)))


def _words(text: str, code: str) -> tuple[str, ...]:
    if language(code).unspaced:
        text = language(code).stops().sub(" ", text)
    stop = _stop(code)
    found = (
        word
        for word in dict.fromkeys(WORD.findall(text))
        if word not in stop and (len(word) > 1 or word.isdigit())
    )
    return tuple(islice(found, _MOST_WORDS))


def _details(text: str, code: str) -> tuple[str, int | None, int | None, bool, tuple[str, ...]]:
    """Return the place, weekday, days from today, whether another time, and colours that a question names."""
    one = language(code)
    # "Her top" is worn.
    text = wordings.WORN.sub("", text)
    place = next((name for name in one.places if one.place(name).search(text)), "")
    tokens = set(WORD.findall(text))
    # "sundays" is Sunday, too.
    forms = tokens | {token[:-1] for token in tokens if token.endswith("s")}
    parts = {_PART_OF_DAY.sub("", token) for token in tokens} - tokens
    forms |= parts
    weekday = next(
        (
            number
            for number, names in enumerate(one.days)
            if any(_names_day(word, text, forms, one.unspaced) for word in plain(names).split())
        ),
        None,
    )
    in_days = 0 if one.common("today").search(text) else None
    if in_days is None and one.common("tomorrow").search(text):
        in_days = 1
    colours = tuple(name for at, name in enumerate(NAMES) if one.colour(at).search(text))
    named = _FIGURE.search(text) or one.common("other_time").search(text)
    in_part = weekday is not None and not parts.isdisjoint(plain(one.days[weekday]).split())
    other_time = named is not None or names_month(text) or in_part
    return place, weekday, in_days, other_time, colours


# "Mittwochnachmittag"
_PART_OF_DAY = re.compile(r"(?:(?:vor|nach)?mittag|morgen|abend|nacht)s?$")


def _names_day(word: str, text: str, tokens: set[str], unspaced: bool) -> bool:
    if unspaced:
        return word in text
    if word.endswith("*"):
        return any(token.startswith(word[:-1]) for token in tokens)
    # Abbreviations stand on signs; in a question they are mostly other words.
    return len(word) > 3 and word in tokens


def _ends_with_colour(text: str, code: str) -> bool:
    bare, one = wordings.ONE.sub("", text.strip(_PUNCTUATION)), language(code)
    return any(
        match.end() == len(bare)
        for at in range(len(NAMES))
        for match in one.colour(at).finditer(bare)
    )


def quoted(question: str) -> str:
    """Return the text in quotes; "" without any."""
    found = _QUOTED.search(question)
    return (found.group(1) or found.group(2)).strip() if found else ""


@cache
def _patterns(code: str) -> tuple[re.Pattern[str] | None, re.Pattern[str], re.Pattern[str] | None]:
    """Return the patterns of a question that is open, of one that yes or no answers, and of words
    around the text to find.
    """
    one = language(code)
    before, after = (
        "|".join(re.escape(plain(word.strip())) for word in words.split(",") if word.strip())
        for words in (one.says_before, one.says_after)
    )
    ends = [rf"^(?:{before}|:)\s+"] if before else []
    # From the first of several spaces alone: in proportion to the text
    ends += [rf"(?<!\s)\s+(?:{after})$"] if after else []
    return (
        re.compile(rf"^\W*(?:{one.open})(?!\w)") if one.open else None,
        re.compile(one.yes_no),
        re.compile("|".join(ends)) if ends else None,
    )


def _says(question: str, text: str, spoken: str, candidates: tuple[str, ...]) -> str:
    """Return X of a question of the form "does it say X"; "" for any other question."""
    is_open = _patterns(spoken)[0]
    if is_open is not None and is_open.search(text):
        return ""
    for code in dict.fromkeys((spoken, *candidates)):
        match = language(code).says.search(text)
        if match is None:
            continue
        if target := quoted(question):
            return target
        rest = next((part for part in match.groups() if part), "").strip(_PUNCTUATION)
        edges = _patterns(code)[2]
        before = None
        while before != rest:
            before = rest
            rest = edges.sub("", rest).strip(_PUNCTUATION) if edges is not None else rest
        if rest and not set(rest.split()) <= _stop(code):
            return rest
    return ""
