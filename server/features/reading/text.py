"""Put the lines of several pictures of one text together, each once, however a picture is read. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from server.models.control_tokens import clean
from server.models.prompts import NOTHING_TO_READ
from server.shared.aim import Hint

# With so many lines or characters a text takes no further picture.
MOST_LINES = 400
MOST_CHARS = 20_000
# Lines of one picture, and the last known ones that they are compared with
_MOST_NEW = 80
_WINDOW = 120
# Share of the pairs of letters that two readings of one line have in common, at least
_SAME = 0.62
# The same where both have the same figures, and for a line that stands elsewhere than the order of the lines says
_SAME_FIGURES = 0.5
_SAME_ELSEWHERE = 0.85
# Share of a line's pairs of letters that stand in a longer line, of which it is a part; and the
# letters that it has, at least: a short line may well be a part of another one.
_PART = 0.85
_LEAST_PART = 12
# A line of which figures are more than this share says something else with other figures.
_FIGURES = 0.12
# Letters that a cut line has gained, at least, to be read on
_LEAST_GAIN = 3
# A number in which letters were read for digits; and the numbers in a word: neither behind a letter,
# unless they have two digits, nor before several
_NUMBER = re.compile(r"\d[\doilszb|.,:/-]*")
_DIGITS = re.compile(r"(?:(?<![^\W\d_])\d|\d(?=[.,]?\d))[\d.,]*(?![^\W\d_]{3})")
# Signs that are read for each other
_ALIKE = str.maketrans({"o": "0", "i": "1", "l": "1", "|": "1", "s": "5", "z": "2", "b": "8"})


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    text: str
    # Its letters and digits, those that are read for each other as one
    key: str
    # The pairs of neighbours in it, with its two ends
    pairs: frozenset[str]
    # Its figures
    figures: tuple[str, ...]
    # Their share of its letters
    figured: float


class ReadText:
    """One text as far as it was read. Owns its lines.

    Bounds of a text that is read over several pictures: 20,000 characters or 400 lines and one
    more picture's, then it ends; one picture is read at a time.
    """

    def __init__(self) -> None:
        # In the order of the page
        self._lines: list[_Line] = []
        # The lines in the order of their reading
        self._read: list[str] = []
        self._chars = 0

    @property
    def full(self) -> bool:
        """True when no more lines are taken."""
        return len(self._lines) >= MOST_LINES or self._chars >= MOST_CHARS

    @property
    def empty(self) -> bool:
        return not self._lines

    def tail(self, chars: int) -> str:
        """Return the last lines that were read, one a line, of at most so many characters."""
        kept: list[str] = []
        for text in reversed(self._read):
            chars -= len(text) + 1
            if chars < 0:
                break
            kept.append(text)
        return "\n".join(reversed(kept))

    def add(self, texts: Sequence[str]) -> list[str]:
        """Take the lines of one picture, from top to bottom; return those not read before.

        A line that was cut off, and is whole now, gives only what is new if it goes on there.
        """
        if self.full:
            return []
        seen = [line for text in texts[:_MOST_NEW] if (line := _line(text)) is not None]
        first = max(0, len(self._lines) - _WINDOW)
        known = self._lines[first:]
        matched = _align(seen, known)
        used = set(matched.values())
        # Lines below the last known one go on with the text, whatever they say.
        last_known = len(known) - 1
        below = min((at for at, other in matched.items() if other == last_known), default=len(seen))
        fresh: list[str] = []
        # The index of the next new line, and the number of lines inserted before it
        position, added = first + (min(used) if used else len(known)), 0
        for at, line in enumerate(seen):
            if at in matched:
                position = first + matched[at] + added + 1
                text = self._gained_text(known[matched[at]], line)
            elif self._was_read(line, known, used, elsewhere=at < below):
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

    def _was_read(
        self, line: _Line, known: Sequence[_Line], used: set[int], *, elsewhere: bool
    ) -> bool:
        """Return whether a line without a partner in the order of the page was read all the same."""
        if any(_is_part(line, other) for other in known):
            return True
        if not elsewhere:
            return False
        for number, other in enumerate(known):
            if number not in used and _likeness(line, other) >= _SAME_ELSEWHERE:
                used.add(number)
                return True
        # Lines that are no more among the last ones
        return any(line.key == other.key for other in self._lines[:-_WINDOW])

    def _gained_text(self, known: _Line, line: _Line) -> str:
        """Return what a line has gained since it was read, and keep the longer reading."""
        if len(line.key) < len(known.key) + _LEAST_GAIN or not _is_part(known, line):
            return ""
        self._lines[self._lines.index(known)] = line
        start = known.text.casefold().rstrip(" .…-")
        if not line.text.casefold().startswith(start):
            return line.text
        rest = line.text[len(start) :].strip(" .…-,;:")
        gained = _line(rest)
        others = (other for other in self._lines if other is not line)
        if gained is None or any(_likeness(gained, one) >= _SAME for one in others):
            return ""
        return rest


def join_lines(lines: Sequence[str]) -> str:
    """Return lines as a text; a line that goes on with the one before stands behind it."""
    text = ""
    for line in lines:
        goes_on = text and line[:1].islower() and (text[-1:].isalpha() or text[-1:] in ",-")
        if goes_on:
            text += ("" if text.endswith("-") else " ") + line
        else:
            text += ("\n" if text else "") + line
    return text + "\n" if text else ""


def _line(text: str) -> _Line | None:
    """Return a line with the key it is compared by; None for one without words."""
    text = " ".join(text.split())
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    letters = "".join(char for char in folded if char.isalnum() or char in "| ")
    key = letters.replace(" ", "").replace("rn", "m").translate(_ALIKE)
    if not any(char.isalnum() for char in letters) or (len(key) < 2 and key.isascii()):
        return None
    figures = tuple(found for word in folded.split() for found in _figures(word))
    ends = f"^{key}$"
    pairs = frozenset(ends[at : at + 2] for at in range(len(ends) - 1))
    return _Line(text, key, pairs, figures, sum(map(len, figures)) / len(key))


def _figures(word: str) -> list[str]:
    """Return the digits of the numbers in a word. A digit among letters is a letter."""
    bare = word.strip("().,;:%€$£-")
    if _NUMBER.fullmatch(bare) and 2 * sum(map(str.isdigit, bare)) >= len(bare) - 1:
        bare = bare.translate(_ALIKE)
    return ["".join(filter(str.isdigit, found)) for found in _DIGITS.findall(bare)]


def _likeness(one: _Line, other: _Line) -> float:
    """Return how far two lines are readings of the same one, 0 to 1."""
    if one.key == other.key:
        return 1.0
    if one.figures != other.figures and max(one.figured, other.figured) > _FIGURES:
        return 0.0
    return 2 * len(one.pairs & other.pairs) / (len(one.pairs) + len(other.pairs))


def _is_part(one: _Line, other: _Line) -> bool:
    """Return whether a line is a part of a longer one."""
    if not _LEAST_PART <= len(one.key) < len(other.key):
        return False
    return len(one.pairs & other.pairs) >= _PART * (len(one.pairs) - 1)


def _align(seen: Sequence[_Line], known: Sequence[_Line]) -> dict[int, int]:
    """Return each seen line's known one: both in order, and as many alike as possible."""
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
    likeness = _likeness(line, other)
    if likeness >= (_SAME_FIGURES if line.figures and line.figures == other.figures else _SAME):
        return likeness
    return _SAME if _is_part(line, other) or _is_part(other, line) else 0.0


# Decide when a text that is read over several pictures is complete, and which hint helps. Pure.

# Seconds without a new line after which a text is over: with its end in view, with something
# beyond it, and before the first line
WHOLE_SECONDS = 3.0
QUIET_SECONDS = 9.0
FIRST_SECONDS = 20.0
# The longest time to speak the lines that were read, whatever a page reports
HEARING_SECONDS = 600.0
# Seconds without a new line before a hint: a person who moves on needs none
HINT_AFTER_SECONDS = 1.0
# Looks in a row with the same result, until it is the hint
_LOOKS = 2
# Seconds after which a hint that still holds is given again
AGAIN_SECONDS = 6.0


class ReadPace:
    """The course of one text. `now` is in seconds of any steady clock."""

    def __init__(self, now: float) -> None:
        # The last new line, or the last moment in which somebody was still hearing what came before
        self._news = now
        # The last new line
        self._read_at = now
        self._any = False
        self._seen: Hint | None = None
        self._count = 0
        self._given: Hint | None = None
        self._given_at = now

    def note_new_line(self, now: float) -> None:
        """Note that there was something new."""
        self._news = self._read_at = now
        self._any = True
        self._given = None

    def note_speaking(self, now: float) -> None:
        """Note that what was read is still being spoken."""
        self._news = max(self._news, min(now, self._read_at + HEARING_SECONDS))

    def hint_for(self, found: Hint | None, now: float) -> Hint | None:
        """Take the advice about a picture; return it when it should be given now."""
        self._count = self._count + 1 if found is self._seen else 1
        self._seen = found
        if found is None or self._count < _LOOKS or now - self._news < HINT_AFTER_SECONDS:
            return None
        if found is self._given and now - self._given_at < AGAIN_SECONDS:
            return None
        if found is Hint.GOOD and self._any:
            return None  # its end comes next
        self._given, self._given_at = found, now
        return found

    def is_complete(self, now: float) -> bool:
        """Return True when nothing more comes."""
        if not self._any:
            return now - self._news >= FIRST_SECONDS
        whole = self._seen is Hint.GOOD and self._count >= _LOOKS
        return now - self._news >= (WHOLE_SECONDS if whole else QUIET_SECONDS)


# The question, and the lines of its answer

_MARKS = " \t\n.!\"'`*()[]=:"


def reading_question(read: str) -> str:
    """Return the question for the text of one picture after another.

    `read`: the last lines that were read, one a line; "" for the first picture.
    """
    begin = "Read the text in the frame to me, exactly as it is written, each line of it as a line, from top to bottom."
    if not read:
        return f"{begin} Add nothing. If there is no text, answer only with the word {NOTHING_TO_READ}."
    return (
        f"{begin} The camera moves over one text. You have read these lines of it before:\n{clean(read)}\n"
        "Go on with the lines that are not among them, and repeat none. Add nothing. If there is no new line, answer only "
        f"with the word {NOTHING_TO_READ}."
    )


def lines_of(answer: str) -> list[str]:
    """Return the lines of an answer to `reading_question`."""
    lines = (line.strip() for line in answer.splitlines())
    return [line for line in lines if line and line.strip(_MARKS) != NOTHING_TO_READ]
