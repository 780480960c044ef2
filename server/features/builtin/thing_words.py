"""Words for objects in one language: those of questions and those of answers. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache

from server.features.builtin.detector import FOLDER, PERSON
from server.features.builtin.language import UNSPACED, get_language_code
from server.models.routing import WORD_MARKS, plain

_WORD = re.compile(rf"[\w{WORD_MARKS}'-]+")
# Maximum number of words of a name, such as "cell phone case"
_MOST_WORDS = 4
# Longest elided word that is joined to the next one, such as "dell'" and "d'"
_MOST_ELIDED = 5
# Number of letters by which beginnings of words are indexed; each beginning has more
_BEGIN = 2


class ThingWords:
    """Words for objects from a language's file in `things/`."""

    def __init__(self, code: str) -> None:
        found = json.loads((FOLDER / f"{code}.json").read_text("utf-8"))
        self._unspaced = code in UNSPACED
        self._one = {name: str(words["one"]) for name, words in found.items()}
        self._many = {name: str(words["many"]) for name, words in found.items()}
        # Names by their forms, longest first
        self._names: dict[str, str] = {}
        # Forms that end in *, by their first letters
        self._stems: dict[str, list[tuple[str, str]]] = {}
        forms = (
            (plain(form.strip()), name)
            for name, words in found.items()
            for form in str(words["forms"]).split(",")
        )
        for form, name in sorted(forms, key=lambda one: -len(one[0])):
            if form.endswith("*"):
                self._stems.setdefault(form[:_BEGIN], []).append((form[:-1], name))
            else:
                self._names.setdefault(form, name)

    def get_singular(self, name: str) -> str:
        """Return the singular, such as "a cup"."""
        return self._one.get(name, name)

    def get_plural(self, name: str) -> str:
        """Return the plural, such as "cups"."""
        return self._many.get(name, name)

    def format_names(self, names: Iterable[str]) -> list[str]:
        """Return each name once: "a cup" for one of a name, "cups" for several."""
        counts = Counter(names)
        return [
            self.get_singular(name) if n == 1 else self.get_plural(name)
            for name, n in counts.items()
        ]

    def find_things(self, text: str) -> tuple[str, ...]:
        """Return the objects in a `plain` text, in its order."""
        return self.cut(text)[0]

    def cut(self, text: str) -> tuple[tuple[str, ...], str]:
        """Split a `plain` text into the objects that it names, in its order, and the rest."""
        return self._cut_letters(text) if self._unspaced else self._cut_words(text)

    def get_name(self, word: str) -> str:
        """Return the object named by one `plain` word or phrase; "" if there is none."""
        if name := self._names.get(word):
            return name
        small, mark, rest = word.partition("'")
        if mark and len(small) <= _MOST_ELIDED and len(rest) > 1:
            return self.get_name(rest)
        if rest == "s" and (owner := self.get_name(small)) != PERSON:
            # "The cat's eyes", and not "the men's room"
            return owner
        stems = self._stems.get(word[:_BEGIN], ())
        for stem, name in stems:
            # Only the ending of a word may follow, not further words.
            if word.startswith(stem) and " " not in word[len(stem) :]:
                return name
        return ""

    def _cut_words(self, text: str) -> tuple[tuple[str, ...], str]:
        words = _WORD.findall(text)
        found: list[str] = []
        rest: list[str] = []
        at = 0
        while at < len(words):
            for count in range(min(_MOST_WORDS, len(words) - at), 0, -1):
                if name := self.get_name(" ".join(words[at : at + count])):
                    found.append(name)
                    at += count
                    break
            else:
                rest.append(words[at])
                at += 1
        return tuple(dict.fromkeys(found)), " ".join(rest)

    def _cut_letters(self, text: str) -> tuple[tuple[str, ...], str]:
        found: list[tuple[int, str]] = []
        for form, name in self._names.items():
            at = text.find(form)
            if at >= 0:
                found.append((at, name))
                # A shorter name inside a longer one does not count.
                text = text.replace(form, "\0" * len(form))
        return tuple(dict.fromkeys(name for _, name in sorted(found))), text.replace("\0", "")


@cache
def get_thing_words(code: str) -> ThingWords:
    """Return the words for objects in a language, whose code must be in `LANGUAGES`."""
    return ThingWords(code)


def get_words_for_tag(tag: str) -> ThingWords:
    """Return the words of the language of a BCP 47 tag; the English words for an unknown language."""
    return get_thing_words(get_language_code(tag))


def find_names(text: str, codes: Iterable[str]) -> tuple[str, ...]:
    """Return the objects in a `plain` text, by the first of these languages that knows any."""
    return next((found for code in codes if (found := get_thing_words(code).find_things(text))), ())
