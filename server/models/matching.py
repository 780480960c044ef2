"""Match words of questions and rows of print: text without case and accents, patterns of words.

Pure.
"""

from __future__ import annotations

import re
import unicodedata

# Vowel signs and other marks of Devanagari, which are parts of words but not of `\w`; for a
# character class
WORD_MARKS = r"\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963"
# Characters read at each end of a long question: a question comes before or after what it quotes.
_PART = 300
_DEVANAGARI = re.compile(r"[\u0900-\u097f]")
# Letters that people write in place of each other, and marks that they leave out
_ALIKE = str.maketrans("ıł’أإآٱىةँ", "il'اااايهं", "ـ" + "".join(map(chr, range(0x064B, 0x0653))))


def plain(text: str) -> str:
    """Lower case without accents, for comparing words.

    Scripts without case or accents stay as they are.
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    # Marks beyond Latin, Greek and Cyrillic (dakuten, vowel signs) belong to the letter.
    bare = "".join(char for char in folded if not "\u0300" <= char <= "\u036f")
    return unicodedata.normalize("NFC", bare).translate(_ALIKE)


def ends(question: str) -> str:
    """Return a question with single spaces, and of a long one the beginning and the end.

    It has 620 characters at most: what looks for words in it takes time in proportion to the words.
    """
    question = question.strip()
    if len(question) > 4 * _PART:
        question = f"{question[: 2 * _PART]} … {question[-2 * _PART :]}"
    # One letter may stand for eighteen.
    question = " ".join(unicodedata.normalize("NFKC", question).split())
    if len(question) > 2 * _PART:
        question = f"{question[:_PART]} … {question[-_PART:]}"
    return question


def word_pattern(words: str, parts: str = "") -> re.Pattern[str]:
    """A pattern to search `plain` text with; both lists are separated by commas.

    `words` are whole words, beginnings of words (ending in *) and phrases; `parts` match anywhere.
    """

    def longest_first(entries: str) -> list[str]:
        return sorted({plain(entry.strip()) for entry in entries.split(",")}, key=len, reverse=True)

    def choice(entries: list[str], begin: str, end: str, more: str) -> str:
        found = [
            re.escape(entry.rstrip("*")) + (more if entry.endswith("*") else "")
            for entry in entries
        ]
        return rf"{begin}(?:{'|'.join(found)}){end}"

    entries = [entry for entry in longest_first(words) if entry]
    marked = [entry for entry in entries if _DEVANAGARI.search(entry)]
    plainer = [entry for entry in entries if not _DEVANAGARI.search(entry)]
    choices = [choice(plainer, r"\b", r"\b", r"\w*")] if plainer else []
    if marked:
        letter = rf"[\w{WORD_MARKS}]"
        choices.append(choice(marked, rf"(?<!{letter})", rf"(?!{letter})", f"{letter}*"))
    choices += [re.escape(part) for part in longest_first(parts) if part]
    return re.compile("|".join(choices))
