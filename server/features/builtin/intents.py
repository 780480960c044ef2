"""Finds the subject and the language of a question. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice

from server.features.builtin.colours import NAMES
from server.features.builtin.language import LANGUAGES, LATIN, language
from server.features.builtin.thing_words import names_in, thing_words
from server.features.builtin.wants import SOCIAL, Want
from server.models.routing import WORD_MARKS, ends, plain

# Most words of a question that are compared with each word of the picture
_MOST_WORDS = 16
# Letters and marks that belong to a word.
_WORD = re.compile(rf"[\w{WORD_MARKS}]+")
# Languages by the script of their questions
_CYRILLIC_LANGUAGES = ("ru", "uk")
# Scripts of which one letter in two of a question's is enough: Han (with words in Latin letters)
_HAN = re.compile(r"[\u3400-\u9fff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_CYRILLIC = re.compile(r"[\u0400-\u052f]")
# Letters that neither Russian nor Ukrainian has
_OTHER_CYRILLIC = re.compile(r"[јљњћђџ]")
_LATIN = re.compile(r"[a-z\u00df-\u024f]")
_SCRIPTS = {
    "ar": re.compile(r"[\u0600-\u06ff\u0750-\u077f]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "ko": re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
}
# Letters of Persian and Urdu, and of Sindhi and Pashto, that Arabic does not have
_OTHER_ARABIC = re.compile(r"[پچژگکیۀےڑٹڈںھہ]")
# Greek, Armenian to Georgian with Hebrew, and the other scripts of India and Southeast Asia
_OTHER_SCRIPT = re.compile(r"[\u0370-\u03ff\u0530-\u05ff\u0700-\u074f\u0780-\u08ff\u0980-\u10ff]")
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
    # The names from `colours.NAMES` that the question has
    colours: tuple[str, ...] = field(default=())
    # The things that it names, and whether it asks how many
    things: tuple[str, ...] = ()
    how_many: bool = False


# What a question with the name of a thing may be about besides the thing
_MAY_BE_THINGS = frozenset(
    {Want.FACES, Want.ITEMS, Want.LOOKUP, Want.OTHER, Want.NUMBER, Want.AMOUNT}
)


def understand(question: str, chosen: str | None = None) -> Intent:
    """Find a question's subject and the things that it names.

    `chosen`: a BCP 47 tag; it decides the language of the answer if it is one of `LANGUAGES`.
    """
    question = ends(question)
    text = plain(question)
    intent = _subject(question, text, chosen)
    codes = languages_of(text)
    # The language of the answer is mostly that of the question.
    spoken = sorted(codes, key=lambda code: code != intent.language)
    things = names_in(text, spoken[:1])
    if not things:
        return intent
    how_many = language(spoken[0]).common("how_many").search(text) is not None
    is_thing = intent.want in _MAY_BE_THINGS and (
        how_many or (intent.yes_no and _only_things(intent.words, spoken[0]))
    )
    if intent.want is Want.COLOUR and not intent.asked and len(things) == 1:
        # "Is there an orange?"
        is_thing = _only_things(intent.words, spoken[0])
    want = Want.THING if is_thing else intent.want
    return replace(intent, want=want, things=things, how_many=how_many)


def _only_things(words: Iterable[str], code: str) -> bool:
    """Find whether all words name things or say nothing more: "Is the cat asleep?" asks for more."""
    named = thing_words(code)
    fillers = frozenset(plain(str(language(code).watch["fillers"])).split())
    return all(word in fillers or named.knows(word) for word in words)


def _subject(question: str, text: str, chosen: str | None) -> Intent:
    tag = (chosen or "").partition("-")[0].lower()
    fixed = tag if tag in LANGUAGES else None
    candidates = languages_of(text)
    if not candidates:
        return Intent(Want.FOREIGN, fixed or "en")
    spoken = _likeliest(candidates, text, question, fixed)
    answer_in = fixed or spoken
    if not text.strip(_PUNCTUATION):
        return Intent(Want.SUMMARY, answer_in)
    if target := _says(question, text, spoken, candidates):
        return Intent(Want.SAYS, answer_in, target, _words(text, spoken))
    yes_no = _patterns(spoken)[1].search(text) is not None
    # The guessed language alone first: "son" and "parole" mean different things in different ones.
    others = tuple(other for other in candidates if other != spoken)
    for order in ((spoken,), others):
        for want in Want:
            for one in order:
                match = language(one).asks(want, text)
                if match is None:
                    continue
                if want in SOCIAL and want is not Want.HELP and not _only(match.re, text, one):
                    continue
                words = _words(match.re.sub(" ", text), one)
                details = _details(text, one)
                matched = fixed or _settle(one, spoken, text)
                return Intent(want, matched, "", words, match.group(), yes_no, *details)
    words = _words(text, spoken)
    details = _details(text, spoken)
    if yes_no and details[-1] and _ends_with_colour(text, spoken):
        # "Is the cup red?"
        return Intent(Want.COLOUR, answer_in, "", words, "", yes_no, *details)
    how_many = language(spoken).common("how_many").search(text) is not None
    rest = Want.ITEMS if how_many else Want.LOOKUP
    return Intent(rest if words else Want.OTHER, answer_in, "", words, "", yes_no, *details)


def languages_of(text: str) -> tuple[str, ...]:
    """Return the languages that a `plain` text may be in by its letters; none for other scripts."""
    han, kana = len(_HAN.findall(text)), len(_KANA.findall(text))
    cyrillic, latin = len(_CYRILLIC.findall(text)), len(_LATIN.findall(text))
    for code, letters in _SCRIPTS.items():
        count = len(letters.findall(text))
        if count and 2 * count >= latin and count >= han + kana + cyrillic:
            return () if code == "ar" and _OTHER_ARABIC.search(text) else (code,)
    other = len(_OTHER_SCRIPT.findall(text))
    if other and other + han >= latin:
        return ()
    if kana and 2 * (han + kana) >= latin:
        return ("ja",)
    if han and 2 * han >= latin:
        return ("zh", "ja")
    if cyrillic > latin:
        return () if _OTHER_CYRILLIC.search(text) else _CYRILLIC_LANGUAGES
    return LATIN


def language_of(text: str) -> str | None:
    """Return the language that a text is in by its letters and small words; None where they do not say."""
    small = plain(text)
    candidates = languages_of(small)
    if not _WORD.search(small) or not candidates:
        return None
    if len(candidates) == 1 or candidates == ("zh", "ja"):
        return candidates[0]
    scores = {
        code: len(language(code).common("hints").findall(small))
        + 2 * any(letter in text.casefold() for letter in language(code).letters)
        for code in candidates
    }
    first, second = sorted(scores.values())[-1:-3:-1]
    return max(candidates, key=lambda code: scores[code]) if first > second else None


def _likeliest(candidates: tuple[str, ...], text: str, question: str, fixed: str | None) -> str:
    """Return the likeliest language by its own letters and most common words; of equals the chosen
    one, else the first.
    """
    if candidates == ("zh", "ja"):
        # Without kana it may be either.
        return "ja" if fixed == "ja" else "zh"
    raw = question.casefold()
    scores: dict[str, float] = {}
    for code in candidates:
        one = language(code)
        scores[code] = len(one.common("hints").findall(text)) + 0.5 * (code == fixed)
        scores[code] += 2 * any(letter in raw for letter in one.letters)
        scores[code] += sum(one.asks(want, text) is not None for want in Want)
    return max(candidates, key=lambda code: scores[code])


def _settle(matched: str, spoken: str, text: str) -> str:
    """Return the answer's language: a single word of another language does not change it."""
    return spoken if language(spoken).common("hints").search(text) else matched


def _only(pattern: re.Pattern[str], text: str, code: str) -> bool:
    """Find whether a text has only the pattern and courtesies."""
    rest = language(code).common("fillers").sub(" ", pattern.sub(" ", text))
    return not _WORD.search(rest)


@cache
def _stop(code: str) -> frozenset[str]:
    """Return the `plain` words that do not help to find a subject."""
    found = (language(one).stop for one in dict.fromkeys((code, *_MIXED)))
    return frozenset(word for line in found for word in plain(line).split())


def _words(text: str, code: str) -> tuple[str, ...]:
    if language(code).unspaced:
        text = language(code).stops().sub(" ", text)
    stop = _stop(code)
    found = (
        word for word in dict.fromkeys(_WORD.findall(text)) if word not in stop and len(word) > 1
    )
    return tuple(islice(found, _MOST_WORDS))


def _details(text: str, code: str) -> tuple[str, int | None, int | None, tuple[str, ...]]:
    """Return the place, weekday, days from today, and colours that a question names."""
    one = language(code)
    place = next((name for name in one.places if one.place(name).search(text)), "")
    tokens = set(_WORD.findall(text))
    # "sundays" is Sunday, too.
    forms = tokens | {token[:-1] for token in tokens if token.endswith("s")}
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
    return place, weekday, in_days, colours


def _names_day(word: str, text: str, tokens: set[str], unspaced: bool) -> bool:
    if unspaced:
        return word in text
    if word.endswith("*"):
        return any(token.startswith(word[:-1]) for token in tokens)
    # Abbreviations stand on signs; in a question they are mostly other words.
    return len(word) > 3 and word in tokens


def _ends_with_colour(text: str, code: str) -> bool:
    bare, one = text.strip(_PUNCTUATION), language(code)
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
    ends += [rf"\s+(?:{after})$"] if after else []
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
