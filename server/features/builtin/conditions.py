"""Conditions that the built-in engine can watch for, parsed from a person's words. Pure.

It recognises only text, codes, colours, faces, objects that it can name, motion and light. Therefore a
condition is accepted only if all of its words are known in one language: otherwise "a red car" would
alert for anything red, and "she leaves" for a face.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from server.core.frames import VoiceCommand
from server.features.builtin.colours import NAMES
from server.features.builtin.detector import PERSON
from server.features.builtin.language import LANGUAGES, Language, get_language
from server.features.builtin.thing_words import get_thing_words
from server.models.routing import WORD_MARKS, parse_command, plain, shorten_question

# Text for visitors about a condition that is not supported
ABLE = "Without a model: words, colors, things, motion."


class Subject(StrEnum):
    WORD = "word"
    TEXT = "text"
    CODE = "code"
    COLOUR = "colour"
    FACE = "face"
    PERSON = "person"
    THING = "thing"
    MOTION = "motion"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Condition:
    subject: Subject
    # The word to read, `plain`, or the name of the colour or object
    target: str = ""
    # True: the condition holds while the object is absent.
    gone: bool = False


_QUOTED = re.compile(r"[\"“”„«»‘「『《]\s*(?P<target>.{1,80}?)\s*[\"“”«»’」』》]")
_TRIM = " .!?,;:'\"…。，、！？؟،؛।"
_TOKEN = re.compile(rf"[\w{WORD_MARKS}'’+-]+")
# Boundaries between Latin letters or digits and East Asian characters
_BESIDE = re.compile(r"(?<=[A-Za-z0-9])(?=[\u3040-\ud7a3])|(?<=[\u3040-\ud7a3])(?=[A-Za-z0-9])")
_SUBJECTS = (
    (Subject.PERSON, ("people", "door")),
    (Subject.FACE, ("faces", "door")),
    (Subject.CODE, ("codes",)),
    (Subject.MOTION, ("motions",)),
    (Subject.TEXT, ("texts",)),
)
# Sets of words that may stand around a text to read
_AROUND = ("fillers", "texts", "naming")


def read_condition(text: str) -> Condition | None:
    """Parse a condition; None for one that needs a model."""
    found = parse_spoken_condition(text)
    return found[0] if found else None


def parse_spoken_condition(text: str) -> tuple[Condition, str] | None:
    """Parse a condition. Return it with the code of the language whose words it uses; None if no language has them all.

    An introduction such as "tell me when" is ignored.
    """
    text = shorten_question(text)
    order = parse_command(text)
    if order is not None and order[0] is VoiceCommand.WATCH:
        text = order[1]
    # A name may be a word of another language, so names are tried last.
    for read in (_parse_known_words, _parse_name):
        for code in LANGUAGES:
            found = read(text, get_watch_words(code))
            if found is not None:
                return found, code
    return None


def _parse_known_words(text: str, known: WatchWords) -> Condition | None:
    quoted = _QUOTED.search(text)
    if quoted is not None:
        around = (text[: quoted.start()] + " " + text[quoted.end() :]).strip()
        return _make_text_condition(quoted["target"], around, known)
    low = plain(text).strip(_TRIM)
    words = known.split(low)
    if words is None:
        return _parse_thing(low, known)
    light = _parse_light(words, known)
    if light is not None:
        return Condition(Subject.LIGHT if light else Subject.DARK)
    return _parse_simple(words, known) or _parse_thing(low, known)


def _parse_thing(low: str, known: WatchWords) -> Condition | None:
    """Parse a condition about an object that is present or gone."""
    names, rest = get_thing_words(known.code).cut(low)
    words = known.split(rest)
    if not names and words and known.select_other(known.select_in_set(words, "people"), "fillers"):
        # "Somebody leaves"
        names, words = (PERSON,), known.select_other(words, "people")
    if len(names) != 1 or words is None or not known.has_only(words, "fillers", "gone"):
        return None
    return Condition(Subject.THING, names[0], gone=bool(known.select_in_set(words, "gone")))


def _parse_name(text: str, known: WatchWords) -> Condition | None:
    if _QUOTED.search(text) is not None:
        return None
    named = known.find_named_text(plain(text).strip(_TRIM))
    if named is not None:
        found = _make_word_condition(named)
        words = known.split(found.target) if found is not None else frozenset[str]()
        # "Text is visible" quotes no text.
        if found is not None and (words is None or known.select_other(words, "fillers")):
            return found
    # "EXIT appears": a word in capitals is text to read.
    tokens = _TOKEN.findall(_BESIDE.sub(" ", text))
    capitals = [word for word in tokens if len(word) > 1 and word.isupper()]
    if not capitals:
        return None
    around = " ".join(word for word in tokens if word not in capitals)
    return _make_text_condition(" ".join(capitals), around, known)


def _make_text_condition(target: str, around: str, known: WatchWords) -> Condition | None:
    """Return the condition for a text to read if the words around it add nothing."""
    words = known.split(plain(around))
    return (
        _make_word_condition(target)
        if words is not None and known.has_only(words, *_AROUND)
        else None
    )


def _parse_simple(words: Words, known: WatchWords) -> Condition | None:
    rest = known.select_other(words, "fillers")
    if not rest:
        # Words such as "something" are fillers and subjects, too.
        for subject, (name, *_) in _SUBJECTS:
            if known.select_in_set(words, name):
                return Condition(subject)
        return None
    for subject, names in _SUBJECTS:
        if known.has_only(rest, *names) and known.select_in_set(words, names[0]):
            return Condition(subject)
    colours = {known.get_colour(word) for word in rest}
    if len(colours) == 1 and (colour := colours.pop()):
        return Condition(Subject.COLOUR, colour)
    return None


def _parse_light(words: Words, known: WatchWords) -> bool | None:
    """Return True for a condition about light, False for one about darkness, and None for any other.

    All words have to be known: "the light turns green" is neither.
    """
    if not words or not known.has_only(
        words, "lights", "dark", "bright", "off", "on", "no", "light"
    ):
        return None
    dark, bright = (
        bool(known.select_in_set(words, "dark")),
        bool(known.select_in_set(words, "bright")),
    )
    off, no = bool(known.select_in_set(words, "off")), bool(known.select_in_set(words, "no"))
    if dark or bright:
        # "It is not dark" needs a model.
        return bright if dark is not bright and not (no or off) else None
    if not bool(known.select_in_set(words, "lights")):
        return None
    if off or no:
        # "On" may be a preposition, so "off" decides.
        return None if off and no else False
    return True if bool(known.select_in_set(words, "on")) else None


def _make_word_condition(target: str) -> Condition | None:
    words = " ".join(plain(target).strip(_TRIM).split())
    return Condition(Subject.WORD, words) if words else None


# The words of conditions in one language, and the splitting of a condition into them

# Latin parts of a condition in an unspaced language: a name, a number
_FOREIGN = re.compile(r"[a-z0-9]+(?: +[a-z0-9]+)*")

_WORD = re.compile(rf"[\w{WORD_MARKS}'+-]+")


# Latin letters and digits right before Hangul, which follow without a space
_BEFORE_HANGUL = re.compile(r"(?<=[a-z0-9])(?=[\uac00-\ud7a3])")

_MARKS = "。，、！？؟،؛।"

_SETS = (
    *("fillers", "door", "faces", "people", "gone", "codes", "motions", "texts", "naming"),
    *("lights", "dark", "bright", "off", "on", "no", "light"),
)

Words = frozenset[str]


class WatchWords:
    """Words of conditions: the section `watch` of a language's file."""

    def __init__(self, spoken: Language) -> None:
        found = spoken.watch
        self.code = spoken.code
        self._unspaced = spoken.unspaced
        self._sets = {name: frozenset(plain(found.get(name, "")).split()) for name in _SETS}
        # Affixes that are removed to find a known word
        self._prefixes, self._particles, self._endings = (
            tuple(plain(found.get(name, "")).split())
            for name in ("prefixes", "particles", "endings")
        )
        # Phrases whose meaning differs from that of their words
        self._same = tuple(
            (re.compile(rf"\b{re.escape(plain(phrase))}\b"), plain(other))
            for phrase, other in re.findall(r"([^,: ][^,:]*): ([^,]+)", found.get("same", ""))
        )
        # Verbs after a name, each split into words
        tails = plain(found.get("tails", "")).split(",")
        self._tails = [one.split() for one in tails if one.strip()]
        self._named_before = _make_choice_pattern(found.get("named_before", ""))
        self._colours = self._read_colours(spoken, plain(found.get("no_colours", "")).split())
        parts = frozenset[str]().union(*self._sets.values(), self._colours)
        self._parts = parts if self._unspaced else frozenset[str]()
        self._longest = max(map(len, parts))

    def select_in_set(self, words: Words, name: str) -> Words:
        """Return the words that are in a set."""
        return frozenset(word for word in words if self._is_known(word, self._sets[name]))

    def has_only(self, words: Words, *names: str) -> bool:
        """Return True if all words are in these sets."""
        return not self.select_other(words, *names)

    def select_other(self, words: Words, *names: str) -> Words:
        """Return the words that are in none of these sets."""
        known = frozenset[str]().union(*(self._sets[name] for name in names))
        return frozenset(word for word in words if not self._is_known(word, known))

    def split(self, low: str) -> Words | None:
        """Return the words of a `plain` text; None if an unspaced language has unknown parts in it."""
        for pattern, other in self._same:
            low = pattern.sub(other, low)
        for mark in _MARKS:
            low = low.replace(mark, " ")
        if self._unspaced:
            return self._split_unspaced(low)
        if self._particles:
            low = _BEFORE_HANGUL.sub(" ", low)
        return frozenset(word.strip("'-") for word in _WORD.findall(low)) - {""}

    def get_colour(self, word: str) -> str:
        return self._colours.get(word, "")

    def find_named_text(self, low: str) -> str | None:
        """Return the text that a condition names, without a verb after it; None if it names none."""
        naming = sorted(self._sets["naming"], key=len, reverse=True)
        after = "|".join(map(re.escape, naming))
        if not self._unspaced:
            match = re.match(rf"^(.*)(?<!\w)(?:{after})(?!\w)\s*:?\s+(?P<target>\S.*)$", low)
            if match is not None and self._is_only_naming(match[1]):
                return self._strip_tail(match["target"])
        if self._named_before is not None:
            gap = r"\s*" if self._unspaced or self._particles else r"\s+"
            match = re.match(rf"^(?P<target>\S.*?){gap}(?:{self._named_before})(.*)$", low)
            if match is not None and self._is_only_naming(match[2]):
                return self._strip_fillers(match["target"])
        return None

    def _strip_tail(self, target: str) -> str:
        """Return a text to read without the verbs after it."""
        words = target.split()
        while tail := next((one for one in self._tails if words[-len(one) :] == one), None):
            if len(tail) == len(words):
                # Nothing would be left.
                break
            del words[-len(tail) :]
        return " ".join(words)

    def _is_only_naming(self, around: str) -> bool:
        words = self.split(around)
        return words is not None and self.has_only(words, "fillers", "texts", "naming")

    def _strip_fillers(self, target: str) -> str:
        words = target.split()
        while words and self._is_known(words[0], self._sets["fillers"]):
            words.pop(0)
        return " ".join(words)

    def _is_known(self, word: str, known: Words) -> bool:
        if word in known or word in self._particles:
            return True
        return any(
            word.startswith(one) and word[len(one) :] in known for one in self._prefixes
        ) or any(word.endswith(one) and word[: -len(one)] in known for one in self._particles)

    def _read_colours(self, spoken: Language, without: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, forms in zip(NAMES, spoken.colours, strict=True):
            for form in plain(forms).split():
                stem = form.rstrip("*")
                for word in (stem, *(stem + end for end in self._endings)):
                    if word not in without:
                        found.setdefault(word, name)
        return found | ({"gray": "grey"} if spoken.code == "en" else {})

    def _split_unspaced(self, low: str) -> Words | None:
        """Split a text without spaces into the fewest known parts; None if that is impossible."""
        low = "".join(low.split()) if not _FOREIGN.search(low) else low.strip()
        # By end: the number of parts before it, and the last of them
        best: list[tuple[int, str] | None] = [(0, "")] + [None] * len(low)
        for start in range(len(low)):
            before = best[start]
            if before is None:
                continue
            for end in range(start + 1, min(len(low), start + self._longest) + 1):
                part, now = low[start:end], best[end]
                known = part in self._parts or part.isspace()
                if known and (now is None or now[0] > before[0] + 1):
                    best[end] = (before[0] + 1, part)
        if best[-1] is None:
            return None
        parts, at = set[str](), len(low)
        while at:
            step = best[at]
            assert step is not None
            parts.add(step[1])
            at -= len(step[1])
        return frozenset(part for part in parts if part.strip())


def _make_choice_pattern(phrases: str) -> str | None:
    """Return the pattern of comma-separated phrases; None if there are none."""
    found = sorted({plain(one.strip()) for one in phrases.split(",")} - {""}, key=len, reverse=True)
    return "|".join(map(re.escape, found)) if found else None


@cache
def get_watch_words(code: str) -> WatchWords:
    """Return the words of conditions in a language, whose code must be in `LANGUAGES`."""
    return WatchWords(get_language(code))
