"""Lines of several pictures of one text: each is read once, however the reader varies."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.reading.text import MOST_LINES, ReadText, join_lines

PAGE = [
    "TOMATO SOUP",
    "with basil and cream",
    "Ingredients: water, tomatoes (42 %), cream,",
    "sugar, modified starch, salt, basil (0.5 %),",
    "onion powder, natural flavouring.",
    "Nutrition per 100 ml",
    "Energy 212 kJ",
    "Fat 2.1 g",
    "Sugar 4.8 g",
    "Salt 0.9 g",
    "Shake well before opening. Heat gently,",
    "do not boil. Once open keep in the fridge",
    "and use within two days.",
    "Best before: see lid",
    "Green Valley Foods, 12 Mill Lane, Dover",
]


CHILDREN = "Keep away from children and"
PETS = "Keep out of reach and away from children and pets"
SHAKE, HEAT = "Shake well before opening.", "Heat gently, do not boil."


@pytest.mark.parametrize(
    "pictures",
    [
        # The first is read whole; a camera that is held still repeats nothing.
        [(PAGE, PAGE), (PAGE, [])],
        # Further down the overlap is not repeated; what follows comes in its order.
        [(PAGE[:6], PAGE[:6]), (PAGE[3:9], PAGE[6:9]), (PAGE[7:], PAGE[9:])],
        # Another product's label has the same words and other figures.
        [
            (["Sugar 4.8 g"], ["Sugar 4.8 g"]),
            (["Sugar 5.6 g"], ["Sugar 5.6 g"]),
            # A letter in place of a digit is no other figure.
            (["Sugar 4.B g"], []),
        ],
        # A table has the same line twice: below the last known line it is another one.
        [
            (["Total", "Apples", "Pears"], ["Total", "Apples", "Pears"]),
            (["Apples", "Pears", "Total", "Tax"], ["Total", "Tax"]),
        ],
        # A known line stands for one line of a picture.
        [
            (["Monday", "closed"], ["Monday", "closed"]),
            (["Monday", "closed", "Tuesday", "closed"], ["Tuesday", "closed"]),
        ],
        # The camera goes back up, and a line comes into view that was hidden before.
        [
            ([PAGE[0], PAGE[2]], [PAGE[0], PAGE[2]]),
            (PAGE[6:10], PAGE[6:10]),
            (PAGE[0:3], [PAGE[1]]),
            (PAGE[6:10], []),
        ],
        # Of a line that was cut off at the right only the rest is read.
        [
            ([CHILDREN], [CHILDREN]),
            ([f"{CHILDREN} pets at all times"], ["pets at all times"]),
            (["Keep away from children"], []),
        ],
        # One that was cut at its beginning is read whole: half a word is of no use.
        [(["ay from children and pets"], ["ay from children and pets"]), ([PETS], [PETS])],
        # A reader joins or splits what stands beside each other.
        [([SHAKE, HEAT], [SHAKE, HEAT]), ([f"{SHAKE} {HEAT}"], [])],
        [([f"{SHAKE} {HEAT}"], [f"{SHAKE} {HEAT}"]), ([SHAKE, HEAT], [])],
        # Single signs come from drawings and edges.
        [(["|", "·", "x", "", "   ", "7"], [])],
        # Chinese lines overlap as others do.
        [
            (
                ["配料：水、番茄、奶油", "净含量：500毫升"],
                ["配料：水、番茄、奶油", "净含量：500毫升"],
            ),
            (["净含量：500毫升", "请在开封后两天内食用"], ["请在开封后两天内食用"]),
        ],
    ],
)
def test_each_line_is_read_once(pictures: list[tuple[list[str], list[str]]]) -> None:
    """The lines of one picture after another, and what is new of each."""
    text = ReadText()
    for lines, fresh in pictures:
        assert text.add(lines) == fresh


def test_a_text_has_a_bound() -> None:
    """Whatever is before the camera, memory is bounded."""
    text = ReadText()
    rng = random.Random(1)
    for _ in range(40):
        text.add(["".join(rng.choices("abcdefghijklmnop", k=30)) for _ in range(60)])
    assert text.full
    assert len(text._lines) <= MOST_LINES + 80


def test_lines_are_joined_where_a_sentence_goes_on() -> None:
    """A voice makes no pause there."""
    assert join_lines(["water, cream,", "sugar and salt", "Shake well"]) == (
        "water, cream, sugar and salt\nShake well\n"
    )
    assert join_lines(["infor-", "mation"]) == "infor-mation\n"
    assert join_lines([]) == ""


@given(st.lists(st.lists(st.text(max_size=40), max_size=12), max_size=6))
def test_whatever_is_read_is_read_once(pictures: list[list[str]]) -> None:
    """The same picture right after itself gives nothing, for any text."""
    text = ReadText()
    for lines in pictures:
        text.add(lines)
        assert text.add(lines) == []
