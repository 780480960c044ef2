"""Split a growing answer into pieces to speak. Pure.

Sentences are sent to the voice while the answer is written. The first piece ends at the first clause,
so that speech begins early.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Maximum characters of a piece; a longer sentence is split at a clause, else between words
MOST_CHARS = 240
# Minimum characters of a first piece that ends at a clause
_LEAST_FIRST = 12
# Characters after which a first piece without a clause is split between words
_MOST_FIRST = 80
# Letters to which one character of a script without spaces corresponds
_WIDE = 3
# Marks that always end a sentence
_FULL = "。！？｡؟۔।॥։።፧᠃"
# Marks that end a sentence before a space
_HALF = ".!?…"
# Marks that always end a clause, and those that end one before a space
_CLAUSE = "，、；：،؛፣"
_HALF_CLAUSE = ",;:–—"
_CLOSING = "\"'”’»›)]}）】」』*_"
# Closing marks that belong to the previous piece
_LEFT_OVER = _FULL + "”’»›)]}）】」』 "
_FENCE = "```"
# Abbreviations after which a sentence usually continues, in lower case, without the last dot. If it
# ends there, two sentences become one piece, which does no harm.
_ABBREVIATIONS = (
    " mr mrs ms dr prof st sr jr vs etc e.g i.e approx ca cf fig nos vol dept est"
    " z.b d.h u.a u.ä o.ä bzw usw evtl ggf inkl nr str tel hr fr vgl sog geb"
    " mme mlle p.ex env sra srta p.ej ej pág núm av ud uds sig dott ecc"
    " т.е т.д т.п ул им др см руб стр тыс млн "
)
# Length of the longest one
_LONGEST_ABBREVIATION = 5
# Characters scanned at once: a whole answer may arrive in one piece.
_AT_ONCE = 1024
# Maximum consecutive marks for whose end the scan waits
_MOST_MARKS = MOST_CHARS


@dataclass(frozen=True, slots=True)
class SpokenPiece:
    """Part of an answer to speak."""

    # Text for the voice; never empty
    text: str
    # Position of its first character in the answer, and the position after its last
    start: int
    end: int


@dataclass(slots=True)
class _Scan:
    """State of the scan over text that is not in a piece yet; each character is scanned once."""

    # Characters scanned, and their size in letters
    at: int = 0
    size: int = 0
    # True if they contain more than spaces
    words: bool = False
    # Last position at which a too long sentence can be split, by kind; 0 if there is none
    clause: int = 0
    space: int = 0
    # End of the marks that follow the last scanned character
    marks: int = 0


class Sentences:
    """Splitter of one answer. Call `add` with each piece of text, then `end`.

    Takes time linear in the text, in pieces of any size, and keeps less than 2,000 characters.
    """

    def __init__(self) -> None:
        # Text that is not in a piece yet, and the position of its first character in the answer
        self._rest = ""
        self._at = 0
        # Start of the next piece; text without words is added to the piece after it
        self._start = 0
        # True inside a code block, which is not spoken
        self._code = False
        self._first = True
        self._scan = _Scan()

    def add(self, text: str) -> list[SpokenPiece]:
        """Add text and return the pieces that it completes."""
        pieces: list[SpokenPiece] = []
        for begin in range(0, len(text), _AT_ONCE):
            self._rest += text[begin : begin + _AT_ONCE]
            pieces += self._cut(whole=False)
        return pieces

    def end(self) -> list[SpokenPiece]:
        """Return the last pieces of the answer."""
        pieces = self._cut(whole=True)
        if self._rest and not self._code:
            pieces += self._take(len(self._rest))
        return pieces

    def _cut(self, *, whole: bool) -> list[SpokenPiece]:
        pieces: list[SpokenPiece] = []
        while True:
            fence = self._rest.find(_FENCE)
            if self._code:
                if fence < 0:
                    # The end of the text may be the beginning of the closing fence.
                    self._skip(len(self._rest) - (len(_FENCE) - 1))
                    return pieces
                self._skip(fence + len(_FENCE))
                self._code = False
                continue
            text = self._rest if fence < 0 else self._rest[:fence]
            end = self._find_boundary(text, whole or fence >= 0)
            if end:
                pieces += self._take(end)
            elif fence >= 0:
                pieces += self._take(fence)
                self._skip(len(_FENCE))
                self._code = True
            else:
                return pieces

    def _find_boundary(self, text: str, whole: bool) -> int:
        """Return the length of the next piece; 0 if it is not complete yet."""
        scan = self._scan
        while scan.at < len(text):
            at, char = scan.at, text[scan.at]
            size = scan.size + (_WIDE if _is_unspaced(char) else 1)
            full = size >= (_MOST_FIRST if self._first else MOST_CHARS)
            after = self._skip_marks(text)
            # The characters after a mark decide, so wait for them.
            if not whole and after == len(text) and after - at <= _MOST_MARKS:
                if full or char in _HALF or char in _HALF_CLAUSE:
                    break
            elif char in _HALF and _is_sentence_end(text, at, after):
                return after
            # A next line that begins with a lower-case letter continues the sentence.
            line = char == "\n" and not text[at + 1 : at + 2].islower()
            if char in _FULL or (line and scan.words):
                return at + 1
            if char in _CLAUSE or (char in _HALF_CLAUSE and _is_spaced(text, after)):
                scan.clause = at + 1
                if self._first and size >= _LEAST_FIRST and scan.words:
                    return scan.clause
            elif char.isspace() and scan.words:
                scan.space = at + 1
            if full:
                best = scan.clause if scan.clause > at // 3 else scan.space
                if best or size >= MOST_CHARS:
                    return best or at + 1
            scan.at, scan.size = at + 1, size
            scan.words = scan.words or not char.isspace()
        return 0

    def _skip_marks(self, text: str) -> int:
        """Return the position after the next character and the marks that follow it."""
        scan = self._scan
        after = max(scan.marks, scan.at + 1)
        while (
            after < len(text) and text[after] in _HALF + _CLOSING and after - scan.at <= _MOST_MARKS
        ):
            after += 1
        scan.marks = after
        return after

    def _take(self, length: int) -> list[SpokenPiece]:
        """Consume the next `length` characters. Return them as a piece; [] if they have no words."""
        words = to_speakable(self._rest[:length]).lstrip(_LEFT_OVER)
        self._skip(length)
        if not words:
            return []
        piece = SpokenPiece(words, self._start, self._at)
        self._start, self._first = self._at, False
        return [piece]

    def _skip(self, length: int) -> None:
        length = max(0, length)
        self._rest = self._rest[length:]
        self._at += length
        self._scan = _Scan()


def cut_text(answer: str, piece: SpokenPiece, share: float) -> str:
    """Return the answer up to a share of `piece` (0 to 1), cut at a whole word."""
    if share >= 1:
        return answer[: piece.end].rstrip()
    part = answer[piece.start : piece.end]
    end = round(len(part) * max(0.0, share))
    while 0 < end < len(part) and _is_in_word(part, end):
        end -= 1
    return answer[: piece.start + end].rstrip()


def _is_in_word(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    return not (before.isspace() or after.isspace() or _is_unspaced(before) or _is_unspaced(after))


def _is_unspaced(char: str) -> bool:
    """Return True for a character of a script written without spaces."""
    return "\u0e00" <= char <= "\u0eff" or "\u2e80" <= char <= "\u9fff" or char >= "\uf900"


def _is_spaced(text: str, at: int) -> bool:
    """Return True if a space or the end of the text is at this position."""
    return at >= len(text) or text[at].isspace()


def _is_sentence_end(text: str, at: int, after: int) -> bool:
    """Return True if the mark at `at` ends a sentence. `after`: position after the marks."""
    if not _is_spaced(text, after):
        # No end in "3.5" and "www.example.org"; but a Chinese sentence may follow without a space.
        return after < len(text) and _is_unspaced(text[after])
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


# Text of a piece for the voice, without Markdown, links, code and pictograms. Pure.

# Possessive quantifiers and stops at the next opening bracket keep each pattern linear in the text.
_TARGET = r"\]\((?:[^()\s]|\([^()\s]*+\))*+(?:\s[^()\n]*+)?\)"
_PICTURE = re.compile(rf"!\[([^\[\]\n]*+){_TARGET}")
_LINK = re.compile(rf"\[([^\[\]\n]++){_TARGET}")
_ADDRESS = re.compile(
    r"<?\b(?:https?|ftp|mailto|data):[^\s<>\u3000-\u9fff]*[^\s<>.,;:!?)\]\u3000-\u9fff]>?"
)
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>")
_CODE = re.compile(r"`+([^`\n]*)`+")
# Code that can be read as words, such as the label of a button
_WORDS = re.compile(r"[\w\s.,:%+-]*")
_RULE = re.compile(
    r"^[ \t]*+(?:[-*_=][ \t]*+){3,}+$|^[ \t]*+\|?(?:[ \t]*+:?-{2,}+:?[ \t]*+\|?)++$", re.M
)
_LINE_START = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>+[ \t]?|[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?)", re.M)
_EDGES = re.compile(r"^[ \t]*+\||\|[ \t]*+$", re.M)
_MARKS = re.compile(r"\*+|~{2,}|`+|(?<!\w)_+|_+(?!\w)|#{2,}|\\(?=[^\w\s])")
# Arrows, symbols, dingbats, pictograms, their joiners and variation selectors
_PICTOGRAMS = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2500-\u27bf\u2900-\u297f\u2b00-\u2bff\ufe0e\ufe0f\u200d\u20e3"
    "\U0001f000-\U0001faff\U000e0020-\U000e007f]+"
)
# Removing a part leaves a space before the mark after it.
_BEFORE_MARK = re.compile(r" ([.,;:!?])")
_SPACES = re.compile(r"\s+")
# A longer run without spaces is not a word but a key or a number.
_RUN = re.compile(r"[!-~]{60,}")


def to_speakable(text: str) -> str:
    """Return a text's words for a voice; "" if there is none. Takes time linear in the text."""
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
