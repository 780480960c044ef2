"""From what a question wants and what was seen to what is said. Pure."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.engines.builtin import colours, fields
from server.engines.builtin.intents import Intent, Want
from server.engines.builtin.memory import Change
from server.engines.builtin.phrases import COLOURS, PHRASES
from server.frames import Scene

# Rows, and found things of a kind, that are said at most.
_ROWS = 60
_ITEMS = 5
# Mean luma difference within a second: below the first it is a camera's noise, above the second most of the picture.
MOVES = 0.008
MOVES_MUCH = 0.05


@dataclass(frozen=True, slots=True)
class Code:
    text: str
    # As people call it: "QR Code", "EAN-13".
    format: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen. None where nobody looked."""

    scene: Scene
    rows: tuple[str, ...] | None = None
    # The text reader did not load.
    text_broken: bool = False
    codes: tuple[Code, ...] | None = None
    middle: tuple[tuple[str, float], ...] = ()
    whole: tuple[tuple[str, float], ...] = ()
    faces: int | None = None
    # None for a session's first picture.
    change: Change | None = None


# What has to be looked at beside colours, light and change, which cost next to nothing.
_TEXT_FREE = {Want.MOTION, Want.FACES, Want.COLOUR, Want.LIGHT, Want.SHARP, Want.CODE}


def needs_text(want: Want) -> bool:
    return want not in _TEXT_FREE


def needs_codes(want: Want) -> bool:
    return want in {
        Want.CODE,
        Want.READ,
        Want.SUMMARY,
        Want.OTHER,
        Want.LOOKUP,
        Want.NUMBER,
        Want.URL,
        Want.EMAIL,
        Want.PHONE,
    }


def needs_faces(want: Want) -> bool:
    return want in {Want.FACES, Want.SUMMARY, Want.OTHER, Want.LOOKUP}


def compose(intent: Intent, facts: Facts, today: dt.date, *, running: bool = False) -> str:
    """The answer. `running` is one of a row of descriptions: short, without explaining itself."""
    speaker = _Speaker(intent, facts, today)
    if running:
        return speaker.summary()
    return speaker.answer()


class _Speaker:
    def __init__(self, intent: Intent, facts: Facts, today: dt.date) -> None:
        self.intent = intent
        self.facts = facts
        self.today = today
        self.rows = list((facts.rows or ())[:_ROWS])
        # Codes hold addresses and numbers, too.
        self.texts = [*self.rows, *(code.text for code in facts.codes or ())]

    def say(self, key: str, **values: object) -> str:
        return PHRASES[self.intent.language][key].format(**values)

    def answer(self) -> str:
        want, facts = self.intent.want, self.facts
        match want:
            case Want.CHANGE:
                return self.change()
            case Want.MOTION:
                return self.motion()
            case Want.FACES:
                return self.faces(always=True)
            case Want.COLOUR:
                return self.colour()
            case Want.LIGHT:
                return self.light()
            case Want.SHARP:
                return self.say("blurred" if facts.scene.blurred else "sharp")
            case Want.CODE:
                return self.codes() or _join(self.say("no_code"), self.hints(blur=False))
            case Want.SUMMARY:
                return _join(self.summary(), self.say("connect") if not self.texts else "")
        if facts.text_broken and not self.texts:
            return self.say("broken")
        if want is Want.OTHER or (want is Want.LOOKUP and not self.texts):
            return _join(self.say("cannot"), self.say("connect"), self.summary())
        if not self.texts:
            return _join(self.say("no_text"), self.hints())
        match want:
            case Want.SAYS:
                return self.says()
            case Want.READ:
                return _join(self.say("reads", text=self.listing()), self.codes())
            case Want.LOOKUP:
                row = fields.lookup(self.rows, self.intent.words)
                if row is not None:
                    return self.say("reads", text=row)
                return _join(self.say("cannot_here"), self.say("connect"), self.summary())
            case Want.EXPIRY | Want.DATE:
                return self.dates()
            case Want.NUMBER:
                row = fields.lookup(self.rows, self.naming_words())
                if row is not None and any(char.isdigit() for char in row):
                    return self.say("reads", text=row)
                return self.found(fields.numbers(self.texts))
        finders = {
            Want.PRICE: fields.prices,
            Want.EMAIL: fields.emails,
            Want.PHONE: fields.phones,
            Want.URL: fields.urls,
            Want.WEIGHT: fields.weights,
            Want.PERCENT: fields.percentages,
            Want.AMOUNT: fields.amounts,
            Want.TIME: fields.times,
        }
        return self.found(finders[want](self.texts))

    def naming_words(self) -> list[str]:
        """The words of the question that say which number is meant."""
        general = {"number", "numbers", "nummer", "zahl", "zahlen", "numero", "nombre", "digits"}
        return [word for word in self.intent.words if word not in general]

    # Parts

    def found(self, items: Sequence[str]) -> str:
        label = self.say(self.intent.want.value)
        if items:
            return self.say("found", label=label, items="; ".join(items[:_ITEMS]))
        return _join(
            self.say("not_found", label=label),
            self.say("read_so_far", text=self.listing(3)),
            self.hints(),
        )

    def says(self) -> str:
        row = fields.says(self.texts, self.intent.target)
        if row is not None:
            return self.say("yes_says", row=row)
        return _join(
            self.say("no_says", target=self.intent.target),
            self.say("read_so_far", text=self.listing(3)),
            self.hints(),
        )

    def dates(self) -> str:
        if self.intent.want is Want.EXPIRY:
            named = fields.expiry(self.rows)
            if named is not None:
                return _join(self.found([named.text]), self.passed(named))
        everything = [date for row in self.rows for date in fields.dates(row)]
        if self.intent.want is Want.EXPIRY and everything:
            # No row calls one of them an expiry date: say that they are dates, and no more.
            label = self.say("date")
            items = "; ".join(date.text for date in everything[:_ITEMS])
            return self.say("found", label=label, items=items)
        return self.found(list(dict.fromkeys(date.text for date in everything)))

    def passed(self, date: fields.Date) -> str:
        """Whether the day has passed; nothing when that depends on which number is the month."""
        ends = _last_days(date)
        if not ends:
            return ""
        if all(end < self.today for end in ends):
            return self.say("is_past")
        return self.say("is_ahead") if all(end > self.today for end in ends) else ""

    def codes(self) -> str:
        return "\n".join(
            self.say("code", format=code.format, text=code.text)
            for code in (self.facts.codes or ())[:_ITEMS]
        )

    def colour(self) -> str:
        return _join(
            self.say("colour_middle", colours=self.names(self.facts.middle)),
            self.say("colour_all", colours=self.names(self.facts.whole)),
        )

    def names(self, shares: Iterable[tuple[str, float]]) -> str:
        local = dict(zip(colours.NAMES, COLOURS[self.intent.language].split(), strict=True))
        return ", ".join(f"{local[name]} {share:.0%}" for name, share in list(shares)[:3])

    def light(self) -> str:
        scene = self.facts.scene
        level = (
            "light_dark"
            if scene.dark
            else (
                "light_dim"
                if scene.brightness < 0.3
                else "light_medium" if scene.brightness < 0.5 else "light_bright"
            )
        )
        return self.say("light", light=self.say(level), percent=round(scene.brightness * 100))

    def faces(self, *, always: bool) -> str:
        count = self.facts.faces
        if count is None:
            return self.say("faces_missing") if always else ""
        if count == 0:
            return self.say("faces_none") if always else ""
        return self.say("faces_one") if count == 1 else self.say("faces_many", count=count)

    def motion(self) -> str:
        motion = self.facts.scene.motion
        if motion is None:
            return self.say("motion_unknown")
        if motion < MOVES:
            return self.say("motion_none")
        return self.say("motion_some" if motion < MOVES_MUCH else "motion_much")

    def change(self) -> str:
        change = self.facts.change
        if change is None:
            return self.say("change_first")
        seconds = max(1, round(change.seconds))
        if not change.anything:
            return self.say("change_none", seconds=seconds)
        head = (
            self.say(
                "change_share",
                seconds=seconds,
                percent=max(1, round(change.share * 100)),
                where=self.say(change.where),
            )
            if change.share >= 0.02
            else self.say("change_small", seconds=seconds)
        )
        light = {1: "lighter", -1: "darker"}.get(change.light)
        return _join(
            head,
            self.say(light) if light else "",
            self.say("new_text", text=_quoted(change.new_rows)) if change.new_rows else "",
            self.say("gone_text", text=_quoted(change.gone_rows)) if change.gone_rows else "",
        )

    def summary(self) -> str:
        """Text, codes, faces, colours, light, in one line each."""
        text = self.listing(8) if self.rows else self.say("no_text_short")
        lines = [
            self.say("text", text=text),
            self.codes(),
            self.faces(always=False),
            self.say("colour_middle", colours=self.names(self.facts.middle)),
            self.light(),
            self.hints(dark=False),
        ]
        return "\n".join(line for line in lines if line)

    def listing(self, most: int = _ROWS) -> str:
        rows = self.rows or self.texts
        if len(rows) <= 1 or most < _ROWS:
            return _quoted(rows[:most]) + (" …" if len(rows) > most else "")
        return "\n" + "\n".join(rows)

    def hints(self, *, dark: bool = True, blur: bool = True) -> str:
        """What may keep text from being read."""
        scene = self.facts.scene
        return _join(
            self.say("dark_hint") if dark and scene.dark else "",
            self.say("blurred") if blur and scene.blurred else "",
        )


def _quoted(rows: Sequence[str]) -> str:
    return " | ".join(rows)


def _join(*sentences: str) -> str:
    kept = [sentence for sentence in sentences if sentence]
    # What has several lines stands by itself.
    text = ""
    for sentence in kept:
        if text:
            text += "\n" if "\n" in text or "\n" in sentence else " "
        text += sentence
    return text


def _last_days(date: fields.Date) -> list[dt.date]:
    """The last day that a date may mean, in each order of day and month that it may be read in."""
    if date.year is None:
        return []
    orders = [(date.month, date.day)]
    if date.day is not None and date.day <= 12 and "/" in date.text and date.day != date.month:
        orders.append((date.day, date.month))
    found = []
    for month, day in orders:
        last = calendar.monthrange(date.year, month)[1]
        found.append(dt.date(date.year, month, min(day or last, last)))
    return found
