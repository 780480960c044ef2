"""Answers from what was found in a picture, without one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from server.core.frames import Scene
from server.features.builtin.answers import compose, compose_several
from server.features.builtin.codes import Code
from server.features.builtin.detector import Thing
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES
from server.features.builtin.lines import row_of
from server.features.builtin.speaker import View
from server.media.picture.grounding import Box

TODAY = dt.date(2026, 11, 30)
CLEAR = Scene(0.6, 0.5, 0.0, False, False)
DOG = Thing("dog", 0.9, Box(10, 10, 200, 200), sure=True)
COLOURS = {"middle": (("blue", 0.6), ("white", 0.4)), "whole": (("white", 0.7), ("blue", 0.3))}

MENU = ("Joe's Diner", "Cheeseburger & fries 11.50", "Turkey club 9.75", "Apple pie 4.50")
LABEL = ("Garden Gold", "TOMATO KETCHUP", "NET WT 20 OZ (567g)", "BEST BY JAN 12 2027")
HOURS = ("Corner Books", "Mon - Thu 10 - 6", "Friday 10 - 8", "Saturday 9 - 5", "Sunday CLOSED")
BILL = ("Previous balance $92.15", "Payment received -$92.15", "AMOUNT DUE $104.38", "Dec 14, 2026")


def view(*rows: str, **changes: Any) -> View:
    given: dict[str, Any] = {"scene": CLEAR, "rows": tuple(map(row_of, rows)), "things": ()}
    return View(**(given | {"colours": COLOURS} | changes))


def ask(question: str, found: View, **options: Any) -> str:
    return compose(understand(question, page="en"), found, TODAY, **options)[0]


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("How much is the turkey club?", MENU, "It says: Turkey club 9.75"),
        ("What does the apple pie cost?", MENU, "It says: Apple pie 4.50"),
        ("Is this the ketchup?", LABEL, "It says: TOMATO KETCHUP"),
        ("Is this ketchup or mustard?", LABEL, "It says: TOMATO KETCHUP"),
        ("How heavy is it?", LABEL, "It says: NET WT 20 OZ (567g)"),
        ("When does this expire?", LABEL, "BEST BY JAN 12 2027: 43 days left."),
        ("When do they open on Saturday?", HOURS, "It says: Saturday 9 - 5"),
        ("Are they open today?", HOURS, "It says: Mon - Thu 10 - 6"),
        ("How much do I owe?", BILL, "It says: AMOUNT DUE $104.38"),
        ("When do I have to pay?", BILL, "It says: Dec 14, 2026"),
        ("What do I weigh?", ("164.2",), "It says: 164.2"),
        ("Is there lactose in it?", ("Sugar, whey", "Cocoa"), "It says: Sugar, whey"),
        ("What's the phone number?", ("Nadia", "020 7946 0817"), "It says: 020 7946 0817"),
        (
            "Wann kommt die 12?",
            ("21 Messe 11 min", "12 Nordpark 7 min"),
            "Da steht: 12 Nordpark 7 min",
        ),
        (
            "Wie viel Zucker ist da drin?",
            ("Fett 6,7 g", "davon Zucker 0,9 g"),
            "Da steht: davon Zucker 0,9 g",
        ),
        ("¿Qué dice?", ("SALIDA",), "Dice: SALIDA"),
    ],
)
def test_print_is_quoted_by_the_questions_words_and_kind(
    question: str, rows: tuple[str, ...], answer: str
) -> None:
    """The rest of it comes below."""
    first, *more = ask(question, view(*rows)).split("\n")
    assert first == answer
    assert all(row in "\n".join(more) for row in rows if row not in first)
    assert ask(question, view(*rows), brief=True) == answer


@pytest.mark.parametrize(
    ("question", "begin"),
    [
        ("Is this mustard?", "I couldn't find that in the text. It says: Garden Gold"),
        ("How long do I cook it?", "I couldn't find that in the text. It says: Garden Gold"),
        ("How much is the lasagne?", "I couldn't find that in the text. It says: Garden Gold"),
        ("Why is it red?", "I can't tell. It says: Garden Gold"),
        ("What flavor is it?", "It says: Garden Gold · TOMATO KETCHUP"),
        ("Translate this", "I can only read it:"),
    ],
)
def test_what_is_not_understood_gets_all_print(question: str, begin: str) -> None:
    text, known = compose(understand(question), view(*LABEL), TODAY)
    assert text.startswith(begin)
    assert all(row in text for row in LABEL)
    assert not known


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("Use by 28 NOV", "Use by 28 NOV: 2 days ago."),
        ("SELL BY NOV 30 2026", "SELL BY NOV 30 2026: today."),
        ("EXP 12/01/26 USA", "EXP 12/01/26 (2026-12-01): 1 day left."),
        ("Use by 10/12/2026", "It says: Use by 10/12/2026"),
        ("VAL 08/2027", "It says: VAL 08/2027"),
        ("EXP JAN 12 2029", "It says: EXP JAN 12 2029"),
        ("Best before 3 JAN", "Best before 3 JAN: 34 days left."),
    ],
)
def test_a_date_says_how_far_away_it_is(row: str, said: str) -> None:
    """Not where day and month may be swapped, there is no day, or it is years away."""
    assert ask("Is this still good?", view(row)) == said


@pytest.mark.parametrize(
    ("question", "things", "answer"),
    [
        ("What is this?", (DOG,), "I see a dog."),
        ("What dog is this?", (DOG,), "A dog; I can't tell which."),
        ("Is there a dog?", (DOG,), "Yes. I see a dog."),
        ("How many dogs are there?", (DOG, DOG), "I count at least 2: dogs."),
        ("Is the dog asleep?", (DOG,), "I can't tell. I see a dog."),
        ("Why is he barking?", (DOG,), "I can't tell. I see a dog."),
        ("Is there a cat?", (DOG,), "I don't see a cat, but I could be missing it.\nI see a dog."),
        ("Is it a boy or a girl?", (DOG,), "I can't tell. I see a dog."),
        ("What is this?", (), "I'm not sure what this is. In the middle: blue, white."),
        ("Is it heavy?", (), "I can't tell. In the middle: blue, white."),
    ],
)
def test_no_answer_hides_what_is_seen(
    question: str, things: tuple[Thing, ...], answer: str
) -> None:
    assert ask(question, view(things=things)) == answer


def test_what_only_looks_like_something_is_told_where_there_is_little_print() -> None:
    plant = Thing("potted plant", 0.6, Box(10, 10, 90, 90), sure=False)
    assert ask("What is this?", view(things=(plant,))) == "This looks like a potted plant."
    assert "plant" not in ask("What is this?", view(*LABEL, things=(plant,)))


@pytest.mark.parametrize(
    ("question", "changes", "answer"),
    [
        ("What colour is this shirt?", {"subject": (("blue", 0.9),)}, "In the middle: blue."),
        ("Is it blue?", {}, "Yes. In the middle: blue, white."),
        ("Is it red?", {}, "No. In the middle: blue, white."),
        ("Is there anything red?", {"spots": (("red", ("top",)),)}, "Yes. At the top: red."),
        (
            "What colour is the dog?",
            {"things": (DOG,), "thing_colours": (("brown", 0.8),)},
            "A dog: brown.",
        ),
        (
            "What does my dog look like?",
            {"things": (DOG,), "thing_colours": (("brown", 0.8),)},
            "I can't tell. A dog: brown.",
        ),
        ("What colour is the wall?", {}, "I see white, blue."),
        (
            "What is she wearing?",
            {"worn": (("red", 0.9),), "faces": 1},
            "Below the face it is red.",
        ),
    ],
)
def test_colours(question: str, changes: dict[str, Any], answer: str) -> None:
    assert ask(question, view(**changes)).split("\n")[0] == answer


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is the light on?", "The picture is"),
        ("Did I leave the lamp on?", "The picture is"),
        ("Ist das Licht an?", "Das Bild ist"),
        ("Who turned the light on?", "I can't tell."),
        ("Are the brake lights on?", "I can't tell."),
        ("Is the TV on?", "I don't see a TV"),
    ],
)
def test_a_light_that_is_on_is_told_by_the_pictures_light(question: str, answer: str) -> None:
    assert ask(question, view(things=(DOG,))).startswith(answer)


def test_a_thing_that_is_not_seen_has_a_no_beside_the_colour() -> None:
    answer = ask("What colour is the pumpkin?", view())
    assert answer == "I don't see a pumpkin, but I could be missing it.\nI see white, blue."
    held = ask("What colour is the pumpkin?", view(subject=(("orange", 0.8),)))
    assert held == "In the middle: orange.\nI don't see a pumpkin, but I could be missing it."


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (
            Scene(0.03, 0.2, 0.0, True, False),
            "The picture is dark. Hold it closer, flat and in good light.",
        ),
        (
            Scene(0.6, 0.0, 0.0, False, True),
            "I don't see any text that I can read. The picture is blurred",
        ),
        (CLEAR, "I don't see any text"),
    ],
)
def test_why_nothing_was_read(scene: Scene, said: str) -> None:
    assert ask("What does it say?", view(scene=scene)).startswith(said)
    assert ask("When does it expire?", view(scene=scene)).startswith(said)


def test_one_large_letter_is_mostly_none() -> None:
    assert ask("What is this?", view("T", things=(DOG,))) == "I see a dog."
    assert ask("Read this", view("T")) == "It says: T"
    assert ask("What is this?", view("70", things=(DOG,))).endswith("It says: 70")


def test_codes_and_links() -> None:
    code = Code("https://example.org/menu", "QR Code")
    assert "example.org/menu" in ask("Scan the code", view(codes=(code,)))
    assert "example.org/menu" in ask("What is the website?", view(codes=(code,)))
    text, known = compose(understand("Is this link safe?"), view(codes=(code,)), TODAY)
    assert text.endswith("leads to example.org.")
    assert known  # a model could tell no more
    wifi = Code("WIFI:S:Home;P:maple-82;;", "QR Code")
    assert "maple-82" in ask("What's the wifi password?", view(codes=(wifi,)))
    assert ask("Scan the code", view(codes=())).startswith("I don't see a QR code")


def test_the_past_is_beyond_one_picture() -> None:
    assert ask("Is the dog asleep?", view(), past=True).startswith("I only look at the picture now")


def test_cameras_are_told_by_name_and_what_holds_for_all_once() -> None:
    intent = understand("Is there a dog?")
    looks = [("Door", view(things=(DOG,))), ("Kitchen", view())]
    text, _ = compose_several(intent, looks, TODAY)
    assert text.split("\n") == [
        "Door: Yes. I see a dog.",
        "Kitchen: I don't see a dog, but I could be missing it.",
    ]
    same = compose_several(intent, [("Door", view()), ("Kitchen", view())], TODAY)[0]
    assert same.startswith("Door, Kitchen: I don't see")


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize(
    "question", ["What is this?", "Read this", "When does it expire?", "Is it a fish?"]
)
def test_every_language_answers(code: str, question: str) -> None:
    """With and without print, things and light."""
    intent = understand(question, code)
    for found in (
        view(*LABEL),
        view(things=(DOG,)),
        view(scene=Scene(0.02, 0.0, None, True, True)),
        View(CLEAR),
    ):
        text, _ = compose(intent, found, TODAY)
        assert text
        assert "{" not in text
