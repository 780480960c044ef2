"""Composes an answer from a question's subject and the picture's facts: one or two lines. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from server.engines.builtin import (
    code_answers,
    colours,
    look_answers,
    places,
    price_answers,
    text_answers,
    time_answers,
)
from server.engines.builtin.facts import Facts
from server.engines.builtin.intents import Intent
from server.engines.builtin.languages import COLOURS, PHRASES, UNSPACED
from server.engines.builtin.speaker import Answer, Speaker
from server.engines.builtin.wants import MEASURES, SOCIAL, Want
from server.vision.grounding import Box

# Things whose places are in the answer; further ones are only shown.
_SAID = 4

# Wants that need no text
_LOOKS: dict[Want, Callable[[Speaker], Answer]] = {
    Want.CHANGE: look_answers.change,
    Want.MOTION: look_answers.motion,
    Want.FACES: look_answers.faces,
    Want.COLOUR: look_answers.colour,
    Want.LIGHT: look_answers.light,
    Want.SHARP: look_answers.sharp,
    Want.CODE: code_answers.code,
    Want.SUMMARY: look_answers.summary,
    Want.OTHER: look_answers.cannot,
}
# Wants that text answers, or the text of codes
_READS: dict[Want, Callable[[Speaker], Answer]] = {
    Want.SAYS: text_answers.says,
    Want.TRANSLATE: text_answers.read_instead,
    Want.SUMMARISE: text_answers.read_instead,
    Want.PASSWORD: code_answers.password,
    Want.NETWORK: code_answers.network,
    Want.EMAIL: text_answers.contact,
    Want.PHONE: text_answers.contact,
    Want.URL: text_answers.contact,
    Want.READ: text_answers.read,
    Want.NUMBER: text_answers.number,
    Want.SAFE: code_answers.safe,
}
# Wants that only text answers
_ROWS: dict[Want, Callable[[Speaker], Answer]] = {
    Want.MONEY_BACK: price_answers.money_back,
    Want.TOTAL: price_answers.total,
    Want.PRICE: price_answers.price,
    Want.UNIT_PRICE: price_answers.unit_price,
    Want.HOURS: time_answers.opening,
    Want.DEPARTURE: time_answers.departure,
    Want.EXPIRY: time_answers.expiry,
    Want.TIME: time_answers.time,
    Want.DATE: time_answers.date,
    Want.NAME: text_answers.name,
    Want.LOOKUP: text_answers.lookup,
    **dict.fromkeys(MEASURES, text_answers.measure),
}


def compose(
    intent: Intent, facts: Facts, today: dt.date, *, running: bool = False, brief: bool = False
) -> str:
    """Return the answer in one line, and often a line with details below.

    `running`: the answer is one of a series of descriptions, and short. `brief`: without details.
    """
    speaker = Speaker(intent, facts, today)
    if running:
        first, second = look_answers.summary(speaker, running=True)
    else:
        first, second = _answer(speaker)
    return "\n".join(
        " ".join(line.split()) for line in (first, "" if brief and first else second) if line
    )


def social(intent: Intent) -> str | None:
    """Return the answer to small talk; None for a question about the picture."""
    if intent.want not in SOCIAL:
        return None
    return PHRASES[intent.language][intent.want.value]


def colour_name(name: str, language: str) -> str:
    return COLOURS[language][colours.NAMES.index(name)]


def said_of(boxes: Sequence[Box], language: str, width: int, height: int) -> str:
    """Return the sentences about the places of things in a picture of this size."""
    phrases = PHRASES[language]
    if not boxes:
        return phrases["not_found"]
    unspaced = language in UNSPACED
    sentences = []
    for box in boxes[:_SAID]:
        where = [phrases[f"at_{one}"] for one in places.directions(box, width, height)]
        what = box.label[:1].upper() + box.label[1:]
        where_said = ("，" if unspaced else ", ").join(where)
        sentences.append(phrases["found_at"].format(what=what, where=where_said))
    return ("" if unspaced else " ").join(dict.fromkeys(sentences))


def _answer(s: Speaker) -> Answer:
    want = s.intent.want
    if want is Want.FOREIGN:
        return s.say("foreign"), s.seen()
    if want in _LOOKS:
        return _LOOKS[want](s)
    if not s.all_rows:
        if want is Want.LOOKUP:
            return look_answers.cannot(s)
        if s.facts.text_broken:
            return s.say("broken"), ""
        if want is Want.SAFE:
            return code_answers.safe(s)
        return s.no_text()
    if want in _READS:
        return _READS[want](s)
    if not s.rows and want is Want.LOOKUP:
        return code_answers.code_sentence(s), s.say("cannot_here")
    if not s.rows:
        # Codes are all that there is.
        return (
            s.say("broken") if s.facts.text_broken else s.no_text()[0]
        ), code_answers.code_sentence(s)
    return _ROWS[want](s)
