"""Answers from text: a price, a date, a figure, with the row that has it. Pure."""

from __future__ import annotations

import re

from server.features.builtin import fields, measures, prices, tables
from server.features.builtin.code_answers import code_sentence
from server.features.builtin.price_answers import price
from server.features.builtin.speaker import SOME, Answer, Speaker
from server.features.builtin.tables import plain_words
from server.features.builtin.wants import Want
from server.models.routing import plain

_GENERAL = frozenset(
    plain_words(
        "number numbers nummer zahl zahlen numero nombre digits номер amount much name brand"
    )
)
# A question with one of these words is answered from a form's label first.
_LABELS = frozenset(
    {"name", "nom", "nombre", "titel", "title", "titre", "titulo", "brand", "marke"}
)


def read(s: Speaker) -> Answer:
    if not s.rows:
        return code_sentence(s), ""
    second = code_sentence(s) if s.codes else ""
    return s.reads("reads"), second or s.scripts(
        s.say("unread") if s.facts.unread and len(s.rows) < 2 else ""
    )


def read_instead(s: Speaker) -> Answer:
    """Answer with the text itself, when a translation or a summary was asked for."""
    return s.reads(s.intent.want.value, s.rows or s.all_rows), s.scripts()


def says(s: Speaker) -> Answer:
    row = fields.says(s.texts, s.intent.target)
    if row is not None:
        return s.say("yes_says", row=row), s.scripts()
    return s.say("no_says", target=s.intent.target), s.seen()


def measure(s: Speaker) -> Answer:
    """Answer with a figure of the unit asked for: in the named row, else in the largest print."""
    want = s.intent.want
    words = [word for word in s.words if word not in _GENERAL]
    if want is Want.AMOUNT and (dose := fields.dose(s.texts)) and _asks_dose(s):
        return s.say("reads", text=dose), s.scripts()
    if want is Want.AMOUNT and words:
        cross = tables.crossing(s.rows, words)
        if cross is not None:
            return s.crossed(cross)
    found = measures.measures(s.rows, want)
    named = [one for one in found if any(tables.names_it(one.row.text, word) for word in words)]
    if named or want is Want.AMOUNT:
        paid = prices.item(s.rows, words) if want is Want.AMOUNT else None
        if paid is not None:
            return s.say("beside", label=paid.label, value=paid.text), s.scripts()
        if named and want is not Want.AMOUNT:
            label = next(
                word.group()
                for word in re.finditer(r"[^\W\d_]+", named[0].row.text)
                if any(tables.names_it(word.group(), one) for one in words)
            )
            return s.say("beside", label=label, value=named[0].text), s.row(
                named[0].row, named[0].text, label
            )
        near = tables.beside(s.rows, words, digits=True) if words else None
        if near is not None:
            return s.beside(near)
    if want is Want.AMOUNT:
        if words:
            return s.say("none_measure"), s.seen()
        if prices.tags(s.rows):
            # "How much?"
            return price(s)
        if not found:
            return s.say("none_measure"), s.seen()
        if len(found) > 1:
            return s.say("values", items=s.items(one.text for one in found)), s.scripts()
    if found:
        first = (named or found)[0]
        return s.say("value", value=first.text), s.row(first.row, first.text)
    alone = measures.bare(s.rows)
    if alone is not None:
        return s.say("bare", value=alone.text), s.scripts()
    return s.say("none_measure"), s.seen()


def _asks_dose(s: Speaker) -> bool:
    return fields.DOSE_WORDS.search(plain(" ".join((s.intent.asked, *s.words)))) is not None


def lookup(s: Speaker) -> Answer:
    words = s.words
    if s.intent.yes_no:
        for row in s.rows:
            if all(tables.names_it(row.text, word) for word in words):
                return s.say("reads", text=row.text), s.scripts()
        return s.say("cannot_here"), s.seen()
    cross = tables.crossing(s.rows, words)
    if cross is not None:
        return s.crossed(cross)
    near = tables.beside(s.rows, words)
    if near is not None:
        return s.beside(near)
    return s.say("cannot_here"), s.seen()


def number(s: Speaker) -> Answer:
    words = [word for word in (*s.intent.asked.split(), *s.words) if word not in _GENERAL]
    near = tables.beside(s.rows, words, digits=True) if words else None
    if near is not None:
        return s.beside(near)
    found = fields.numbers(s.texts)
    if not found:
        return s.say("none_number"), s.seen()
    if len(found) == 1:
        return s.say("number", value=found[0]), s.scripts()
    return s.say("numbers", items=s.items(found)), s.scripts()


def name(s: Speaker) -> Answer:
    """Answer with the text beside the word, as on a form, else with the largest line."""
    asked = [word for word in s.intent.asked.split() if word in _LABELS]
    if asked:
        near = tables.beside(s.rows, asked)
        if near is not None:
            return s.beside(near)
    largest = s.largest()
    rest = [row for row in s.rows if row is not largest]
    second = s.say("also", text=s.listing(rest, SOME)) if rest else ""
    return s.say("name", value=largest.text), s.scripts(second)


def contact(s: Speaker) -> Answer:
    want = s.intent.want
    finder = {Want.EMAIL: fields.emails, Want.PHONE: fields.phones, Want.URL: fields.urls}[want]
    found = finder(s.texts)
    if found:
        return s.say(want.value, value=s.items(found)), s.scripts()
    return s.say(f"none_{want.value}"), s.seen()
