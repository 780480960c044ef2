"""Cut a growing answer into pieces to speak. Pure.

Sentences go to a voice while the answer is written. The first piece ends at the first clause, so
that the voice begins early.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.voice.spoken import spoken

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
_WORD_BEFORE = re.compile(r"([\w.]+)\.$")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer."""

    # Its words for a voice; never empty
    text: str
    # Its first character in the answer, and the one after its last
    start: int
    end: int


class Sentences:
    """Cuts one answer. Give it the text as it comes, then `end`."""

    def __init__(self) -> None:
        # The part of the answer that is not in a piece yet, and its first character's position
        self._rest = ""
        self._at = 0
        # The first character of the next piece; text without words is added to the piece after it
        self._start = 0
        # True inside a block of code, which nobody wants to hear
        self._code = False
        self._first = True

    def add(self, text: str) -> list[Piece]:
        """Return the pieces that are complete with this text."""
        self._rest += text
        return self._cut(whole=False)

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
        size = 0
        # The best place for a cut in a sentence that is too long, and its rank
        clause = space = 0
        for at, char in enumerate(text):
            size += _WIDE if _unspaced(char) else 1
            after = _after(text, at)
            # The characters behind a mark decide, so they have to be there.
            known = whole or after < len(text)
            if char == "\n" and text[:at].strip():
                return at + 1
            if char in _FULL:
                return at + 1
            if char in _HALF and known and _ends(text, at, after):
                return after
            if char in _CLAUSE or (char in _HALF_CLAUSE and known and _spaced(text, after)):
                clause = at + 1
                if self._first and size >= _LEAST_FIRST and text[:at].strip():
                    return clause
            elif char.isspace() and text[:at].strip():
                space = at + 1
            if known and size >= (_MOST_FIRST if self._first else MOST_CHARS):
                best = clause if clause > at // 3 else space
                if best or size >= MOST_CHARS:
                    return best or at + 1
        return 0

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


def heard(answer: str, piece: Piece, share: float) -> str:
    """Return the part of an answer that was heard: `share` (0 to 1) of `piece`, and all before it.

    It ends with a whole word.
    """
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


def _after(text: str, at: int) -> int:
    """Return the position after a mark and what closes behind it."""
    at += 1
    while at < len(text) and text[at] in _HALF + _CLOSING:
        at += 1
    return at


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
    found = _WORD_BEFORE.search(text[: at + 1])
    if found is None:
        return True
    word = found.group(1).lower()
    # "1. Milk", "am 3. Mai", "J. S. Bach"
    number = word.isdigit() and len(word) <= 2
    letter = len(word) == 1 and word.isalpha()
    return not (number or letter or f" {word} " in _ABBREVIATIONS)
