"""Match words of questions and rows of print: text without case and accents, patterns of words.

Pure.
"""

from __future__ import annotations

import re
import unicodedata


def plain(text: str) -> str:
    """Lower case without accents, for comparing words.

    Scripts without case or accents stay as they are.
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    # Marks beyond Latin, Greek and Cyrillic (dakuten, vowel signs) belong to the letter.
    bare = "".join(char for char in folded if not "\u0300" <= char <= "\u036f")
    return unicodedata.normalize("NFC", bare).replace("’", "'")


def word_pattern(words: str, parts: str = "") -> re.Pattern[str]:
    """A pattern to search `plain` text with; both lists are separated by commas.

    `words` are whole words, beginnings of words (ending in *) and phrases; `parts` match anywhere.
    """

    def longest_first(entries: str) -> list[str]:
        return sorted({plain(entry.strip()) for entry in entries.split(",")}, key=len, reverse=True)

    found = [
        re.escape(word.rstrip("*")) + (r"\w*" if word.endswith("*") else "")
        for word in longest_first(words)
    ]
    choices = [rf"\b(?:{'|'.join(found)})\b"]
    choices += [re.escape(part) for part in longest_first(parts) if part]
    return re.compile("|".join(choices))
