"""Answers about objects, people, colours, light, motion and change, and about the whole picture. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from server.features.builtin import colours, facts, rank
from server.features.builtin.detector import PERSON, matching_things
from server.features.builtin.speaker import AnswerWriter, ComposedAnswer
from server.models.routing import plain

# Mean difference of luma within a second from which something moves; below, it is the camera's noise
MOVES = 0.008
# Brightness below which the light is dim
_DIM = 0.3
# Maximum number of rows of changed text in an answer
_ROWS = 4
# Minimum share of the second colour of clothes, relative to the first colour's share
_OF_CLOTHES = 0.5
# Furniture that other objects stand on or beside
_AROUND_US = frozenset({"chair", "couch", "bed", "dining table", "desk", "bench"})
# Words for a background, whose colours are those of the whole picture
_AROUND = re.compile(
    r"\b(?:walls?|background|wand|waende|wande|hintergrund|murs?|fond|pared|paredes|fondo|pareti?|muro|sfondo|parede|fundo|muur|muren|achtergrond|tlo|sciana|duvar|arka plan)\b"
    r"|стен|фон|стін|тло|墙|背景|壁|벽|배경"
)


def colour(s: AnswerWriter) -> ComposedAnswer:
    intent, view = s.intent, s.view
    if intent.wears and not intent.yes_no and (worn := below_face(s)):
        return ComposedAnswer(worn)
    if own := _own_colours(s):
        # Dim light falsifies colours.
        return ComposedAnswer(
            own, s.say("light", light=_light(s)) if view.scene.brightness < _DIM else ""
        )
    shares = view.colours.get("whole", ())
    seen = [name for name, share in shares if share >= colours.LEAST]
    if intent.place == "whole" or _AROUND.search(plain(intent.question)):
        # Also small colourful objects, such as four blocks on a grey table
        seen = [one for one, _ in shares if one in seen or one not in colours.NEUTRAL]
        return ComposedAnswer(s.say("see_things", things=s.names(seen)))
    if len(intent.colours) == 1 and not intent.things:
        return _colour_presence(s)
    missed = bool(intent.things) and view.things is not None
    missed = missed and not matching_things(s.things, intent.things[:1])
    no = _missing_sentence(s, intent.things[0]) if missed else ""
    if not missed or intent.place or view.pointed or view.subject:
        return ComposedAnswer(s.colour_of(intent.place or "middle"), no)
    # The object may be outside the middle.
    return ComposedAnswer(no, s.say("see_things", things=s.names(seen)))


def _own_colours(s: AnswerWriter) -> str:
    """Return the sentence about the colours of the first requested object; "" if they are unknown."""
    # In "the knife beside the apple" it is the knife.
    asked, seen = (
        matching_things(s.things, s.intent.things[:1]),
        colours.main_colours(s.view.thing_colours),
    )
    if not (asked and seen):
        return ""
    return s.pair(s.join_things(asked[:1]), s.names(seen))


def _colour_presence(s: AnswerWriter) -> ComposedAnswer:
    """Answer "Is it red?" and "Is there anything red?" by the middle, and by the largest spot."""
    view, place = s.view, s.intent.place or "middle"
    found = s.colours_at(place)
    (name,) = s.intent.colours
    at = partial(s.pair, s.language.place_name(place))
    if name in found:
        return ComposedAnswer(s.sentence(s.say("yes"), at(s.names(found))))
    if not s.intent.place and view.spots:
        where = s.language.join_words([s.language.place_name(one) for one in view.spots[0][1]])
        return ComposedAnswer(s.sentence(s.say("yes"), s.pair(where, s.names([name]))))
    exists = s.language.common("exists").search(plain(s.intent.question)) is not None
    if found and (s.intent.place or not exists):
        return ComposedAnswer(s.sentence(s.say("no"), at(s.names(found))))
    return ComposedAnswer(s.sentence(s.say("no"), s.say("not_now")))


def below_face(s: AnswerWriter) -> str:
    """Return the sentence about the colours of clothes; "" if no face has room below it."""
    worn = s.view.worn
    seen = [name for name, share in worn if share >= _OF_CLOTHES * worn[0][1]]
    return s.say("below_face", colours=s.names(seen[:2])) if seen else ""


def light(s: AnswerWriter) -> ComposedAnswer:
    return ComposedAnswer(s.say("light", light=_light(s)))


def _light(s: AnswerWriter) -> str:
    scene = s.view.scene
    if scene.dark:
        return s.say("light_dark")
    return s.say("light_dim" if scene.brightness < _DIM else "light_bright")


def thing(s: AnswerWriter) -> ComposedAnswer:
    """Answer "Is there a cat?" and "How many cups are there?"."""
    names = s.intent.things
    if s.view.things is None:
        # No detector is available.
        return faces(s) if PERSON in names else cannot_answer(s)
    found = matching_things(s.things, names)
    if PERSON in names and len(found) < (s.view.faces or 0):
        # Some people were found only by their faces.
        return faces(s)
    missed = [name for name in names if not matching_things(s.things, [name])]
    if not found or (missed and len(names) > 1 and not s.intent.how_many and not s.intent.either):
        words = s.intent.words or s.intent.asked.split()
        if rows := rank.best_rows(s.rows, words, facts.numbers if s.intent.how_many else None):
            # Printed text may name an object that was not detected.
            return ComposedAnswer(s.say("reads", text=s.listing(rows)), s.other_print(rows))
        no = s.sentence(_missing_sentence(s, missed[0]), s.quality())
        return ComposedAnswer(no, s.sentence(s.see_things(), s.all_print()))
    if s.intent.how_many:
        return ComposedAnswer(_count(s, found[0].name))
    # "Is that a woman?" also means a person, and "Is it a cat or a dog?" cannot be answered with yes.
    yes = "" if s.intent.either or found[0].name == PERSON else s.say("yes")
    return ComposedAnswer(s.sentence(yes, s.say("see_things", things=s.join_things(found))))


def _missing_sentence(s: AnswerWriter, name: str) -> str:
    return s.say("thing_missed", thing=s.thing_words.one(name))


def _count(s: AnswerWriter, name: str, least: int = 0) -> str:
    count = max(least, len(matching_things(s.things, [name])))
    things = s.thing_words.one(name) if count == 1 else s.thing_words.many(name)
    return s.say("thing_count", count=count, things=things)


def faces(s: AnswerWriter) -> ComposedAnswer:
    """Answer "Can you see me?" and "How many faces?"; a person seen from behind has no face."""
    count, people = s.view.faces, matching_things(s.things, [PERSON])
    if people and not count and PERSON in s.intent.things:
        seen = s.say("see_things", things=s.join_things(people))
        return ComposedAnswer(_count(s, PERSON) if s.intent.how_many else seen)
    if count is None:
        return ComposedAnswer(s.say("cannot"), known=False)
    if not count:
        return ComposedAnswer(s.sentence(s.say("faces_none"), s.quality()), s.see_things())
    seen = s.pair(s.say("faces"), str(count))
    if s.intent.how_many and PERSON in s.intent.things:
        # More people than faces: some may look away.
        return ComposedAnswer(_count(s, PERSON, count), seen)
    return ComposedAnswer(seen)


def motion(s: AnswerWriter) -> ComposedAnswer:
    moved = s.view.scene.motion
    if moved is None:
        return ComposedAnswer(s.say("first_look"))
    return ComposedAnswer(s.say("motion_none" if moved < MOVES else "motion_some"))


def change(s: AnswerWriter) -> ComposedAnswer:
    found = s.view.change
    if found is None:
        return ComposedAnswer(s.say("first_look"))
    seconds = max(1, round(found.seconds))
    if not found.anything:
        return ComposedAnswer(s.say("change_none", seconds=seconds))
    head = s.say(
        "change_share",
        seconds=seconds,
        percent=s.language.percent(max(0.01, found.share)),
        where=s.language.place_name(found.where),
    )
    rows = {"came": found.new_rows, "went": found.gone_rows}
    more = (
        s.say(key, things=s.language.items(list(texts[:_ROWS])))
        for key, texts in rows.items()
        if texts
    )
    lit = s.say("light", light=_light(s)) if found.light else ""
    return ComposedAnswer(s.sentence(s.news_of_things(), head, lit), s.sentence(*more))


def summary(s: AnswerWriter) -> ComposedAnswer:
    """Answer "What is this?" with all facts."""
    sure = [one for one in s.things if one.sure]
    if sure and not s.rows and {one.name for one in sure} == {*s.intent.things}:
        # "What bird is this?"
        return ComposedAnswer(
            s.language.capital(s.say("kind", things=s.join_things(sure))), known=False
        )
    found = overview(s)
    return replace(found, known=found.known and not s.intent.things)


def overview(s: AnswerWriter, *, running: bool = False) -> ComposedAnswer:
    """Answer with the objects and faces, the printed text, the codes, or else the colours of the middle."""
    if running and (news := s.news_of_things()):
        return ComposedAnswer(news, s.see_things())
    seen = s.see_things(unsure=True)
    if s.view.faces and not matching_things(s.things, [PERSON]):
        seen = s.sentence(seen, faces(s).text)
    # A single character is usually the edge of an object.
    printed = s.all_print() if sum(map(str.isalnum, s.listing(s.rows))) > 1 else ""
    if found := [one for one in (seen, printed, s.code_sentence()) if one]:
        return ComposedAnswer(found[0], s.sentence(*found[1:]))
    if s.view.unread and not s.quality():
        return ComposedAnswer(s.say("unread"), s.colour_of("middle"), known=False)
    return ComposedAnswer(s.sentence(s.say("unknown_here"), _hindrance_or_colours(s)), known=False)


def _hindrance_or_colours(s: AnswerWriter) -> str:
    """Return the sentence about poor light or blur, else about the colours of the middle."""
    return s.quality() or s.colour_of("middle")


def cannot_answer(s: AnswerWriter) -> ComposedAnswer:
    """Answer a question that needs a language model with the visible facts."""
    if s.intent.wears and not s.intent.yes_no and (worn := below_face(s)):
        return ComposedAnswer(worn, s.see_things(), known=False)
    seen, hindered = s.see_things(unsure=True), s.quality()
    if (own := _own_colours(s)) or PERSON in s.intent.things:
        # "What does my dog look like?"
        seen = own or s.sentence(seen, below_face(s))
    asked = set() if s.intent.either else {*s.intent.things} - _AROUND_US
    if (
        asked
        and s.view.things is not None
        and not hindered
        and not matching_things(s.things, asked)
    ):
        return ComposedAnswer(
            _missing_sentence(s, s.intent.things[0]), seen or s.colour_of("middle"), known=False
        )
    return ComposedAnswer(
        s.sentence(s.say("cannot"), seen or _hindrance_or_colours(s)), known=False
    )
