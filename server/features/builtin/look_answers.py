"""Answers about colours, light, faces, motion and change, and about the whole picture. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from server.features.builtin import colours, prices
from server.features.builtin.detector import ANIMALS, FOODS, PERSON, asked_for
from server.features.builtin.lines import Row
from server.features.builtin.speaker import (
    PAGE,
    PRINTED,
    SOME,
    Answer,
    Speaker,
    has_digit,
)
from server.features.builtin.tables import names_any
from server.features.builtin.telling import addresses, counts, has_count, hits_of, naming
from server.features.builtin.text_answers import lookup
from server.features.builtin.wordings import ANIMAL, ANYTHING, FOOD, HOLDS, NEAR, PRINT_FOR
from server.models.routing import plain

# Mean difference of luma within a second: below the first it is noise of the camera, above the
# second most of the picture moves.
MOVES = 0.008
MOVES_MUCH = 0.05
# Things that others stand on or beside
_AROUND_US = frozenset({"chair", "couch", "bed", "dining table", "desk", "bench"})
# Brightness below which it is dim
_DIM = 0.3


def colour(s: Speaker) -> Answer:
    intent = s.intent
    if worn := s.below_face():
        # "What colour is her sweater?"
        return worn, ""
    if not intent.things or s.facts.things is None:
        return _of_place(s)
    # Of "the knife beside the apple" the first is asked about.
    if asked := asked_for(s.things, intent.things[:1]):
        seen = _first_colours(s.facts.thing_colours)
        if not seen:
            # It is there, and nobody knows where, or what shows through it.
            return _of_picture(s), ""
        # In little light colours look like others.
        dim = s.say("light", light=_light(s)) if s.facts.scene.brightness < _DIM else ""
        return s.say("thing_colour", thing=s.things_named(asked[:1]), colours=s.names(seen)), dim
    return _of_picture(s), s.say("thing_missed", thing=s.thing_words.one(intent.things[0]))


# Share up to which black or grey may be of windows, wheels and shadows, and from which another colour is a thing's own
_SHADE, _OWN = 0.6, 0.2


def _first_colours(shares: Sequence[tuple[str, float]]) -> list[str]:
    """Return up to two colours of a thing: before the black of a bus's windows its blue."""
    names = [name for name, _ in shares[:2]]
    shade = bool(shares) and shares[0][0] in ("black", "grey") and shares[0][1] < _SHADE
    vivid = len(shares) > 1 and shares[1][0] not in colours.DULL
    return names[::-1] if shade and vivid and shares[1][1] >= _OWN else names


# Most colours that are told of a whole picture
_MOST_COLOURS = 6


# Share of the picture from which a colour of the middle and the edges is that of a wall
_WALL = 0.85


def _of_place(s: Speaker) -> Answer:
    """Tell the colours of a place, or whether one of them is there."""
    facts, intent = s.facts, s.intent
    shares = facts.colours.get("whole", ())
    named = [f"{s.names([name])} {s.language.percent(share)}" for name, share in shares[:3]]
    whole = s.say("colour_shares", colours=s.language.listed(named)) if named else ""
    if intent.place == "whole":
        return _of_whole(s, whole)
    place = intent.place or "middle"
    if intent.colours and not intent.place and _asks_anywhere(s):
        return _anywhere(s, whole)
    if intent.sought and intent.colours and not s.facts.spots:
        # "Is one of them brown?"
        return _anywhere(s, whole)
    if intent.sought and _AROUND.search(plain(intent.sought)):
        return _of_whole(s, whole)
    if intent.sought or (intent.place and not intent.colours and len(s.words) > 1):
        # "The fruit in the middle" may lie on what is there.
        return _of_picture(s), whole
    # Of a part that somebody points at, "the whole picture" would be that part.
    return _of(s, place, "" if facts.pointed else whole)


def _of_picture(s: Speaker) -> str:
    """Tell the colours of a place, where they are not said to be those of the thing that is asked about."""
    place = s.intent.place or "middle"
    if place == "whole":
        return _of_place(s)[0]
    return s.colour_of(place)


# What is around things, whose colours are among those of the whole picture
_AROUND = re.compile(
    r"\b(?:walls?|background|wand|waende|wande|hintergrund|murs?|fond|pared|paredes|fondo|pareti?|muro|sfondo|parede|fundo|muur|muren|achtergrond|tlo|sciana|duvar|arka plan)\b"
    r"|стен|фон|стін|тло|墙|背景|壁|벽|배경"
)


def _of_whole(s: Speaker, whole: str) -> Answer:
    """Tell the colours of the whole picture, also those of small things."""
    shares = s.facts.colours.get("whole", ())
    ground = [one for one, share in shares if one in colours.NEUTRAL and share >= colours.LEAST]
    vivid = [one for one, _ in shares if one not in colours.NEUTRAL]
    # Four blocks on a grey table: their colours, too
    kept = {*ground[: max(2, _MOST_COLOURS - len(vivid))], *vivid}
    seen = [one for one, _ in shares if one in kept][:_MOST_COLOURS]
    return s.say("colour_whole", colours=s.names(seen)), whole


def _of(s: Speaker, place: str, whole: str) -> Answer:
    """Tell the colours of one place; below them those of the whole picture."""
    facts, intent = s.facts, s.intent
    found, ground = _seen_at(s, place)
    where = s.say(f"at_{place}")
    if intent.colours:
        yes = any(name in found or name == ground for name in intent.colours)
        key = "colour_yes" if yes and len(intent.colours) == 1 else "colour_no"
        if len(intent.colours) > 1 or (not yes and facts.spots and not intent.place):
            # It is somewhere else: a traffic light is red at its top.
            return s.say("colour", where=s.capital(where), colours=s.names(found)), whole
        return s.say(key, where=where, colours=s.names(found)), whole
    behind = (*facts.ground, "white") if len(found) == 1 and not ground else facts.ground
    unsure = not (intent.place or facts.pointed) and found[:1] and found[0] in behind
    fills = dict(facts.colours.get("whole", ())).get(found[0], 0.0) if unsure else 0.0
    if unsure and (found[0] in colours.NEUTRAL or fills < _WALL):
        # What is asked about may stand beside the middle, on this white or green ground.
        if found[0] not in colours.NEUTRAL:
            # Leaves around a ladybird
            return _of_picture(s), whole
        dim = s.say("light", light=_light(s)) if facts.scene.brightness < _DIM else ""
        if len(facts.colours.get("whole", ())) > 1 and whole:
            # A black telephone on white
            return whole, dim
        return _of_picture(s), s.sentence(dim, whole)
    if ground:
        text = s.say(
            "colour_on", where=s.capital(where), colours=s.names(found), ground=s.names([ground])
        )
    else:
        text = s.say("colour", where=s.capital(where), colours=s.names(found))
    return text, whole


def _asks_anywhere(s: Speaker) -> bool:
    """Tell "Is there anything red?" from "Is it red?" and "Is the cup red?"."""
    anything = {*plain(str(s.language.watch["fillers"])).split()}
    coloured = [s.language.colour(colours.NAMES.index(name)) for name in s.intent.colours]
    others = [word for word in s.intent.words if not any(one.search(word) for one in coloured)]
    if not others:
        # "Is there a green one?"
        return s.language.common("exists").search(plain(s.intent.question)) is not None
    return anything.issuperset(others)


def _anywhere(s: Speaker, whole: str) -> Answer:
    """Answer "Is there anything red?" by the finder's spots."""
    if not s.facts.spots:
        return s.say("colour_none", colours=s.names(s.intent.colours)), whole
    name, places = s.facts.spots[0]
    where = s.language.listed([s.say(f"at_{one}") for one in places])
    return s.say("colour_yes", where=where, colours=s.names([name])), whole


def light(s: Speaker) -> Answer:
    if s.words and all(map(s.language.common("other_time").search, s.words)):
        # "Is it day or night?"
        return cannot(s)
    return s.say("light", light=_light(s)), ""


def _light(s: Speaker) -> str:
    scene = s.facts.scene
    if scene.dark:
        return s.say("light_dark")
    if scene.brightness < _DIM:
        return s.say("light_dim")
    return s.say("light_medium" if scene.brightness < 0.5 else "light_bright")


def sharp(s: Speaker) -> Answer:
    return s.say("blurred" if s.facts.scene.blurred else "sharp"), ""


def thing(s: Speaker) -> Answer:
    """Answer "Is there a cat?" and "How many cups are there?"."""
    if s.facts.things is None:
        # Nobody can look for things here.
        return faces(s) if PERSON in s.intent.things else cannot(s)
    found = asked_for(s.things, s.intent.things)
    others = [word for word in s.words if not s.thing_words.knows(word)]
    if PERSON in s.intent.things and len(found) < (s.facts.faces or 0):
        # People whose faces alone are seen
        return faces(s)
    if s.intent.how_many:
        # "How many cups are on the table?"
        counted = [name for name in s.intent.things if name not in _AROUND_US] or s.intent.things
        found = asked_for(s.things, counted)
        told = [row for row in s.rows if others and counts(row, others[:1])]
        row = _row_with_figure(s, others[:1]) or next(iter(told), None)
        if row is not None:
            # "How many tablets are in the box?"
            return s.quote(row)
    missed = [name for name in s.intent.things if not asked_for(s.things, [name])]
    if missed and _AROUND_US.issuperset(missed) and ANYTHING.search(plain(s.intent.question)):
        # "Is there anything on the table?" asks for no table.
        return cannot(s)
    either = bool(found) and _OR.search(plain(s.intent.question)) is not None
    if missed and not either and not (found and s.intent.how_many):
        row = _printed(s, missed)
        if row is not None and s.intent.how_many:
            # "How many bags?" may be asked of tea.
            return s.counted(row)
        if row is not None and len(s.rows) >= PAGE:
            # "Do they have fish?" is asked of a menu.
            return s.quote(row)
        if row is None and s.intent.how_many and others and len(s.rows) >= PRINTED:
            # "How many people are ahead of me?" is asked of print.
            return s.why_not(s.cannot_here)
        if row is None and not s.things and len(s.rows) >= PAGE and prices.is_list(s.rows):
            # "Il y a du poisson ?" is asked of a menu.
            return s.cannot_here, ""
        seen = s.say("reads", text=row.text) if row is not None else s.see_things(sure=True)
        return s.say("thing_missed", thing=s.thing_words.one(missed[0])), seen
    if s.intent.how_many:
        return _count(s, found[0].name), ""
    # "Is that a woman?" is asked of a person, too, and "Is it a cat or a dog?" has no yes.
    key = "see_things" if either or found[0].name == PERSON else "thing_here"
    return s.say(key, things=s.things_named(found)), ""


_OR = re.compile(
    r"\b(?:or|oder|ou|o|of|czy|albo|lub|yoksa|veya)\b|\b(?:или|або|чи)\b|还是|或|それとも|또는|아니면|(?<!\w)(?:أو|أم|या)(?!\w)"
)


def _printed(s: Speaker, names: list[str]) -> Row | None:
    """Return the print that names one of these things; None without any."""
    named = [
        row for row in s.rows if {*s.thing_words.named_in(plain(row.text))}.intersection(names)
    ]
    # Of a canoe and a pedal boat the one that is named; "3 ripe bananas", and not "Banana bread"
    counts = s.intent.how_many
    named = [row for row in named if not (counts and has_digit(row) and not has_count(row))]
    return max(
        named, key=lambda row: (hits_of(row, s.words), counts and has_digit(row)), default=None
    )


def _row_with_figure(s: Speaker, words: Sequence[str]) -> Row | None:
    """Return the row that has a figure first or last and names one of these words; None without one."""
    rows = (row for row in s.rows if row.text[:1].isdigit() or row.text[-1:].isdigit())
    # "Visitors in 2025" above a chart counts none.
    return next((row for row in rows if has_count(row) and names_any(row.text, words)), None)


def _count(s: Speaker, name: str, least: int = 0) -> str:
    count = max(least, len(asked_for(s.things, [name])))
    named = {"thing": s.thing_words.one(name), "things": s.thing_words.many(name)}
    return s.say("thing_count", count=count, **named)


def faces(s: Speaker) -> Answer:
    count = s.facts.faces
    # "Can you see her face?" is not asked of a person from behind.
    alone = {*plain(str(s.language.watch["faces"])).split()}.intersection(s.intent.asked.split())
    people = asked_for(s.things, [PERSON])
    more = len(people) > (count or 0) or (people and s.intent.how_many)
    if not alone and more:
        # "Is anybody there?" asks for no number.
        seen = s.say("see_things", things=s.things_named(people))
        return (seen if s.intent.yes_no else _count(s, PERSON, count or 0)), ""
    if count is None:
        return s.say("faces_missing"), ""
    if count == 0 and HOLDS.search(plain(s.intent.question)):
        # "Is somebody holding something?" may be asked of a hand.
        return cannot(s)
    if count == 0:
        dark = s.say("light", light=_light(s)) if s.facts.scene.dark else ""
        return s.sentence(s.say("faces_none"), dark), s.see_things(sure=True) or s.say("faces_note")
    if s.intent.how_many and not alone:
        # Others may look away.
        return _count(s, PERSON, count), s.say("faces_note")
    return s.say("faces", count=count), s.say("faces_note")


def motion(s: Speaker) -> Answer:
    moved = s.facts.scene.motion
    if moved is None:
        return s.say("motion_unknown"), ""
    if moved < MOVES:
        return s.say("motion_none"), ""
    return s.say("motion_some" if moved < MOVES_MUCH else "motion_much"), ""


def change(s: Speaker) -> Answer:
    found = s.facts.change
    if found is None:
        return s.say("change_first"), ""
    seconds = max(1, round(found.seconds))
    if not found.anything:
        return s.say("change_none", seconds=seconds), ""
    if found.share >= 0.02:
        head = s.say(
            "change_share",
            seconds=seconds,
            percent=s.language.percent(max(0.01, found.share)),
            where=s.say(f"at_{found.where}"),
        )
    else:
        head = s.say("change_small", seconds=seconds)
    lit = {1: "lighter", -1: "darker"}.get(found.light)
    return s.sentence(s.came_and_went(), head, s.say(lit) if lit else ""), s.sentence(
        s.say("new_text", text=s.items(found.new_rows, SOME)) if found.new_rows else "",
        s.say("gone_text", text=s.items(found.gone_rows, SOME)) if found.gone_rows else "",
    )


# "What instrument", and not "What is this" or "What thing"
_KIND = re.compile(r"(?:what|which) (?!things?\b|objects?\b|this\b|that\b|is\b|are\b|do\b)\w+")
# Names of things that answer a question for a kind
_OF_KIND = ((ANIMAL, ANIMALS), (FOOD, FOODS))


def _is_of_another(s: Speaker) -> bool:
    """Find whether a question is about something else than what is seen."""
    seen, asked, question = {one.name for one in s.things}, s.intent.asked, plain(s.intent.question)
    others = (
        # "What can I cook with it?" of a fruit
        not s.rows and PRINT_FOR.search(question) and not FOOD.search(asked),
        # "What's that behind her?", where she alone is seen
        len(seen) == 1 and NEAR.search(f" {question.strip(' ?!.')} "),
        # "What instrument is that?", where a person alone is seen
        seen == {PERSON} and _KIND.fullmatch(asked),
    )
    return any(others)


def summary(s: Speaker) -> Answer:
    """Answer with all that there is; of "What's on the table?" without the chairs around it."""
    if HOLDS.search(s.intent.asked):
        # Nobody holds a face.
        s.facts = replace(s.facts, faces=0)
        s.things = tuple(one for one in s.things if one.name != PERSON)
    kind = next((kind for asks, kind in _OF_KIND if asks.search(s.intent.asked)), None)
    if kind is not None and s.things and not s.facts.pointed:
        # A cup is no answer to "What animal is that?", and a bottle none to "What drink is that?".
        of_kind = tuple(one for one in s.things if one.name in kind)
        if not of_kind or any(one.sure for one in s.things) > any(one.sure for one in of_kind):
            return s.cannot, ""
        s.things = of_kind
    if s.things and not s.rows and {one.name for one in s.things} == {*s.intent.things}:
        # "What bird is this?"
        return s.capital(s.say("kind", things=s.things_named(s.things))), ""
    if _is_of_another(s):
        return cannot(s)
    if _AROUND_US.intersection(s.intent.things):
        s.things = tuple(one for one in s.things if one.name not in _AROUND_US | {PERSON})
        if not s.see_things():
            return cannot(s)
    if kind is ANIMALS and not s.things and len(s.rows) < PRINTED:
        return s.say("unknown_here"), s.seen()
    of_print = not asked_for(s.things, s.intent.things) and naming(s, s.words)
    if len(s.rows) >= PRINTED and of_print:
        # "¿Qué hay de postre?" of a menu, and "What is it set to?"
        return lookup(s)
    if s.intent.where and (places := addresses(s)):
        return s.quote(places[0]) if len(places) == 1 else s.closest_of(places)
    if s.intent.where and len(s.rows) >= PAGE:
        # "Where is it?" of a poster without an address
        return s.cannot_here, ""
    return overview(s)


def overview(s: Speaker, *, running: bool = False) -> Answer:
    """Answer with the things and faces, the code, the largest print or the colour; then with the rest."""
    around = s.say("see_around", colours=s.seen_at("middle"), light=_light(s))
    if running and (news := s.came_and_went()):
        return news, s.see_things()
    is_page = len(s.rows) >= PAGE
    if named := s.see_things(sure=is_page, printed=is_page):
        if s.facts.faces and not asked_for(s.things, [PERSON]):
            named = s.sentence(named, faces(s)[0])
        text = s.say("also", text=s.listing(most=SOME)) if _letters(s) > 2 else ""
        if s.codes:
            return named, s.sentence(f"{text}." if text else "", s.code_sentence())
        # Its name is enough; in the dark it may be wrong.
        return named, text or (s.say("light", light=_light(s)) if s.facts.scene.dark else "")
    if s.codes:
        also = s.say("also", text=s.listing(most=SOME)) if s.rows else around
        return s.code_sentence(), also
    if s.rows and _letters(s) > 1:
        return _of_print(s, around if running else "", around)
    if s.facts.faces:
        return faces(s)[0], around
    if s.facts.unread and not s.facts.scene.blurred and not s.facts.scene.dark:
        return s.say("unread"), around
    # Then what it can do: a picture without print or codes is one that most questions are not for. Who points
    # at something, or could have a name for it, has asked the right one.
    looked = s.facts.things is not None
    text = s.say("see_unknown" if looked else "see_colour", colours=s.seen_at("middle"))
    if looked and not (s.facts.pointed or _stands_out(s)):
        # The colours may be those of the sky behind it.
        text = s.sentence(s.say("unknown_here"), _of_picture(s))
    of_itself = s.language.say_of_itself("help", s.facts.names_things)
    return text, s.say(
        "light", light=_light(s)
    ) if running or looked or s.facts.pointed else of_itself


# Letters in a row that may be a word
_WORD = re.compile(r"[^\W\d_]{2}")


def _of_print(s: Speaker, below: str, around: str) -> Answer:
    """Tell the largest print, and then the rest. `below`: goes below that; `around`: where there is no rest."""
    largest = s.largest()
    is_mark = len(s.rows) == 1 and not _WORD.search(largest.text)
    if (len(largest.text) < 2 or is_mark) and s.facts.things is not None and not below:
        # The number of a racing car, and letters that are leaves
        return s.say("unknown_here"), s.say("reads", text=s.listing(most=SOME))
    rest = [row for row in s.rows if row is not largest]
    text = s.say("see_text", text=largest.text)
    if not rest:
        return text, around
    also = s.say("also", text=s.listing(rest, SOME))
    return text, s.sentence(f"{also}.", below) if below else also


def _letters(s: Speaker) -> int:
    """Return how many letters and digits were read: one or two on a thing are mostly none."""
    return sum(char.isalnum() for row in s.rows for char in row.text)


def beyond(s: Speaker) -> Answer:
    """Answer what no picture tells, unless print says why."""
    return lookup(s) if s.words[:1] == ("reason",) and s.rows else (s.cannot, "")


def cannot(s: Speaker) -> Answer:
    """Answer a question that would need a model that understands more."""
    return s.why_not(s.cannot)[0], ""


def _seen_at(s: Speaker, place: str) -> tuple[tuple[str, ...], str]:
    """Return the colours of the thing at a place, and of its ground ("" without one)."""
    return colours.thing(s.facts.colours.get(place, ()), s.facts.ground, s.facts.rim)


def _stands_out(s: Speaker) -> bool:
    """Find whether the colours of the middle are none of the picture's edges."""
    found, _ = _seen_at(s, "middle")
    return not s.facts.rim.intersection(found)
