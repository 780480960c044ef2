"""Answers from what was found in a picture, without one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from server.core.frames import Scene
from server.features.builtin.answers import compose
from server.features.builtin.codes import DecodedCode
from server.features.builtin.detector import DetectedThing
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES
from server.features.builtin.lines import Cell, Row
from server.features.builtin.speaker import PictureFacts
from server.media.picture.grounding import Box
from tests.features.builtin.rows import row_of

TODAY = dt.date(2026, 11, 30)
CLEAR = Scene(0.6, 0.5, 0.0, False, False)
DOG = DetectedThing("dog", 0.9, Box(10, 10, 200, 200), sure=True)
BROWN = {"things": (DOG,), "thing_colours": (("brown", 0.8),)}
COLOURS = {"middle": (("blue", 0.6), ("white", 0.4)), "whole": (("white", 0.7), ("blue", 0.3))}

MENU = ("Joe's Diner", "Cheeseburger & fries 11.50", "Turkey club 9.75", "Apple pie 4.50")
LABEL = ("Garden Gold", "TOMATO KETCHUP", "NET WT 20 OZ (567g)", "BEST BY JAN 12 2027")
HOURS = ("Corner Books", "Mon - Thu 10 - 6", "Friday 10 - 8", "Saturday 9 - 5", "Sunday CLOSED")
BILL = ("Previous balance $92.15", "Payment received -$92.15", "AMOUNT DUE $104.38", "Dec 14, 2026")
OATS = (
    *("Honey Hoops", "Ingredients: wholegrain oat flour (61 %), sugar, wheat flour, honey"),
    *("(6 %), maize starch, almonds (2 %), salt.", "May contain traces of peanuts."),
    *("Net weight 375 g", "Best before: 14 MAR 2027", "Keep in a cool, dry place."),
)
TABLETS = (
    *("Cetorelin 10 mg", "30 tablets", "Relief of hay fever and allergies"),
    "Adults and children over 12: take one tablet once a day with water.",
    *("Children 6-12: half a tablet twice a day.", "Do not drink alcohol.", "Batch K2210"),
)
NOODLES = (
    *("Chicken Noodles", "1. Open the lid to the line.", "2. Add boiling water to the mark"),
    *("(280 ml).", "3. Close and wait 3 minutes.", "May contain egg and sesame."),
)
POOL = ("Monday 07:15 Lane swimming", "Each class £5.20.", "Pool closed on Fridays.", "Lockers £1")
CAFE = ("Plat du jour : 13,90 €", "Ouvert de 8 h à 19 h, fermé le mardi")
BUSES = ("9:10 Oslo", "12:40 Oslo", "14:55 Lisbon", "16:02 Oslo")


def view(*rows: str, **changes: Any) -> PictureFacts:
    given: dict[str, Any] = {"scene": CLEAR, "rows": tuple(map(row_of, rows)), "things": ()}
    return PictureFacts(**(given | {"colours": COLOURS} | changes))


def ask(question: str, found: PictureFacts, **options: Any) -> str:
    return compose(understand(question, page="en"), found, TODAY, **options).text


@pytest.mark.parametrize(
    ("question", "rows", "answer"),
    [
        ("How much is the turkey club?", MENU, "It says: Turkey club 9.75"),
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
        ("Wann kommt die 12?", ("21 Messe 11 min", "12 Zoo 7 min"), "Da steht: 12 Zoo 7 min"),
        ("Wie viel Zucker ist drin?", ("Fett 6,7 g", "Zucker 0,9 g"), "Da steht: Zucker 0,9 g"),
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
    ("question", "rows", "begin"),
    [
        ("Is this mustard?", LABEL, "I couldn't find that in the text. It says: Garden Gold"),
        ("How long do I cook it?", LABEL, "I couldn't find that in the text. It says: Garden Gold"),
        ("How much is the lasagne?", LABEL, "I couldn't find that in the text. It says: Garden"),
        ("How deep is the pool?", POOL, "It says: Monday 07:15"),
        ("Why is it red?", LABEL, "I can't tell. It says: Garden Gold"),
        ("Pourquoi ?", ("Coupure d'eau", "L'eau sera coupée jeudi."), "Je ne peux pas"),
        ("What flavor is it?", LABEL, "It says: Garden Gold · TOMATO KETCHUP"),
        ("Who wrote it?", ("The Salt Ferry", "Imogen Harcastle"), "It says: The Salt Ferry"),
        ("Which platform?", ("Valid via Eddleston", "Platform: see screens"), "It says: Valid"),
        ("¿De qué está hecho?", ("Talla M", "70 % algodón"), "Dice: Talla M"),
        ("När är tvättstugan öppen?", ("Tvättstuga", "Öppet 07.00–21.00"), ""),
        ("Translate this", LABEL, "I can only read it:"),
    ],
)
def test_what_is_not_understood_gets_all_print(
    question: str, rows: Sequence[str], begin: str
) -> None:
    """And a model would tell more."""
    said = compose(understand(question, page="en"), view(*rows), TODAY)
    text, known = said.text, said.known
    assert text.startswith(begin)
    assert all(row in text for row in rows)
    assert not known


@pytest.mark.parametrize(
    ("question", "rows", "told"),
    [
        # Packages
        ("Are there nuts in it?", OATS, "May contain traces of peanuts."),
        ("Is it gluten free?", OATS, "wheat flour"),
        ("Does it contain silicones?", ("Shampoo", "No silicones.", "300 ml"), "No silicones."),
        ("How many tablets are in it?", TABLETS, "30 tablets"),
        ("Zit er melk in?", ("Koekjes", "Bevat melk.", "200 g"), "Bevat melk."),
        # Recipes and machines
        ("How much water do I need?", NOODLES, "Add boiling water to the mark (280 ml)."),
        ("How many eggs do I need?", ("Lemon cake", "4 eggs", "225 g butter"), "4 eggs"),
        ("What temperature?", ("Serves 10", "1. Heat the oven to 170 C."), "170 C"),
        # Bills and prices
        ("Which is the cheapest?", ("Tea £1.65", "Coffee £2.25"), "Tea £1.65 · Coffee £2.25"),
        # Hours and times
        ("Quel jour est-ce fermé ?", CAFE, "fermé le mardi"),
        ("Is it open on Sunday?", ("Weekdays 9-17", "Weekend 10-14"), "Weekend 10-14"),
        ("When is the next bus to Oslo?", BUSES, "9:10 Oslo · 12:40 Oslo · 16:02 Oslo"),
        ("Hoe laat vertrekt de bus?", ("Ouders,", "De bus vertrekt om 9.15 uur."), "om 9.15 uur"),
        ("In che giorno sono chiusi?", ("Risotto € 12,50", "Chiuso il lunedì"), "Chiuso il lunedì"),
        ("When is my appointment?", ("Check-up", "on 3 December 2026."), "3 December 2026."),
        ("How do I wash it?", ("70 % wool", "Hand wash cold"), "Hand wash cold"),
    ],
)
def test_the_row_that_answers_is_told_first(question: str, rows: Sequence[str], told: str) -> None:
    said = compose(understand(question, page="en"), view(*rows), TODAY)
    text, known = said.text, said.known
    assert told in text.partition("\n")[0]
    assert known


@pytest.mark.parametrize(
    ("question", "rows", "told"),
    [
        ("How long is it good?", OATS, "Best before 14 MAR 2027: 104 days left."),
        ("Tot wanneer?", ("Te houden tot 30-01-2027",), "nog 61 dagen."),
        # Of a ticket the time is told, too, and of two dates side by side the one below its words.
        ("Until when can I park?", ("EXPIRES", "15:40", "28 NOV 2026"), "15:40"),
        ("How long is it valid?", ("Valid from Valid until", "05 DEC 2026 04 JAN 2027"), "04 JAN"),
    ],
)
def test_how_long_something_is_good(question: str, rows: Sequence[str], told: str) -> None:
    *before, dates = map(row_of, rows)
    if "Valid from" in rows[0]:
        before = [Row(rows[0], 20, (Cell("Valid from", 0, 90), Cell("Valid until", 200, 290)))]
        dates = Row(rows[1], 20, (Cell("05 DEC 2026", 0, 90), Cell("04 JAN 2027", 200, 290)))
    assert told in ask(question, replace(view(), rows=(*before, dates)))


def test_a_code_is_read_where_a_row_is_asked_for() -> None:
    """There is no other print, and nothing is said of it."""
    locker = DecodedCode("Locker 58 is yours until Sunday. Code 7301.", "QR Code")
    said = ask("What's the code for the locker?", view(codes=(locker,)))
    assert said.startswith("The QR code says: Locker 58 is yours")
    assert "Hold it closer" not in said


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
    ("question", "rows", "fact"),
    [
        ("Is this still good?", ["Use by 28 NOV"], ("date", "28 NOV", -2)),
        ("Is this still good?", ["Use by 10/12/2026"], ("date", "10/12/2026", None)),
        ("What does it cost?", ["SALE", "12.50 EUR"], ("price", "12.50 EUR", None)),
        ("What does it cost?", ["Small 2.50 EUR", "Large 3.50 EUR"], None),
        ("What colour is it?", ["12.50 EUR"], None),
    ],
)
def test_a_figure_that_was_asked_for_is_a_fact(
    question: str, rows: list[str], fact: tuple[str, str, int | None] | None
) -> None:
    """A single figure of the requested kind is sent; several are ambiguous, and none is."""
    found = compose(understand(question, page="en"), view(*rows), TODAY).fact
    assert (found and (found.kind, found.text, found.days)) == fact


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
    question: str, things: tuple[DetectedThing, ...], answer: str
) -> None:
    assert ask(question, view(things=things)) == answer


def test_what_only_looks_like_something_is_told_where_there_is_little_print() -> None:
    plant = DetectedThing("potted plant", 0.6, Box(10, 10, 90, 90), sure=False)
    assert ask("What is this?", view(things=(plant,))) == "This looks like a potted plant."
    assert "plant" not in ask("What is this?", view(*LABEL, things=(plant,)))


@pytest.mark.parametrize(
    ("question", "changes", "answer"),
    [
        ("What colour is this shirt?", {"subject": (("blue", 0.9),)}, "In the middle: blue."),
        ("Is it blue?", {}, "Yes. In the middle: blue, white."),
        ("Is it red?", {}, "No. In the middle: blue, white."),
        ("Is there anything red?", {"spots": (("red", ("top",)),)}, "Yes. At the top: red."),
        ("What colour is the dog?", BROWN, "A dog: brown."),
        ("What does my dog look like?", BROWN, "I can't tell. A dog: brown."),
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


def test_a_thing_that_is_not_seen_has_a_no_before_all_colours() -> None:
    """The colour in the middle may be that of something else."""
    no = "I don't see a pumpkin, but I could be missing it."
    assert ask("What colour is the pumpkin?", view()) == f"{no}\nIn the middle: blue, white."
    other = view(subject=(("black", 0.6), ("orange", 0.16)))
    said = ask("What colour is the pumpkin?", other)
    assert said == f"{no}\nIn the middle: black. I see orange, white, blue."


@pytest.mark.parametrize(
    "question",
    [
        *("What colour are the dog's eyes?", "What color is the collar of the dog?"),
        *("Welche Farbe hat das Halsband von dem Hund?", "¿De qué color son los ojos del perro?"),
        "De quelle couleur est la queue du chien ?",
    ],
)
def test_the_colour_of_a_part_is_not_the_things(question: str) -> None:
    intent = understand(question)
    said = compose(intent, view(**BROWN), TODAY)
    text, known = said.text, said.known
    plain = compose(replace(intent, part=False), view(**BROWN), TODAY).text
    assert text.endswith(f" {plain}")
    assert not known
    whole = "What colour is the big dog?"
    assert ask(whole, view(**BROWN)) == "A dog: brown."


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ("How warm is it in here?", ("ROOM", "SET TO 70°F")),
        ("Wie warm ist das Wasser?", ("Boiler", "Soll 60 °C")),
        ("Quelle est la température ?", ("Chauffage", "Consigne 19 °C")),
    ],
)
def test_a_temperature_that_is_set_is_not_how_warm_it_is(
    question: str, rows: tuple[str, ...]
) -> None:
    """One that is measured comes first; of its own a question may ask."""
    said = compose(understand(question), view(*rows), TODAY)
    text, known = said.text, said.known
    assert not known
    assert not text.startswith(("It says", "Da steht", "Il est écrit"))
    assert rows[1] in text
    measured = compose(understand(question), view(*rows, "18,5 °C"), TODAY).text.partition("\n")[0]
    assert "18,5" in measured
    assert rows[1] not in measured


def test_the_temperature_that_is_set_is_told_to_who_asks_for_it() -> None:
    said = ask("What temperature is it set to?", view("ROOM 65°F", "SET TO 70°F"))
    assert said.startswith("It says: SET TO 70°F")


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (Scene(0.03, 0.2, 0.0, True, False), "The picture is dark. Hold it closer, flat"),
        (
            Scene(0.6, 0.0, 0.0, False, True),
            "I don't see any text that I can read. The picture is bl",
        ),
        (CLEAR, "I don't see any text"),
    ],
)
def test_why_nothing_was_read(scene: Scene, said: str) -> None:
    assert ask("What does it say?", view(scene=scene)).startswith(said)
    assert ask("When does it expire?", view(scene=scene)).startswith(said)


@pytest.mark.parametrize("row", ["image", "GM 125", "Made in Portugal"])
def test_small_print_at_the_edge_does_not_say_what_it_is(row: str) -> None:
    """It comes last, as it may belong to something else."""
    unknown = "I'm not sure what this is. In the middle: blue, white."
    assert ask("What is this?", view(row, small_print=True)) == f"{unknown}\nIt says: {row}"
    assert ask("What is this?", view(row)) == f"It says: {row}"
    seen = ask("What is this?", view(row, small_print=True, things=(DOG,)))
    assert seen == f"I see a dog.\nIt says: {row}"


def test_one_large_letter_is_mostly_none() -> None:
    assert ask("What is this?", view("T", things=(DOG,))) == "I see a dog."
    assert ask("Read this", view("T")) == "It says: T"
    assert ask("What is this?", view("70", things=(DOG,))).endswith("It says: 70")


def test_codes_and_links() -> None:
    code = DecodedCode("https://example.org/menu", "QR Code")
    assert "example.org/menu" in ask("Scan the code", view(codes=(code,)))
    assert "example.org/menu" in ask("What is the website?", view(codes=(code,)))
    said = compose(understand("Is this link safe?"), view(codes=(code,)), TODAY)
    text, known = said.text, said.known
    assert text.endswith("leads to example.org.")
    assert known  # a model could tell no more
    wifi = DecodedCode("WIFI:S:Home;P:maple-82;;", "QR Code")
    assert "maple-82" in ask("What's the wifi password?", view(codes=(wifi,)))
    assert ask("Scan the code", view(codes=())).startswith("I don't see a QR code")


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
        PictureFacts(CLEAR),
    ):
        text = compose(intent, found, TODAY).text
        assert text
        assert "{" not in text
