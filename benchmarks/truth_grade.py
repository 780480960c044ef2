"""Grades what a model says about things that are not in the picture, by words and without a model. Pure.

An answer is cut into parts at sentence ends and at words such as "but". In each part the patterns of a no
(`truth_words.toml`) cover the words that they match, commas end a pattern's gap, and a part that says that something cannot
be told is covered whole. The rest decides, strictly: whatever is neither a no nor an "I cannot tell" counts as invented.

About a thing that is not there, in this order:
    invented     it begins with yes, a word of the thing is not covered, a part guesses, or goes on about it ("but it is red")
    right        a no was found, or it begins with one where the question wants yes, no or a number
    honest no    it says that it cannot tell
    invented     anything else
About a thing that is there:
    right        an accepted word is not covered, and it does not begin with no
    denied       a no, or that it cannot tell
    invented     anything else
An empty answer has failed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

QUESTIONS = Path(__file__).with_name("truth.toml")
WORDS = Path(__file__).with_name("truth_words.toml")
GROUPS = ("exists", "property", "where", "count", "text")
# Groups whose answer may be a bare no
_BARE = ("exists", "count")
# The end of a part, and of a gap
_END, _COMMA = ".", ","
_GAP = "…"
_TOKENS = re.compile(r"\d+(?:[.,:]\d+)*|\w+|[.!?;\n。！？；,，、]|…")
_ENDS = ".!?;\n。！？；"
_COMMAS = ",，、"

Tokens = tuple[str, ...]
# What a place of a pattern takes; None is a gap
Place = tuple[Tokens, ...] | None


class Verdict(StrEnum):
    RIGHT = "right"
    HONEST = "honest no"
    INVENTED = "invented"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture. `words`: of what is not there; of a right answer, in a control."""

    picture: str
    group: str
    language: str
    text: str
    words: tuple[str, ...]
    control: bool


def questions() -> list[Question]:
    """All questions, the absent things first. Raises ValueError for one in another form."""
    data = tomllib.loads(QUESTIONS.read_text("utf-8"))
    return [
        _question(row, kind == "controls") for kind in ("absent", "controls") for row in data[kind]
    ]


def _question(row: Sequence[str], control: bool) -> Question:
    if len(row) != 5 or row[1] not in GROUPS or row[2] not in _words() or not all(row):
        raise ValueError(f"truth.toml has {row}")
    picture, group, language, text, words = row
    return Question(picture, group, language, text, tuple(words.split()), control)


def wordings() -> dict[str, str]:
    """The wordings to choose among, by name."""
    return dict(tomllib.loads(QUESTIONS.read_text("utf-8"))["wordings"])


@cache
def _words() -> dict[str, dict[str, Any]]:
    return tomllib.loads(WORDS.read_text("utf-8"))


def verdict(question: Question, answer: str) -> Verdict:
    """Grade an answer."""
    said = tokens(answer)
    if not any(word not in (_END, _COMMA) for word in said):
        return Verdict.FAILED
    read = _Read(question, said)
    return _of_control(question, read) if question.control else _of_absent(question, read)


def _of_absent(question: Question, read: _Read) -> Verdict:
    invents = read.yes or read.left_of(question.words) or read.guesses or read.goes_on
    if invents:
        return Verdict.INVENTED
    if read.denied or (read.no and question.group in _BARE):
        return Verdict.RIGHT
    return Verdict.HONEST if read.unsure else Verdict.INVENTED


def _of_control(question: Question, read: _Read) -> Verdict:
    words = [word for word in question.words if word != "{yes}"]
    accepted = ("{yes}" in question.words and read.yes) or read.left_of(words)
    if accepted and not read.no:
        return Verdict.RIGHT
    denied = read.no or read.denied or read.unsure
    return Verdict.DENIED if denied else Verdict.INVENTED


class _Read:
    """The marks that the words of the question's language, and the English ones, find in an answer."""

    def __init__(self, question: Question, said: Tokens) -> None:
        tables = [_words()[code] for code in dict.fromkeys((question.language, "en"))]
        for table in tables:
            for phrase in table["sure"]:
                said = _without(said, tokens(phrase))
        parts = list(_parts(said, tables))
        # What the question is about takes the place of {thing}; a control has no thing of its own.
        things = tuple(word for word in question.words if word != "{yes}")
        first = parts[0][0] if parts else ()
        self.yes = any(_begins(first, table["yes"]) for table in tables)
        self.no = any(_begins(first, table["no"]) for table in tables)
        self.denied = self.unsure = self.guesses = self.goes_on = False
        # Words that no pattern covers
        self._left: list[str] = []
        for part, behind_but in parts:
            covered, unsure = _covered(part, tables, things)
            self.denied |= bool(covered)
            self.unsure |= unsure
            if not covered and not unsure:
                framed = any(_any(part, table["frame"]) for table in tables)
                self.guesses |= not framed and any(_any(part, table["guess"]) for table in tables)
                it = any(_begins(part, table["it"]) for table in tables)
                self.goes_on |= behind_but and it and not framed
            if not unsure:
                self._left.extend(w if n not in covered else _END for n, w in enumerate(part))

    def left_of(self, words: Iterable[str]) -> bool:
        """True when one of the words is not covered."""
        return _any(tuple(self._left), list(words))


def _covered(
    part: Tokens, tables: Sequence[dict[str, Any]], things: tuple[str, ...]
) -> tuple[set[int], bool]:
    """Return the places in a part that say no, and whether it says that it cannot tell."""
    covered: set[int] = set()
    unsure = False
    for table in tables:
        for pattern in table["absent"]:
            for begin, end in _found(part, pattern, table, things):
                covered.update(range(begin, end))
        unsure |= any(
            True for pattern in table["unsure"] for _ in _found(part, pattern, table, things)
        )
    return covered, unsure


def tokens(text: str) -> Tokens:
    """Words, numbers, commas and ends of parts, in lower case; each Chinese letter is a word."""
    text = text.casefold().replace("’", "'").replace("cannot", "can not")
    text = text.replace("won't", "will not").replace("can't", "can not").replace("n't", " not")
    found: list[str] = []
    for word in _TOKENS.findall(text):
        if word in _ENDS:
            found.append(_END)
        elif word in _COMMAS:
            found.append(_COMMA)
        elif word[0].isdigit():
            found.append(word.replace(",", "."))
        elif any("一" <= letter <= "鿿" for letter in word):
            found.extend(word)
        elif word != _GAP:
            found.append(word)
    return tuple(found)


def _parts(said: Tokens, tables: Sequence[dict[str, Any]]) -> Iterable[tuple[Tokens, bool]]:
    """The parts of an answer, each with True when a word like "but" begins it."""
    buts = [tokens(word) for table in tables for word in table["but"]]
    part: list[str] = []
    behind = False
    at = 0
    while at <= len(said):
        but = next((word for word in buts if said[at : at + len(word)] == word), ())
        if at == len(said) or said[at] == _END or but:
            kept = tuple(part)
            if any(word != _COMMA for word in kept):
                yield kept, behind
            part, behind = [], bool(but)
            at += len(but) or 1
            continue
        part.append(said[at])
        at += 1


def _without(said: Tokens, phrase: Tokens) -> Tokens:
    size = len(phrase)
    at = 0
    kept: list[str] = []
    while at < len(said):
        if said[at : at + size] == phrase:
            at += size
        else:
            kept.append(said[at])
            at += 1
    return tuple(kept)


@cache
def _compiled(pattern: str, frame: tuple[str, ...], things: tuple[str, ...]) -> tuple[Place, ...]:
    """The places of a pattern."""
    places: list[Place] = []
    for piece in re.findall(r"\([^()]*\)|\S+", pattern):
        if piece == _GAP:
            places.append(None)
            continue
        if piece == "{thing}":
            choices = things
        elif piece == "{frame}":
            choices = frame
        else:
            choices = tuple(piece.strip("()").split("|"))
        places.append(tuple(_word(choice) for choice in choices))
    return tuple(places)


def _word(choice: str) -> Tokens:
    """The tokens of a word; the star of a beginning stays on the last."""
    star = "*" if choice.endswith("*") else ""
    *first, last = tokens(choice.removesuffix("*"))
    return (*first, last + star)


def _found(
    part: Tokens, pattern: str, table: dict[str, Any], things: tuple[str, ...]
) -> Iterable[tuple[int, int]]:
    """The place of a pattern's match: its first token and the one behind its last."""
    places = _compiled(pattern, tuple(table["frame"]), things)
    for begin in range(len(part)):
        for end in _match(part, begin, places, table):
            yield begin, end


def _match(
    part: Tokens, at: int, places: tuple[Place, ...], table: dict[str, Any]
) -> Iterable[int]:
    if not places:
        yield at
        return
    first, rest = places[0], places[1:]
    if first is None:
        for skipped in range(min(table["gap"], len(part) - at) + 1):
            between = part[at : at + skipped]
            if _COMMA in between or _any(between, table["whether"]):
                return
            yield from _match(part, at + skipped, rest, table)
        return
    for choice in first:
        if _is(part[at : at + len(choice)], choice):
            yield from _match(part, at + len(choice), rest, table)


def _is(said: Tokens, choice: Tokens) -> bool:
    if len(said) != len(choice):
        return False
    return all(
        one.startswith(other[:-1]) if other.endswith("*") else one == other
        for one, other in zip(said, choice, strict=True)
    )


def _begins(part: Tokens, words: Iterable[str]) -> bool:
    while part and part[0] == _COMMA:
        part = part[1:]
    return any(_is(part[: len(word)], word) for word in map(_word, words))


def _any(part: Tokens, words: Iterable[str]) -> bool:
    wanted = [_word(word) for word in words]
    return any(_is(part[n : n + len(word)], word) for n in range(len(part)) for word in wanted)
