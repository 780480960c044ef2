"""Merge the lines from several pictures of one text, so that each occurs once, despite reading errors. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from server.models.control_tokens import clean
from server.models.prompts import NOTHING_TO_READ
from server.shared.aim import Hint

# Lines or characters at which a text is full, and no further picture is read
MOST_LINES = 400
MOST_CHARS = 20_000
# Lines taken from one picture, and the last known lines that they are compared with
_MOST_NEW = 80
_WINDOW = 120
# Least fraction of letter pairs (bigrams) that two readings of one line have in common
_SAME = 0.62
# The same for lines with the same figures, and for a line outside the known order
_SAME_FIGURES = 0.5
_SAME_ELSEWHERE = 0.85
# Least fraction of a line's letter pairs that a longer line has to contain for the line to be a part of it; and
# least number of letters of such a part, since a short line occurs in others by chance
_PART = 0.85
_LEAST_PART = 12
# Fraction of digits in a line above which different digits make it a different line
_FIGURES = 0.12
# Least letters by which a line has to grow for its new part to be read
_LEAST_GAIN = 3
# A number in which letters may be misread digits; and the numbers in a word: not after a letter unless
# they have two digits, and not before three or more letters
_NUMBER = re.compile(r"\d[\doilszb|.,:/-]*")
_DIGITS = re.compile(r"(?:(?<![^\W\d_])\d|\d(?=[.,]?\d))[\d.,]*(?![^\W\d_]{3})")
# Characters that are often confused, by the digit (or letters) they become
_ALIKE = str.maketrans({"o": "0", "i": "1", "l": "1", "|": "1", "s": "5", "z": "2", "b": "8"})


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    text: str
    # The letters and digits of the line, with characters that are often confused made equal
    key: str
    # The letter pairs of the key, its beginning and end included
    pairs: frozenset[str]
    # The numbers in the line, as digits
    figures: tuple[str, ...]
    # Number of digits as a fraction of the key's length
    figured: float


class ReadText:
    """The lines of one text that were read so far.

    Bounds of a text that is read over several pictures: 20,000 characters or 400 lines, plus those of
    one more picture, then it ends; one picture is read at a time.
    """

    def __init__(self) -> None:
        # In the order of the page
        self._lines: list[_Line] = []
        # The lines in the order of their reading
        self._read: list[str] = []
        self._chars = 0

    @property
    def full(self) -> bool:
        """True if no more lines are accepted."""
        return len(self._lines) >= MOST_LINES or self._chars >= MOST_CHARS

    @property
    def empty(self) -> bool:
        return not self._lines

    def get_tail(self, chars: int) -> str:
        """Return the last lines read, joined by line breaks, at most `chars` characters."""
        kept: list[str] = []
        for text in reversed(self._read):
            chars -= len(text) + 1
            if chars < 0:
                break
            kept.append(text)
        return "\n".join(reversed(kept))

    def add(self, texts: Sequence[str]) -> list[str]:
        """Add the lines of one picture, from top to bottom; return the lines not read before.

        Of a line that was cut off before, return only the part after the cut.
        """
        if self.full:
            return []
        seen = [line for text in texts[:_MOST_NEW] if (line := _make_line(text)) is not None]
        first = max(0, len(self._lines) - _WINDOW)
        known = self._lines[first:]
        matched = _align(seen, known)
        used = set(matched.values())
        # Lines below the last known one are new, even if they repeat an earlier line.
        last_known = len(known) - 1
        below = min((at for at, other in matched.items() if other == last_known), default=len(seen))
        fresh: list[str] = []
        # The index of the next new line, and the number of lines inserted before it
        position, added = first + (min(used) if used else len(known)), 0
        for at, line in enumerate(seen):
            if at in matched:
                position = first + matched[at] + added + 1
                text = self._extend_line(known[matched[at]], line)
            elif self._is_known(line, known, used, elsewhere=at < below):
                continue
            else:
                text = line.text
                self._lines.insert(position, line)
                position, added = position + 1, added + 1
            if text:
                fresh.append(text)
                self._read.append(text)
                self._chars += len(text)
        return fresh

    def _is_known(
        self, line: _Line, known: Sequence[_Line], used: set[int], *, elsewhere: bool
    ) -> bool:
        """Return True if a line that has no match in the page's order was read before.

        `elsewhere`: it is above the last known line.
        """
        if any(_is_part(line, other) for other in known):
            return True
        if not elsewhere:
            return False
        for number, other in enumerate(known):
            if number not in used and _measure_likeness(line, other) >= _SAME_ELSEWHERE:
                used.add(number)
                return True
        # Older lines than those of the window
        return any(line.key == other.key for other in self._lines[:-_WINDOW])

    def _extend_line(self, known: _Line, line: _Line) -> str:
        """Return the text that a line has gained since it was read, "" if none; store the longer reading."""
        if len(line.key) < len(known.key) + _LEAST_GAIN or not _is_part(known, line):
            return ""
        self._lines[self._lines.index(known)] = line
        start = known.text.casefold().rstrip(" .…-")
        if not line.text.casefold().startswith(start):
            return line.text
        rest = line.text[len(start) :].strip(" .…-,;:")
        gained = _make_line(rest)
        others = (other for other in self._lines if other is not line)
        if gained is None or any(_measure_likeness(gained, one) >= _SAME for one in others):
            return ""
        return rest


def join_lines(lines: Sequence[str]) -> str:
    """Return lines as a text with line breaks, except before a line that continues the sentence of the one before."""
    text = ""
    for line in lines:
        goes_on = text and line[:1].islower() and (text[-1:].isalpha() or text[-1:] in ",-")
        if goes_on:
            text += ("" if text.endswith("-") else " ") + line
        else:
            text += ("\n" if text else "") + line
    return text + "\n" if text else ""


def _make_line(text: str) -> _Line | None:
    """Return a line with its comparison keys; None for a line without words."""
    text = " ".join(text.split())
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    letters = "".join(char for char in folded if char.isalnum() or char in "| ")
    key = letters.replace(" ", "").replace("rn", "m").translate(_ALIKE)
    if not any(char.isalnum() for char in letters) or (len(key) < 2 and key.isascii()):
        return None
    figures = tuple(found for word in folded.split() for found in _find_figures(word))
    ends = f"^{key}$"
    pairs = frozenset(ends[at : at + 2] for at in range(len(ends) - 1))
    return _Line(text, key, pairs, figures, sum(map(len, figures)) / len(key))


def _find_figures(word: str) -> list[str]:
    """Return the digits of each number in a word. A digit among letters counts as a letter."""
    bare = word.strip("().,;:%€$£-")
    if _NUMBER.fullmatch(bare) and 2 * sum(map(str.isdigit, bare)) >= len(bare) - 1:
        bare = bare.translate(_ALIKE)
    return ["".join(filter(str.isdigit, found)) for found in _DIGITS.findall(bare)]


def _measure_likeness(one: _Line, other: _Line) -> float:
    """Return how alike two lines are, 0 to 1: the Dice coefficient of their letter pairs; 0 if their digits differ."""
    if one.key == other.key:
        return 1.0
    if one.figures != other.figures and max(one.figured, other.figured) > _FIGURES:
        return 0.0
    return 2 * len(one.pairs & other.pairs) / (len(one.pairs) + len(other.pairs))


def _is_part(one: _Line, other: _Line) -> bool:
    """Return True if `one` is a part of the longer line `other`."""
    if not _LEAST_PART <= len(one.key) < len(other.key):
        return False
    return len(one.pairs & other.pairs) >= _PART * (len(one.pairs) - 1)


def _align(seen: Sequence[_Line], known: Sequence[_Line]) -> dict[int, int]:
    """Return the known line (index) for each seen line that has one, in order and with the largest total likeness."""
    scores = [[_score(line, other) for other in known] for line in seen]
    best = [[0.0] * (len(known) + 1) for _ in range(len(seen) + 1)]
    for at in range(len(seen) - 1, -1, -1):
        row, below = best[at], best[at + 1]
        for other in range(len(known) - 1, -1, -1):
            both = scores[at][other] + below[other + 1] if scores[at][other] else 0.0
            row[other] = max(below[other], row[other + 1], both)
    matched: dict[int, int] = {}
    at = other = 0
    while at < len(seen) and other < len(known):
        score = scores[at][other]
        if score and best[at][other] == score + best[at + 1][other + 1]:
            matched[at] = other
            at, other = at + 1, other + 1
        elif best[at][other] == best[at + 1][other]:
            at += 1
        else:
            other += 1
    return matched


def _score(line: _Line, other: _Line) -> float:
    likeness = _measure_likeness(line, other)
    if likeness >= (_SAME_FIGURES if line.figures and line.figures == other.figures else _SAME):
        return likeness
    return _SAME if _is_part(line, other) or _is_part(other, line) else 0.0


# Decides when a text is complete, and which hint to give. Pure.

# Seconds without a new line after which a text is complete: if all of it is in view, if parts of it are
# out of view, and before the first line
WHOLE_SECONDS = 3.0
QUIET_SECONDS = 9.0
FIRST_SECONDS = 20.0
# Longest time that speech may delay the end, in seconds, since a page may report wrongly
HEARING_SECONDS = 600.0
# Seconds without a new line before a hint: a person who is still moving the camera needs none
HINT_AFTER_SECONDS = 1.0
# Successive equal results after which the result becomes the hint
_LOOKS = 2
# Seconds after which a hint that still holds is repeated
AGAIN_SECONDS = 6.0


class ReadPace:
    """The timing of one reading. `now` is in seconds of any steady clock."""

    def __init__(self, now: float) -> None:
        # Time of the last new line, or of the end of its speech so far
        self._news = now
        # Time of the last new line
        self._read_at = now
        self._any = False
        self._seen: Hint | None = None
        self._count = 0
        self._given: Hint | None = None
        self._given_at = now

    def note_new_line(self, now: float) -> None:
        """Record a new line."""
        self._news = self._read_at = now
        self._any = True
        self._given = None

    def note_speaking(self, now: float) -> None:
        """Record that the lines read so far are still being spoken."""
        self._news = max(self._news, min(now, self._read_at + HEARING_SECONDS))

    def choose_hint(self, found: Hint | None, now: float) -> Hint | None:
        """Record the advice about a picture; return it if it should be given now, else None."""
        self._count = self._count + 1 if found is self._seen else 1
        self._seen = found
        if found is None or self._count < _LOOKS or now - self._news < HINT_AFTER_SECONDS:
            return None
        if found is self._given and now - self._given_at < AGAIN_SECONDS:
            return None
        if found is Hint.GOOD and self._any:
            return None  # the whole text is in view, so its end comes next
        self._given, self._given_at = found, now
        return found

    def is_complete(self, now: float) -> bool:
        """Return True if no more lines are expected."""
        if not self._any:
            return now - self._news >= FIRST_SECONDS
        whole = self._seen is Hint.GOOD and self._count >= _LOOKS
        return now - self._news >= (WHOLE_SECONDS if whole else QUIET_SECONDS)


# The question, and the lines of its answer

_MARKS = " \t\n.!\"'`*()[]=:"


def make_reading_question(read: str) -> str:
    """Return the question for the text of the next picture.

    `read`: the last lines read, joined by line breaks; "" for the first picture.
    """
    begin = "Read the text in the frame to me, exactly as it is written, each line of it as a line, from top to bottom."
    if not read:
        return f"{begin} Add nothing. If there is no text, answer only with the word {NOTHING_TO_READ}."
    return (
        f"{begin} The camera moves over one text. You have read these lines of it before:\n{clean(read)}\n"
        "Go on with the lines that are not among them, and repeat none. Add nothing. If there is no new line, answer only "
        f"with the word {NOTHING_TO_READ}."
    )


def parse_lines(answer: str) -> list[str]:
    """Return the lines of an answer to `make_reading_question`."""
    lines = (line.strip() for line in answer.splitlines())
    return [line for line in lines if line and line.strip(_MARKS) != NOTHING_TO_READ]
