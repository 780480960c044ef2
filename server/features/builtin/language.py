"""Languages of the built-in engine: the words of questions, and the phrases of answers.

Each has a file in `languages/`, which is read at first use.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path

from server.features.builtin.colours import NAMES
from server.features.builtin.wants import Want
from server.models.routing import WORD_MARKS, make_word_pattern, plain

_FOLDER = Path(__file__).with_name("languages")
# Lists of words that every language has; see `Language.get_common_pattern`
_COMMON = (
    *("fillers", "hints", "today", "tomorrow"),
    *("how_many", "exists", "or", "risk", "denies"),
)
# Places in a picture, in the order of the list `places`; the first word of each is the one for answers.
PLACES = ("left", "right", "top", "bottom", "middle", "whole")
# The order settles ties.
LANGUAGES = (
    *("en", "de", "fr", "es", "ru", "zh"),
    *("it", "pt", "nl", "pl", "tr", "uk", "ar", "hi", "ja", "ko"),
)
# Languages in Latin letters
LATIN = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "tr")
# Languages without spaces between words
UNSPACED = frozenset({"zh", "ja"})
RIGHT_TO_LEFT = frozenset({"ar"})
# Languages in which an answer without text lists the scripts that the engine reads
NAME_SCRIPTS = frozenset({"ru", "uk", "zh", "ar", "hi", "ko"})


def _select_slavic_plural(n: int) -> int:
    if n % 10 == 1 and n % 100 != 11:
        return 0
    return 1 if n % 10 in (2, 3, 4) and n % 100 not in (12, 13, 14) else 2


def _select_polish_plural(n: int) -> int:
    return 0 if n == 1 else 2 if n % 10 == 1 else _select_slavic_plural(n)


def _select_arabic_plural(n: int) -> int:
    return n - 1 if n < 3 else 2 if 3 <= n % 100 <= 10 else 3 if n % 100 >= 11 else 4


# Unicode CLDR's plural rules for whole numbers from 1 to a million: the index of a phrase's form, in the order "one",
# "two", "few", "many", "other" of those that the language has. In all other languages 1 has the first form.
_PLURALS: dict[str, Callable[[int], int]] = {
    "ru": _select_slavic_plural,
    "uk": _select_slavic_plural,
    "pl": _select_polish_plural,
    "ar": _select_arabic_plural,
}


def select_plural(code: str, count: int) -> int:
    """Return the index of the form of a phrase for a positive whole number."""
    select = _PLURALS.get(code)
    return select(count) if select is not None else int(count > 1)


class Language:
    """The content of a language's file, with its patterns, compiled at first use."""

    def __init__(self, code: str) -> None:
        found = json.loads((_FOLDER / f"{code}.json").read_text("utf-8"))
        self.code = code
        self.unspaced = code in UNSPACED
        self.right_to_left = code in RIGHT_TO_LEFT
        # Plural forms are separated by " | "; see `select_plural`.
        self.phrases: dict[str, str] = found["phrases"]
        # By subject: whole words, beginnings of words (*) and phrases; for an unspaced language, parts
        # of the question
        self.questions: dict[str, str] = found["questions"]
        self.places = dict(zip(PLACES, found["places"].split(" | "), strict=True))
        # Monday first
        self.days: list[str] = found["days"].split(", ")
        # In the order of `colours.NAMES`: the name, then its other forms
        self.colours: list[str] = found["colours"].split(", ")
        self.stop: str = found["stop"]
        # Letters that are rare in other languages
        self.letters: str = found.get("letters", "")
        # The beginning or a mark of a yes-or-no question
        self.yes_no = re.compile(found["yes_no"])
        # Words of conditions; see `conditions`
        self.watch: dict[str, str] = found["watch"]
        self._words: dict[str, str] = {name: found[name] for name in _COMMON}
        self._patterns: dict[str, re.Pattern[str]] = {}

    def find_subjects(self, text: str) -> Iterator[tuple[Want, re.Match[str]]]:
        """Yield the subjects of a `plain` text in the order of `Want`, with their matches."""
        for want, pattern in self._questions.items():
            if match := pattern.search(text):
                yield want, match

    @cached_property
    def _questions(self) -> dict[Want, re.Pattern[str]]:
        """Patterns of questions by subject."""
        return {
            want: self._get_pattern(f"want {want}", self.questions[want])
            for want in Want
            if want in self.questions
        }

    def get_common_pattern(self, name: str) -> re.Pattern[str]:
        """Return the pattern of a list of words that every language has.

        "fillers": courtesies; "hints": the most common words; "today"; "tomorrow"; "how_many"; "exists": "is there";
        "or"; "risk": questions about the safety of a link; "denies": negations in an answer.
        """
        return self._get_pattern(name, self._words[name])

    def get_place_pattern(self, name: str) -> re.Pattern[str]:
        return self._get_pattern(f"place {name}", self.places[name])

    def get_place_name(self, name: str) -> str:
        """Return the words for a place, such as "on the left"."""
        return _get_first_word(self.places[name])

    def get_colour_pattern(self, number: int) -> re.Pattern[str]:
        return self._get_pattern(f"colour {number}", ",".join(self.colours[number].split()))

    def get_colour_name(self, name: str) -> str:
        """Return the word for one of `colours.NAMES`."""
        return self.colours[NAMES.index(name)].split()[0]

    def say(self, phrase: str, **values: object) -> str:
        """Return a phrase with its values; text of the other direction is isolated.

        The value `count` selects one of several plural forms.
        """
        form, *others = self.phrases[phrase].split(" | ")
        if others:
            count = values["count"]
            assert isinstance(count, int)
            form = (form, *others)[select_plural(self.code, count)]
        return form.format(
            **{
                name: self.isolate(one) if isinstance(one, str) else one
                for name, one in values.items()
            }
        )

    @property
    def today(self) -> str:
        return _get_first_word(self._words["today"])

    @property
    def face(self) -> str:
        return self.watch["faces"].split()[0]

    def format_name_value(self, name: str, value: str) -> str:
        """Return "Name: value"."""
        mark = "：" if self.unspaced else " : " if self.code == "fr" else ": "
        return f"{self.isolate(name)}{mark}{self.isolate(value)}"

    def format_pair(self, name: str, value: str) -> str:
        """Return the sentence "Name: value."."""
        return self.format_name_value(name, value) + (
            "。" if self.unspaced else "।" if self.code == "hi" else "."
        )

    def say_of_itself(self, phrase: str, things: bool) -> str:
        """Return a phrase about the engine's abilities. `things`: the engine names objects."""
        return self.say(phrase if things else f"{phrase}_plain")

    def isolate(self, text: str) -> str:
        return isolate(text, self.right_to_left)

    def join_sentence(self, *parts: str) -> str:
        return ("" if self.code in UNSPACED else " ").join(part for part in parts if part)

    @staticmethod
    def capitalise(text: str) -> str:
        return text[:1].upper() + text[1:]

    def join_items(self, items: list[str]) -> str:
        """Join texts that may contain commas."""
        mark = "؛ " if self.right_to_left else "；" if self.code in UNSPACED else "; "
        return mark.join(map(self.isolate, items))

    def join_words(self, words: list[str]) -> str:
        """Join words with commas."""
        marks = {"zh": "、", "ja": "、", "ar": "، "}
        return marks.get(self.code, ", ").join(words)

    def join_with_and(self, words: list[str]) -> str:
        """Join words, with "and" before the last one."""
        if len(words) < 2:
            return "".join(words)
        return self.say("and", first=self.join_words(words[:-1]), last=words[-1])

    def format_percent(self, share: float) -> str:
        """Format a fraction (0 to 1) as a percentage, without a possible line break."""
        number = round(share * 100)
        return f"%{number}" if self.code == "tr" else f"{number}\u00a0%"

    def warm(self) -> None:
        """Compile all patterns of questions."""
        _ = self._questions
        for name in self._words:
            self.get_common_pattern(name)

    def _get_pattern(self, name: str, words: str) -> re.Pattern[str]:
        pattern = self._patterns.get(name)
        if pattern is None:
            pattern = make_word_pattern("", words) if self.unspaced else make_word_pattern(words)
            self._patterns[name] = pattern
        return pattern


def _get_first_word(words: str) -> str:
    """Return the first word of a list: the form for answers."""
    return words.split(",")[0].rstrip("*")


def get_language_code(tag: str) -> str:
    """Return the code in `LANGUAGES` for a BCP 47 tag; "en" for other languages."""
    code = tag.partition("-")[0].lower()
    return code if code in LANGUAGES else "en"


@cache
def get_language(code: str) -> Language:
    """Return the language with this code, which must be in `LANGUAGES`."""
    return Language(code)


def warm() -> None:
    """Read the languages in Latin letters: a question in one of them needs all."""
    for code in LATIN:
        get_language(code).warm()


# Detection of the language of a text by its letters and stop words

# A word: letters with their marks
WORD = re.compile(rf"[\w{WORD_MARKS}]+")
# Languages by the script of their questions
_CYRILLIC_LANGUAGES = ("ru", "uk")
# Scripts that decide if they have a third of a question's letters, since such questions may contain Latin words
HAN = re.compile(r"[\u3400-\u9fff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_CYRILLIC = re.compile(r"[\u0400-\u052f]")
# Letters that exist in neither Russian nor Ukrainian
_OTHER_CYRILLIC = re.compile(r"[јљњћђџ]")
_LATIN = re.compile(r"[a-z\u00df-\u024f]")
_SCRIPTS = {
    "ar": re.compile(r"[\u0600-\u06ff\u0750-\u077f]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "ko": re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
}
# Letters of Persian and Urdu, and of Sindhi and Pashto, that Arabic does not have
_OTHER_ARABIC = re.compile(r"[پچژگکیۀےڑٹڈںھہ]")
# Greek, Hebrew, Armenian to Georgian, and the other scripts of India and Southeast Asia
_OTHER_SCRIPT = re.compile(r"[\u0370-\u03ff\u0530-\u05ff\u0700-\u074f\u0780-\u08ff\u0980-\u10ff]")


def find_languages(text: str) -> tuple[str, ...]:
    """Return the languages whose letters a `plain` text has; none for other scripts."""
    han, kana = len(HAN.findall(text)), len(_KANA.findall(text))
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


# Weight of a stop word of a language; one of its most common words has the weight 1, a letter of its own 2
_OF_SMALL_WORDS = 0.4


@cache
def get_stop_words(code: str) -> frozenset[str]:
    """Return a language's `plain` stop words."""
    return frozenset(plain(get_language(code).stop).split())


def detect_language(text: str) -> str | None:
    """Return the language of a text by its letters and stop words; None if they do not decide."""
    small = plain(text)
    candidates = find_languages(small)
    if not WORD.search(small) or not candidates:
        return None
    if len(candidates) == 1 or candidates == ("zh", "ja"):
        return candidates[0]
    words = set(WORD.findall(small))
    scores = {
        code: len(get_language(code).get_common_pattern("hints").findall(small))
        + 2 * any(letter in text.casefold() for letter in get_language(code).letters)
        + _OF_SMALL_WORDS * len(words & get_stop_words(code))
        for code in candidates
    }
    first, second = sorted(scores.values())[-1:-3:-1]
    return max(candidates, key=lambda code: scores[code]) if first > second else None


# Isolation of found text in a sentence of the other direction (Unicode Standard Annex 9): a part
# between U+2068 and U+2069 has its own direction and does not reorder its neighbours.

FIRST_STRONG, POP = "\u2068", "\u2069"
# Embeddings, overrides, isolates and marks, which could reverse the sentence around a found text
_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LEFT = frozenset({"L", "EN"})
_RIGHT = frozenset({"R", "AL", "AN"})


def strip_controls(text: str) -> str:
    """Return a text without the characters that set a direction."""
    return _CONTROLS.sub("", text)


def isolate(text: str, right_to_left: bool) -> str:
    """Isolate a text with letters or digits of the direction opposite to its sentence.

    A text with isolated parts is unchanged.
    """
    other = _LEFT if right_to_left else _RIGHT
    if FIRST_STRONG in text or not any(unicodedata.bidirectional(char) in other for char in text):
        return text
    return f"{FIRST_STRONG}{text}{POP}"
