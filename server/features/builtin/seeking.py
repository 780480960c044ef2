"""Search of a picture for the object, printed text, code, face or colour that a person looks for. Calls block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from server.core.frames import QuestionMode
from server.features.builtin.colours import NAMES, name_pixels
from server.features.builtin.conditions import Subject, read_condition
from server.features.builtin.detector import PERSON, ThingFinder, load_classes
from server.features.builtin.intents import Intent, find_quoted_text, understand
from server.features.builtin.language import detect_language, find_languages
from server.features.builtin.lines import LEAST_SCORE
from server.features.builtin.locate import find_colour_boxes, find_text_boxes, is_print
from server.features.builtin.reader import TextReader
from server.features.builtin.thing_words import find_names, get_words_for_tag
from server.features.builtin.wants import Want
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.models.routing import get_route, plain, shorten_question

# Minimum fraction of the requested colour in the middle of an object's box, and the side of its shrunk copy in pixels
_OF_COLOUR, _COLOUR_SIDE = 0.15, 32

# Subjects of conditions that are things to look for
_NAMED = (Subject.THING, Subject.PERSON, Subject.FACE, Subject.CODE, Subject.COLOUR, Subject.WORD)

Kind = Literal["thing", "text", "code", "face", "colour"]


@dataclass(frozen=True, slots=True)
class SearchTarget:
    """The target of a search. `label` is its name in the person's language, or the words themselves.

    `unknown`: the words name no printed text, code, face, colour or known object, and are searched as text.
    """

    kind: Kind
    label: str
    words: str
    intent: Intent
    names: tuple[str, ...] = ()
    colours: tuple[str, ...] = field(default=())
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A possible place of the target, in pixels. `sure`: two models agree, or its words were read.

    `alone`: no second model can check it: the classifier has no such class, or the target is a colour.
    """

    box: Box
    sure: bool
    alone: bool = False


def parse_target(words: str, tag: str, *, things: bool = True) -> SearchTarget:
    """Parse the words for a target. `tag`: the page's language, as BCP 47; `things`: objects can be found.

    Words in quotes are printed text, and so are words without another meaning.
    """
    words = shorten_question(words)
    intent = understand(words, tag)
    if not find_quoted_text(words):
        placed = frozenset(load_classes().detector)
        found = [name for name in find_things(words, tag) if name in placed] if things else []
        if found:
            name = get_words_for_tag(tag).get_singular(found[0])
            return SearchTarget("thing", name, words, intent, (found[0],), intent.colours)
        if intent.want is Want.CODE:
            return SearchTarget("code", words, words, intent)
        if intent.want is Want.FACES:
            return SearchTarget("face", words, words, intent)
        # "Something red", but not "the red door", for which any red object might be taken
        condition = read_condition(words)
        if condition is not None and condition.subject is Subject.COLOUR:
            return SearchTarget("colour", words, words, intent, colours=(condition.target,))
    unknown = not find_quoted_text(words) and not is_print(intent)
    return SearchTarget("text", find_quoted_text(words) or words, words, intent, unknown=unknown)


# Articles and possessives before a name
_BEFORE_NAME = re.compile(
    r"""(?: (?:(?:il|la|o|a)[ ])? (?:mi[oa]|meu|minha) | the|an?|my|our|your
    | der|die|das|den|dem|eine?|einen|meine?|meinen | les?|l['’]|une|mon|ma|mes | las?|los|el|una?|mis?
    | il|lo|gli|uno | [oa]s?|um|uma | de|het|een|mijn | m[oó]j[aeąę]? | мо[йяеёїю] | benim
    | मेरा|मेरी | 我的 | 私の | 내|제 ) (?: (?<=['’的の]) | [ ]+ ) (?= \S+ (?:[ ]\S+)? $)""",
    re.IGNORECASE | re.VERBOSE,
)
# Most characters of a name
_MOST_NAME_CHARS = 30


def is_name(text: str, tag: str) -> bool:
    """Return True if a text only names something to look for, such as "the cup", "my keys" or "exit".

    `tag`: the page's language, as BCP 47.
    """
    text = shorten_question(text).rstrip(" .!。！")
    if len(text) > _MOST_NAME_CHARS or re.search("[?？؟¿]", text):
        return False
    intent, condition = understand(text, tag), read_condition(text)
    if condition is not None and intent.want is not Want.READ:
        return condition.subject in _NAMED and not condition.gone
    named = _BEFORE_NAME.match(text)
    words = len((text[named.end() :] if named else text).split())
    known = named is not None or (
        intent.want is Want.LOOKUP and get_route(text) is QuestionMode.NOW
    )
    return known and words <= (2 if intent.colours else 1)


# Words whose parsing loads all languages
_WORDS = ("the cup", "something red", "xxxx", "чашка", "杯子")


def warm() -> None:
    """Load the words of all languages and compile their patterns, which takes half a second."""
    for words in _WORDS:
        parse_target(words, "en")


def find_things(words: str, tag: str) -> tuple[str, ...]:
    """Return the objects in `words`, by the first language that knows any. `tag`: the page's language, as BCP 47."""
    text = plain(words)
    own = tag.partition("-")[0].lower()
    guessed = detect_language(words)
    codes = sorted(find_languages(text), key=lambda code: (code != own, code != guessed))
    return find_names(text, codes)


def seek(
    reader: TextReader, things: ThingFinder | None, bgr: Bgr, wish: SearchTarget, known: Box | None
) -> list[SearchHit]:
    """Return the possible places of the target, surest first. Errors of the libraries are passed on."""
    if wish.kind == "thing":
        found = things.seek(bgr, wish.names, known) if things is not None else ()
        alone = {name for name in wish.names if name not in load_classes().agrees} - {PERSON}
        return [
            SearchHit(one.box, one.sure, one.name in alone)
            for one in found
            if one.box is not None and _has_colour(bgr, one.box, wish.colours)
        ]
    if wish.kind == "code":
        return [SearchHit(one.box, True) for one in reader.read_codes(bgr) if one.box is not None]
    if wish.kind == "face":
        return [SearchHit(box, True) for box in reader.find_faces(bgr) or ()]
    if wish.kind == "colour":
        return [SearchHit(box, False, alone=True) for box in find_colour_boxes(bgr, wish.colours)]
    boxes = find_text_boxes(reader.read_placed_text(bgr), wish.intent, wish.words)
    return [SearchHit(box, (box.confidence or 0.0) >= LEAST_SCORE) for box in boxes]


def _has_colour(bgr: Bgr, box: Box, names: Sequence[str]) -> bool:
    """Return True if the middle of a box has one of these colours, or if `names` is empty."""
    if not names:
        return True
    wide, high = box.width / 6, box.height / 6
    part = bgr[
        int(box.y1 + high) : int(box.y2 - high) + 1, int(box.x1 + wide) : int(box.x2 - wide) + 1
    ]
    small = cv2.resize(part, (_COLOUR_SIDE, _COLOUR_SIDE), interpolation=cv2.INTER_AREA)
    named = name_pixels(np.asarray(small, np.uint8))
    share = np.isin(named, [NAMES.index(name) for name in names]).mean()
    return float(share) >= _OF_COLOUR
