"""Ranking of rows of printed text by the words of a question and the kind of figure that it asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from rapidfuzz import fuzz

from server.features.builtin.facts import PRINT_WORDS
from server.features.builtin.lines import MOST_HEADING, Row
from server.models.routing import plain

# Names of one object on signs, in several languages; after a colon, names of objects that contain it
_SYNONYMS = tuple(
    (frozenset(plain(one).split()), frozenset(plain(has).split()))
    for line in PRINT_WORDS["synonyms"]
    for one, _, has in [line.partition(":")]
)
_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Minimum letters of a word to match inexactly or inside another, and of a beginning; minimum likeness if misread
_LONG, _STEM, _LIKE = 5, 4, 84
# Maximum number of rows of an answer
MOST = 4


@cache
def _get_synonyms(word: str) -> frozenset[str]:
    return frozenset([word]).union(*(same | has for same, has in _SYNONYMS if word in same))


def has_word(text: str, word: str) -> bool:
    """Return True if a text contains a `plain` word: also inflected, in a compound, misread, or as a synonym.

    A figure must be a word of its own.
    """
    folded = plain(text)
    if word.isdecimal():
        return re.search(rf"(?<![\d.,:]){word}(?!\d|[.,:]\d)", folded) is not None
    tokens = _TOKEN.findall(folded)
    for one in _get_synonyms(word):
        if not one.isascii() and one[:1] > "\u2e80":
            if one in folded:
                return True
        elif any(_is_same_word(token, one) for token in tokens):
            return True
    return len(word) >= _LONG and any(
        len(token) >= _LONG and fuzz.ratio(token, word) >= _LIKE for token in tokens
    )


def _is_same_word(token: str, word: str) -> bool:
    """Return True if two words are the same, or one is the other's beginning, plural, or part of a compound."""
    if token == word or token.rstrip("s") == word or word.rstrip("s") == token:
        return True
    short, long = sorted((token, word), key=len)
    begins = len(short) >= _STEM and long.startswith(short)
    return begins or (len(word) >= _LONG and word in token)


def count_words(text: str, words: Iterable[str]) -> int:
    """Return the number of these words that a text contains."""
    return sum(has_word(text, word) for word in words)


def find_best_rows(
    rows: Sequence[Row],
    words: Sequence[str],
    has: Callable[[str], object] | None = None,
    label: re.Pattern[str] | None = None,
    least: float = 0.5,
) -> list[Row]:
    """Return the rows that match a question best, from top to bottom.

    `words`: `plain` words of the question. `has`: finds the required figure in a row, or in the row below a label.
    `label`: a word beside the figure that counts as a word of the question. `least`: without `has`, the minimum
    fraction of the words that the rows have together.
    """
    found: list[tuple[int, int, int]] = []
    named = set[str]()
    for at, row in enumerate(rows):
        hits = [word for word in words if has_word(row.text, word)]
        count = len(hits) + (label is not None and label.search(plain(row.text)) is not None)
        below = rows[at + 1] if at + 1 < len(rows) and not rows[at + 1].apart else None
        if not count:
            continue
        if has is None:
            found.append((count, at, _find_end(rows, at)))
        elif has(row.text):
            found.append((count, at, at + 1))
        elif below is not None and has(below.text):
            # A label, and its value below it
            found.append((count, at, at + 2))
        named.update(hits)
    if has is None and len(named) < least * len(words):
        return []
    most = max((count for count, _, _ in found), default=0)
    chosen = {at for count, begin, end in found if count == most for at in range(begin, end)}
    return [rows[at] for at in sorted(chosen)][:MOST]


def _find_end(rows: Sequence[Row], at: int) -> int:
    """Return the end index of the rows below a row that ends with a colon or is a short heading."""
    text, end = rows[at].text, at + 1
    heads = len(text.split()) <= MOST_HEADING and rows[at].apart and not any(map(str.isdigit, text))
    if text.endswith(":") or heads:
        while end < len(rows) and end - at < MOST and not rows[end].apart:
            end += 1
    return end


# Minimum similarity of two readings of the same text, 0 to 100
_SAME_TEXT = 80


def is_similar(one: str, other: str) -> bool:
    """Return True if two rows are probably two readings of the same text."""
    return bool(fuzz.ratio(get_letters(one), get_letters(other)) >= _SAME_TEXT)


def get_letters(text: str) -> str:
    return "".join(char for char in plain(text) if char.isalnum())
