"""Facts about a picture, and sentences about them in the language of a question. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from server.core.frames import Scene
from server.core.messages import AnswerFact
from server.features.builtin import colours
from server.features.builtin.codes import DecodedCode, find_network
from server.features.builtin.detector import DetectedThing
from server.features.builtin.impressions import PictureChange
from server.features.builtin.intents import Intent
from server.features.builtin.language import NAME_SCRIPTS, POP, get_language, strip_controls
from server.features.builtin.lines import Row, split_sentences
from server.features.builtin.thing_words import get_thing_words
from server.features.builtin.wants import Want

# Maximum number of rows and codes in an answer
_ROWS, _CODES = 400, 5
# Maximum length of printed text beside an answer, or in place of an answer, in characters
_MOST_PRINT = 320
# Maximum letters of what is probably not text; and rows of text from which unsure objects are not mentioned
_FEW, _PRINTED = 2, 3
# Brightness from which a picture without edges shows glare
_GLARE = 0.85
# Minimum confidence in an unsure object without a box
_WITHOUT_PLACE = 0.7
# Objects that the detector mistakes pages and labels for
_OF_PRINT = frozenset({"book", "tv"})

Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """The facts about one picture; None for a part that was not examined."""

    scene: Scene
    # True: the question is about a part that the person points at.
    pointed: bool = False
    rows: tuple[Row, ...] | None = None
    # True: the text covers very little of the picture.
    small_print: bool = False
    # True: some printed text could not be read.
    unread: bool = False
    # True: the text reader did not load.
    ocr_failed: bool = False
    codes: tuple[DecodedCode, ...] | None = None
    # Colours by place, with their shares, 0 to 1, largest first: "left", "right", "top", "bottom", "middle", "whole"
    colours: dict[str, Shares] = field(default_factory=dict)
    # The colours of the object in the middle
    subject: Shares = ()
    # The places of the largest spot of each requested colour, largest first
    spots: tuple[tuple[str, tuple[str, ...]], ...] = ()
    faces: int | None = None
    # Named objects; None if the detector did not run
    things: tuple[DetectedThing, ...] | None = None
    # False if there is no detector
    names_things: bool = True
    # The colours of the requested object, and of clothes below a face
    thing_colours: Shares = ()
    worn: Shares = ()
    # The difference from the previous picture; None for a session's first one
    change: PictureChange | None = None


@dataclass(frozen=True, slots=True)
class ComposedAnswer:
    """An answer of two lines.

    `known`: it answers the question, so that a model could add little. `fact`: the figure that the question asked for.
    """

    text: str
    more: str = ""
    known: bool = True
    fact: AnswerFact | None = None


class AnswerWriter:
    """Sentences of an answer in the language of its question."""

    def __init__(self, intent: Intent, view: PictureFacts, today: dt.date) -> None:
        self.intent = intent
        self.view = view
        self.today = today
        self.language = get_language(intent.language)
        self.thing_words = get_thing_words(intent.language)
        self.things: tuple[DetectedThing, ...] = view.things or ()
        self.codes = tuple(
            replace(code, text=strip_controls(code.text)) for code in (view.codes or ())[:_CODES]
        )
        self.rows: list[Row] = list((view.rows or ())[:_ROWS])
        letters = "".join(row.text for row in self.rows)
        few = sum(map(str.isalnum, letters)) <= _FEW and not any(map(str.isdigit, letters))
        if few and (view.scene.blurred or intent.want is not Want.READ):
            # The reader mistakes a fold or blurred text for one large letter.
            self.rows = []

    def say(self, key: str, **values: object) -> str:
        return self.language.say(key, **values)

    def join_sentence(self, *parts: str) -> str:
        return self.language.join_sentence(*parts)

    def format_pair(self, name: str, value: str) -> str:
        """Return a sentence such as "In the middle: blue."."""
        return self.language.format_pair(self.language.capitalise(name), value)

    def join_rows(self, rows: Sequence[Row]) -> str:
        """Return rows as one line, cut after `_MOST_PRINT` characters."""
        text = ""
        for row in rows:
            if text and len(text) + len(row.text) > _MOST_PRINT:
                return f"{text} …"
            end = text.rstrip(POP)[-1:]
            goes_on = end and row.text[:1].islower() and (end.isalpha() or end in ",-")
            text += (" " if goes_on else " · " if text else "") + self.language.isolate(row.text)
        return text

    def say_other_text(self, used: Sequence[Row]) -> str:
        """Return the sentence about printed text that is not in the answer."""
        rest = [row for row in split_sentences(self.rows) if row not in used]
        return self.say("also", text=self.join_rows(rest)) if rest else ""

    def say_all_text(self) -> str:
        return self.say("reads", text=self.join_rows(self.rows)) if self.rows else ""

    def join_things(self, things: Iterable[DetectedThing]) -> str:
        """Join objects as a list: "a cup" for one, "cups" for several of a name."""
        return self.language.join_with_and(
            self.thing_words.format_names(one.name for one in things)
        )

    def say_things(self, *, unsure: bool = False) -> str:
        """Return the sentence about sure objects; if there are none, with `unsure`, about the likeliest one."""
        of_print = _OF_PRINT if self.rows else ()
        seen = [one for one in self.things if one.name not in of_print]
        if certain := [one for one in seen if one.sure]:
            return self.say("see_things", things=self.join_things(certain))
        likely = [one for one in seen if one.box or one.confidence >= _WITHOUT_PLACE]
        if likely and unsure and len(self.rows) < _PRINTED:
            return self.say("see_like", thing=self.join_things(likely[:1]))
        return ""

    def join_colours(self, names: Iterable[str]) -> str:
        """Join the names of colours in the language of the answer."""
        return self.language.join_words([self.language.get_colour_name(name) for name in names])

    def get_colours(self, place: str) -> tuple[str, ...]:
        """Return the colours at a place. For the middle, return those of the object there if one stands out."""
        return colours.select_main_colours(
            (place == "middle" and self.view.subject) or self.view.colours.get(place, ())
        )

    def say_colours(self, place: str) -> str:
        """Return the sentence about the colours of a place."""
        found = self.get_colours(place)
        return (
            self.format_pair(self.language.get_place_name(place), self.join_colours(found))
            if found
            else ""
        )

    def say_quality(self) -> str:
        """Return the sentence about darkness, glare or blur; "" for a good picture."""
        scene = self.view.scene
        if scene.dark:
            return self.say("light_dark")
        if scene.blurred and scene.brightness >= _GLARE:
            return self.say("light_bright")
        return self.say("blurred") if scene.blurred else ""

    def say_codes(self) -> str:
        """Return the sentence with all codes."""
        wifi = find_network(self.codes)
        said = [
            (
                self.say("code_wifi", format=one.name, name=wifi.name, password=wifi.password)
                if wifi.password
                else self.say("open_network", name=wifi.name)
            )
            if wifi is not None and one is wifi.code
            else self.say("code", format=one.name, text=one.text)
            for one in self.codes
        ]
        return self.language.capitalise("; ".join(said))

    def answer_no_text(self) -> ComposedAnswer:
        """Return the likeliest reason why no text was read, and the objects in the picture."""
        view, hindered = self.view, self.say_quality()
        if view.ocr_failed:
            text = self.say("broken")
        elif view.unread and not hindered:
            text = self.say("unread")
        elif view.scene.dark:
            text = self.join_sentence(hindered, self.say("closer"))
        else:
            text = self.join_sentence(self.say("no_text"), hindered or self.say("closer"))
        scripts = view.unread or self.intent.language in NAME_SCRIPTS
        more = self.say_things() or (self.say("scripts") if scripts else "")
        return ComposedAnswer(text, more, known=False)

    def say_thing_changes(self) -> str:
        """Return the sentences about objects that appeared and objects that disappeared."""
        change = self.view.change
        said = {"came": change.came, "went": change.went} if change else {}
        return self.join_sentence(
            *(
                self.say(
                    key,
                    things=self.language.join_with_and(
                        [*map(self.thing_words.get_singular, names)]
                    ),
                )
                for key, names in said.items()
                if names
            )
        )
