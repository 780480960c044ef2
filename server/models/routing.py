"""Choose the way of a question from its words: the present picture, its detail, two looks at it, the
recent past, a spot in it, or its text over several pictures; and find orders in place of a question. Pure.

The words of all languages are in TOML files here. Their patterns are made when they are first needed, which takes
some 70 ms: `load` does it ahead.
"""

from __future__ import annotations

import math
import re
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from server.core.frames import Detail, QuestionMode, VoiceCommand

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
STOP_WORDS: dict[str, str] = WORDS["stop"]
# Devanagari's vowel signs and other marks: parts of words but not of `\w`; for a character class
WORD_MARKS = r"\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963"
_DEVANAGARI = re.compile(r"[\u0900-\u097f]")
# Characters read at each end of a long question: a question comes before or after what it quotes.
_PART = 220
# Letters that people write in place of each other, and marks that they leave out
_ALIKE = str.maketrans("ıł’أإآٱىةँ", "il'اااايهं", "ـ" + "".join(map(chr, range(0x064B, 0x0653))))
# Accents of Latin, Greek and Cyrillic. Marks beyond (dakuten, vowel signs) belong to the letter.
_ACCENTS = dict.fromkeys(range(0x0300, 0x0370))


def plain(text: str) -> str:
    """Lower case without accents, for comparing words.

    Scripts without case or accents stay as they are.
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    bare = folded.translate(_ACCENTS)
    return unicodedata.normalize("NFC", bare).translate(_ALIKE)


def ends(question: str) -> str:
    """Return a question with single spaces, and of a long one the beginning and the end.

    It has 460 characters at most: what looks for words in it takes time in proportion to the words.
    """
    question = question.strip()
    if len(question) > 4 * _PART:
        question = f"{question[: 2 * _PART]} … {question[-2 * _PART :]}"
    # One letter may stand for eighteen.
    question = " ".join(unicodedata.normalize("NFKC", question).split())
    if len(question) > 2 * _PART:
        question = f"{question[:_PART]} … {question[-_PART:]}"
    return question


def word_pattern(words: str, parts: str = "") -> re.Pattern[str]:
    """A pattern to search `plain` text with; both lists are separated by commas.

    `words` are whole words, beginnings of words (ending in *) and phrases; `parts` match anywhere.
    """

    def longest_first(entries: str) -> list[str]:
        return sorted({plain(entry.strip()) for entry in entries.split(",")}, key=len, reverse=True)

    def choice(entries: list[str], begin: str, end: str, more: str) -> str:
        found = [(entry.rstrip("*"), more if entry.endswith("*") else "") for entry in entries]
        return f"{begin}{_either(found)}{end}"

    entries = [entry for entry in longest_first(words) if entry]
    marked = [entry for entry in entries if _DEVANAGARI.search(entry)]
    plainer = [entry for entry in entries if not _DEVANAGARI.search(entry)]
    choices = [choice(plainer, r"\b", r"\b", r"\w*")] if plainer else []
    if marked:
        letter = rf"[\w{WORD_MARKS}]"
        choices.append(choice(marked, rf"(?<!{letter})", rf"(?!{letter})", f"{letter}*"))
    if found := [(part, "") for part in longest_first(parts) if part]:
        choices.append(_either(found))
    return re.compile("|".join(choices))


def _either(entries: Sequence[tuple[str, str]]) -> str:
    """Return a pattern of texts, each with what may follow it: the first that matches, found by its first letters.

    One after the other they would all be tried at each place of a text.
    """
    by_letter: dict[str, list[tuple[str, str]]] = {}
    for text, more in entries:
        by_letter.setdefault(text[:1], []).append((text[1:], more))
    found = []
    for letter, rest in by_letter.items():
        if not letter:
            found += [more for _, more in rest]
        elif len(rest) == 1:
            ((text, more),) = rest
            found.append(re.escape(letter + text) + more)
        else:
            found.append(re.escape(letter) + _either(rest))
    return f"(?:{'|'.join(found)})"


@cache
def _words_of(kind: str) -> re.Pattern[str]:
    """Return the pattern of all languages' words of a kind. The first time takes milliseconds."""
    table = WORDS[kind]
    return word_pattern(",".join(table["words"].values()), ",".join(table["parts"].values()))


# What a phrase speaks for: a route, or none of these
_SIGNS = ("past", "where", "search", "neither")


def wants_detail(question: str) -> bool:
    """Return whether a question is about reading or something small: "auto" becomes "high"."""
    return _words_of("detail").search(plain(ends(question))) is not None


def route_of(question: str) -> QuestionMode:
    """Choose where a question looks; NOW where no word speaks for another route."""
    text = plain(ends(question))
    signs = _signs(text)
    if "past" in signs or span_of(text) is not None:
        return QuestionMode.PAST
    if "where" in signs:
        return QuestionMode.WHERE
    if wants_reading(text):
        return QuestionMode.READ
    if _words_of("twice").search(text) is not None:
        return QuestionMode.TWICE
    if _words_of("detail").search(text) is not None:
        return QuestionMode.DETAIL
    return QuestionMode.WHERE if "search" in signs else QuestionMode.NOW


def choose(
    question: str, detail: Detail, route: QuestionMode | None
) -> tuple[QuestionMode, Detail]:
    """Choose a question's route and detail, low or high.

    `route` and `detail`: the client's wishes.
    """
    if route in (QuestionMode.DETAIL, QuestionMode.READ, QuestionMode.TWICE):
        return route, Detail.HIGH
    if route is None:
        route = route_of(question)
        if route in (QuestionMode.DETAIL, QuestionMode.READ) and detail is Detail.LOW:
            route = QuestionMode.NOW
        if route is QuestionMode.NOW and detail is Detail.HIGH:
            route = QuestionMode.DETAIL
    if detail is Detail.AUTO:
        # The sought thing may be small.
        small = route in (
            QuestionMode.DETAIL,
            QuestionMode.TWICE,
            QuestionMode.WHERE,
            QuestionMode.READ,
        ) or (route is QuestionMode.PAST and wants_detail(question))
        detail = Detail.HIGH if small else Detail.LOW
    return route, detail


def _signs(text: str) -> set[str]:
    """Find the signs of a `plain` text.

    Of two phrases that share a letter the longer one counts.
    """
    spans = [
        (match.end() - match.start(), match.start(), sign)
        for sign in _SIGNS
        for match in _words_of(sign).finditer(text)
    ]
    covered = bytearray(len(text))
    found = set()
    for length, start, sign in sorted(spans, key=lambda span: -span[0]):
        if covered.find(1, start, start + length) < 0:
            covered[start : start + length] = b"\1" * length
            found.add(sign)
    return found


# The time that a question about the past names: "two minutes ago", "in the last minute", "since I started"
_SECOND, _MINUTE, _HOUR = 1.0, 60.0, 3600.0
# Of several seconds, minutes or hours without a number: about so many
_SOME = 4.0
# People guess: a time ago may be half of its unit more or less, and this share of it, and some seconds.
_GUESSED, _MARGIN = 0.35, 5.0
# Characters before a length of time, and behind it, in which its number and "last" and "ago" stand
_BEFORE, _BEHIND = 28, 12


@dataclass(frozen=True, slots=True)
class Span:
    """A time in the past, in seconds before the question. `since` may be infinite, `until` is less and at least 0."""

    since: float
    until: float


def span_in(question: str) -> Span | None:
    """Find the time that a question names; None without one. The last one counts."""
    return span_of(plain(ends(question)))


def span_of(text: str) -> Span | None:
    """Find the time that a `plain` text of bounded length names."""
    known = _times()
    for match in reversed(list(known.unit.finditer(text))):
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        behind = text[match.end() : match.end() + _BEHIND]
        seconds, unit = known.length(match[0], before)
        if seconds and known.last.search(f"{before}{match[0]}{behind}"):
            return Span(seconds, 0.0)
        ago = known.ago_after.match(behind.lstrip()) or known.ago_before.search(before)
        if seconds and ago and unit < _HOUR:
            return span_ago(seconds, unit)
    return Span(math.inf, 0.0) if _words_of("start").search(text) else None


def span_ago(seconds: float, unit: float = 1.0) -> Span:
    """Return what "so many seconds ago" means, of which people guess. `unit`: seconds of the unit that they name."""
    margin = max(unit / 2, _GUESSED * seconds) + _MARGIN
    return Span(seconds + margin, max(0.0, seconds - margin))


class _Times:
    """The words of times in all languages."""

    def __init__(self) -> None:
        units, numbers = WORDS["units"], WORDS["numbers"]

        def of_unit(part: str, at: int) -> str:
            return ",".join(words[at] for words in units[part].values())

        self._units = {
            unit: word_pattern(of_unit("words", at), of_unit("parts", at))
            for at, unit in enumerate((_SECOND, _MINUTE, _HOUR))
        }
        two, parts = units["more"]["two"], ",".join(of_unit("parts", at) for at in range(3))
        self.unit = word_pattern(
            ",".join([*(of_unit("words", at) for at in range(3)), *two]), parts
        )
        self._parts = word_pattern(parts)
        self._two = {plain(word): unit for word, unit in zip(two, self._units, strict=True)}
        self._many = word_pattern(units["more"]["many"])
        self._numbers = {
            plain(word.strip()): float(value)
            for part in ("words", "parts")
            for value, words in numbers[part].items()
            for word in words.split(",")
        }
        self._number = re.compile(rf"\d{{1,4}}|{_words_of('numbers').pattern}")
        self.ago_before = word_pattern(WORDS["ago"]["before"])
        self.ago_after = word_pattern(**WORDS["ago"]["after"])
        self.last = word_pattern(**WORDS["last"])

    def length(self, word: str, before: str) -> tuple[float, float]:
        """Return the seconds of a length of time, 0 when it is none, and those of its unit."""
        if (unit := self._two.get(word)) is not None:
            return 2 * unit, unit
        unit = next(unit for unit, pattern in self._units.items() if pattern.fullmatch(word))
        numbers = list(self._number.finditer(before))
        if numbers:
            number = numbers[-1][0]
            return (float(number) if number.isdecimal() else self._numbers[number]) * unit, unit
        if self._parts.fullmatch(word):
            # A character with other meanings
            return 0.0, unit
        return (_SOME if self._many.fullmatch(word) else 1.0) * unit, unit


_times = cache(_Times)

# Words that ask for a text to be read on over several pictures, and words that end it or look again

_STOP = {plain(word.strip()) for words in STOP_WORDS.values() for word in words.split(",")}
# No command is longer.
_MOST_STOP_CHARS = 60


@cache
def _courtesies() -> re.Pattern[str]:
    return word_pattern(**WORDS["courtesies"])


def wants_reading(text: str) -> bool:
    """Return whether a question, as `plain` text, asks for a text to be read on."""
    return _words_of("read").search(text) is not None


def bare(said: str) -> str:
    """Return what somebody says as `plain` words, without courtesies and punctuation."""
    words = re.sub(rf"[^\w{WORD_MARKS}'\- ]+", " ", _courtesies().sub(" ", plain(said)))
    return " ".join(words.split())


def repeat_mode(said: str) -> QuestionMode | None:
    """Return where somebody wants the last question to look now: "look twice"; None for a question of its own."""
    return _repeat_modes().get(bare(said)) if len(said) <= _MOST_STOP_CHARS else None


@cache
def _repeat_modes() -> dict[str, QuestionMode]:
    """Return the ways to look by their `bare` phrases; read when first needed."""
    words = tomllib.loads(Path(__file__).with_name("ways.toml").read_text("utf-8"))
    return {
        bare(phrase): QuestionMode(way)
        for way, phrases in words.items()
        for phrase in ",".join(phrases.values()).split(",")
    }


def is_stop(question: str) -> bool:
    """Return whether somebody says nothing but that it is enough."""
    return len(question) <= _MOST_STOP_CHARS and bare(question) in _STOP


# Orders that somebody says in place of a question. An order is all that they say, with courtesies; in a longer sentence the
# same words are a question.

# No order but that of a watch is longer.
_MOST_COMMAND_CHARS = 80
# Longest name of a thing
_MOST_THING_CHARS = 80
# "Camera off?" asks whether it is.
_QUESTION = re.compile("[?？؟]")


# Orders that are questions where no feature takes them
FEATURE_COMMANDS = frozenset(
    {
        VoiceCommand.GUIDE_TO,
        VoiceCommand.NOTABLE,
        VoiceCommand.SCAN,
        VoiceCommand.WATCH_OFF,
        VoiceCommand.WHERE_WAS,
    }
)
_ORDER_WORDS = tomllib.loads(Path(__file__).with_name("order_words.toml").read_text("utf-8"))
_FORMS = _ORDER_WORDS.pop("forms")
# The words of each order that has no condition, but "stop", by language
ORDERS: dict[VoiceCommand, dict[str, str]] = {
    VoiceCommand(name): words for name, words in _ORDER_WORDS.items()
}


@cache
def _commands() -> dict[str, VoiceCommand]:
    return {
        bare(phrase): order
        for order, words in ORDERS.items()
        for phrases in words.values()
        for phrase in phrases.split(",")
    }


@cache
def _forms(kind: str) -> list[re.Pattern[str]]:
    """Return the forms of an order in all languages."""
    end = _FORMS[kind].get("end", "")
    return [re.compile(form + end, re.IGNORECASE) for form in _FORMS[kind]["patterns"]]


def _form_of(kind: str, text: str) -> re.Match[str] | None:
    """Return the match of the first form that a text begins with."""
    return next((found for one in _forms(kind) if (found := one.match(text))), None)


def parse_command(said: str) -> tuple[VoiceCommand, str] | None:
    """Return the order that somebody says, and a watch's condition or the thing that it is about, else ""; None for a question."""
    text = said.strip()
    if _form_of("asks", text):
        return None
    if found := _form_of("watch", text):
        condition = text[found.end() :].rstrip(" .!。！")
        return (VoiceCommand.WATCH, condition) if condition else None
    if after := _form_of("watch_after", text):
        return VoiceCommand.WATCH, after["condition"]
    for of_thing, kind in ((VoiceCommand.GUIDE_TO, "lead"), (VoiceCommand.WHERE_WAS, "where")):
        if (thing := _thing_in(text, kind)) and bare(text) not in _commands():
            return of_thing, thing
    order = _commands().get(bare(text)) if len(text) <= _MOST_COMMAND_CHARS else None
    if order is VoiceCommand.CAMERA_OFF and _QUESTION.search(text):
        return None
    return (order, "") if order is not None else None


def _thing_in(text: str, kind: str) -> str:
    """Return the thing of "guide me to ..." and the like; "" for other words."""
    if len(text) > 2 * _MOST_THING_CHARS:
        return ""
    if found := _form_of(kind, text):
        thing = text[found.end() :].rstrip(" .!。！?？؟")
        return thing if len(thing) <= _MOST_THING_CHARS else ""
    after = _form_of(f"{kind}_after", text)
    return after["thing"] if after else ""


def load() -> None:
    """Make all patterns."""
    choose("", Detail.AUTO, None)
    is_stop("")
    parse_command("")
