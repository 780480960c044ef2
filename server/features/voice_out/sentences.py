"""Cut a growing answer into pieces to speak. Pure.

Sentences go to a voice while the answer is written. The first piece ends at the first clause, so
that the voice begins early.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Characters of a piece; a sentence that is longer is cut at a clause, else between words
MOST_CHARS = 240
# Characters that the first piece has before it ends at a clause
_LEAST_FIRST = 12
# The first piece is cut between words when it has no clause up to here
_MOST_FIRST = 80
# A character of a script without spaces stands for about so many letters
_WIDE = 3
# Marks that end a sentence wherever they stand
_FULL = "。！？｡؟۔।॥։።፧᠃"
# Marks that do so before a space
_HALF = ".!?…"
# Marks that end a clause wherever they stand, and those that do so before a space
_CLAUSE = "，、；：،؛፣"
_HALF_CLAUSE = ",;:–—"
_CLOSING = "\"'”’»›)]}）】」』*_"
# Closing marks that still belong to the piece before
_LEFT_OVER = _FULL + "”’»›)]}）】」』 "
_FENCE = "```"
# Abbreviations after which a sentence mostly goes on, in lower case and without the last dot. If
# it does not, two sentences become one piece, and nothing is lost.
_ABBREVIATIONS = (
    " mr mrs ms dr prof st sr jr vs etc e.g i.e approx ca cf fig nos vol dept est"
    " z.b d.h u.a u.ä o.ä bzw usw evtl ggf inkl nr str tel hr fr vgl sog geb"
    " mme mlle p.ex env sra srta p.ej ej pág núm av ud uds sig dott ecc"
    " т.е т.д т.п ул им др см руб стр тыс млн "
)
# Characters of the longest of them
_LONGEST_ABBREVIATION = 5
# Characters that are looked at together: a whole answer may come at once.
_AT_ONCE = 1024
# Marks in a row after which the end of the row is not waited for
_MOST_MARKS = MOST_CHARS


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer."""

    # Its words for a voice; never empty
    text: str
    # Its first character in the answer, and the one after its last
    start: int
    end: int


@dataclass(slots=True)
class _Looked:
    """The part of the text that is not in a piece yet; each character is looked at once."""

    # Characters that were looked at, and their size
    at: int = 0
    size: int = 0
    # True when they have more than spaces
    words: bool = False
    # The best place for a cut in a sentence that is too long, by kind; 0 for none
    clause: int = 0
    space: int = 0
    # The end of the marks behind the last character that was looked at
    marks: int = 0


class Sentences:
    """Cuts one answer. Give it the text as it comes, then `end`.

    Takes time in proportion to the text, however it comes, and keeps less than 2,000 characters.
    """

    def __init__(self) -> None:
        # The part of the answer that is not in a piece yet, and its first character's position
        self._rest = ""
        self._at = 0
        # The first character of the next piece; text without words is added to the piece after it
        self._start = 0
        # True inside a block of code, which nobody wants to hear
        self._code = False
        self._first = True
        self._looked = _Looked()

    def add(self, text: str) -> list[Piece]:
        """Return the pieces that are complete with this text."""
        pieces: list[Piece] = []
        for begin in range(0, len(text), _AT_ONCE):
            self._rest += text[begin : begin + _AT_ONCE]
            pieces += self._cut(whole=False)
        return pieces

    def end(self) -> list[Piece]:
        """Return the last pieces of the answer."""
        pieces = self._cut(whole=True)
        if self._rest and not self._code:
            pieces += self._take(len(self._rest))
        return pieces

    def _cut(self, *, whole: bool) -> list[Piece]:
        pieces: list[Piece] = []
        while True:
            fence = self._rest.find(_FENCE)
            if self._code:
                if fence < 0:
                    # The end may be the beginning of its closing fence.
                    self._skip(len(self._rest) - (len(_FENCE) - 1))
                    return pieces
                self._skip(fence + len(_FENCE))
                self._code = False
                continue
            text = self._rest if fence < 0 else self._rest[:fence]
            end = self._boundary(text, whole or fence >= 0)
            if end:
                pieces += self._take(end)
            elif fence >= 0:
                pieces += self._take(fence)
                self._skip(len(_FENCE))
                self._code = True
            else:
                return pieces

    def _boundary(self, text: str, whole: bool) -> int:
        """Return the length of the next piece; 0 when it is not complete."""
        looked = self._looked
        while looked.at < len(text):
            at, char = looked.at, text[looked.at]
            size = looked.size + (_WIDE if _unspaced(char) else 1)
            full = size >= (_MOST_FIRST if self._first else MOST_CHARS)
            after = self._after_marks(text)
            # The characters behind a mark decide, so they have to be there.
            if not whole and after == len(text) and after - at <= _MOST_MARKS:
                if full or char in _HALF or char in _HALF_CLAUSE:
                    break
            elif char in _HALF and _ends(text, at, after):
                return after
            # A line that is here already and begins with a small letter goes on in the one above it.
            line = char == "\n" and not text[at + 1 : at + 2].islower()
            if char in _FULL or (line and looked.words):
                return at + 1
            if char in _CLAUSE or (char in _HALF_CLAUSE and _spaced(text, after)):
                looked.clause = at + 1
                if self._first and size >= _LEAST_FIRST and looked.words:
                    return looked.clause
            elif char.isspace() and looked.words:
                looked.space = at + 1
            if full:
                best = looked.clause if looked.clause > at // 3 else looked.space
                if best or size >= MOST_CHARS:
                    return best or at + 1
            looked.at, looked.size = at + 1, size
            looked.words = looked.words or not char.isspace()
        return 0

    def _after_marks(self, text: str) -> int:
        """Return the position after the next character and the marks behind it."""
        looked = self._looked
        after = max(looked.marks, looked.at + 1)
        while (
            after < len(text)
            and text[after] in _HALF + _CLOSING
            and after - looked.at <= _MOST_MARKS
        ):
            after += 1
        looked.marks = after
        return after

    def _take(self, length: int) -> list[Piece]:
        """Take the next part of the answer as a piece, if it has words."""
        words = spoken(self._rest[:length]).lstrip(_LEFT_OVER)
        self._skip(length)
        if not words:
            return []
        piece = Piece(words, self._start, self._at)
        self._start, self._first = self._at, False
        return [piece]

    def _skip(self, length: int) -> None:
        length = max(0, length)
        self._rest = self._rest[length:]
        self._at += length
        self._looked = _Looked()


def heard(answer: str, piece: Piece, share: float) -> str:
    """Return what was heard: `share` (0 to 1) of `piece`, to a whole word, and all before it."""
    if share >= 1:
        return answer[: piece.end].rstrip()
    part = answer[piece.start : piece.end]
    end = round(len(part) * max(0.0, share))
    while 0 < end < len(part) and _in_word(part, end):
        end -= 1
    return answer[: piece.start + end].rstrip()


def _in_word(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    return not (before.isspace() or after.isspace() or _unspaced(before) or _unspaced(after))


def _unspaced(char: str) -> bool:
    """Find whether a character is of a script that is written without spaces."""
    return "\u0e00" <= char <= "\u0eff" or "\u2e80" <= char <= "\u9fff" or char >= "\uf900"


def _spaced(text: str, at: int) -> bool:
    """Find whether a space or the end of the text stands here."""
    return at >= len(text) or text[at].isspace()


def _ends(text: str, at: int, after: int) -> bool:
    """Find whether a mark ends a sentence."""
    if not _spaced(text, after):
        # "3.5", "www.example.org"; but a sentence in Chinese may follow without a space
        return after < len(text) and _unspaced(text[after])
    if text[at] != "." or after != at + 1:
        return True
    begin = at
    while begin and (text[begin - 1].isalnum() or text[begin - 1] in "._"):
        begin -= 1
        if at - begin > _LONGEST_ABBREVIATION:
            return True
    word = text[begin:at].lower()
    if not word:
        return True
    # "1. Milk", "am 3. Mai", "J. S. Bach"
    number = word.isdigit() and len(word) <= 2
    letter = len(word) == 1 and word.isalpha()
    return not (number or letter or f" {word} " in _ABBREVIATIONS)


# Turn a piece of an answer into words for a voice: without Markdown, links, code and pictograms.
# Pure.

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
    """Return a text's words for a voice, "" for none, in time proportional to the text."""
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
