"""Keeps found text apart from a sentence that runs the other way. Pure.

Unicode Standard Annex 9: a part between U+2068 and U+2069 has a direction of its own, and does not
move what stands beside it.
"""

from __future__ import annotations

import re
import unicodedata

FIRST_STRONG, POP = "\u2068", "\u2069"
# Embeddings, overrides, isolates and marks; in text that was found they could turn a sentence round.
_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LEFT = frozenset({"L", "EN"})
_RIGHT = frozenset({"R", "AL", "AN"})


def without_controls(text: str) -> str:
    """Return a found text without the characters that set a direction."""
    return _CONTROLS.sub("", text)


def isolated(text: str, right_to_left: bool) -> str:
    """Isolate a text with letters or digits of the other direction than the sentence around it.

    A text with isolated parts stays as it is.
    """
    other = _LEFT if right_to_left else _RIGHT
    if FIRST_STRONG in text or not any(unicodedata.bidirectional(char) in other for char in text):
        return text
    return f"{FIRST_STRONG}{text}{POP}"
