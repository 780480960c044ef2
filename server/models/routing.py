"""Choose the mode of a question by its words (present picture, detail, second look, recent past, location,
continuous reading), and parse voice commands. Pure.

The words of all languages are in TOML files in this folder. Their patterns are compiled at first use, which takes
about 70 ms; `load` compiles them in advance.
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
# Devanagari's vowel signs and other marks, which are parts of words but not in `\w`; for a character class
WORD_MARKS = r"\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963"
_DEVANAGARI = re.compile(r"[\u0900-\u097f]")
# Characters used from each end of a long text, in which a quotation may precede or follow the question
_PART = 220
# Letters that people often interchange, and marks that they often omit
_ALIKE = str.maketrans("ıł’أإآٱىةँ", "il'اااايهं", "ـ" + "".join(map(chr, range(0x064B, 0x0653))))
# Accents of Latin, Greek and Cyrillic; other marks (dakuten, vowel signs) are part of the letter
_ACCENTS = dict.fromkeys(range(0x0300, 0x0370))


def plain(text: str) -> str:
    """Return a text in lower case and without accents, for comparing words.

    Scripts without case or accents stay unchanged.
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    bare = folded.translate(_ACCENTS)
    return unicodedata.normalize("NFC", bare).translate(_ALIKE)


def shorten_question(question: str) -> str:
    """Return a question with normalised spaces, shortened to its beginning and end.

    The result has at most 460 characters, because the time of searches is proportional to its length.
    """
    question = question.strip()
    if len(question) > 4 * _PART:
        question = f"{question[: 2 * _PART]} … {question[-2 * _PART :]}"
    # NFKC may expand one letter to eighteen.
    question = " ".join(unicodedata.normalize("NFKC", question).split())
    if len(question) > 2 * _PART:
        question = f"{question[:_PART]} … {question[-_PART:]}"
    return question


def make_word_pattern(words: str, parts: str = "") -> re.Pattern[str]:
    """Return a pattern for `plain` text from two comma-separated lists.

    `words`: complete words, prefixes (ending in *) and phrases; `parts`: texts that match anywhere.
    """

    def longest_first(entries: str) -> list[str]:
        return sorted({plain(entry.strip()) for entry in entries.split(",")}, key=len, reverse=True)

    def choice(entries: list[str], begin: str, end: str, more: str) -> str:
        found = [(entry.rstrip("*"), more if entry.endswith("*") else "") for entry in entries]
        return f"{begin}{_join_alternatives(found)}{end}"

    entries = [entry for entry in longest_first(words) if entry]
    marked = [entry for entry in entries if _DEVANAGARI.search(entry)]
    plainer = [entry for entry in entries if not _DEVANAGARI.search(entry)]
    choices = [choice(plainer, r"\b", r"\b", r"\w*")] if plainer else []
    if marked:
        letter = rf"[\w{WORD_MARKS}]"
        choices.append(choice(marked, rf"(?<!{letter})", rf"(?!{letter})", f"{letter}*"))
    if found := [(part, "") for part in longest_first(parts) if part]:
        choices.append(_join_alternatives(found))
    return re.compile("|".join(choices))


def _join_alternatives(entries: Sequence[tuple[str, str]]) -> str:
    """Return a pattern of alternatives, each with its suffix pattern, as a prefix tree for speed."""
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
            found.append(re.escape(letter) + _join_alternatives(rest))
    return f"(?:{'|'.join(found)})"


@cache
def _get_word_pattern(kind: str) -> re.Pattern[str]:
    """Return the pattern for the words of a kind in all languages. The first call takes milliseconds."""
    table = WORDS[kind]
    return make_word_pattern(",".join(table["words"].values()), ",".join(table["parts"].values()))


# Kinds of phrases that indicate a route
_SIGNS = ("past", "where", "search", "neither")


def wants_detail(question: str) -> bool:
    """Return whether a question needs high detail, for example to read text or to see a small object."""
    return _get_word_pattern("detail").search(plain(shorten_question(question))) is not None


def get_route(question: str) -> QuestionMode:
    """Return the route of a question: NOW, unless its words indicate another route."""
    text = plain(shorten_question(question))
    signs = _find_phrase_kinds(text)
    if "past" in signs or find_plain_span(text) is not None:
        return QuestionMode.PAST
    if "where" in signs:
        return QuestionMode.WHERE
    if wants_reading(text):
        return QuestionMode.READ
    if _get_word_pattern("twice").search(text) is not None:
        return QuestionMode.TWICE
    if _get_word_pattern("detail").search(text) is not None:
        return QuestionMode.DETAIL
    return QuestionMode.WHERE if "search" in signs else QuestionMode.NOW


def choose(
    question: str, detail: Detail, route: QuestionMode | None
) -> tuple[QuestionMode, Detail]:
    """Return the route and the detail (low or high) of a question. `route`, `detail`: the client's choices."""
    if route in (QuestionMode.DETAIL, QuestionMode.READ, QuestionMode.TWICE):
        return route, Detail.HIGH
    if route is None:
        route = get_route(question)
        if route in (QuestionMode.DETAIL, QuestionMode.READ) and detail is Detail.LOW:
            route = QuestionMode.NOW
        if route is QuestionMode.NOW and detail is Detail.HIGH:
            route = QuestionMode.DETAIL
    if detail is Detail.AUTO:
        # Elsewhere the object may be small.
        large = route is QuestionMode.NOW or (
            route is QuestionMode.PAST and not wants_detail(question)
        )
        detail = Detail.LOW if large else Detail.HIGH
    return route, detail


def _find_phrase_kinds(text: str) -> set[str]:
    """Return the kinds of phrases in a `plain` text. If two phrases overlap, only the longer one is used."""
    spans = [
        (match.end() - match.start(), match.start(), sign)
        for sign in _SIGNS
        for match in _get_word_pattern(sign).finditer(text)
    ]
    covered = bytearray(len(text))
    found = set()
    for length, start, sign in sorted(spans, key=lambda span: -span[0]):
        if covered.find(1, start, start + length) < 0:
            covered[start : start + length] = b"\1" * length
            found.add(sign)
    return found


# Time expressions in questions about the past: "two minutes ago", "in the last minute", "since I started"
_SECOND, _MINUTE, _HOUR = 1.0, 60.0, 3600.0
# Number for "several seconds" and the like
_SOME = 4.0
# Margin for an estimate such as "two minutes ago": half of its unit or this fraction of it, plus seconds
_GUESSED, _MARGIN = 0.35, 5.0
# Characters that are searched before and after a unit of time, for its number, "last" and "ago"
_BEFORE, _BEHIND = 28, 12


@dataclass(frozen=True, slots=True)
class Span:
    """A span of the past, in seconds before the question: `since` may be infinite; 0 <= `until` < `since`."""

    since: float
    until: float


def find_span(question: str) -> Span | None:
    """Return the last time span in a question, or None if there is none."""
    return find_plain_span(plain(shorten_question(question)))


def find_plain_span(text: str) -> Span | None:
    """Return the last time span in a `plain` text of bounded length, or None if there is none."""
    known = _times()
    for match in reversed(list(known.unit.finditer(text))):
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        behind = text[match.end() : match.end() + _BEHIND]
        seconds, unit = known.length(match[0], before)
        if seconds and known.last.search(f"{before}{match[0]}{behind}"):
            return Span(seconds, 0.0)
        ago = known.ago_after.match(behind.lstrip()) or known.ago_before.search(before)
        if seconds and ago and unit < _HOUR:
            return get_span_ago(seconds, unit)
    return Span(math.inf, 0.0) if _get_word_pattern("start").search(text) else None


def get_span_ago(seconds: float, unit: float = 1.0) -> Span:
    """Return the span meant by `seconds` ago, with a margin. `unit`: length in seconds of the unit in the text."""
    margin = max(unit / 2, _GUESSED * seconds) + _MARGIN
    return Span(seconds + margin, max(0.0, seconds - margin))


class _Times:
    """The patterns of time expressions in all languages."""

    def __init__(self) -> None:
        units, numbers = WORDS["units"], WORDS["numbers"]

        def of_unit(part: str, at: int) -> str:
            return ",".join(words[at] for words in units[part].values())

        self._units = {
            unit: make_word_pattern(of_unit("words", at), of_unit("parts", at))
            for at, unit in enumerate((_SECOND, _MINUTE, _HOUR))
        }
        two, parts = units["more"]["two"], ",".join(of_unit("parts", at) for at in range(3))
        self.unit = make_word_pattern(
            ",".join([*(of_unit("words", at) for at in range(3)), *two]), parts
        )
        self._parts = make_word_pattern(parts)
        self._two = {plain(word): unit for word, unit in zip(two, self._units, strict=True)}
        self._many = make_word_pattern(units["more"]["many"])
        self._numbers = {
            plain(word.strip()): float(value)
            for part in ("words", "parts")
            for value, words in numbers[part].items()
            for word in words.split(",")
        }
        self._number = re.compile(rf"\d{{1,4}}|{_get_word_pattern('numbers').pattern}")
        self.ago_before = make_word_pattern(WORDS["ago"]["before"])
        self.ago_after = make_word_pattern(**WORDS["ago"]["after"])
        self.last = make_word_pattern(**WORDS["last"])

    def length(self, word: str, before: str) -> tuple[float, float]:
        """Return the seconds of a duration (0 if it is not one) and of its unit. `before`: the text before `word`."""
        if (unit := self._two.get(word)) is not None:
            return 2 * unit, unit
        unit = next(unit for unit, pattern in self._units.items() if pattern.fullmatch(word))
        numbers = list(self._number.finditer(before))
        if numbers:
            number = numbers[-1][0]
            return (float(number) if number.isdecimal() else self._numbers[number]) * unit, unit
        if self._parts.fullmatch(word):
            # This character also has other meanings.
            return 0.0, unit
        return (_SOME if self._many.fullmatch(word) else 1.0) * unit, unit


_times = cache(_Times)

# Continuous reading, stopping, repeating

_STOP = {plain(word.strip()) for words in STOP_WORDS.values() for word in words.split(",")}
# Maximum length of a stop command
_MOST_STOP_CHARS = 60


@cache
def _get_courtesy_pattern() -> re.Pattern[str]:
    return make_word_pattern(**WORDS["courtesies"])


def wants_reading(text: str) -> bool:
    """Return whether a `plain` question asks to continue reading over several pictures."""
    return _get_word_pattern("read").search(text) is not None


def strip_courtesies(said: str) -> str:
    """Return a text as `plain` words, without polite phrases and punctuation."""
    words = re.sub(rf"[^\w{WORD_MARKS}'\- ]+", " ", _get_courtesy_pattern().sub(" ", plain(said)))
    return " ".join(words.split())


def repeat_mode(said: str) -> QuestionMode | None:
    """Return the mode in which to repeat the last question ("look twice"), or None for any other text."""
    return _repeat_modes().get(strip_courtesies(said)) if len(said) <= _MOST_STOP_CHARS else None


@cache
def _repeat_modes() -> dict[str, QuestionMode]:
    """Return the modes by their `strip_courtesies` phrases."""
    words = tomllib.loads(Path(__file__).with_name("ways.toml").read_text("utf-8"))
    return {
        strip_courtesies(phrase): QuestionMode(way)
        for way, phrases in words.items()
        for phrase in ",".join(phrases.values()).split(",")
    }


def is_stop(question: str) -> bool:
    """Return whether a text consists only of a stop command."""
    return len(question) <= _MOST_STOP_CHARS and strip_courtesies(question) in _STOP


# Voice commands. Only a complete text, apart from polite phrases, is a command; in a longer sentence the same words are
# part of a question.

# Maximum number of characters of a command that is not a watch
_MOST_COMMAND_CHARS = 80
# Maximum number of characters of the name of an object
_MOST_THING_CHARS = 80
# "Camera off?" is a question.
_QUESTION = re.compile("[?？؟]")


# Commands that are treated as questions unless a feature handles them
FEATURE_COMMANDS = frozenset(
    {
        VoiceCommand.GUIDE_TO,
        VoiceCommand.NOTABLE,
        VoiceCommand.SCAN,
        VoiceCommand.WATCH_OFF,
        VoiceCommand.WHERE_WAS,
    }
)
_COMMAND_WORDS = tomllib.loads(Path(__file__).with_name("command_words.toml").read_text("utf-8"))
_FORMS = _COMMAND_WORDS.pop("forms")
# The words of each command without a condition, except "stop", by language
COMMANDS: dict[VoiceCommand, dict[str, str]] = {
    VoiceCommand(name): words for name, words in _COMMAND_WORDS.items()
}


@cache
def _load_commands() -> dict[str, VoiceCommand]:
    return {
        strip_courtesies(phrase): command
        for command, words in COMMANDS.items()
        for phrases in words.values()
        for phrase in phrases.split(",")
    }


@cache
def _get_patterns(kind: str) -> list[re.Pattern[str]]:
    """Return the patterns of a command in all languages."""
    end = _FORMS[kind].get("end", "")
    return [re.compile(form + end, re.IGNORECASE) for form in _FORMS[kind]["patterns"]]


def _match_pattern(kind: str, text: str) -> re.Match[str] | None:
    """Return the match of the first pattern that a text begins with."""
    return next((found for one in _get_patterns(kind) if (found := one.match(text))), None)


def parse_command(said: str) -> tuple[VoiceCommand, str] | None:
    """Return the command in a text and its argument (a watch's condition, an object, or ""); None for a question."""
    text = said.strip()
    if _match_pattern("asks", text):
        return None
    if found := _match_pattern("watch", text):
        condition = text[found.end() :].rstrip(" .!。！")
        return (VoiceCommand.WATCH, condition) if condition else None
    if after := _match_pattern("watch_after", text):
        return VoiceCommand.WATCH, after["condition"]
    for of_thing, kind in ((VoiceCommand.GUIDE_TO, "lead"), (VoiceCommand.WHERE_WAS, "where")):
        if (thing := _find_object(text, kind)) and strip_courtesies(text) not in _load_commands():
            return of_thing, thing
    command = (
        _load_commands().get(strip_courtesies(text)) if len(text) <= _MOST_COMMAND_CHARS else None
    )
    if command is VoiceCommand.CAMERA_OFF and _QUESTION.search(text):
        return None
    return (command, "") if command is not None else None


def _find_object(text: str, kind: str) -> str:
    """Return the object in texts such as "guide me to ..."; "" for other texts."""
    if len(text) > 2 * _MOST_THING_CHARS:
        return ""
    if found := _match_pattern(kind, text):
        thing = text[found.end() :].rstrip(" .!。！?？؟")
        return thing if len(thing) <= _MOST_THING_CHARS else ""
    after = _match_pattern(f"{kind}_after", text)
    return after["thing"] if after else ""


def load() -> None:
    """Compile all patterns."""
    choose("", Detail.AUTO, None)
    is_stop("")
    parse_command("")
