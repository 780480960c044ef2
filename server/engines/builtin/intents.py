"""Finds the subject and the language of a question. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice

from server.engines.builtin.colours import NAMES
from server.engines.builtin.languages import (
    COLOURS,
    DAYS,
    FILLERS,
    HINTS,
    LANGUAGES,
    PLACES,
    QUESTIONS,
    SAYS,
    STOP,
    TODAY,
    TOMORROW,
    UNSPACED,
)
from server.engines.builtin.wants import SOCIAL, Want
from server.engines.matching import plain, word_pattern

# Most words of a question that are compared with each word of the picture
_MOST_WORDS = 16
# Letters and marks that belong to a word.
_WORD = re.compile(r"\w+")
_CYRILLIC = re.compile(r"[\u0400-\u052f]")
# Letters that Russian does not have.
_NOT_RUSSIAN = re.compile(r"[іїєґўјљњћђџ]")
_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[a-z\u00df-\u024f]")
# Kana, Hangul, Greek, Armenian to Georgian with Hebrew, Arabic and the scripts of India and
# Southeast Asia.
_OTHER_SCRIPT = re.compile(r"[\u0370-\u03ff\u0530-\u10ff\u1100-\u11ff\u3040-\u30ff\uac00-\ud7af]")


def _pattern(language: str, words: str) -> re.Pattern[str]:
    if language in UNSPACED:
        parts = sorted((plain(word.strip()) for word in words.split(",")), key=len, reverse=True)
        return re.compile("|".join(re.escape(part) for part in parts))
    return word_pattern(words)


_PATTERNS: dict[Want, dict[str, re.Pattern[str]]] = {
    want: {
        language: _pattern(language, QUESTIONS[language][want])
        for language in LANGUAGES
        if want in QUESTIONS[language]
    }
    for want in Want
}
_HINTS = {language: _pattern(language, HINTS[language]) for language in LANGUAGES}
_FILLERS = {language: _pattern(language, FILLERS[language]) for language in LANGUAGES}
_PLACES = {
    language: {place: _pattern(language, words) for place, words in PLACES[language].items()}
    for language in LANGUAGES
}
_TODAY = {language: _pattern(language, TODAY[language]) for language in LANGUAGES}
_TOMORROW = {language: _pattern(language, TOMORROW[language]) for language in LANGUAGES}
_SAYS = {language: re.compile(pattern) for language, pattern in SAYS.items()}
_STOP = {word for line in STOP.values() for word in plain(line).split()}
# The text to find, after "does it say ...": in quotes, or the rest of the question
_QUOTED = re.compile(r"[\"“”„«»‘'](.{1,80}?)[\"“”«»’'](?=\W|$)")
_OPEN = re.compile(
    r"^\W*(?:what|which|where|was|welche\w*|wo|que|quoi|quel\w*|qu'|ou|cual\w*|donde|что|как\w*|где)\b"
)
_YES_NO = re.compile(
    r"^\W*(?:is|are|does|do|did|can|has|have|was|were|ist|sind|hat|kann|gibt es|est-ce|y a-t-il|es|esta|tiene|hay)\b|\bли\b|吗"
)
_TAIL = re.compile(
    r"^(?:the (?:word|words|text|name)|that|das wort|le mot|la palabra|die worter|слово|:)\s+|"
    r"\s+(?:there|anywhere|somewhere|on it|in it|here|drauf|darauf|da|irgendwo|dessus|quelque part|ahi|aqui|там|здесь)$"
)
_PUNCTUATION = " ?!.:,\"'«»„“”？。！，：「」"


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


def understand(question: str, language: str | None = None) -> Intent:
    """Find a question's subject.

    `language`: a BCP 47 tag; it decides the language of the answer if it is one of `LANGUAGES`.
    """
    text = plain(question)
    fixed = (language or "").partition("-")[0].lower()
    spoken = guess_language(text)
    answer_in = fixed if fixed in LANGUAGES else spoken or "en"
    if spoken is None:
        return Intent(Want.FOREIGN, answer_in)
    if not text.strip(_PUNCTUATION):
        return Intent(Want.SUMMARY, answer_in)
    if target := _says(question, text):
        return Intent(Want.SAYS, answer_in, target, _words(text, spoken))
    # The guessed language first: "son" and "parole" mean different things in different ones.
    order = (spoken, *(other for other in LANGUAGES if other != spoken))
    for want, table in _PATTERNS.items():
        for one in order:
            pattern = table.get(one)
            match = pattern.search(text) if pattern is not None else None
            if pattern is None or match is None:
                continue
            if want in SOCIAL and want is not Want.HELP and not _only(pattern, text, one):
                continue
            if fixed not in LANGUAGES:
                answer_in = _settle(one, spoken, text)
            return Intent(
                want,
                answer_in,
                "",
                _words(pattern.sub(" ", text), one),
                match.group(),
                _YES_NO.search(text) is not None,
                *_details(text, one),
            )
    words = _words(text, spoken)
    yes_no = _YES_NO.search(text) is not None
    details = _details(text, spoken)
    if yes_no and any(
        text.strip(_PUNCTUATION).endswith(plain(COLOURS[spoken][NAMES.index(one)]))
        for one in details[-1]
    ):
        # "Is the cup red?"
        return Intent(Want.COLOUR, answer_in, "", words, "", yes_no, *details)
    return Intent(Want.LOOKUP if words else Want.OTHER, answer_in, "", words, "", yes_no, *details)


def guess_language(text: str) -> str | None:
    """Return the likeliest of `LANGUAGES` for `plain` text; None when its letters fit none.

    The letters decide, then the most common words; English when nothing does.
    """
    cyrillic, han = len(_CYRILLIC.findall(text)), len(_HAN.findall(text))
    latin, other = len(_LATIN.findall(text)), len(_OTHER_SCRIPT.findall(text))
    if other and other + han >= latin:
        return None
    if han and 2 * han >= latin:
        return "zh"
    if cyrillic > latin:
        return None if _NOT_RUSSIAN.search(text) else "ru"
    scores = {language: len(pattern.findall(text)) for language, pattern in _HINTS.items()}
    for want, table in _PATTERNS.items():
        for language, pattern in table.items():
            if want is not Want.SAYS and pattern.search(text):
                scores[language] += 1
    return max(LANGUAGES, key=lambda language: scores[language])


def _settle(matched: str, spoken: str, text: str) -> str:
    """Return the answer's language: a single word of another language does not change it."""
    return spoken if _HINTS[spoken].search(text) else matched


def _only(pattern: re.Pattern[str], text: str, language: str) -> bool:
    """Find whether a text has only the pattern and courtesies."""
    rest = _FILLERS[language].sub(" ", pattern.sub(" ", text))
    return not _WORD.search(rest)


def _words(text: str, language: str) -> tuple[str, ...]:
    if language in UNSPACED:
        text = _pattern(language, ",".join(STOP[language].split())).sub(" ", text)
    found = (
        word for word in dict.fromkeys(_WORD.findall(text)) if word not in _STOP and len(word) > 1
    )
    return tuple(islice(found, _MOST_WORDS))


def _details(text: str, language: str) -> tuple[str, int | None, int | None, tuple[str, ...]]:
    """Return the place, weekday, days from today, and colours that a question names."""
    place = next((name for name, pattern in _PLACES[language].items() if pattern.search(text)), "")
    unspaced = language in UNSPACED
    tokens = set(_WORD.findall(text))
    # "sundays" is Sunday, too.
    forms = tokens | {token[:-1] for token in tokens if token.endswith("s")}
    weekday = next(
        (
            number
            for number, names in enumerate(DAYS[language])
            if any(
                word in text if unspaced else (len(word) > 3 and word in forms)
                for word in plain(names).split()
            )
        ),
        None,
    )
    in_days = (
        0 if _TODAY[language].search(text) else 1 if _TOMORROW[language].search(text) else None
    )
    local = zip(NAMES, map(plain, COLOURS[language]), strict=True)
    colours = tuple(
        name
        for name, word in local
        if (word[:-1] if unspaced else word) in (text if unspaced else tokens)
    )
    return place, weekday, in_days, colours


def quoted(question: str) -> str:
    """Return the text in quotes; "" without any."""
    found = _QUOTED.search(question)
    return found.group(1).strip() if found else ""


def _says(question: str, text: str) -> str:
    """Return X of a question of the form "does it say X"; "" for any other question."""
    if _OPEN.search(text):
        return ""
    for pattern in _SAYS.values():
        match = pattern.search(text)
        if match is None:
            continue
        if target := quoted(question):
            return target
        rest = next((part for part in match.groups() if part), "").strip(_PUNCTUATION)
        before = None
        while before != rest:
            before = rest
            rest = _TAIL.sub("", rest).strip(_PUNCTUATION)
        if rest and not set(rest.split()) <= _STOP:
            return rest
    return ""
