"""Questions of people who do not know what the engine can do, in all its languages."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from server.core.frames import QuestionMode
from server.features.builtin.answers import compose
from server.features.builtin.detector import DetectedThing, ThingFinder, load_classes
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES, get_language
from server.features.builtin.lines import TextPiece
from server.features.builtin.locate import find_text_boxes
from server.features.builtin.reader import TextReader
from server.features.builtin.thing_words import get_thing_words
from server.features.builtin.wants import Want
from server.media.picture.grounding import Box
from server.models.base import Delta, Finished
from server.models.routing import get_route
from tests.features.builtin.asked.asking import pictured
from tests.features.builtin.test_answers import TODAY, view
from tests.features.builtin.words import WORDS
from tests.support.fakes import make_request

CUP = DetectedThing("cup", 0.9, Box(900, 300, 1000, 400), sure=True)
LEFT = DetectedThing("person", 0.9, Box(100, 200, 300, 700), sure=True)
RIGHT = DetectedThing("person", 0.9, Box(900, 200, 1100, 700), sure=True)
BUS = DetectedThing("bus", 0.9, Box(400, 200, 900, 500), sure=True)


class Seen(ThingFinder):
    """Finds the same things in every picture."""

    def __init__(self, *things: DetectedThing) -> None:
        self.things = things
        self.broken = False

    def find(self, bgr: object, asked: object = ()) -> list[DetectedThing]:
        return list(self.things)

    def find_more(self, bgr: object, found: object, name: str) -> list[DetectedThing]:
        return []


class Reads(TextReader):
    """Reads the same print in every picture."""

    def __init__(self, *pieces: TextPiece) -> None:
        super().__init__()
        self.pieces = pieces

    def read_text(self, bgr: object) -> list[TextPiece]:
        return list(self.pieces)

    read_placed_text = read_text


def piece(text: str, top: float) -> TextPiece:
    """Make print in the middle, 40 pixels high."""
    return TextPiece(text, 0.99, ((500, top), (700, top), (700, top + 40), (500, top + 40)))


async def ask(
    question: str, *things: DetectedThing, page: str = "", reads: Sequence[TextPiece] = ()
) -> tuple[str, int | None]:
    """Return the answer, and the number of its boxes."""
    grey = np.full((720, 1280, 3), 150, np.uint8)
    text, boxes = "", None
    with ThreadPoolExecutor(1, "ask") as heavy:
        reader = Reads(*reads) if reads else None
        engine = BuiltinEngine(heavy=heavy, finder=Seen(*things), reader=reader)
        where = get_route(question) is QuestionMode.WHERE
        picture = pictured(grey)
        request = make_request(question, picture, where=where, page_language=page)
        async for chunk in engine.answer(request):
            if isinstance(chunk, Delta):
                text += chunk.text
            elif isinstance(chunk, Finished):
                boxes = None if chunk.boxes is None else len(chunk.boxes)
    return text, boxes


@pytest.mark.parametrize(
    ("kind", "want"),
    [("link", Want.SAFE), ("until", Want.EXPIRY), ("these", Want.SUMMARY)],
)
@pytest.mark.parametrize("code", LANGUAGES)
def test_a_link_a_day_and_several_things_are_asked_about(code: str, kind: str, want: Want) -> None:
    asked = WORDS[kind][code]
    for question in [asked] if isinstance(asked, str) else asked:
        intent = understand(question)
        assert (intent.want, intent.language) == (want, code), question


@pytest.mark.parametrize("code", LANGUAGES)
async def test_show_me_the_cup_is_where_it_is(code: str) -> None:
    for question in WORDS["show"][code]:
        assert get_route(question) is QuestionMode.WHERE, question
        intent = understand(question)
        assert (intent.things, intent.language) == (("cup",), code), question
    text, boxes = await ask(WORDS["show"][code][0], CUP)
    assert boxes == 1
    assert get_language(code).get_place_name("right") in text


@pytest.mark.parametrize("code", LANGUAGES)
async def test_what_is_asked_about_a_thing(code: str) -> None:
    """Each language is asked if a thing is there, its colour, and where it was put, and answers in its own."""
    there, one, colour, put = WORDS["asked"][code]
    words, names = get_language(code), get_thing_words(code)
    missing = words.say("thing_missed", thing=names.get_singular("cat"))
    for question in (there, one):
        assert (await ask(question, CUP, page=code))[0].split("\n")[0] == missing
    said = words.format_pair(
        words.capitalise(names.get_singular("cup")), words.get_colour_name("grey")
    )
    assert (await ask(colour, CUP))[0] == said
    intent = understand(put)
    assert (get_route(put), intent.things, intent.language) == (QuestionMode.PAST, ("cup",), code)


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_is_seen_is_told_to_another_question(code: str) -> None:
    """Whether it sleeps, who won, or what it does: no answer hides the dog."""
    dog = DetectedThing("dog", 0.9, Box(0, 0, 300, 400), sure=True)
    seen = get_language(code).say("see_things", things=get_thing_words(code).get_singular("dog"))
    for question in (*WORDS["there"][code][1:], WORDS["won"][code], *WORDS["doing"][code]):
        text = compose(understand(question, page=code), view(things=(dog,)), TODAY).text
        assert text.endswith(seen), question


@pytest.mark.parametrize("code", LANGUAGES)
async def test_where_a_bus_goes_is_not_where_it_is(code: str) -> None:
    assert (await ask(WORDS["way"][code], BUS))[1] is None


async def test_what_is_not_seen_is_named() -> None:
    """A thing that is known, one that is not, and one that fills the picture."""
    missing = "I don't see a cup, but I could be missing it."
    assert await ask("Where is the blue cup?") == (missing, 0)
    assert (await ask("Where are my keys?"))[0].startswith("I do not see it now. I name")
    name = "goldfish" if "goldfish" in load_classes().names else "fish"
    fills = DetectedThing(name, 0.8, None, sure=False)
    assert (await ask(f"Where is the {name}?", fills))[0].endswith(": in the middle.")
    assert await ask("Where?", CUP) == ("A cup: on the right.", 1)


async def test_a_side_counts_what_is_there_alone() -> None:
    """And "are left" is no side."""
    both = (LEFT, RIGHT)
    counted = "I count at least 1: a person."
    assert await ask("How many people are on the left?", *both) == (counted, None)
    assert (await ask("How many people are left?", *both))[0].startswith("I count at least 2")
    assert (await ask("Is there a person on the left?", RIGHT))[0].startswith("I don't see a")
    assert (await ask("Ist rechts eine Person?", RIGHT))[0].endswith("eine Person.")
    said = await ask("Is the cup on the right of the person?", LEFT, CUP)
    assert said == ("A person: on the left. A cup: on the right.", 2)


async def test_what_it_says_at_the_top_is_that_part() -> None:
    words = [piece("Exit", 100), piece("Platform 4", 600)]
    assert (await ask("What does it say at the top?", reads=words))[0] == "It says: Exit"
    # "On it" is the same word.
    assert "Platform 4" in (await ask("上面写着什么？", reads=words))[0]


@pytest.mark.parametrize(
    ("question", "shown"),
    [("Where is the total?", 1), ("Wo ist die Summe?", 1), ("Where is the pool?", 0)],
)
def test_the_total_is_pointed_at(question: str, shown: int) -> None:
    price = [TextPiece("19,44 €", 0.99, ((0, 0), (90, 0), (90, 20), (0, 20)))]
    assert len(find_text_boxes(price, understand(question), question)) == shown


async def test_nonsense_is_answered_in_the_pages_language() -> None:
    assert (await ask("asdf qwer", page="de"))[0].startswith("Das kann ich nicht sagen.")
