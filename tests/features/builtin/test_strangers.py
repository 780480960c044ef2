"""Questions of people's first minute that have no answer: each is told why, in one line and in their language."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from server.core.frames import Kind, Route, Scene
from server.features.builtin.compose import compose
from server.features.builtin.detector import Thing, ThingFinder, classes
from server.features.builtin.engine import BuiltinEngine, colours_of
from server.features.builtin.intents import Intent, understand
from server.features.builtin.language import LANGUAGES, LATIN, language
from server.features.builtin.lines import Piece, Row
from server.features.builtin.locate import text_boxes
from server.features.builtin.reader import Reader
from server.features.builtin.speaker import Facts, Shares, unknown_thing
from server.features.builtin.thing_words import thing_words
from server.features.builtin.wants import Want
from server.media.picture.grounding import Box
from server.models.base import Delta, EngineRequest, Finished
from server.models.routing import plain, route_of
from tests.features.builtin.score import pictured
from tests.features.builtin.test_fields import rows_of
from tests.features.builtin.words import WORDS

TUESDAY = dt.date(2026, 11, 24)
BRIGHT = Scene(0.5, 0.5, None, False, False)
CUP = Thing("cup", 0.9, Box(900, 300, 1000, 400), sure=True)
SIGN = ("Museum", "open daily", "tickets inside")


def told(intent: Intent, *rows: str, names: bool = True) -> str:
    facts = Facts(
        BRIGHT,
        rows=tuple(rows_of(*rows)),
        codes=(),
        colours={"middle": (("grey", 1.0),)},
        things=() if names else None,
        names_things=names,
    )
    return compose(intent, facts, TUESDAY)


def no_more(code: str) -> str:
    """Return the answer that has the colour of such a picture, and nothing more."""
    words = language(code)
    middle = words.capital(words.say("at_middle"))
    grey = words.say("colour_picture", where=middle, colours=words.colour_name("grey"))
    return words.sentence(grey, words.say("no_more"))


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_nothing_here_knows_is_named_in_the_answer(code: str) -> None:
    thing, *questions = WORDS["unknown"][code]
    for question in questions:
        intent = understand(question)
        assert (intent.sought, intent.understood, intent.language) == (thing, True, code), question
    says = unknown_thing(code, thing)
    assert "270" in says
    assert 270 <= len(classes().names) < 280
    assert "\n" not in says
    assert told(understand(questions[0])) == no_more(code)
    nothing = Facts(BRIGHT, rows=(), codes=(), things=())
    assert compose(understand(questions[0]), nothing, TUESDAY) == says


@pytest.mark.parametrize("code", LANGUAGES)
def test_words_of_no_language_are_not_understood(code: str) -> None:
    """Each is quoted, with two questions that are."""
    said = WORDS["nonsense"]["en" if code in LATIN else code]
    intent = understand(f"{said}?", page=code)
    assert (intent.understood, intent.sought, intent.language) == (False, said, code)
    answer = language(code).say("not_understood", text=said)
    assert told(intent) == answer
    assert told(intent, *SIGN).startswith(f"{answer}\n")
    assert answer != unknown_thing(code, said)


def test_the_first_characters_of_nonsense_are_enough() -> None:
    intent = understand("qwer " * 200)
    assert intent.sought.endswith("…")
    assert len(intent.sought) < 50


def test_print_is_looked_at_first() -> None:
    """A word on it is found; one that is not there may be a word of it."""
    assert told(understand("Is there a museum?"), *SIGN).startswith("It reads: Museum")
    missing = told(understand("Are there stairs?"), *SIGN)
    assert missing == "What I read: Museum open daily tickets inside. I can't tell more."
    assert told(understand("Are there stairs?"), "7") == no_more("en")
    assert told(understand("qwer"), *SIGN) == missing


def test_without_names_of_things_nobody_says_that_there_are_some() -> None:
    said = told(understand("Are there stairs?"), names=False)
    assert said == language("en").say("cannot_plain")


@pytest.mark.parametrize(
    "question", ["Is it ripe?", "Who is this?", "Is the dog asleep?", "How old is it?", "Where?"]
)
def test_other_questions_are_no_unknown_things(question: str) -> None:
    intent = understand(question)
    assert (intent.sought, intent.understood) == ("", True)


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_thing_that_is_there_is_no_answer_to_another_question(code: str) -> None:
    """That it sees a cat says nothing of its sleep."""
    there, *others = (understand(question) for question in WORDS["there"][code])
    assert (there.want, there.things, there.language) == (Want.THING, ("dog",), code)
    assert {one.want for one in others} <= {Want.LOOKUP, Want.BEYOND, Want.NAME, Want.OTHER}
    assert {one.language for one in others} == {code}
    nothing = {no_more(code), language(code).say("cannot")}
    assert {told(one) for one in others} <= nothing


@pytest.mark.parametrize(
    ("question", "want"),
    [
        ("What is the person wearing?", Want.LOOKUP),
        ("Was hat die Person an?", Want.LOOKUP),
        ("Is anyone at the door?", Want.FACES),
        ("Is there somebody on the left?", Want.FACES),
        ("Can someone sit on it?", Want.LOOKUP),
        ("Is somebody wearing red?", Want.LOOKUP),
        ("Is it for children?", Want.LOOKUP),
        ("Combien d'hommes y a-t-il ?", Want.THING),
        ("Are they men or women?", Want.OTHER),
        ("Sind das Männer oder Frauen?", Want.OTHER),
        ("How many men and women are there?", Want.THING),
        ("Is there anybody in the boats?", Want.LOOKUP),
        ("What colour is the shirt of the guy in the middle?", Want.COLOUR),
        ("What colour is the box in the middle?", Want.COLOUR),
        ("Is there a light switch?", Want.LOOKUP),
        ("Are the lights on?", Want.OTHER),
        ("What does the red light at the bottom mean?", Want.LOOKUP),
        ("Chi chiamo se ho bisogno di aiuto?", Want.LOOKUP),
        ("How old is the man?", Want.LOOKUP),
        ("Is the dog old?", Want.LOOKUP),
        ("Is there light in the room?", Want.LIGHT),
    ],
)
def test_what_is_asked_of_a_person(question: str, want: Want) -> None:
    assert understand(question).want is want


@pytest.mark.parametrize("code", LANGUAGES)
def test_who_won_gets_a_no(code: str) -> None:
    """The picture does not tell; only what can be read may."""
    intent = understand(WORDS["won"][code])
    assert intent.want in (Want.LOOKUP, Want.BEYOND)
    assert (intent.language, intent.sought, intent.understood) == (code, "", True)
    assert told(intent) in (no_more(code), language(code).say("cannot"))


@pytest.mark.parametrize("code", LANGUAGES)
def test_whether_a_code_or_a_link_is_safe(code: str) -> None:
    asked = {question: understand(question) for question in WORDS["link"][code]}
    assert {one: (found.want, found.language) for one, found in asked.items()} == dict.fromkeys(
        asked, (Want.SAFE, code)
    )


@pytest.mark.parametrize(
    "question",
    [
        "Is it safe to eat?", "Bist du sicher, dass das ein QR-Code ist?", "Qu'est-ce qui est écrit sur le code ?",
        "¿Estás seguro de que es un código QR?", "Sei sicuro?",
    ],
)  # fmt: skip
def test_other_doubts_are_not_about_a_link(question: str) -> None:
    assert understand(question).want is not Want.SAFE


class Seen(ThingFinder):
    """Finds the same things in every picture."""

    def __init__(self, *things: Thing) -> None:
        self.things = things
        self.broken = False

    def find(self, bgr: object, asked: object = ()) -> list[Thing]:
        return list(self.things)

    def more_of(self, bgr: object, found: object, name: str) -> list[Thing]:
        return []


class Reads(Reader):
    """Reads the same print in every picture."""

    def __init__(self, *pieces: Piece) -> None:
        super().__init__()
        self.pieces = pieces

    def text(self, bgr: object) -> list[Piece]:
        return list(self.pieces)

    placed_text = text


def piece(text: str, top: float) -> Piece:
    """Make print in the middle, 40 pixels high."""
    return Piece(text, 0.99, ((500, top), (700, top), (700, top + 40), (500, top + 40)))


async def ask(
    question: str, *things: Thing, page: str = "", reads: Sequence[Piece] = ()
) -> tuple[str, int | None]:
    """Return the answer, and the number of its boxes."""
    grey = np.full((720, 1280, 3), 150, np.uint8)
    text, boxes = "", None
    with ThreadPoolExecutor(1, "ask") as heavy:
        reader = Reads(*reads) if reads else None
        engine = BuiltinEngine(heavy=heavy, finder=Seen(*things), reader=reader)
        request = EngineRequest(
            "s",
            Kind.CHAT,
            question,
            pictured(grey),
            where=route_of(question) is Route.WHERE,
            page_language=page,
        )
        async for chunk in engine.answer(request):
            if isinstance(chunk, Delta):
                text += chunk.text
            elif isinstance(chunk, Finished):
                boxes = None if chunk.boxes is None else len(chunk.boxes)
    return text, boxes


@pytest.mark.parametrize("code", LANGUAGES)
async def test_show_me_the_cup_is_where_it_is(code: str) -> None:
    for question in WORDS["show"][code]:
        assert route_of(question) is Route.WHERE, question
        intent = understand(question)
        assert (intent.things, intent.language) == (("cup",), code), question
    where = await ask(WORDS["show"][code][0], CUP)
    assert where[1] == 1
    assert language(code).say("at_right") in where[0]


async def test_where_something_can_be_done_is_told_by_print() -> None:
    """And where the cup stands by the cup."""
    lines = (
        "THE OLD KETTLE",
        "Open daily",
        "Return cups at the counter.",
        "No dogs.",
        "Thank you!",
    )
    reads = [piece(text, 100 + 60 * at) for at, text in enumerate(lines)]
    text, _ = await ask("Where can I take my cup back?", CUP, reads=reads)
    assert "at the counter" in text
    _, boxes = await ask("Where does the cup stand?", CUP, reads=reads)
    assert boxes == 1


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What am I holding?", "I see a cup."),
        ("What is it on?", "I see a cup and a person. I can't tell more."),
        ("What is the cup standing on?", "I see a cup and a person. I can't tell more."),
    ],
)
async def test_who_holds_it_is_no_answer(question: str, answer: str) -> None:
    person = Thing("person", 0.9, Box(100, 100, 800, 700), sure=True)
    text, _ = await ask(question, CUP, person)
    assert text.split("\n")[0] == answer


async def test_an_animal_that_is_not_known_is_not_named_by_print() -> None:
    text, _ = await ask("What animal is this?", reads=[piece("FISH by Lotte, 5", 400)])
    assert text.startswith("I do not know this thing.")


@pytest.mark.parametrize("code", LANGUAGES)
async def test_what_is_asked_about_a_thing(code: str) -> None:
    """Each language is asked if a thing is there, its colour, and where it was put, and answers in its own."""
    there, one, colour, put = WORDS["asked"][code]
    words, names = language(code), thing_words(code)
    missing = words.say("thing_missed", thing=names.one("cat"))
    for question in (there, one):
        assert (await ask(question, CUP))[0].split("\n")[0] == missing
    grey = words.colour_name("grey")
    assert (await ask(colour, CUP))[0] == words.say(
        "thing_colour", thing=names.one("cup"), colours=grey
    )
    intent = understand(put)
    assert (route_of(put), intent.things, intent.language) == (Route.PAST, ("cup",), code)


async def test_what_is_not_seen_is_named() -> None:
    """A thing that is known, one that is not, and one that fills the picture."""
    assert await ask("Show me the cup") == ("I may miss it, but I do not see that: a cup.", 0)
    assert await ask("Where is the blue cup?") == (
        "I may miss it, but I do not see that: a cup.",
        0,
    )
    assert (await ask("Where are my keys?"))[0].startswith("I cannot recognise “keys”.")
    fills = Thing("goldfish", 0.8, None, sure=False)
    named = fills if "goldfish" in classes().names else Thing("fish", 0.8, None, sure=False)
    assert (await ask(f"Where is the {named.name}?", named))[0].endswith(": in the middle.")


@pytest.mark.slow
async def test_where_alone_is_about_all_that_is_seen() -> None:
    assert await ask("Where?", CUP) == ("A cup: on the right.", 1)
    assert (await ask("Where?"))[0]
    assert (await ask("Where?"))[0] != language("en").say("not_found")


@pytest.mark.parametrize(
    "question", ["Where is it made?", "Wo wird es hergestellt?", "¿Dónde está hecho?"]
)
async def test_where_something_is_from_is_no_place_in_the_picture(question: str) -> None:
    intent = understand(question)
    assert await ask(question) == (no_more(intent.language), None)


async def test_nonsense_is_answered_in_the_pages_language() -> None:
    assert (await ask("asdf qwer", page="de"))[0].startswith("„asdf qwer“ habe ich nicht")
    assert plain("ＡＳＤＦ") == "asdf"


BUS = Thing("bus", 0.9, Box(400, 200, 900, 500), sure=True)
BILL = ("Invoice 55", "09.11.2026", "Payable until: 30.11.2026", "Total 20.00")


@pytest.mark.parametrize("code", LANGUAGES)
def test_until_when_is_a_day(code: str) -> None:
    """Neither the sum to pay nor a best-before date."""
    intent = understand(WORDS["until"][code])
    assert (intent.want, intent.language) == (Want.EXPIRY, code)
    assert told(intent, *BILL).startswith(language(code).say("date", value="30.11.2026"))
    assert told(intent, *BILL[:2]).startswith(language(code).closest(BILL[1]))


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        *(("Where is the total?", 1), ("Wo ist die Summe?", 1), ("Где сумма?", 1)),
        *(("Where do I pay?", 0), ("Wo kann ich zahlen?", 0), ("¿Dónde pago?", 0)),
    ],
)
def test_no_price_is_where_one_pays(question: str, shown: int) -> None:
    corners = ((0, 0), (90, 0), (90, 20), (0, 20))
    price = [Piece("19,44 €", 0.99, corners)]
    assert len(text_boxes(price, understand(question), question)) == shown


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_several_things_are_is_what_one_is(code: str) -> None:
    intent = understand(WORDS["these"][code])
    assert (intent.want, intent.language) == (Want.SUMMARY, code)


@pytest.mark.parametrize("code", LANGUAGES)
async def test_where_a_bus_goes_is_not_where_it_is(code: str) -> None:
    text, boxes = await ask(WORDS["way"][code], BUS)
    assert boxes is None
    assert language(code).say("at_middle") not in text


@pytest.mark.parametrize(
    ("question", "want"),
    [
        ("What is it eating?", Want.BEYOND),
        ("what is it playing with", Want.BEYOND),
        ("whats that animal doing", Want.BEYOND),
        ("What is this building?", Want.SUMMARY),
        ("Is there coffee in the cup?", Want.LOOKUP),
        ("Is there a cup of coffee?", Want.THING),
        ("For how many people is it?", Want.LOOKUP),
        ("Which stop do I change at?", Want.LOOKUP),
        ("What changed?", Want.CHANGE),
        ("How many people are waiting for the bus?", Want.THING),
        ("Are the scissors sharp?", Want.LOOKUP),
        ("what is this medicine for", Want.PURPOSE),
        ("What is this for?", Want.PURPOSE),
        ("What's in front of him?", Want.OTHER),
        ("What is in front of the house?", Want.OTHER),
        ("What is in front of me?", Want.SUMMARY),
        ("What is in front of the camera?", Want.SUMMARY),
        ("whats this", Want.SUMMARY),
        ("Do I need an umbrella?", Want.LOOKUP),
        ("Can my child take this?", Want.LOOKUP),
        ("Do you have a pen?", Want.THING),
        ("Is the candle lit?", Want.LOOKUP),
        ("Is it light?", Want.LIGHT),
        ("Can it fly?", Want.OTHER),
        ("Steht neben der Tasse ein Glas Wasser?", Want.THING),
        ("Was steht auf der Tasse?", Want.READ),
        ("Is the laptop on?", Want.OTHER),
        ("Is there a laptop?", Want.THING),
        ("What colour are the dogs eyes?", Want.COLOUR),
        ("What colour is the dog on the left?", Want.COLOUR),
        ("Is the cup red?", Want.COLOUR),
        ("Is there a phone?", Want.THING),
        ("Is there a phone number?", Want.PHONE),
        ("Can I phone them?", Want.PHONE),
        ("Who should I vote for?", Want.BEYOND),
        ("Should we take the umbrella?", Want.BEYOND),
        ("Is the lamp on?", Want.LOOKUP),
        ("What colour is the vehicle in front of the plane?", Want.COLOUR),
        ("What colour is the cup next to the laptop?", Want.COLOUR),
    ],
)
def test_a_question_about_a_thing_is_not_what_it_is(question: str, want: Want) -> None:
    assert understand(question).want is want


def test_what_is_seen_stands_behind_an_unknown_word() -> None:
    facts = Facts(BRIGHT, rows=(), codes=(), things=(replace(CUP, name="sheep"),))
    said = compose(understand("Is there an animal?"), facts, TUESDAY)
    assert said == "I see a sheep. I can't tell more."


def test_beside_print_a_guess_is_no_part_of_a_no() -> None:
    """A display looks like a clock."""
    guess = Thing("clock", 0.9, None, sure=False)
    facts = Facts(BRIGHT, rows=tuple(rows_of("38.2")), codes=(), things=(guess,))
    said = compose(understand("Do I have a fever?"), facts, TUESDAY)
    assert said == "What I read: 38.2. I can't tell more."


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_something_does_is_not_what_it_is(code: str) -> None:
    """Its name would be an answer to another question."""
    for question in WORDS["doing"][code]:
        intent = understand(question)
        assert intent.want in (Want.BEYOND, Want.PURPOSE, Want.LOOKUP, Want.OTHER), question
        words = language(intent.language)
        nothing = (no_more(intent.language), words.say("cannot"), words.say("only_read"))
        assert told(intent).startswith(nothing), question


@pytest.mark.parametrize(
    "question", ["What am I holding?", "Describe what I am holding", "Was sehen Sie?", "O que está a ver?", "Ne görüyor?"]
)  # fmt: skip
def test_what_i_hold_and_you_see_is_what_there_is(question: str) -> None:
    assert understand(question).want is not Want.BEYOND


ROOF = Facts(
    BRIGHT,
    rows=(),
    codes=(),
    colours={"middle": (("green", 1.0),), "whole": (("green", 0.9), ("brown", 0.1))},
    things=(),
)


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_colour_of_what_nothing_here_knows(code: str) -> None:
    """It is the middle's, and said to be; that of one of several is looked for everywhere."""
    one, roof, name = WORDS["hued"][code]
    asked = understand(roof)
    assert (asked.want, asked.language, asked.sought) == (Want.COLOUR, code, name)
    words = language(code)
    middle = words.capital(words.say("at_middle"))
    green = words.say("colour_picture", where=middle, colours=words.colour_name("green"))
    assert compose(asked, ROOF, TUESDAY).split("\n")[0] == green
    asked = understand(one)
    words = language(asked.language)
    brown = compose(asked, replace(ROOF, spots=(("brown", ("top",)),)), TUESDAY)
    assert words.colour_name("green") in brown or asked.want is not Want.COLOUR
    none = words.say("colour_none", colours=words.colour_name("brown"))
    said = compose(asked, ROOF, TUESDAY).split("\n")[0]
    assert said == none or said.endswith(words.say("no_more"))


@pytest.mark.parametrize(
    "question",
    [
        "What colour is it?", "What colour is on the left?", "Is it black or white?", "Welche Farbe hat es?",
        "Which colours do you see in the picture?", "¿De qué color es esto?", "これは何色ですか？",
    ],
)  # fmt: skip
def test_a_colour_of_no_thing(question: str) -> None:
    intent = understand(question)
    assert (intent.want, intent.sought) == (Want.COLOUR, "")


def test_a_colour_that_is_elsewhere_gets_no_no() -> None:
    """A traffic light is red at its top."""
    black = replace(ROOF, colours={"middle": (("black", 1.0),), "whole": (("black", 1.0),)})
    said = compose(understand("Is it red?"), black, TUESDAY)
    assert said.startswith("No, in the middle it is black.")
    said = compose(understand("Is it red?"), replace(black, spots=(("red", ("top",)),)), TUESDAY)
    assert said.startswith("In the middle it is black.")


def test_in_little_light_a_colour_is_told_with_the_light() -> None:
    dim = replace(ROOF, scene=replace(BRIGHT, brightness=0.2), things=(CUP,))
    dim = replace(dim, thing_colours=(("black", 0.9),))
    said = compose(understand("What colour is the cup?"), dim, TUESDAY)
    assert said == "I see a cup; colour: black.\nThe picture is dim."


def test_a_colour_is_no_fruit() -> None:
    assert understand("Is it orange?").things == ()
    assert understand("What colour is the orange?").things == ("orange",)


async def test_the_colour_of_a_thing_without_a_place() -> None:
    """The wall behind a chair is no part of it: the colour is said to be that of the middle."""
    chair = Thing("chair", 0.9, None, sure=True)
    said = await ask("What colour is the chair?", chair)
    assert said[0] == "In the middle: grey."


def test_a_guess_is_no_part_of_a_no() -> None:
    """Nor is a colour that is not at the place that is asked about."""
    guess = Thing("accordion", 0.9, None, sure=False)
    facts = Facts(BRIGHT, rows=(), codes=(), things=(guess,))
    assert compose(understand("What's the chair made of?"), facts, TUESDAY) == language("en").say(
        "cannot"
    )
    said = compose(understand("What does the red light at the bottom mean?"), ROOF, TUESDAY)
    assert said == "In the middle: green. I can't tell more."


CHAIRS = tuple(Thing("chair", 0.9, Box(n, 300, n + 90, 400), sure=True) for n in (100, 300))


def test_what_is_on_a_table_is_not_what_stands_around_it() -> None:
    for more, answer in (((), language("en").say("cannot")), ((CUP,), "I see a cup.")):
        facts = Facts(BRIGHT, rows=(), codes=(), things=(*CHAIRS, *more))
        assert compose(understand("What's on the table?"), facts, TUESDAY) == answer
    # The camera is what one looks with.
    said = compose(understand("What does the camera show now?"), facts, TUESDAY)
    assert said == "I see chairs and a cup."


def test_a_person_from_behind_shows_no_face() -> None:
    person = Thing("person", 0.9, Box(100, 100, 300, 600), sure=True)
    facts = Facts(BRIGHT, rows=(), codes=(), faces=0, things=(person,))
    said = compose(understand("Can you see her face?"), facts, TUESDAY)
    assert said.startswith(language("en").say("faces_none"))
    assert (
        compose(understand("Who is there?"), facts, TUESDAY)
        == "I see at least one: a person; I cannot count for sure."
    )


async def test_a_chair_is_seen_through() -> None:
    """Its colour is told only where one has most of its place: the floor shows through the rest."""
    said = await ask("What colour is the chair?", *CHAIRS[:1])
    assert said[0] == "In the middle: grey."
    yellow = np.full((720, 1280, 3), (20, 200, 240), np.uint8)
    yellow[:250] = yellow[450:] = 200
    assert colours_of(yellow, CHAIRS, ["chair"])[0][0] == "yellow"
    assert "colour: grey" in (await ask("What colour is the cup?", CUP))[0]


def test_print_may_name_what_is_not_seen() -> None:
    """Bags of tea are no handbags, and a dog may be one to beware of."""
    tea = replace(ROOF, rows=tuple(rows_of("GREEN TEA", "20 bags, 40 g", "Beware of the dog")))
    assert compose(understand("How many bags?"), tea, TUESDAY) == "It reads: 20 bags, 40 g"
    ferry = replace(ROOF, rows=tuple(rows_of("Adults Children", "2 1")))
    said = compose(understand("How many people is this for?"), ferry, TUESDAY)
    assert said == language("en").closest("Adults Children; 2 1")
    said = compose(understand("Is there a dog?"), tea, TUESDAY)
    assert said == "I may miss it, but I do not see that: a dog.\nIt reads: Beware of the dog"
    assert (
        compose(understand("Is there a cat?"), tea, TUESDAY)
        == "I may miss it, but I do not see that: a cat."
    )


LEFT = Thing("person", 0.9, Box(100, 200, 300, 700), sure=True)
RIGHT = Thing("person", 0.9, Box(900, 200, 1100, 700), sure=True)


async def test_a_side_counts_what_is_there_alone() -> None:
    """And "are left" is no side."""
    both = (LEFT, RIGHT)
    assert await ask("How many people are on the left?", *both) == (
        "I see at least one: a person; I cannot count for sure.",
        None,
    )
    assert (await ask("How many people are there?", *both))[0].startswith("I count at least 2")
    assert (await ask("How many people are left?", *both))[0].startswith("I count at least 2")
    assert (await ask("Is there a person on the left?", RIGHT))[0].startswith("I see no face.")
    assert (await ask("Ist rechts eine Person?", RIGHT))[0].endswith("eine Person.")
    said = await ask("Is the cup on the right of the person?", LEFT, CUP)
    assert said == ("A person: on the left. A cup: on the right.", 2)


async def test_what_it_says_at_the_top_is_that_part() -> None:
    words = [piece("Exit", 100), piece("Platform 4", 600)]
    assert (await ask("What does it say at the top?", reads=words))[0] == "It reads: Exit"
    assert "Platform 4" in (await ask("What does it say?", reads=words))[0]
    # "On it" is the same word.
    assert "Platform 4" in (await ask("上面写着什么？", reads=words))[0]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What colour is the jacket?", "In the middle: orange."),
        ("What color are my socks?", "In the middle: orange."),
        ("Which colour is her bag?", "In the middle: orange."),
        ("What colour is the man's tie?", "In the middle: orange."),
        ("What colour is the cat?", "In the middle: orange."),
        ("What colour is the van behind the bus?", "In the middle: orange."),
        ("Welche Farbe hat das Kissen?", "In der Mitte: orange."),
        ("De quelle couleur sont les rideaux ?", "Au milieu : orange."),
        ("¿De qué color es el bolso?", "En el centro: naranja."),
    ],
)
def test_a_colour_asked_of_any_noun_is_the_middle_s(question: str, said: str) -> None:
    """Also on a white ground, which is told, too; beside it whole pictures are told as such."""
    facts = replace(ROOF, colours={"middle": (("orange", 1.0),)}, things=())
    assert compose(understand(question), facts, TUESDAY).split("\n")[0] == said
    on_white: dict[str, Shares] = {"middle": (("orange", 0.6), ("white", 0.4))}
    facts = replace(facts, colours=on_white, ground=("white",), rim=frozenset({"white"}))
    assert compose(understand(question), facts, TUESDAY).startswith(said[:-1])
    facts = replace(facts, things=(CUP,))
    assert compose(understand(question), facts, TUESDAY).startswith(said[:-1])


def test_the_colour_of_the_background_is_that_of_all() -> None:
    facts = replace(ROOF, things=())
    whole = replace(facts, colours={"whole": (("orange", 1.0),)})
    said = compose(understand("What colour is the cat in the background?"), whole, TUESDAY)
    assert said.startswith("I see orange.\n")


async def test_what_lies_on_a_table_is_counted_and_not_the_table() -> None:
    table = Thing("dining table", 0.9, Box(0, 300, 1200, 700), sure=True)
    asked = "How many cups are on the table?"
    assert (await ask(asked, table))[0].startswith("I may miss it, but I do not see that: a cup.")
    assert (await ask(asked, table, CUP))[
        0
    ] == "I see at least one: a cup; I cannot count for sure."
    assert (await ask("How many tables are there?", table))[0].endswith(
        "; I cannot count for sure."
    )


def test_a_white_ground_in_the_middle_is_not_called_the_thing() -> None:
    """A white table may lie beside the thing, and green grass; a green wall is the thing."""
    white = replace(
        ROOF, colours={"middle": (("white", 1.0),), "whole": (("white", 0.8),)}, ground=("white",)
    )
    said = compose(understand("What colour is it?"), white, TUESDAY)
    assert said.startswith("In the middle: white.\n")
    assert compose(
        understand("What colour is it?"), replace(white, pointed=True), TUESDAY
    ).startswith("In the middle it is white.")
    for share, says in (
        (0.74, "In the middle: green."),
        (0.95, "In the middle it is green."),
    ):
        colours: dict[str, Shares] = {"middle": (("green", 1.0),), "whole": (("green", share),)}
        green = replace(ROOF, colours=colours, ground=("green",))
        assert compose(understand("What colour is it?"), green, TUESDAY).startswith(says)


async def test_what_a_thing_has_is_not_counted_as_the_thing() -> None:
    dog = Thing("dog", 0.9, Box(100, 200, 300, 700), sure=True)
    said = (await ask("How many legs does the dog have?", dog))[0]
    assert "count" not in said
    assert (await ask("How many dogs does the man have?", dog))[
        0
    ] == "I see at least one: a dog; I cannot count for sure."


async def test_where_they_are_going_looks_for_no_thing() -> None:
    said = await ask("Where are they going?", CUP)
    assert said[0] == "I do not find it. I look for common things, text, codes, colours and faces."


@pytest.mark.parametrize(
    ("question", "thing"),
    [
        ("Where are my glasses?", "sunglasses"),
        ("How many pairs of glasses do you see?", "sunglasses"),
        ("How many glasses are there?", "glass"),
    ],
)
def test_glasses_that_somebody_wears_hold_no_water(question: str, thing: str) -> None:
    assert understand(question).things == (thing,)


HORSE = Thing("horse", 0.9, Box(100, 100, 500, 600), sure=True)
SOUP = rows_of("Cream of Tomato", "Serving: heat slowly", "12 OZ")


@pytest.mark.parametrize(
    ("question", "things", "rows", "said"),
    [
        ("What breed is this horse?", (HORSE,), (), "I see a horse. I can't tell more."),
        ("What horse is this?", (HORSE,), (), "I see a horse. I can't tell more."),
        ("Is it angry?", (HORSE, CUP), (), "I see a horse and a cup. I can't tell more."),
        ("Is this gluten free?", (), SOUP, f"What I read: {' · '.join(row.text for row in SOUP)}. I can't tell more."),
        ("Who is the chef?", (), SOUP, f"What I read: {' · '.join(row.text for row in SOUP)}. I can't tell more."),
        ("Is it ripe?", (), (), "In the middle: green. I can't tell more."),
        ("Ist das giftig?", (), (), "In der Mitte: grün. Mehr kann ich nicht sagen."),
        ("What does it mean?", (CUP,), rows_of("Lot 12"), "I see a cup. What I read: Lot 12\nI can't tell more."),
    ],
)  # fmt: skip
def test_a_no_carries_what_was_read_or_seen(
    question: str, things: tuple[Thing, ...], rows: tuple[Row, ...], said: str
) -> None:
    """The useful part first, in two sentences at most, in any language."""
    facts = replace(ROOF, things=things, rows=tuple(rows))
    answer = compose(understand(question), facts, TUESDAY)
    assert answer == said


@pytest.mark.parametrize("code", LANGUAGES)
def test_beside_a_figure_stands_its_row(code: str) -> None:
    """In each language, also in those of which nothing can be read."""
    facts = replace(ROOF, rows=tuple(rows_of("Oak shelf 120 cm", "Price 39.90", "Aisle 7")))
    said = compose(Intent(Want.PRICE, code), facts, TUESDAY)
    assert "39.90" in said
    assert language(code).say("scripts") not in said
