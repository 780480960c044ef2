"""Questions about things that people hold up first: a package, a bill, a recipe, a timetable, a cup of coffee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from server.features.builtin.answers import compose
from server.features.builtin.codes import Code
from server.features.builtin.colours import subject, told, worn
from server.features.builtin.detector import Thing
from server.features.builtin.engine import colours_of
from server.features.builtin.intents import understand
from server.features.builtin.lines import Cell, Row, row_of
from server.features.builtin.locate import colour_boxes
from server.media.picture.grounding import Box
from tests.features.builtin.test_answers import TODAY, ask, view
from tests.features.builtin.test_detector import photo

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
GAS = (
    *("Norland Gas", "Mr Adam Whitlock", "8 Fernhill Close", "Account number: 6042 8817"),
    *("Bill date: 18 November 2026", "Amount to pay: £142.67", "Please pay by 9 December 2026"),
    *("Late payments are charged £12.", "Smell gas? Call 0800 111 999, day or night."),
)
WATER = ("Tarn Valley Water", "Amount due £96.40", "Pay no later than 14 December 2026")
NOODLES = (
    *("Chicken Noodles", "1. Open the lid to the line.", "2. Add boiling water to the mark"),
    *("(280 ml).", "3. Close and wait 3 minutes.", "May contain egg and sesame."),
)
POOL = ("Monday 07:15 Lane swimming", "Each class £5.20.", "Pool closed on Fridays.", "Lockers £1")
CAFE = ("Plat du jour : 13,90 €", "Ouvert de 8 h à 19 h, fermé le mardi")
BUSES = ("9:10 Oslo", "12:40 Oslo", "14:55 Lisbon", "16:02 Oslo")


@pytest.mark.parametrize(
    ("question", "rows", "told"),
    [
        # Packages
        ("Are there nuts in it?", OATS, "May contain traces of peanuts."),
        ("Is it gluten free?", OATS, "wheat flour"),
        ("How much does it weigh?", OATS, "Net weight 375 g"),
        ("Does it contain silicones?", ("Shampoo", "No silicones.", "300 ml"), "No silicones."),
        ("How many tablets are in it?", TABLETS, "30 tablets"),
        ("Zit er melk in?", ("Koekjes", "Bevat melk.", "200 g"), "Bevat melk."),
        # Recipes and machines
        ("How much water do I need?", NOODLES, "Add boiling water to the mark (280 ml)."),
        ("How many eggs do I need?", ("Lemon cake", "4 eggs", "225 g butter"), "4 eggs"),
        ("What temperature?", ("Serves 10", "1. Heat the oven to 170 C."), "170 C"),
        # Bills and prices
        ("How much do I have to pay?", GAS, "Amount to pay: £142.67"),
        ("Was kostet eine Fahrt?", ("Tarifzone B", "Einzelfahrt 2,90 €"), "Einzelfahrt 2,90 €"),
        ("Which is the cheapest?", ("Tea £1.65", "Coffee £2.25"), "Tea £1.65 · Coffee £2.25"),
        ("When do I have to pay?", WATER, "Pay no later than 14 December 2026"),
        # Hours and times
        ("Quel jour est-ce fermé ?", CAFE, "fermé le mardi"),
        ("Is it open on Sunday?", ("Weekdays 9-17", "Weekend 10-14"), "Weekend 10-14"),
        ("When is the next bus to Oslo?", BUSES, "9:10 Oslo · 12:40 Oslo · 16:02 Oslo"),
        ("Hoe laat vertrekt de bus?", ("Ouders,", "De bus vertrekt om 9.15 uur."), "om 9.15 uur"),
        ("In che giorno sono chiusi?", ("Risotto € 12,50", "Chiuso il lunedì"), "Chiuso il lunedì"),
        (
            "When is my appointment?",
            (
                "Your check-up is on",
                "Thursday 3 December 2026.",
                "The appointment lasts 30 minutes.",
            ),
            "Thursday 3 December 2026.",
        ),
        # Whom to call, where to go
        ("Can I call them?", ("Book", "Questions? 0800 555 0136"), "Questions? 0800 555 0136"),
        ("How do I wash it?", ("70 % wool", "Hand wash cold"), "Hand wash cold"),
    ],
)
def test_the_row_that_answers_is_told_first(question: str, rows: Sequence[str], told: str) -> None:
    text, known = compose(understand(question, page="en"), view(*rows), TODAY)
    assert told in text.partition("\n")[0]
    assert known


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ("Who wrote it?", ("The Salt Ferry", "A NOVEL", "Imogen Harcastle")),
        ("How many pages does it have?", ("The Salt Ferry", "A NOVEL", "Imogen Harcastle")),
        ("How deep is the pool?", POOL),
        ("Which platform?", ("Valid via Eddleston", "Platform: see screens")),
        ("What is this for?", TABLETS),
        ("What should I do?", ("The update failed", "Empty the recycle bin and try again.")),
        ("¿De qué está hecho?", ("Talla M", "70 % algodón", "25 % lana")),
        ("Pourquoi ?", ("Coupure d'eau", "L'eau sera coupée jeudi.", "La mairie")),
        ("När är tvättstugan öppen?", ("Tvättstuga", "Öppet alla dagar 07.00–21.00")),
    ],
)
def test_else_all_print_is_told_and_a_model_would_tell_more(
    question: str, rows: Sequence[str]
) -> None:
    text, known = compose(understand(question, page="en"), view(*rows), TODAY)
    assert all(row in text for row in rows)
    assert not known


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


@pytest.mark.parametrize(
    ("question", "begin"),
    [
        ("Hoe heet deze straat?", "Er staat: "),
        ("Gdzie siedzę?", "Napisano: "),
    ],
)
def test_a_short_question_is_answered_in_its_language(question: str, begin: str) -> None:
    assert begin in ask(question, view("Feira do Livro", "Entrada livre", "Porto"))


def test_a_code_is_read_where_a_row_is_asked_for() -> None:
    """There is no other print, and nothing is said of it."""
    locker = Code("Locker 58 is yours until Sunday. Code 7301.", "QR Code")
    said = ask("What's the code for the locker?", view(codes=(locker,)))
    assert said.startswith("The QR code says: Locker 58 is yours")
    assert "Hold it closer" not in said


def test_a_cup_has_the_colour_around_the_coffee() -> None:
    """Seen from above it is a white ring; a black mug has no other."""
    picture = np.full((400, 400, 3), (235, 235, 235), np.uint8)
    cup = Thing("cup", 0.9, Box(100, 100, 300, 300), sure=True)
    cv2.circle(picture, (200, 200), 75, (20, 30, 40), -1)
    assert colours_of(picture, [cup], ["cup"])[0][0] == "white"
    picture[:] = (60, 140, 60)
    cv2.rectangle(picture, (104, 104), (296, 296), (20, 20, 20), -1)
    assert colours_of(picture, [cup], ["cup"])[0][0] == "black"


def test_the_skys_light_and_shade_are_no_colours_of_a_thing() -> None:
    """A silver car is bluish under the sky, and a golden one brown in the shade; wood is brown."""
    car = Thing("car", 0.9, Box(100, 100, 300, 300), sure=True)

    def seen(*parts: tuple[int, int, int]) -> set[str]:
        picture = np.full((400, 400, 3), (60, 140, 60), np.uint8)
        for at, part in enumerate(parts):
            picture[100 + 200 // len(parts) * at : 300, 100:300] = part
        return {*told(colours_of(picture, [car], ["car"]))}

    silver, blue = (230, 210, 190), (200, 120, 60)
    assert seen(silver) == {"white"}
    assert seen(blue) == {"blue"}
    shade, lit, bright = (36, 84, 132), (36, 110, 200), (40, 170, 215)
    assert seen(shade, shade, lit, bright, shade) == {"orange", "yellow"}
    assert seen(shade, shade, shade, lit, lit) == {"brown", "orange"}


def test_the_lit_side_of_a_block_is_no_colour_of_its_own() -> None:
    """Its top is yellow by hue; a lemon beside it is yellow."""
    picture = np.full((360, 640, 3), (190, 190, 190), np.uint8)
    picture[200:300, 400:500] = (20, 140, 240)
    picture[180:200, 400:500] = (40, 180, 255)
    assert [box.label for box in colour_boxes(picture, ["orange", "yellow"])] == ["orange"]
    picture[150:210, 500:560] = (30, 220, 240)
    assert [box.label for box in colour_boxes(picture, ["yellow"])] == ["yellow"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flower", ("orange",)),
        ("notebook", ("green",)),
        ("goldfish", ("orange", "yellow")),
        ("pencil", ("orange",)),
    ],
)
def test_what_stands_out_in_the_middle_has_its_own_colours(
    name: str, said: tuple[str, ...]
) -> None:
    assert told(subject(photo(name))) == said


def test_striped_cloth_has_both_colours() -> None:
    """Also where one of them is the table's; a bare wall has nothing that stands out."""
    picture = np.full((360, 640, 3), (60, 90, 150), np.uint8)
    assert subject(picture) == []
    picture[80:280, 220:420] = (150, 60, 30)
    for top in range(90, 280, 40):
        picture[top : top + 20, 220:420] = (240, 240, 240)
    assert set(told(subject(picture))) == {"blue", "white"}


def test_the_colour_of_clothes_is_that_below_the_face() -> None:
    """Of a portrait what is left below it; without room there is none."""
    picture = np.full((400, 400, 3), (200, 200, 200), np.uint8)
    face = Box(160, 40, 240, 140)
    picture[150:, 120:280] = (30, 30, 200)
    assert worn(picture, face)[0][0] == "red"
    portrait = Box(100, 60, 300, 300)
    picture[350:] = (200, 60, 30)
    assert worn(picture, portrait)[0][0] == "blue"
    assert worn(picture, Box(100, 100, 300, 390)) == []
