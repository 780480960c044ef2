"""Puts facts into words: phrases, lists of rows, and the line below an answer. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from statistics import median

from server.core.frames import Scene
from server.features.builtin import colours
from server.features.builtin.calendars import by_day
from server.features.builtin.codes import Code, is_text, network
from server.features.builtin.detector import Thing, classes
from server.features.builtin.fields import Opening, letters, weekdays
from server.features.builtin.intents import Intent
from server.features.builtin.language import POP, TELL_SCRIPTS, language, without_controls
from server.features.builtin.lines import (
    EMPTY,
    MOST_HEADING,
    Figure,
    Row,
    is_level,
    row_of,
    sentences,
)
from server.features.builtin.prices import priced, with_columns
from server.features.builtin.tables import Beside, count_named, names_it, overlapping
from server.features.builtin.thing_words import thing_words
from server.features.builtin.wants import OF_ALL, TEXT_ITSELF, Want
from server.models.routing import plain

# Most rows, and most items of a list, in an answer
ROWS = 400
ITEMS = 5
# Rows quoted below an answer, in place of all
SOME = 4

# Rows of print beside which a picture is mostly print
PRINTED = 3
# Rows of a sign with a word or two in each
_SIGN = 6
# Rows of a page, which is no book
PAGE = 8
# Share of the largest row's height that a further row of a title has, and most rows of one
_ONE_SIZE, _MOST_TITLE = 0.85, 3
# How much larger than most print a heading is
_LARGE = 1.3
# Rows beside one that are told as its sentence
_MOST_LINES = 2
# Characters of print that is told whole; so few letters are mostly none
_LEAST_PRINT, _MOST_PRINT = 3, 200
# Share of the first colour of clothes that the second one has
_OF_CLOTHES = 0.5
# "Size L" is no heading.
_SIZE = re.compile(r" [A-Z\d]{1,2}$")
# How much further right the rows of a list begin than its heading, in heights of print
_INDENT = 0.4
# After one of these words a sentence goes on, whatever the next row begins with.
_ENDS_OPEN = frozenset(
    plain(
        "with at by on for from of to in the a an and or mit bei von um für zu der die das dem den und oder avec chez de du pour dans le la "
        "les et con en por para el los las y o di da per il lo gli ed com em do dos van met bij voor het"
    ).split()
)
# The words on the arrows of a flow chart
_BRANCHES = frozenset(["yes", "no", "ja", "nein", "nee", "oui", "non", "si", "sim", "nao"])
# What several things of a menu are called
_PLURAL = re.compile(r"(?:[^\W\d_]s|i|speisen|getranke|gerechten)$")
# Cells of a row that can only be a table's
_TABLE = 3
# What stands beside a part on a circuit board: "R40"
_PART = re.compile(r"[A-Z]{1,2}(?:\d{1,4}(?:[.,]\d+)?)?")
# A capacitor, resistor, chip, coil, diode, transistor or plug, and how many of them only a board has
_DESIGNATOR = re.compile(r"[CRULDQJ]\d{1,3}")
_MANY_PARTS = 6
# Things that everybody knows
_EXAMPLES = ("person", "cup", "dog")

# Subjects of which a column of whole numbers is the answer
_OF_PRICES = frozenset({Want.PRICE, Want.AMOUNT, Want.CHEAPEST, Want.DEAREST})

# Subjects that are answered with lines as they stand
_WHOLE_LINES = TEXT_ITSELF | OF_ALL

_HERE = "\0"
BOOK = "book"
# What a page of print is taken for
_OF_PRINT = frozenset({BOOK, "tv"})

# The answer, and the line below it, which may be ""; the answer may have lines of its own
Answer = tuple[str, str]


def unknown_thing(code: str, sought: str) -> str:
    """Return the sentence about a thing that nothing here knows, and what is known. `code`: of the answer's language."""
    words, names = language(code), thing_words(code)
    return words.say(
        "unknown_thing",
        target=without_controls(sought),
        count=len(classes().names) // 10 * 10,
        things=words.together([names.many(name) for name in _EXAMPLES]),
    )


def _ended(text: str) -> str:
    return text if text[-1:] in ".!?…。" else f"{text}."


def has_digit(row: Row) -> bool:
    return any(map(str.isdigit, row.text))


def _are_parts(marks: Sequence[str]) -> bool:
    """Find whether marks are the names of parts on a circuit board: "R40", "U2" and "C"."""
    figures = sum(any(map(str.isdigit, one)) for one in marks)
    # Between some words, too: "C68", "R40", "Tested to comply"
    named = {one for one in marks if _DESIGNATOR.fullmatch(one)}
    if len(named) >= _MANY_PARTS and 4 * len(named) > len(marks):
        return True
    return len(marks) > 2 and 2 * figures > len(marks) and all(map(_PART.fullmatch, marks))


def _is_point(row: Row) -> bool:
    """Find whether a row is a point of a list."""
    return row.text[:1] in ("•", "·", "▪", "●")


def _heads(rows: Sequence[Row]) -> list[Row]:
    """Return the heading of each row's list: the last row above it that is no point of one."""
    found: list[Row] = []
    for row in rows:
        found.append(found[-1] if found and _is_point(row) else row)
    return found


def _is_words(row: Row) -> bool:
    """Tell a name from figures, and from a row of a bill."""
    many = sum(map(str.isalpha, row.text)) > max(2, sum(map(str.isdigit, row.text)))
    return many and priced(row) is None


# Letters from which a row tells something
_LEAST_TOLD = 4


def _is_short(row: Row) -> bool:
    """Find whether a row is a word of few letters."""
    return len(row.text) < _LEAST_TOLD and not has_digit(row)


def _is_head(row: Row) -> bool:
    """Find whether a row looks like the heads of a table's columns."""
    return (
        len(row.cells) > 2
        and not has_digit(row)
        and all(len(c.text.split()) < 3 and "." not in c.text.rstrip(".") for c in row.cells)
    )


class Speaker:
    def __init__(
        self, intent: Intent, facts: Facts, today: dt.date, clock: dt.time | None = None
    ) -> None:
        self.intent = intent
        self.facts = facts
        self.today = today
        self.clock = clock
        self.language = language(intent.language)
        self.thing_words = thing_words(intent.language)
        self.things: tuple[Thing, ...] = facts.things or ()
        self.codes: tuple[Code, ...] = tuple(
            replace(code, text=without_controls(code.text)) for code in (facts.codes or ())[:ITEMS]
        )
        self.rows: list[Row] = list((facts.rows or ())[:ROWS])
        if facts.scene.blurred and sum(len(row.text) for row in self.rows) < 3:
            # A blurred block of print is read as one large letter.
            self.rows = []
        marks = [word for row in self.rows for word in row.text.split()]
        if intent.want not in TEXT_ITSELF and _are_parts(marks):
            # The names of parts on a circuit board
            self.rows = []
        if intent.want not in _WHOLE_LINES:
            self.rows = by_day(sentences(self.rows))
        if self.rows and intent.want not in _WHOLE_LINES:
            # Beside "Scan me" a code's words are what is asked about.
            self.rows = [row_of(one.text, 0) for one in self.codes if is_text(one)] + self.rows
        if intent.want in _OF_PRICES:
            self.rows = with_columns(self.rows)
        # Codes hold addresses and numbers, too.
        self.all_rows = [*(row_of(code.text, 0) for code in self.codes), *self.rows]
        # The rows, as written, that the answer is taken from, and the words beside them
        self.sources: dict[str, str] = {}

    @property
    def words(self) -> tuple[str, ...]:
        return self.intent.words

    @property
    def weekday(self) -> int | None:
        """The day that the question names, also as tomorrow. Monday is 0; None where it names none."""
        if self.intent.weekday is not None or self.intent.in_days is None:
            return self.intent.weekday
        return (self.today.weekday() + self.intent.in_days) % 7

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.all_rows]

    def say(self, key: str, **values: object) -> str:
        return self.language.say(key, **values)

    @property
    def cannot(self) -> str:
        """The sentence that the engine cannot tell, and what it can."""
        return self.language.say_of_itself("cannot", self.facts.names_things)

    @property
    def cannot_here(self) -> str:
        """The sentence that no row answers; where print is but a part of the picture, that nothing here does."""
        return self.say("cannot_here") if len(self.rows) >= PRINTED else self.cannot

    def why_not(self, otherwise: str) -> Answer:
        """Return why there is no answer: what is not understood, or not known; else the sentence given.

        Beside print an unknown thing may be a word of it.
        """
        sought, printed = self.intent.sought, len(self.rows)
        if not self.intent.understood and (not printed or " " in sought):
            return self.say("not_understood", text=without_controls(sought)), self.seen()
        if self.intent.understood and sought and self.facts.names_things and printed < PRINTED:
            return unknown_thing(self.intent.language, sought), ""
        return otherwise, self.seen()

    def listing(self, rows: Sequence[Row] | None = None, most: int = ROWS) -> str:
        """Return rows as one line; a row is joined with the one that it continues."""
        rows = self.rows if rows is None else rows
        text = ""
        for row in rows[:most]:
            end = text.rstrip(POP)[-1:]
            goes_on = end and row.text[:1].islower() and (end.isalpha() or end in ",-")
            between = " " if goes_on else " · " if text else ""
            text += between + self.language.isolate(row.text)
        return text + (" …" if len(rows) > most else "")

    def lines(self, rows: Sequence[Row] | None = None) -> str:
        """Return rows as lines, with an empty one before a paragraph.

        Between things and their prices stands a tab, for two columns.
        """
        rows = self.rows if rows is None else rows
        shown = rows[:ROWS]
        lines: list[str] = []
        at = 0
        while at < len(shown):
            if shown[at].apart and lines:
                lines.append("")
            listed = takewhile(lambda one: one is not None, map(priced, shown[at:]))
            table = [(one.label, one.text) for one in listed if one is not None]
            if len(table) < 2:
                table = []
                lines.append(self.language.isolate(shown[at].text))
            else:
                lines.append(self.table(table))
            at += len(table) or 1
        return "\n".join(lines) + ("\n…" if len(rows) > ROWS else "")

    def table(self, rows: Iterable[tuple[str, str]]) -> str:
        """Return rows of two columns, with a tab between them."""
        return "\n".join("\t".join(map(self.language.isolate, row)) for row in rows)

    def reads(self, key: str, rows: Sequence[Row] | None = None) -> str:
        """Return a phrase that ends with what was read: behind it, or from the next line on."""
        text = self.lines(rows)
        return self.say(key, text=("\n" if "\n" in text else "") + text)

    def prices_of(self, key: str, listed: Sequence[Figure], **values: object) -> str:
        """Return a phrase that ends with prices and their things, as a table where each has one."""
        shown = listed[:ROWS]
        if len(shown) > 1 and all(letters(one.label) for one in shown):
            begin = self.say(key, items=_HERE, **values).partition(_HERE)[0].rstrip()
            return f"{begin}\n{self.table((one.label, one.text) for one in shown)}"
        return self.say(
            key, items=self.items((one.row.text.rstrip(".") for one in listed), SOME), **values
        )

    def largest(self) -> Row:
        """Return the row in the largest print; words are preferred to a figure of similar size."""
        first = max(self.rows, key=lambda row: row.height)
        words = [row for row in self.rows if _is_words(row)]
        second = max(words, key=lambda row: row.height, default=first)
        if has_digit(second) or ":" in second.text:
            # "Proteins 3.3 g" in the print of all rows
            same = (row for row in words if row.height >= _ONE_SIZE * second.height)
            second = next(
                (row for row in same if not has_digit(row) and ":" not in row.text), second
            )
        return second if second.height > 0.45 * first.height else first

    def is_large(self, row: Row) -> bool:
        """Find whether a row is printed larger than most: it tells what they are about."""
        return row.height > _LARGE * median(one.height for one in self.rows)

    def title(self) -> list[Row]:
        """Return the largest row with those above and below it of the same size; many are a text, not a title."""
        largest = self.largest()
        first = last = self.rows.index(largest)

        def goes_on(row: Row) -> bool:
            return _is_words(row) and _ONE_SIZE * largest.height <= row.height

        while first and goes_on(self.rows[first - 1]):
            first -= 1
        while last + 1 < len(self.rows) and goes_on(self.rows[last + 1]):
            last += 1
        found = self.rows[first : last + 1]
        return found if len(found) <= _MOST_TITLE and len(found) < len(self.rows) else [largest]

    def items(self, items: Iterable[str], most: int = ITEMS) -> str:
        found = list(items)
        return self.language.items(found[:most]) + (" …" if len(found) > most else "")

    def sentence(self, *parts: str) -> str:
        return self.language.sentence(*parts)

    def capital(self, text: str) -> str:
        return self.language.capital(text)

    def names(self, names: Iterable[str]) -> str:
        """Return names of colours in the language."""
        return self.language.listed([self.language.colour_name(name) for name in names])

    def things_named(self, things: Iterable[Thing]) -> str:
        """Return things as a list: "a cup" for one, "cups" for several of a name."""
        return self.language.together(self.thing_words.several(one.name for one in things))

    def came_and_went(self) -> str:
        """Return the sentences about things that were not there before, and those that are gone."""
        change = self.facts.change
        if change is None:
            return ""
        said = {"came": change.came, "went": change.went}
        named = {
            key: self.language.together(list(map(self.thing_words.one, names)))
            for key, names in said.items()
            if names
        }
        return self.sentence(*(self.say(key, things=things) for key, things in named.items()))

    def see_things(self, *, sure: bool = False, printed: bool = False) -> str:
        """Return the sentence about what can be named; if that is all, what only looks like something, unless `sure`.

        `printed`: without what any page of print looks like.
        """
        of_print = _OF_PRINT if printed else ()
        certain = [one for one in self.things if one.sure and one.name not in of_print]
        if certain:
            return self.say("see_things", things=self.things_named(certain))
        if self.things and not sure:
            return self.say("see_like", thing=self.things_named(self.things[:1]))
        return ""

    def below_face(self) -> str:
        """Return the sentence about the colours of what somebody wears; "" without a face that has room below it."""
        seen = [
            name for name, share in self.facts.worn if share >= _OF_CLOTHES * self.facts.worn[0][1]
        ]
        return self.say("below_face", colours=self.names(seen[:2])) if seen else ""

    def seen(self) -> str:
        """Return what was read, to go below an answer that has no result: all of a print of a few words, some of another."""
        most = ROWS if len(self.listing()) <= _MOST_PRINT else SOME
        text = self.listing(most=most)
        letters = sum(map(str.isalnum, text))
        return self.say("read_so_far", text=text) if letters >= _LEAST_PRINT else ""

    def instead(self, no: str) -> Answer:
        """Return what is seen and read in place of an answer, and that no more is known; without any, the sentence given."""
        things = self.below_face() or self.see_things(sure=True)
        text = self.seen()
        more = self.say("cannot_here" if text.endswith("…") else "no_more")
        if things and text:
            return self.sentence(things, text), more
        if things or text:
            return self.sentence(things or _ended(text), more), ""
        scene = self.facts.scene
        key = "is_dark" if scene.dark else "blurred" if scene.blurred else ""
        idle = self.intent.want is Want.BEYOND or not self.facts.names_things
        if key or idle or not self.facts.colours.get("middle"):
            return self.sentence(no, self.say(key) if key and not self.things else ""), ""
        return self.sentence(self.colour_of("middle"), more), ""

    def colour_of(self, place: str) -> str:
        """Return the sentence about the colours of a place, and of what is behind it."""
        where = self.capital(self.say(f"at_{place}"))
        return self.say("colour_picture", where=where, colours=self.seen_at(place))

    def seen_at(self, place: str) -> str:
        found, ground = colours.thing(
            self.facts.colours.get(place, ()), self.facts.ground, self.facts.rim
        )
        if not ground:
            return self.names(found)
        return self.say("thing_on", colours=self.names(found), ground=self.names([ground]))

    def row(self, row: Row, *said: str) -> str:
        """Return the row that an answer is from, unless the answer has nearly all of it."""
        self.sources[row.text] = " ".join(said)
        rest = row.text
        for part in said:
            rest = rest.replace(part, "")
        if sum(char.isalnum() for char in rest) < 2:
            return ""
        return self.say("row", text=row.text)

    def row_with(self, text: str) -> str:
        """Return the row that has a text, unless that is nearly all of it."""
        found = next((row for row in self.rows if text in row.text), None)
        return self.row(found, text) if found is not None else ""

    def unnamed(self) -> list[str]:
        """Return the words of the question that the rows of its answer do not name."""
        told = " ".join((*self.sources, *self.sources.values()))
        return [word for word in self.words if not names_it(told, word)]

    def closest_of(self, rows: Iterable[Row | Opening], why: str = "") -> Answer:
        """Return these rows as what comes closest to an answer; without any, why there is none."""
        self.sources = {row.text: "" for row in rows}
        return self.closest(why)

    def closest(self, why: str = "") -> Answer:
        """Return the rows of the answer, without saying that they answer the question, after a sentence that says why."""
        if len(self.sources) == 1:
            ((text, _),) = self.sources.items()
            row = next((one for one in self.rows if one.text == text), None)
            if row is not None:
                rows = self.sentence_of(row)
                if weekdays(plain(text)) and " " not in text:
                    # "Sunday", and below it "No service"
                    rows = [row, *self.rows[self.rows.index(row) + 1 :][:1]]
                self.sources = {one.text: "" for one in rows} | self.sources
        else:
            whole = (one for text in self.sources for one in (text, *self._end_of(text)))
            self.sources = {one: self.sources.get(one, "") for one in dict.fromkeys(whole)}
            # "No thanks" before "Meat and bones"
            lists = self._over_lists()
            over = {row.text: lists[id(row)].text for row in self.rows if id(row) in lists}
            told = ((over.get(text), text, said) for text, said in self._with_lists().items())
            self.sources = {
                one: said if one == text else ""
                for head, text, said in told
                for one in (head, text)
                if one is not None
            }
        heads = {row.text for row in self.rows if _is_head(row) or _is_short(row)}
        if heads.issuperset(self.sources):
            # "Mon Tue Wed" alone tells nothing, and nor does "Yes".
            return self.why_not(self.cannot_here)
        if (
            len(self.rows) <= _SIGN
            and len(self.sources) > 1
            and all(map(str.isalpha, self.sources))
        ):
            # "DOUBLE", "PARKING", and below it "PROHIBITED"
            return self.language.closest(" ".join(row.text for row in self.rows), why), ""
        shown: list[str] = []
        for before, one in pairwise(["", *self.sources]):
            if before and one in self._end_of(before):
                shown[-1] += f" {one}"
            else:
                shown.append(self._named_part(one))
        text = self.language.closest(self.items(shown), why)
        rest = [row for row in self.rows if row.text not in self.sources]
        short = rest and len(self.listing()) <= _MOST_PRINT
        return text, self._not_ticked() or (
            self.say("also", text=self.listing(rest)) if short else ""
        )

    def _end_of(self, text: str) -> tuple[str, ...]:
        """Return the row that goes on with a row's sentence; none where that may end."""
        at = next((at for at, one in enumerate(self.rows[:-1]) if one.text == text), None)
        if at is None or len(self.rows[at].cells) > 1 or len(self.rows[at + 1].cells) > 1:
            return ()
        words = text.split()
        open_end = text.endswith((",", "-")) or plain("".join(words[-1:])) in _ENDS_OPEN
        open_end |= len(words) > MOST_HEADING + 1 and text[-1:].isalpha()
        return (self.rows[at + 1].text,) if open_end and self._goes_on(at) else ()

    def _with_lists(self) -> dict[str, str]:
        """Return the answer's rows, each that ends with a colon with the row below it."""
        below = {one.text: row.text for one, row in pairwise(self.rows) if one.text.endswith(":")}
        found: dict[str, str] = {}
        for text, said in self.sources.items():
            found |= {text: said} | ({below[text]: ""} if text in below else {})
        return found

    def quote(self, row: Row) -> Answer:
        """Return the row as it is written, with those that it announces, as the answer's source."""
        rows = self.sentence_of(row)
        self.sources |= {one.text: "" for one in rows}
        text = self._named_part(row.text) if len(rows) == 1 else self.listing(rows)
        return self.say("reads", text=text), self._not_ticked()

    def _not_ticked(self) -> str:
        """Return the sentence that no box is ticked in front of the answer's rows, if all have one."""
        empty = self.sources and all(text.startswith(EMPTY) for text in self.sources)
        return self.say("not_ticked") if empty else ""

    def _named_part(self, text: str) -> str:
        """Return the part of a row that the question names, where it says enough alone: a row may go over columns."""
        at = next((at for at, row in enumerate(self.rows) if row.text == text), None)
        cells = self.rows[at].cells if at is not None else ()
        hits = [count_named(cell.text, self.words) for cell in cells]
        if at is None or len(cells) < 2 or hits.count(max(hits)) > 1:
            return text
        part = cells[hits.index(max(hits))]
        if len(cells) == 2 and not any(map(str.isdigit, part.text)) and has_digit(row_of(text)):
            # "Pay no later than", and beside it the day
            return text
        figure = any(map(str.isdigit, part.text)) and letters(part.text)
        long = len(part.text.split()) > MOST_HEADING
        above = overlapping(self.rows[at - 1], part) if at and part.text[:1].islower() else None
        heads = above is not None and 1 < len(above.text.split()) <= MOST_HEADING + 1
        if above is not None and heads and above.text[-1].isalnum() and not long:
            # "Not suitable for", and below it "vegetarians"
            return f"{above.text} {part.text}"
        others = (cell.text for cell in cells if cell is not part)
        beside = self.rows[max(0, at - 1) : at] + self.rows[at + 1 : at + 2]
        in_table = any(is_level(self.rows[at], row) for row in beside)
        if (
            (in_table and (figure or not long or (part in cells[1:] and len(cells) >= _TABLE)))
            or part.text[-1:] in "?:,"
            or any(
                2 * sum(map(str.isalpha, one)) < len(one) or weekdays(plain(one)) for one in others
            )
        ):
            # A day, a time, a price or the boxes to tick beside it belong to it.
            return text
        return part.text if figure or long else text

    def sentence_of(self, row: Row) -> list[Row]:
        """Return a row with those that it announces, or with those that it continues and that continue it."""
        if follow := self.announced(row):
            return [row, *follow]
        first = next((at for at, one in enumerate(self.rows) if one is row), None)
        if first is None:
            return [row]
        last = first
        while first and first > last - _MOST_LINES and self._goes_on(first - 1):
            first -= 1
        while last < first + _MOST_LINES and self._goes_on(last):
            last += 1
        return self.rows[first : last + 1]

    def _over_lists(self) -> dict[int, Row]:
        """Return the heading of each point of a list, by the point's `id`; none where all have the same: "Yes please"."""
        over = {
            id(row): head
            for head, row in zip(_heads(self.rows), self.rows, strict=True)
            if _is_point(row) and len(head.text.split()) <= MOST_HEADING and not has_digit(head)
        }
        return over if len({head.text for head in over.values()}) > 1 else {}

    def _goes_on(self, at: int) -> bool:
        """Find whether the row below goes on with the sentence of this one."""
        below = self.rows[at + 1] if at + 1 < len(self.rows) else None
        text = self.rows[at].text
        words = text.split()
        # "The key is with", and below it "Mrs Bright"
        last = "".join(words[-1:])
        # Also in letters of one size: "KEY IS UNDER THE"
        small = last.islower() or text.isupper()
        open_row = text.endswith(",") or (small and plain(last) in _ENDS_OPEN)
        begun = below is not None and (below.text[:1].islower() or open_row) and not below.apart
        # Rows of few words are a list, but for "Not suitable for".
        open_end = len(words) == MOST_HEADING and text[:1].isupper() and words[-1].islower()
        return begun and text[-1:] not in ".!?:" and (len(words) > MOST_HEADING or open_end)

    def announced(self, row: Row) -> list[Row]:
        """Return the rows that one announces by a colon at its end, as the heads of columns, or as a heading."""
        at = next((at for at, one in enumerate(self.rows) if one is row), len(self.rows))
        below = self.rows[at + 1 : at + 1 + SOME]
        if row.text.rstrip().endswith(":"):
            return list(takewhile(lambda one: not one.apart, below))
        if row.text.endswith("?"):
            # "Lost your ticket?", and below it what to do
            return [one for one in below[:1] if one.text.endswith(".") and not one.apart]
        if priced(row) is not None:
            # "Full English £9.50", and below it what that has
            return list(takewhile(lambda one: one.text[:1].islower() and not has_digit(one), below))
        if len(row.cells) > 1:
            # "Vehicle" beside its name, below "Driver" beside hers, is no head.
            heads = not has_digit(row) and not (at and is_level(self.rows[at - 1], row))
            table = takewhile(
                lambda one: has_digit(one) and len(one.cells) == len(row.cells), below
            )
            return list(table) if heads else []
        if len(row.text.split()) > MOST_HEADING or row.text.endswith((".", "!", "?")):
            return []
        if len(listed := self._indented(at)) > 1:
            return listed
        if _SIZE.search(row.text):
            # "Size L"
            return []
        if row.apart and not has_digit(row):
            # A heading over a list
            column = list(takewhile(lambda one: not one.apart, self.rows[at + 1 :]))
            short = all(len(one.text.split()) <= MOST_HEADING + 1 for one in column)
            if len(column) >= SOME and short and all(map(_is_words, column[:SOME])):
                return column[:PAGE]
        end = next((at for at, one in enumerate(below) if one.text.endswith(".")), None)
        text = below[: end + 1] if end is not None else []
        text += takewhile(lambda one: one.text.endswith("."), below[len(text) :]) if text else ()
        return [] if any(one.apart for one in text) else text

    def below_heading(self) -> list[Row]:
        """Return the heading that has the question's words alone, and the list below it: "Desserts"; [] without one."""
        for at, row in enumerate(self.rows):
            is_head = row.apart and _PLURAL.search(plain(row.text)) and " " not in row.text
            rest = [word for word in self.words if not names_it(row.text, word)]
            if not is_head or len(rest) == len(self.words):
                continue
            if any(names_it(one.text, word) for one in self.rows for word in rest):
                # "Is there a vegetarian dish?" asks for one of them.
                continue
            below = [*takewhile(lambda one: not one.apart, self.rows[at + 1 :])]
            if 1 < len(below) <= ITEMS and all(map(_is_words, below)):
                return [row, *below]
        return []

    def _indented(self, at: int) -> list[Row]:
        """Return the list below a heading: short rows that begin further right than it."""
        row, below = self.rows[at : at + 1], self.rows[at + 1 :]
        if not row or has_digit(row[0]) or not row[0].cells or not row[0].text[-1:].isalpha():
            return []
        left = row[0].cells[0].left + _INDENT * row[0].height
        listed = [*takewhile(lambda one: bool(one.cells) and one.cells[0].left >= left, below)]
        short = all(len(one.text.split()) <= MOST_HEADING + 2 for one in listed)
        return listed[:PAGE] if short else []

    def counted(self, row: Row) -> Answer:
        """Return the row as it is written, where it has a figure; else it comes closest, with the row below it."""
        if has_digit(row):
            return self.quote(row)
        at = self.rows.index(row)
        return self.closest_of(self.rows[at : at + 2])

    def beside(self, found: Beside) -> Answer:
        told = found.row.text
        above = next((one for one, row in pairwise(self.rows) if row is found.row), None)
        listed = above is not None and len(self._indented(self.rows.index(above))) > 1
        colon = above is not None and above.text.endswith(":") and " " in above.text
        if above is not None and found.value == told and (colon or listed):
            # "Please bring:" and "Desserts", and below it a list
            return self.quote(above)
        heading = found.label in told and found.value in told and self.announced(found.row)
        # "Penalty for no ticket: £60" of a penalty
        within = found.value[:1].islower() and f"{found.label} {found.value}" in told
        if found.prose or heading or within:
            return self.quote(found.row)
        if found.label.endswith("?") and plain(found.value) in _BRANCHES:
            # A box of a flow chart, and the branches that leave it
            at = next((at for at, row in enumerate(self.rows) if found.label in row.text), 0)
            return self.closest_of(self.rows[at : at + 3])
        if found.label.isdigit():
            # "My son is 3": the row of "3 - 6 months" is one of several.
            return self.closest_of([row for row in self.rows if found.label in row.text])
        value, rest = found.value, self.sentence_of(found.row)
        open_end = value[-1:].isalpha() or value.endswith(",")
        if len(rest) > 1 and rest[0] is found.row and told.endswith(value) and open_end:
            # "Streets: Elm Street and", and below it "Mill Lane."
            value = " ".join((value, *(row.text for row in rest[1:])))
        text = self.say("beside", label=found.label, value=value.rstrip("."))
        return text, self.row(found.row, found.value, found.label)

    def crossed(self, found: Beside) -> Answer:
        text = self.say("under", label=found.label, column=found.column, value=found.value)
        return text, self.row(found.row, found.value, found.label, found.column)

    def code_sentence(self) -> str:
        """Return all codes in one line."""
        found = network(self.codes)
        said = []
        for code in self.codes:
            if found is not None and code is found.code and found.password:
                said.append(
                    self.say(
                        "code_wifi", format=code.name, name=found.name, password=found.password
                    )
                )
            elif found is not None and code is found.code:
                said.append(self.say("open_network", name=found.name))
            else:
                said.append(self.say("code", format=code.name, text=code.text))
        return self.capital("; ".join(said))

    def no_text(self) -> Answer:
        """Return the likeliest reason why no text was read; before it, that only text would tell."""
        scene = self.facts.scene
        if scene.dark:
            reason = self.say("no_text_dark")
        elif scene.blurred:
            reason = self.say("no_text_blurred")
        else:
            reason = self.say("unread" if self.facts.unread else "no_text")
        if self.intent.want not in TEXT_ITSELF:
            reason = self.sentence(self.see_things(sure=True) or self.say("only_read"), reason)
        tells = self.facts.unread or self.intent.language in TELL_SCRIPTS
        return reason, self.say("scripts") if tells else ""


# The facts of a picture, from which answers are composed. Pure data.

# A colour's name and its share of the pixels, 0 to 1; largest first.
Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between a picture and the one before."""

    # Seconds between the two
    seconds: float
    # Share of the cells that differ, 0 to 1, and the third with most: "left", "middle", "right".
    share: float
    where: str
    # 1: clearly brighter, -1: clearly darker, 0: neither
    light: int
    new_rows: tuple[str, ...]
    gone_rows: tuple[str, ...]
    # Names of things
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        told = self.new_rows or self.gone_rows or self.came or self.went
        return self.share >= 0.02 or self.light != 0 or bool(told)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of one picture; None for a part that was not examined."""

    scene: Scene
    # It is about a part that somebody points at.
    pointed: bool = False
    rows: tuple[Row, ...] | None = None
    # True when there was print that could not be read
    unread: bool = False
    # True when the text reader did not load
    text_broken: bool = False
    codes: tuple[Code, ...] | None = None
    # Colours by place: "left", "right", "top", "bottom", "middle", "whole".
    colours: dict[str, Shares] = field(default_factory=dict)
    # Names of the background's colours
    ground: tuple[str, ...] = ()
    # Names of the colours at the picture's edges
    rim: frozenset[str] = frozenset()
    # The places of the largest spot of each colour that is asked about, largest first: "left" and "top"
    spots: tuple[tuple[str, tuple[str, ...]], ...] = ()
    faces: int | None = None
    # Those that can be named; None where nobody looked for them
    things: tuple[Thing, ...] | None = None
    # False where nobody can name any
    names_things: bool = True
    # The colours of the thing that is asked about, and of what somebody wears below the face
    thing_colours: Shares = ()
    worn: Shares = ()
    # None for a session's first picture.
    change: Change | None = None
