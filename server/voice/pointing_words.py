"""The words of a question that point at what is in front of the camera: "this", "hier". Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# By language, as a recogniser writes them in small letters; the last one in a question counts.
_WORDS = {
    "en": "this that these those here there",
    "de": "das dies diese dieser dieses diesen diesem hier da dort",
    "fr": "ça ceci cela celui celle ceux celles ici là",
    "es": "esto eso aquello este esta estos estas ese esa esos esas aquí ahí allí",
    "it": "questo questa questi queste quello quella quelli quelle qui qua lì là",
    "pt": "isto isso aquilo este esta estes estas esse essa esses essas aqui aí ali",
    "ru": "это этот эта эти тут здесь там",
    "zh": "这 那 这个 那个 这里 那里",
}
_ALL = frozenset(" ".join(_WORDS.values()).split())
_EDGES = re.compile(r"^\W+|\W+$")


class TimedWord(Protocol):
    """A word and its time in a sound, in seconds from the beginning."""

    @property
    def word(self) -> str: ...

    @property
    def begin(self) -> float: ...

    @property
    def end(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Pointing:
    """A word that points, and its time in the sound."""

    word: str
    # Seconds from the sound's beginning
    at: float


def find_pointing(words: Sequence[TimedWord]) -> Pointing | None:
    """Return the last word that points, at its middle; None without one."""
    for one in reversed(words):
        bare = _EDGES.sub("", one.word)
        # A contraction: "that's", "c'est ça"
        parts = re.split(r"['’-]", bare.casefold())
        if any(part in _ALL for part in parts):
            return Pointing(bare, (one.begin + one.end) / 2)
    return None
