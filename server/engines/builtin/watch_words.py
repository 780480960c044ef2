"""The words of conditions in one language, and how a condition is taken apart into them. Pure."""

from __future__ import annotations

import re
from functools import cache

from server.engines.builtin.colours import NAMES
from server.engines.builtin.language import Language, language
from server.engines.matching import WORD_MARKS, plain

# Parts of a condition that an unspaced language does not write: a name, a number
_FOREIGN = re.compile(r"[a-z0-9]+(?: +[a-z0-9]+)*")
_WORD = re.compile(rf"[\w{WORD_MARKS}'+-]+")
# Latin letters and digits right before Hangul, which follow without a space
_BEFORE_HANGUL = re.compile(r"(?<=[a-z0-9])(?=[\uac00-\ud7a3])")
_MARKS = "。，、！？؟،؛।"
_SETS = (
    *("fillers", "door", "faces", "codes", "motions", "texts", "naming"),
    *("lights", "dark", "bright", "off", "on", "weak", "no", "light"),
)

Words = frozenset[str]


class WatchWords:
    """The part `watch` of a language's file."""

    def __init__(self, spoken: Language) -> None:
        found = spoken.watch
        self.code = spoken.code
        self._unspaced = spoken.unspaced
        self._sets = {name: frozenset(plain(str(found.get(name, ""))).split()) for name in _SETS}
        # Before and behind words that are known without them
        self._prefixes, self._particles, self._endings = (
            tuple(plain(str(found.get(name, ""))).split())
            for name in ("prefixes", "particles", "endings")
        )
        # Phrases that mean something else than their words
        same = found.get("same", {})
        assert isinstance(same, dict)
        self._same = tuple(
            (re.compile(rf"\b{re.escape(plain(phrase))}\b"), plain(other))
            for phrase, other in same.items()
        )
        self._tails = _choice(str(found.get("tails", "")))
        self._named_before = _choice(str(found.get("named_before", "")))
        self._colours = self._colours_of(spoken, plain(str(found.get("no_colours", ""))).split())
        parts = frozenset[str]().union(*self._sets.values(), self._colours)
        self._parts = parts if self._unspaced else frozenset[str]()
        self._longest = max(map(len, parts))

    def __getitem__(self, name: str) -> Words:
        return self._sets[name]

    def those(self, words: Words, name: str) -> Words:
        """Return the words that are in a set."""
        return frozenset(word for word in words if self._in(word, self._sets[name]))

    def only(self, words: Words, *names: str) -> bool:
        """Find whether all words are in one of these sets."""
        return not self.rest(words, *names)

    def rest(self, words: Words, *names: str) -> Words:
        """Return the words that are in none of these sets."""
        known = frozenset[str]().union(*(self._sets[name] for name in names))
        return frozenset(word for word in words if not self._in(word, known))

    def words(self, low: str) -> Words | None:
        """Return the words of a `plain` text; None for one of an unspaced language that has others."""
        for pattern, other in self._same:
            low = pattern.sub(other, low)
        for mark in _MARKS:
            low = low.replace(mark, " ")
        if self._unspaced:
            return self._segments(low)
        if self._particles:
            low = _BEFORE_HANGUL.sub(" ", low)
        return frozenset(word.strip("'-") for word in _WORD.findall(low)) - {""}

    def colour(self, word: str) -> str:
        return self._colours.get(word, "")

    def without_tail(self, target: str) -> str:
        """Return a text to read without a verb behind it."""
        if self._tails is None:
            return target
        return re.sub(rf"(?:\s+(?:{self._tails}))+$", "", target)

    def named(self, low: str) -> tuple[str, str] | None:
        """Return the text that a condition names, and the words around it."""
        naming = sorted(self._sets["naming"], key=len, reverse=True)
        after = "|".join(map(re.escape, naming))
        if not self._unspaced:
            match = re.match(rf"^(.*)(?<!\w)(?:{after})(?!\w)\s*:?\s+(?P<target>\S.*)$", low)
            if match is not None and self._only_naming(match[1]):
                return self.without_tail(match["target"]), match[1]
        if self._named_before is not None:
            gap = r"\s*" if self._unspaced or self._particles else r"\s+"
            match = re.match(rf"^(?P<target>\S.*?){gap}(?:{self._named_before})(.*)$", low)
            if match is not None and self._only_naming(match[2]):
                return self._without_fillers(match["target"]), match[2]
        return None

    def _only_naming(self, around: str) -> bool:
        words = self.words(around)
        return words is not None and self.only(words, "fillers", "texts", "naming")

    def _without_fillers(self, target: str) -> str:
        words = target.split()
        while words and self._in(words[0], self._sets["fillers"]):
            words.pop(0)
        return " ".join(words)

    def _in(self, word: str, known: Words) -> bool:
        if word in known or word in self._particles:
            return True
        return any(
            word.startswith(one) and word[len(one) :] in known for one in self._prefixes
        ) or any(word.endswith(one) and word[: -len(one)] in known for one in self._particles)

    def _colours_of(self, spoken: Language, without: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, forms in zip(NAMES, spoken.colours, strict=True):
            for form in plain(forms).split():
                stem = form.rstrip("*")
                for word in (stem, *(stem + end for end in self._endings)):
                    if word not in without:
                        found.setdefault(word, name)
        return found | ({"gray": "grey"} if spoken.code == "en" else {})

    def _segments(self, low: str) -> Words | None:
        """Return the fewest parts that make up a text without spaces."""
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


def _choice(phrases: str) -> str | None:
    """Return a pattern of phrases, which commas separate; None without one."""
    found = sorted({plain(one.strip()) for one in phrases.split(",")} - {""}, key=len, reverse=True)
    return "|".join(map(re.escape, found)) if found else None


@cache
def watch_words(code: str) -> WatchWords:
    """Return those of one of `LANGUAGES`."""
    return WatchWords(language(code))
