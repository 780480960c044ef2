"""Lines of several pictures of one text: each is read once, however the reader varies."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.reading.text import MOST_LINES, ReadText, joined

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
# Words that a reader takes for others
_ERRORS = {
    "o": "0",
    "0": "o",
    "l": "1",
    "i": "l",
    "s": "5",
    "e": "c",
    "a": "o",
    "m": "rn",
    "t": "f",
}


def misread(line: str, rng: random.Random, rate: float = 0.06) -> str:
    """A line as a reader gives it: some signs wrong, a space too few, an accent too many."""
    read = []
    for char in line:
        lower = char.lower()
        if char.isdigit():
            read.append(char)
        elif lower in _ERRORS and rng.random() < rate:
            read.append(_ERRORS[lower])
        elif char == " " and rng.random() < rate:
            continue
        elif char == "e" and rng.random() < rate / 2:
            read.append("é")
        else:
            read.append(char)
    return "".join(read)


def read_all(pictures: list[list[str]]) -> list[str]:
    text = ReadText()
    return [line for lines in pictures for line in text.add(lines)]


def test_the_first_picture_is_read_whole() -> None:
    """Nothing was read before it."""
    assert ReadText().add(PAGE) == PAGE


def test_the_same_picture_again_gives_nothing() -> None:
    """A camera that is held still repeats nothing."""
    text = ReadText()
    text.add(PAGE)
    assert text.add(PAGE) == []


def test_a_picture_further_down_gives_the_lines_below() -> None:
    """The overlap is not repeated; what follows comes in its order."""
    text = ReadText()
    assert text.add(PAGE[:6]) == PAGE[:6]
    assert text.add(PAGE[3:9]) == PAGE[6:9]
    assert text.add(PAGE[7:]) == PAGE[9:]


@pytest.mark.parametrize("seed", range(40))
def test_misread_overlaps_are_not_repeated(seed: int) -> None:
    """The camera goes down the page with errors of reading in each picture: every line is read once,
    in order, but for a rare one that nobody could know again.
    """
    rng = random.Random(seed)
    pictures = []
    for top in range(0, len(PAGE) - 4, 2):
        pictures.append([misread(line, rng) for line in PAGE[top : top + 6]])
    read = read_all(pictures)
    # The nearest line of the page for each that was read
    from difflib import SequenceMatcher

    found = [
        max(range(len(PAGE)), key=lambda at: SequenceMatcher(None, PAGE[at], line).ratio())
        for line in read
    ]
    assert sorted(set(found)) == list(range(len(PAGE))), "a line was left out"
    assert len(found) <= len(PAGE) + 1, "lines were repeated"
    assert found == sorted(found)


def test_lines_that_differ_in_their_figures_are_different_lines() -> None:
    """Another product's label has the same words and other figures."""
    text = ReadText()
    text.add(["Sugar 4.8 g"])
    assert text.add(["Sugar 5.6 g"]) == ["Sugar 5.6 g"]
    # A letter in place of a digit is no other figure.
    assert text.add(["Sugar 4.B g"]) == []


def test_the_same_words_further_down_are_read_again() -> None:
    """A table has the same line twice: below the last known line it is another one."""
    text = ReadText()
    text.add(["Total", "Apples", "Pears"])
    assert text.add(["Apples", "Pears", "Total", "Tax"]) == ["Total", "Tax"]


def test_the_same_line_twice_in_a_picture_is_read_twice() -> None:
    """A known line stands for one line of a picture."""
    text = ReadText()
    text.add(["Monday", "closed"])
    assert text.add(["Monday", "closed", "Tuesday", "closed"]) == ["Tuesday", "closed"]


def test_a_jump_back_gives_nothing_but_what_was_missed() -> None:
    """The camera goes back up, and a line comes into view that was hidden before."""
    text = ReadText()
    text.add([PAGE[0], PAGE[2]])
    text.add(PAGE[6:10])
    assert text.add(PAGE[0:3]) == [PAGE[1]]
    assert text.add(PAGE[6:10]) == []


def test_a_cut_line_goes_on_where_it_was_cut() -> None:
    """Of a line that was cut off at the right only the rest is read."""
    text = ReadText()
    assert text.add(["Keep away from children and"]) == ["Keep away from children and"]
    assert text.add(["Keep away from children and pets at all times"]) == ["pets at all times"]
    assert text.add(["Keep away from children"]) == []


def test_a_line_that_was_cut_at_its_beginning_is_read_whole() -> None:
    """Half a word is of no use."""
    text = ReadText()
    text.add(["ay from children and pets"])
    whole = "Keep out of reach and away from children and pets"
    assert text.add([whole]) == [whole]


def test_two_lines_that_are_read_as_one_are_not_repeated() -> None:
    """A reader joins or splits what stands beside each other."""
    text = ReadText()
    text.add(["Shake well before opening.", "Heat gently, do not boil."])
    assert text.add(["Shake well before opening. Heat gently, do not boil."]) == []
    other = ReadText()
    other.add(["Shake well before opening. Heat gently, do not boil."])
    assert other.add(["Shake well before opening.", "Heat gently, do not boil."]) == []


def test_noise_is_no_line() -> None:
    """Single signs come from drawings and edges."""
    assert ReadText().add(["|", "·", "x", "", "   ", "7"]) == []


def test_text_without_spaces_is_told_apart_too() -> None:
    """Chinese lines overlap as others do."""
    text = ReadText()
    text.add(["配料：水、番茄、奶油", "净含量：500毫升"])
    assert text.add(["净含量：500毫升", "请在开封后两天内食用"]) == ["请在开封后两天内食用"]


def test_a_text_has_a_bound() -> None:
    """Whatever is before the camera, memory is bounded."""
    text = ReadText()
    rng = random.Random(1)
    for _ in range(40):
        text.add(["".join(rng.choices("abcdefghijklmnop", k=30)) for _ in range(60)])
    assert text.full
    assert len(text._lines) <= MOST_LINES + 80


def test_the_tail_has_the_last_lines() -> None:
    """A model gets as much of what was read as fits."""
    text = ReadText()
    text.add(["one line", "another line", "third line"])
    assert text.tail(25) == "another line\nthird line"
    assert text.tail(3) == ""


def test_lines_are_joined_where_a_sentence_goes_on() -> None:
    """A voice makes no pause there."""
    assert joined(["water, cream,", "sugar and salt", "Shake well"]) == (
        "water, cream, sugar and salt\nShake well\n"
    )
    assert joined(["infor-", "mation"]) == "infor-mation\n"
    assert joined([]) == ""


@given(st.lists(st.lists(st.text(max_size=40), max_size=12), max_size=6))
def test_whatever_is_read_is_read_once(pictures: list[list[str]]) -> None:
    """The same picture right after itself gives nothing, for any text."""
    text = ReadText()
    for lines in pictures:
        text.add(lines)
        assert text.add(lines) == []
