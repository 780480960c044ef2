"""Answers about things, people, colours, light, motion and change, and about the whole picture. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from server.features.builtin import colours, facts, rank
from server.features.builtin.detector import PERSON, asked_for
from server.features.builtin.speaker import Answer, Speaker
from server.models.routing import plain

# Mean difference of luma within a second: below it is noise of the camera.
MOVES = 0.008
# Brightness below which it is dim
_DIM = 0.3
# Rows of changed print that are told
_ROWS = 4
# Share of the first colour of clothes that the second one has
_OF_CLOTHES = 0.5
# Things that others stand on or beside
_AROUND_US = frozenset({"chair", "couch", "bed", "dining table", "desk", "bench"})
# What is around things, whose colours are among those of the whole picture
_AROUND = re.compile(
    r"\b(?:walls?|background|wand|waende|wande|hintergrund|murs?|fond|pared|paredes|fondo|pareti?|muro|sfondo|parede|fundo|muur|muren|achtergrond|tlo|sciana|duvar|arka plan)\b"
    r"|стен|фон|стін|тло|墙|背景|壁|벽|배경"
)


def colour(s: Speaker) -> Answer:
    intent, view = s.intent, s.view
    if intent.wears and not intent.yes_no and (worn := below_face(s)):
        return Answer(worn)
    if own := _own_colours(s):
        # In little light colours look like others.
        return Answer(own, s.say("light", light=_light(s)) if view.scene.brightness < _DIM else "")
    shares = view.colours.get("whole", ())
    seen = [name for name, share in shares if share >= colours.LEAST]
    if intent.place == "whole" or _AROUND.search(plain(intent.question)):
        # Four blocks on a grey table: their colours, too
        seen = [one for one, _ in shares if one in seen or one not in colours.NEUTRAL]
        return Answer(s.say("see_things", things=s.names(seen)))
    if len(intent.colours) == 1 and not intent.things:
        return _is_there(s)
    missed = bool(intent.things) and view.things is not None
    missed = missed and not asked_for(s.things, intent.things[:1])
    no = _missed(s, intent.things[0]) if missed else ""
    if not missed or intent.place or view.pointed or view.subject:
        return Answer(s.colour_of(intent.place or "middle"), no)
    # It may stand beside the middle.
    return Answer(no, s.say("see_things", things=s.names(seen)))


def _own_colours(s: Speaker) -> str:
    """Return the sentence about the colours of the first thing that is asked about; "" without them."""
    # Of "the knife beside the apple" it is the knife.
    asked, seen = asked_for(s.things, s.intent.things[:1]), colours.told(s.view.thing_colours)
    if not (asked and seen):
        return ""
    return s.pair(s.things_named(asked[:1]), s.names(seen))


def _is_there(s: Speaker) -> Answer:
    """Answer "Is it red?" and "Is there anything red?" by the middle, and by the largest spot."""
    view, place = s.view, s.intent.place or "middle"
    found = s.colours_at(place)
    (name,) = s.intent.colours
    at = partial(s.pair, s.language.place_name(place))
    if name in found:
        return Answer(s.sentence(s.say("yes"), at(s.names(found))))
    if not s.intent.place and view.spots:
        where = s.language.listed([s.language.place_name(one) for one in view.spots[0][1]])
        return Answer(s.sentence(s.say("yes"), s.pair(where, s.names([name]))))
    exists = s.language.common("exists").search(plain(s.intent.question)) is not None
    if found and (s.intent.place or not exists):
        return Answer(s.sentence(s.say("no"), at(s.names(found))))
    return Answer(s.sentence(s.say("no"), s.say("not_now")))


def below_face(s: Speaker) -> str:
    """Return the sentence about the colours of what somebody wears; "" without a face that has room below it."""
    worn = s.view.worn
    seen = [name for name, share in worn if share >= _OF_CLOTHES * worn[0][1]]
    return s.say("below_face", colours=s.names(seen[:2])) if seen else ""


def light(s: Speaker) -> Answer:
    return Answer(s.say("light", light=_light(s)))


def _light(s: Speaker) -> str:
    scene = s.view.scene
    if scene.dark:
        return s.say("light_dark")
    return s.say("light_dim" if scene.brightness < _DIM else "light_bright")


def thing(s: Speaker) -> Answer:
    """Answer "Is there a cat?" and "How many cups are there?"."""
    names = s.intent.things
    if s.view.things is None:
        # Nobody can look for things here.
        return faces(s) if PERSON in names else cannot(s)
    found = asked_for(s.things, names)
    if PERSON in names and len(found) < (s.view.faces or 0):
        # People whose faces alone are seen
        return faces(s)
    missed = [name for name in names if not asked_for(s.things, [name])]
    if not found or (missed and len(names) > 1 and not s.intent.how_many and not s.intent.either):
        words = s.intent.words or s.intent.asked.split()
        if rows := rank.best(s.rows, words, facts.numbers if s.intent.how_many else None):
            # Print may name what is not seen.
            return Answer(s.say("reads", text=s.listing(rows)), s.also(rows))
        no = s.sentence(_missed(s, missed[0]), s.quality())
        return Answer(no, s.sentence(s.see_things(), s.all_print()))
    if s.intent.how_many:
        return Answer(_count(s, found[0].name))
    # "Is that a woman?" is asked of a person, too, and "Is it a cat or a dog?" has no yes.
    yes = "" if s.intent.either or found[0].name == PERSON else s.say("yes")
    return Answer(s.sentence(yes, s.say("see_things", things=s.things_named(found))))


def _missed(s: Speaker, name: str) -> str:
    return s.say("thing_missed", thing=s.thing_words.one(name))


def _count(s: Speaker, name: str, least: int = 0) -> str:
    count = max(least, len(asked_for(s.things, [name])))
    things = s.thing_words.one(name) if count == 1 else s.thing_words.many(name)
    return s.say("thing_count", count=count, things=things)


def faces(s: Speaker) -> Answer:
    """Answer "Can you see me?" and "How many faces?"; a person from behind has none."""
    count, people = s.view.faces, asked_for(s.things, [PERSON])
    if people and not count and PERSON in s.intent.things:
        seen = s.say("see_things", things=s.things_named(people))
        return Answer(_count(s, PERSON) if s.intent.how_many else seen)
    if count is None:
        return Answer(s.say("cannot"), known=False)
    if not count:
        return Answer(s.sentence(s.say("faces_none"), s.quality()), s.see_things())
    seen = s.pair(s.say("faces"), str(count))
    if s.intent.how_many and PERSON in s.intent.things:
        # Others may look away.
        return Answer(_count(s, PERSON, count), seen)
    return Answer(seen)


def motion(s: Speaker) -> Answer:
    moved = s.view.scene.motion
    if moved is None:
        return Answer(s.say("first_look"))
    return Answer(s.say("motion_none" if moved < MOVES else "motion_some"))


def change(s: Speaker) -> Answer:
    found = s.view.change
    if found is None:
        return Answer(s.say("first_look"))
    seconds = max(1, round(found.seconds))
    if not found.anything:
        return Answer(s.say("change_none", seconds=seconds))
    head = s.say(
        "change_share",
        seconds=seconds,
        percent=s.language.percent(max(0.01, found.share)),
        where=s.language.place_name(found.where),
    )
    rows = {"came": found.new_rows, "went": found.gone_rows}
    more = (
        s.say(key, things=s.language.items(list(told[:_ROWS])))
        for key, told in rows.items()
        if told
    )
    lit = s.say("light", light=_light(s)) if found.light else ""
    return Answer(s.sentence(s.came_and_went(), head, lit), s.sentence(*more))


def summary(s: Speaker) -> Answer:
    """Answer "What is this?" with all that there is."""
    sure = [one for one in s.things if one.sure]
    if sure and not s.rows and {one.name for one in sure} == {*s.intent.things}:
        # "What bird is this?"
        return Answer(s.language.capital(s.say("kind", things=s.things_named(sure))), known=False)
    found = overview(s)
    return replace(found, known=found.known and not s.intent.things)


def overview(s: Speaker, *, running: bool = False) -> Answer:
    """Answer with the things and faces, the print, the codes, or else the colours of the middle."""
    if running and (news := s.came_and_went()):
        return Answer(news, s.see_things())
    seen = s.see_things(unsure=True)
    if s.view.faces and not asked_for(s.things, [PERSON]):
        seen = s.sentence(seen, faces(s).text)
    # A single sign is mostly the edge of something.
    told = s.all_print() if sum(map(str.isalnum, s.listing(s.rows))) > 1 else ""
    if found := [one for one in (seen, told, s.code_sentence()) if one]:
        return Answer(found[0], s.sentence(*found[1:]))
    if s.view.unread and not s.quality():
        return Answer(s.say("unread"), s.colour_of("middle"), known=False)
    return Answer(s.sentence(s.say("unknown_here"), _instead(s)), known=False)


def _instead(s: Speaker) -> str:
    """Return what hinders a look, else the colours of the middle."""
    return s.quality() or s.colour_of("middle")


def cannot(s: Speaker) -> Answer:
    """Answer what would need a model that understands more: with what is seen."""
    if s.intent.wears and not s.intent.yes_no and (worn := below_face(s)):
        return Answer(worn, s.see_things(), known=False)
    seen, hindered = s.see_things(unsure=True), s.quality()
    if (own := _own_colours(s)) or PERSON in s.intent.things:
        # "What does my dog look like?"
        seen = own or s.sentence(seen, below_face(s))
    asked = set() if s.intent.either else {*s.intent.things} - _AROUND_US
    if asked and s.view.things is not None and not hindered and not asked_for(s.things, asked):
        return Answer(_missed(s, s.intent.things[0]), seen or s.colour_of("middle"), known=False)
    return Answer(s.sentence(s.say("cannot"), seen or _instead(s)), known=False)
