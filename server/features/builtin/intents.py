"""The subject and the language of a question. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from itertools import dropwhile, islice, takewhile

from server.features.builtin.colours import NAMES
from server.features.builtin.detector import PERSON
from server.features.builtin.language import (
    LANGUAGES,
    WORD,
    Language,
    detect_language,
    find_languages,
    get_language,
    get_language_code,
    get_stop_words,
)
from server.features.builtin.thing_words import get_thing_words
from server.features.builtin.wants import SOCIAL, Want
from server.models.routing import make_word_pattern, plain, repeat_mode, shorten_question

# Maximum number of words of a question; each is compared with every word of the picture
_MOST_WORDS = 16
# Text in quotes
_QUOTED = re.compile(r"[「『](.{1,80}?)[」』]|[\"“”„«»‘'](.{1,80}?)[\"“”„«»’'](?=\W|$)")
# Languages whose stop words never name a row, in questions of any language in Latin letters
_MIXED = ("en", "de", "fr", "es")
# "The cat's eyes"
_OWNER = re.compile(r"\b(\w++)'s (\w+)")
# "On" and "off" at the end of a question
_SWITCHED = (" on", " off", " an", " aus", " aan", " uit")
_WEARS = re.compile(
    r"\bwear(?:s|ing)?\b|\bhas on\b|\btragen?\b|\btragt\b|\banhat\b|\bporte(?:nt|s)?\b|\blleva(?:n)?\b|\bindossa(?:no)?\b|\bveste(?:m)?\b|\bdraagt\b"
    r"|\bnosi\b|\bma na sobie\b|\bgiyiyor\b|\bодет\w*|穿|着て|입고|يرتدي|تلبس"
)


@dataclass(frozen=True, slots=True)
class Intent:
    want: Want
    language: str
    # The question, as written
    question: str = ""
    # The question's `plain` words that may name a row, without those that give its subject
    words: tuple[str, ...] = ()
    # The words that give its subject
    asked: str = ""
    # True: yes or no answers it.
    yes_no: bool = False
    # "left", "top" and so on; "" if the question names no place
    place: str = ""
    # 0 is Monday; None if the question names no day
    weekday: int | None = None
    # Days from today; None if the question names none
    in_days: int | None = None
    # The names from `colours.NAMES` that the question contains
    colours: tuple[str, ...] = field(default=())
    # Names of the objects in the question; and True if it asks how many
    things: tuple[str, ...] = ()
    how_many: bool = False
    # `wears`: the question asks about clothes. `either`: it offers alternatives.
    wears: bool = False
    either: bool = False
    # True: it asks for the colour of something on or of the first object, such as "the cat's eyes".
    part: bool = False


# Subjects that apply only without further words: to "Is the light on?", not to "light bulb"
_ALONE = frozenset({Want.FACES, Want.LIGHT, Want.MOTION, Want.CHANGE})
# Minimum number of further words that change the subject; 2 unless listed, as not all stop words are known
_MORE = {"en": 1}


# Subjects that give way to others: "What time does my phone say?", "When do I have to pay?"
_GIVES_WAY = {
    Want.PHONE: {Want.TIME, Want.READ},
    Want.TOTAL: {Want.DATE, Want.TIME},
    Want.PRICE: {Want.DATE},
}


def understand(question: str, chosen: str | None = None, page: str = "") -> Intent:
    """Parse a question: its subject, language, objects and other parts.

    `chosen`: a BCP 47 tag; it sets the language of the answer if it is one of `LANGUAGES`. `page`: the page's
    language, used if the words do not show one.
    """
    question = shorten_question(question)
    text = plain(question)
    tag = (chosen or "").partition("-")[0].lower()
    fixed = tag if tag in LANGUAGES else ""
    likely = fixed or get_language_code(page)
    candidates = find_languages(text)
    known = detect_language(question) if candidates else likely
    own = known or (likely if likely in candidates else candidates[0])
    if not WORD.search(text) or repeat_mode(question) is not None:
        return Intent(Want.SUMMARY, fixed or own, question)
    # A question may consist of a greeting in another language.
    for code in dict.fromkeys((own, likely, "en", *(() if known else candidates))):
        want, asked = _find_subject(text, code)
        # The French "le" is a Portuguese imperative: "read".
        is_small = code not in (own, likely) and asked in _get_stop_words(likely)
        if want is not Want.LOOKUP and not is_small:
            own = code
            break
    answer_in = fixed or (known if known and own != likely else own)
    one = get_language(own)
    things, rest = get_thing_words(own).cut(text)
    colours = tuple(
        name for at, name in enumerate(NAMES) if one.get_colour_pattern(at).search(text)
    )
    place = next((name for name in one.places if one.get_place_pattern(name).search(text)), "")
    yes_no = one.yes_no.search(text) is not None
    how_many = one.get_common_pattern("how_many").search(text) is not None
    rest = one.get_common_pattern("exists").sub(
        " ", one.get_common_pattern("how_many").sub(" ", _remove_subject(rest, asked))
    )
    # Words other than those of its subject, objects, colours and place
    more = [
        word
        for word in _find_words(rest, own)
        if word not in _get_condition_words(own, "fillers", "people", "faces", "door")
        and not _is_colour(word, one)
        and word not in _get_place_words(own)
    ]
    asks = yes_no or how_many or one.get_common_pattern("exists").search(text) is not None
    if want is Want.FACES and not asked.startswith(tuple(_get_condition_words(own, "faces"))):
        # "Is anybody there?"
        things = things or (PERSON,)
        asks = asks or " " in asked
    # "Is the TV on?", "Is it a boy or a girl?", "Is she wearing a tie?"
    wears = _WEARS.search(text) is not None
    # From the second letter on: in Polish and Ukrainian a question may begin with such a word.
    either = one.get_common_pattern("or").search(question.casefold(), 1) is not None
    switched = text.rstrip(" ?").endswith(_SWITCHED)
    if switched and yes_no and not more and (want is Want.LIGHT or things == ("lamp",)):
        # "Is the light on?", "Did I leave the lamp on?"
        want, things, switched = Want.LIGHT, (), False
    about = switched or (either and len(things) < 2) or wears
    of_colour = asks and not how_many and colours and len(more) < 2
    if want is Want.LOOKUP and of_colour and _has_final_colour(text, one):
        want = Want.COLOUR
    elif want in (Want.LOOKUP, Want.FACES, Want.AMOUNT) and things and not more and not about:
        # "What fish is this?"
        want = Want.THING if asks else Want.SUMMARY
    elif want in _ALONE and (
        len(more) >= _MORE.get(own, 2) or about or (things and not (asks and want is Want.FACES))
    ):
        want = Want.LOOKUP
    if want is Want.LOOKUP and how_many:
        want = Want.AMOUNT
    weekday, in_days = _find_day(text, one)
    return Intent(
        want,
        answer_in,
        question,
        _find_words(_remove_subject(text, asked), own),
        asked,
        yes_no,
        place,
        weekday,
        in_days,
        colours,
        things,
        how_many,
        wears,
        either,
        want is Want.COLOUR
        and _names_part(text[text.find(asked) + len(asked) :], things, more, own),
    )


def _names_part(text: str, things: tuple[str, ...], more: Collection[str], code: str) -> bool:
    """Return True if an unknown noun owns, or comes before, the first object: "the cat's eyes", "the eyes of the cat"."""
    names, words = get_thing_words(code), WORD.findall(text)
    if not (things and more):
        return False
    if any(names.get_name(one) and other in more for one, other in _OWNER.findall(text)):
        return True
    before = list(takewhile(lambda word: not names.find_things(word), words))
    after = [word for word in dropwhile(lambda word: word not in more, before) if word not in more]
    # Adjectives are beside their noun.
    return any(word in _get_stop_words(code) for word in after)


def _find_subject(text: str, code: str) -> tuple[Want, str]:
    """Return the subject of a `plain` question in a language, and its words for it."""
    one = get_language(code)
    found = dict(one.find_subjects(text))
    for want in SOCIAL & found.keys():
        said = found[want].group()
        # "Was kannst du?", and not "Was kannst du sehen?"
        whole = want is not Want.HELP or not (" " in said or one.unspaced)
        whole &= not (one.unspaced and want in (Want.SELF, Want.HEARS))
        if (whole and not _has_only(found[want].re, text, code)) or Want.SUMMARY in found:
            del found[want]
    if {Want.URL, Want.CODE} & found.keys() and one.get_common_pattern("risk").search(text):
        return Want.SAFE, ""
    for want in _GIVES_WAY.keys() & found.keys():
        if _GIVES_WAY[want] & found.keys():
            del found[want]
    want = next(iter(found), Want.LOOKUP)
    read = found.get(Want.READ)
    if want in (Want.EMAIL, Want.URL) and read and read.start() < found[want].start():
        # "Read the email."
        want = Want.READ
    return want, found[want].group() if want in found else ""


def _has_only(pattern: re.Pattern[str], text: str, code: str) -> bool:
    """Return True if a text contains nothing but the pattern, a greeting and courtesies."""
    one = get_language(code)
    rest = one.get_common_pattern("fillers").sub(" ", pattern.sub(" ", text))
    for want, match in one.find_subjects(rest):
        if want is Want.HELLO:
            rest = match.re.sub(" ", rest)
    return not WORD.search(rest)


@cache
def _get_stop_words(code: str) -> frozenset[str]:
    """Return the `plain` words that are ignored in a search for a row."""
    return frozenset().union(*map(get_stop_words, (code, *_MIXED)))


@cache
def _get_condition_words(code: str, *names: str) -> frozenset[str]:
    """Return the `plain` words of sets of conditions, such as `fillers` ("thing") or `people` ("anyone")."""
    watch = get_language(code).watch
    return frozenset(plain(" ".join(watch[name] for name in names)).split())


@cache
def _get_place_words(code: str) -> frozenset[str]:
    """Return the `plain` words for places in the picture."""
    return frozenset(re.split(r"[, *]+", plain(",".join(get_language(code).places.values()))))


@cache
def _make_filler_pattern(code: str) -> re.Pattern[str]:
    """Return the pattern of fillers of an unspaced language."""
    one = get_language(code)
    parts = (*one.stop.split(), *one.watch["fillers"].split())
    common = (
        one.get_common_pattern(name).pattern for name in ("exists", "how_many", "fillers", "today")
    )
    return re.compile("|".join([*common, make_word_pattern("", ",".join(parts)).pattern]))


def _find_words(text: str, code: str) -> tuple[str, ...]:
    if get_language(code).unspaced:
        text = _make_filler_pattern(code).sub(" ", text)
    stop = _get_stop_words(code)
    found = (
        word
        for word in dict.fromkeys(WORD.findall(text))
        if word not in stop and (len(word) > 1 or word.isdigit() or get_language(code).unspaced)
    )
    return tuple(islice(found, _MOST_WORDS))


def _remove_subject(text: str, asked: str) -> str:
    """Return a text without the words that give its subject."""
    return text.replace(asked, " ") if asked else text


def _is_colour(word: str, one: Language) -> bool:
    return any(one.get_colour_pattern(at).search(word) for at in range(len(NAMES)))


def _has_final_colour(text: str, one: Language) -> bool:
    """Return True for "Is the cup red?" and "Are there green ones?", not for "Is there a red cup?"."""
    words = [word for word in WORD.findall(text) if word not in _get_stop_words(one.code)]
    return bool(words) and _is_colour(words[-1], one)


def _find_day(text: str, one: Language) -> tuple[int | None, int | None]:
    """Return the weekday in a `plain` question, and its distance from today in days."""
    tokens = set(WORD.findall(text))
    tokens |= {token[:-1] for token in tokens if token.endswith("s")}
    weekday = next(
        (
            number
            for number, names in enumerate(one.days)
            if any(_is_day_named(word, text, tokens, one.unspaced) for word in plain(names).split())
        ),
        None,
    )
    if one.get_common_pattern("tomorrow").search(text) and not one.get_common_pattern(
        "today"
    ).search(text):
        return weekday, 1
    return weekday, 0 if one.get_common_pattern("today").search(text) else None


def _is_day_named(word: str, text: str, tokens: set[str], unspaced: bool) -> bool:
    if unspaced:
        return word in text
    if word.endswith("*"):
        return any(token.startswith(word[:-1]) for token in tokens)
    # Short names of days are ignored: in a question they are mostly other words.
    return len(word) > 3 and word in tokens


def find_quoted_text(question: str) -> str:
    """Return the text in quotes; "" if there is none."""
    found = _QUOTED.search(question)
    return (found.group(1) or found.group(2)).strip() if found else ""
