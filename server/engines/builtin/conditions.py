"""The conditions that the built-in engine can watch for, read from a person's words. Pure.

It knows text, codes, colours, faces, motion and light, and nothing else. So a condition counts only when
all of its words are known in one language: "a red car" would else ring for anything red, and "she
leaves" for a face.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from server.engines.builtin.language import LANGUAGES
from server.engines.builtin.watch_words import WatchWords, Words, watch_words
from server.engines.matching import WORD_MARKS, ends, plain

# The words for visitors about a condition that is none of these
ABLE = (
    "The built-in engine watches for a word, any text, a code, a colour, a face, motion or the light."
    " For more a vision-language model is needed."
)


class Subject(StrEnum):
    WORD = "word"
    TEXT = "text"
    CODE = "code"
    COLOUR = "colour"
    FACE = "face"
    MOTION = "motion"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Condition:
    subject: Subject
    # The word to read, `plain`, or the colour's name
    target: str = ""


_QUOTED = re.compile(r"[\"“”„«»‘「『《]\s*(?P<target>.{1,80}?)\s*[\"“”«»’」』》]")
_TRIM = " .!?,;:'\"…。，、！？؟،؛।"
_TOKEN = re.compile(rf"[\w{WORD_MARKS}'’+-]+")
# Between Latin letters or digits and East Asian ones
_BESIDE = re.compile(r"(?<=[A-Za-z0-9])(?=[\u3040-\ud7a3])|(?<=[\u3040-\ud7a3])(?=[A-Za-z0-9])")
_SUBJECTS = (
    (Subject.FACE, ("faces", "door")),
    (Subject.CODE, ("codes",)),
    (Subject.MOTION, ("motions",)),
    (Subject.TEXT, ("texts",)),
)
# Around a text to read only words that say nothing more
_AROUND = ("fillers", "texts", "naming")


def read_condition(text: str) -> Condition | None:
    """Return what to watch for; None for a condition that needs a model."""
    found = spoken_condition(text)
    return found[0] if found else None


def spoken_condition(text: str) -> tuple[Condition, str] | None:
    """Return what to watch for, and the language in which all words are known."""
    text = ends(text)
    # A name may be a word of another language, so names come last.
    for read in (_of_known_words, _with_a_name):
        for code in LANGUAGES:
            found = read(text, watch_words(code))
            if found is not None:
                return found, code
    return None


def _of_known_words(text: str, known: WatchWords) -> Condition | None:
    quoted = _QUOTED.search(text)
    if quoted is not None:
        around = (text[: quoted.start()] + " " + text[quoted.end() :]).strip()
        return _framed(quoted["target"], around, known)
    words = known.words(plain(text).strip(_TRIM))
    if words is None:
        return None
    light = _light(words, known)
    if light is not None:
        return Condition(Subject.LIGHT if light else Subject.DARK)
    return _simple(words, known)


def _with_a_name(text: str, known: WatchWords) -> Condition | None:
    if _QUOTED.search(text) is not None:
        return None
    named = known.named(plain(text).strip(_TRIM))
    if named is not None:
        found = _word(named[0])
        words = known.words(found.target) if found is not None else frozenset[str]()
        # "Text is visible" names no text.
        if found is not None and (words is None or known.rest(words, "fillers")):
            return found
    # "EXIT appears": a word in capitals is one to read.
    tokens = _TOKEN.findall(_BESIDE.sub(" ", text))
    capitals = [word for word in tokens if len(word) > 1 and word.isupper()]
    if not capitals:
        return None
    around = " ".join(word for word in tokens if word not in capitals)
    return _framed(" ".join(capitals), around, known)


def _framed(target: str, around: str, known: WatchWords) -> Condition | None:
    """Return a text to read, when the words around it say nothing more."""
    words = known.words(plain(around))
    return _word(target) if words is not None and known.only(words, *_AROUND) else None


def _simple(words: Words, known: WatchWords) -> Condition | None:
    rest = known.rest(words, "fillers")
    if not rest:
        # "Somebody" may be a filler as well: "something".
        for subject, (name, *_) in _SUBJECTS:
            if known.those(words, name):
                return Condition(subject)
        return None
    for subject, names in _SUBJECTS:
        if known.only(rest, *names) and known.those(words, names[0]):
            return Condition(subject)
    colours = {known.colour(word) for word in rest}
    if len(colours) == 1 and (colour := colours.pop()):
        return Condition(Subject.COLOUR, colour)
    return None


def _light(words: Words, known: WatchWords) -> bool | None:
    """Return True for a condition that light holds, False for darkness, and None for any other.

    As for others all words have to be known: "the light turns green" is none of these.
    """
    if not words or not known.only(words, "lights", "dark", "bright", "off", "on", "no", "light"):
        return None
    dark, bright = bool(known.those(words, "dark")), bool(known.those(words, "bright"))
    off, no = bool(known.those(words, "off")), bool(known.those(words, "no"))
    if dark or bright:
        # "It is not dark" needs a model.
        return bright if dark is not bright and not (no or off) else None
    if not bool(known.those(words, "lights")):
        return None
    if off or no:
        # "On" may be a preposition, so "off" beside it counts.
        on = known.rest(known.those(words, "on"), "weak")
        return None if (off and no) or on else False
    return True if bool(known.those(words, "on")) else None


def _word(target: str) -> Condition | None:
    words = " ".join(plain(target).strip(_TRIM).split())
    return Condition(Subject.WORD, words) if words else None
