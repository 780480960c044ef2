"""Turn a piece of an answer into words for a voice: without Markdown, links, code and pictograms. Pure."""

from __future__ import annotations

import re

# A part that stops at the next opening bracket is looked at once: each pattern here takes time in
# proportion to the text.
_TARGET = r"\]\((?:[^()\s]|\([^()\s]*+\))*+(?:\s[^()\n]*+)?\)"
_PICTURE = re.compile(rf"!\[([^\[\]\n]*+){_TARGET}")
_LINK = re.compile(rf"\[([^\[\]\n]++){_TARGET}")
_ADDRESS = re.compile(
    r"<?\b(?:https?|ftp|mailto|data):[^\s<>\u3000-\u9fff]*[^\s<>.,;:!?)\]\u3000-\u9fff]>?"
)
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>")
_CODE = re.compile(r"`+([^`\n]*)`+")
# Code that reads as words, such as the label of a button
_WORDS = re.compile(r"[\w\s.,:%+-]*")
_RULE = re.compile(
    r"^[ \t]*+(?:[-*_=][ \t]*+){3,}+$|^[ \t]*+\|?(?:[ \t]*+:?-{2,}+:?[ \t]*+\|?)++$", re.M
)
_LINE_START = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>+[ \t]?|[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?)", re.M)
_EDGES = re.compile(r"^[ \t]*+\||\|[ \t]*+$", re.M)
_MARKS = re.compile(r"\*+|~{2,}|`+|(?<!\w)_+|_+(?!\w)|#{2,}|\\(?=[^\w\s])")
# Arrows, signs, dingbats, pictograms and what joins or varies them
_PICTOGRAMS = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2500-\u27bf\u2900-\u297f\u2b00-\u2bff\ufe0e\ufe0f\u200d\u20e3"
    "\U0001f000-\U0001faff\U000e0020-\U000e007f]+"
)
# A removed part leaves a space before the mark behind it.
_BEFORE_MARK = re.compile(r" ([.,;:!?])")
_SPACES = re.compile(r"\s+")
# A longer run of letters and digits is no word of a language with spaces, but a key or a number.
_RUN = re.compile(r"[!-~]{60,}")


def spoken(text: str) -> str:
    """Return the words of a text for a voice; empty when it has none.

    Takes time in proportion to the text.
    """
    if not any(char.isalnum() for char in text):
        return ""
    text = _PICTURE.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _ADDRESS.sub("", text)
    text = _TAG.sub(" ", text)
    text = _CODE.sub(lambda code: code[1] if _WORDS.fullmatch(code[1]) else "", text)
    text = _RULE.sub("", text)
    text = _LINE_START.sub("", text)
    text = _EDGES.sub("", text).replace("|", ", ")
    text = _MARKS.sub("", text).replace("_", " ")
    text = _PICTOGRAMS.sub(" ", text)
    text = _RUN.sub("", text)
    text = _BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", text)).strip()
    return text if any(char.isalnum() for char in text) else ""
