"""Answers about objects, people, colours, light, motion and change, and about the whole picture. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from server.features.builtin import colours, facts, rank
from server.features.builtin.detector import PERSON, select_things
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
FURNITURE = frozenset({"chair", "couch", "bed", "dining table", "desk", "bench"})
# Words for a background, whose colours are those of the whole picture
_AROUND = re.compile(
    r"\b(?:walls?|background|wand|waende|wande|hintergrund|murs?|fond|pared|paredes|fondo|pareti?|muro|sfondo|parede|fundo|muur|muren|achtergrond|tlo|sciana|duvar|arka plan)\b"
    r"|стен|фон|стін|тло|墙|背景|壁|벽|배경"
)


def answer_colour(s: AnswerWriter) -> ComposedAnswer:
    intent, view = s.intent, s.view
    if intent.wears and not intent.yes_no and (worn := describe_clothes(s)):
        return ComposedAnswer(worn)
    if own := _describe_own_colours(s):
        # Dim light falsifies colours.
        dim = _say_light(s) if view.scene.brightness < _DIM else ""
        cannot = s.say("cannot") if intent.part else ""
        return ComposedAnswer(s.join_sentence(cannot, own), dim, known=not intent.part)
    shares = view.colours.get("whole", ())
    seen = [name for name, share in shares if share >= colours.LEAST]
    if intent.place == "whole" or _AROUND.search(plain(intent.question)):
        # Also small colourful objects, such as four blocks on a grey table
        seen = [one for one, _ in shares if one in seen or one not in colours.NEUTRAL]
        return ComposedAnswer(s.say("see_things", things=s.join_colours(seen)))
    if len(intent.colours) == 1 and not intent.things:
        return _answer_colour_presence(s)
    missed = bool(intent.things) and view.things is not None
    missed = missed and not select_things(s.things, intent.things[:1])
    if not missed:
        return ComposedAnswer(s.say_colours(intent.place or "middle"))
    no, place = _say_missing(s, intent.things[0]), intent.place or "middle"
    # The object may be elsewhere.
    rest = [name for name, share in view.subject if share >= colours.LEAST]
    rest = [one for one in dict.fromkeys([*rest, *seen]) if one not in s.get_colours(place)]
    more = s.say("see_things", things=s.join_colours(rest)) if rest and not intent.place else ""
    return ComposedAnswer(no, s.join_sentence(s.say_colours(place), more))


def _describe_own_colours(s: AnswerWriter) -> str:
    """Return the sentence about the colours of the first requested object; "" if they are unknown."""
    # In "the knife beside the apple" it is the knife.
    asked, seen = (
        select_things(s.things, s.intent.things[:1]),
        colours.select_main_colours(s.view.thing_colours),
    )
    if not (asked and seen):
        return ""
    return s.format_pair(s.join_things(asked[:1]), s.join_colours(seen))


def _answer_colour_presence(s: AnswerWriter) -> ComposedAnswer:
    """Answer "Is it red?" from the colours of the middle, and "Is there anything red?" from the largest spot of that colour."""
    view, place = s.view, s.intent.place or "middle"
    found = s.get_colours(place)
    (name,) = s.intent.colours
    at = partial(s.format_pair, s.language.get_place_name(place))
    if name in found:
        return ComposedAnswer(s.join_sentence(s.say("yes"), at(s.join_colours(found))))
    if not s.intent.place and view.spots:
        where = s.language.join_words([s.language.get_place_name(one) for one in view.spots[0][1]])
        return ComposedAnswer(
            s.join_sentence(s.say("yes"), s.format_pair(where, s.join_colours([name])))
        )
    exists = s.language.get_common_pattern("exists").search(plain(s.intent.question)) is not None
    if found and (s.intent.place or not exists):
        return ComposedAnswer(s.join_sentence(s.say("no"), at(s.join_colours(found))))
    return ComposedAnswer(s.join_sentence(s.say("no"), s.say("not_now")))


def describe_clothes(s: AnswerWriter) -> str:
    """Return the sentence about the colours of clothes; "" if no face has room below it."""
    worn = s.view.worn
    seen = [name for name, share in worn if share >= _OF_CLOTHES * worn[0][1]]
    return s.say("below_face", colours=s.join_colours(seen[:2])) if seen else ""


def answer_light(s: AnswerWriter) -> ComposedAnswer:
    return ComposedAnswer(_say_light(s))


def _say_light(s: AnswerWriter) -> str:
    scene = s.view.scene
    if scene.dark:
        return s.say("light_dark")
    return s.say("light_dim" if scene.brightness < _DIM else "light_bright")


def answer_thing(s: AnswerWriter) -> ComposedAnswer:
    """Answer "Is there a cat?" and "How many cups are there?"."""
    names = s.intent.things
    if s.view.things is None:
        # No detector is available.
        return answer_faces(s) if PERSON in names else answer_unknown(s)
    found = select_things(s.things, names)
    if PERSON in names and len(found) < (s.view.faces or 0):
        # Some people were found only by their faces.
        return answer_faces(s)
    missed = [name for name in names if not select_things(s.things, [name])]
    if not found or (missed and len(names) > 1 and not s.intent.how_many and not s.intent.either):
        words = s.intent.words or s.intent.asked.split()
        if rows := rank.find_best_rows(
            s.rows, words, facts.find_numbers if s.intent.how_many else None
        ):
            # Printed text may name an object that was not detected.
            return ComposedAnswer(s.say("reads", text=s.join_rows(rows)), s.say_other_text(rows))
        no = s.join_sentence(_say_missing(s, missed[0]), s.say_quality())
        return ComposedAnswer(no, s.join_sentence(s.say_things(), s.say_all_text()))
    if s.intent.how_many:
        return ComposedAnswer(_say_count(s, found[0].name))
    # "Is that a woman?" also means a person, and "Is it a cat or a dog?" cannot be answered with yes.
    yes = "" if s.intent.either or found[0].name == PERSON else s.say("yes")
    return ComposedAnswer(s.join_sentence(yes, s.say("see_things", things=s.join_things(found))))


def _say_missing(s: AnswerWriter, name: str) -> str:
    return s.say("thing_missed", thing=s.thing_words.get_singular(name))


def _say_count(s: AnswerWriter, name: str, least: int = 0) -> str:
    count = max(least, len(select_things(s.things, [name])))
    things = s.thing_words.get_singular(name) if count == 1 else s.thing_words.get_plural(name)
    return s.say("thing_count", count=count, things=things)


def answer_faces(s: AnswerWriter) -> ComposedAnswer:
    """Answer "Can you see me?" and "How many faces?"; a person seen from behind has no face."""
    count, people = s.view.faces, select_things(s.things, [PERSON])
    if people and not count and PERSON in s.intent.things:
        seen = s.say("see_things", things=s.join_things(people))
        return ComposedAnswer(_say_count(s, PERSON) if s.intent.how_many else seen)
    if count is None:
        return ComposedAnswer(s.say("cannot"), known=False)
    if not count:
        return ComposedAnswer(s.join_sentence(s.say("faces_none"), s.say_quality()), s.say_things())
    seen = s.format_pair(s.say("faces"), str(count))
    if s.intent.how_many and PERSON in s.intent.things:
        # More people than faces: some may look away.
        return ComposedAnswer(_say_count(s, PERSON, count), seen)
    return ComposedAnswer(seen)


def answer_motion(s: AnswerWriter) -> ComposedAnswer:
    moved = s.view.scene.motion
    if moved is None:
        return ComposedAnswer(s.say("first_look"))
    return ComposedAnswer(s.say("motion_none" if moved < MOVES else "motion_some"))


def answer_change(s: AnswerWriter) -> ComposedAnswer:
    found = s.view.change
    if found is None:
        return ComposedAnswer(s.say("first_look"))
    seconds = max(1, round(found.seconds))
    if not found.anything:
        return ComposedAnswer(s.say("change_none", seconds=seconds))
    head = s.say(
        "change_share",
        seconds=seconds,
        percent=s.language.format_percent(max(0.01, found.share)),
        where=s.language.get_place_name(found.where),
    )
    rows = {"came": found.new_rows, "went": found.gone_rows}
    more = (
        s.say(key, things=s.language.join_items(list(texts[:_ROWS])))
        for key, texts in rows.items()
        if texts
    )
    lit = _say_light(s) if found.light else ""
    return ComposedAnswer(s.join_sentence(s.say_thing_changes(), head, lit), s.join_sentence(*more))


def answer_summary(s: AnswerWriter) -> ComposedAnswer:
    """Answer "What is this?" with all facts."""
    sure = [one for one in s.things if one.sure]
    if sure and not s.rows and {one.name for one in sure} == {*s.intent.things}:
        # "What bird is this?"
        return ComposedAnswer(
            s.language.capitalise(s.say("kind", things=s.join_things(sure))), known=False
        )
    found = answer_overview(s)
    return replace(found, known=found.known and not s.intent.things)


def answer_overview(s: AnswerWriter, *, running: bool = False) -> ComposedAnswer:
    """Answer with the objects and faces, the printed text, the codes, or else the colours of the middle."""
    if running and (news := s.say_thing_changes()):
        return ComposedAnswer(news, s.say_things())
    seen = s.say_things(unsure=True)
    if s.view.faces and not select_things(s.things, [PERSON]):
        seen = s.join_sentence(seen, answer_faces(s).text)
    # A single character is usually the edge of an object.
    printed = s.say_all_text() if sum(map(str.isalnum, s.join_rows(s.rows))) > 1 else ""
    found = [one for one in (seen, printed, s.say_codes()) if one]
    if found == [printed] and s.view.small_print:
        unknown = s.join_sentence(s.say("unknown_here"), _describe_hindrance(s))
        return ComposedAnswer(unknown, printed, known=False)
    if found:
        return ComposedAnswer(found[0], s.join_sentence(*found[1:]))
    if s.view.unread and not s.say_quality():
        return ComposedAnswer(s.say("unread"), s.say_colours("middle"), known=False)
    return ComposedAnswer(
        s.join_sentence(s.say("unknown_here"), _describe_hindrance(s)), known=False
    )


def _describe_hindrance(s: AnswerWriter) -> str:
    """Return the sentence about poor light or blur, else about the colours of the middle."""
    return s.say_quality() or s.say_colours("middle")


def answer_unknown(s: AnswerWriter) -> ComposedAnswer:
    """Answer a question that needs a language model with the visible facts."""
    if s.intent.wears and not s.intent.yes_no and (worn := describe_clothes(s)):
        return ComposedAnswer(worn, s.say_things(), known=False)
    seen, hindered = s.say_things(unsure=True), s.say_quality()
    if (own := _describe_own_colours(s)) or PERSON in s.intent.things:
        # "What does my dog look like?"
        seen = own or s.join_sentence(seen, describe_clothes(s))
    asked = set() if s.intent.either else {*s.intent.things} - FURNITURE
    if asked and s.view.things is not None and not hindered and not select_things(s.things, asked):
        return ComposedAnswer(
            _say_missing(s, s.intent.things[0]), seen or s.say_colours("middle"), known=False
        )
    return ComposedAnswer(
        s.join_sentence(s.say("cannot"), seen or _describe_hindrance(s)), known=False
    )
