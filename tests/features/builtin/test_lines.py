"""Pieces of text put into reading order, and what of them is text."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from server.features.builtin.lines import (
    EMPTY,
    TICKED,
    TextPiece,
    select_legible,
    sort_into_rows,
    split_sentences,
    turn_upright,
)
from server.features.builtin.reader import TextReader
from server.features.builtin.shapes import split_pieces
from server.shared.aim import MOST_LINES
from tests.features.builtin.rows import piece, row_of
from tests.features.builtin.scenes import Bgr
from tests.features.builtin.test_answers import ask, view


def turned(one: TextPiece, degrees: float) -> TextPiece:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return TextPiece(
        one.text, one.score, tuple((x * cos - y * sin, x * sin + y * cos) for x, y in one.corners)
    )


RECEIPT = [
    piece("12.40", 500, 101),
    piece("Total", 100, 98),
    piece("Bread", 102, 40),
    piece("3.20", 505, 43),
    piece("CORNER SHOP", 200, 2),
]


@pytest.mark.parametrize("degrees", [0, 8, -8, 20])
def test_rows_read_from_top_to_bottom_and_left_to_right(degrees: float) -> None:
    """In whatever order the pieces came, and also when the text leans."""
    rows = sort_into_rows([turned(one, degrees) for one in RECEIPT])
    assert [row.text for row in rows] == ["CORNER SHOP", "Bread 3.20", "Total 12.40"]


def test_pieces_of_different_height_share_a_row_only_when_level() -> None:
    """A big digit beside two small lines does not swallow both."""
    rows = sort_into_rows(
        [piece("BIG", 0, 0, 100, 60), piece("up", 120, 2, 50, 14), piece("down", 120, 44, 50, 14)]
    )
    assert len(rows) == 3


def column(x: float, *lines: str, y: float = 100) -> list[TextPiece]:
    return [piece(line, x, y + 30 * n, 12 * len(line)) for n, line in enumerate(lines)]


def read(*pieces: TextPiece) -> list[str]:
    """The lines in reading order, with an empty one before each paragraph."""
    return [
        line for row in sort_into_rows(pieces) for line in ([""] if row.apart else []) + [row.text]
    ]


STORY = ("The library in the", "old hall opened its", "doors in May. It has", "many books.")
REST = (
    "a room for readers",
    "and a small cafe. The",
    "town paid for it with",
    "some help of others.",
)
LIST = ("Espresso 2.20", "Latte 3.40", "Mocha 3.10", "Cocoa 3.80")
FOOD = ("Bagel 4.50", "Soup of the day 6.80", "Toast 5.20", "Cake 4.90")


@pytest.mark.parametrize("degrees", [0, 6])
@pytest.mark.parametrize(
    ("first", "second"), [(STORY, REST), (LIST, FOOD)], ids=["newspaper", "two lists"]
)
def test_columns_are_read_one_after_the_other(
    first: tuple[str, ...], second: tuple[str, ...], degrees: float
) -> None:
    """A headline across them, and a line below them, stand where they are."""
    whole = [
        piece("Over all columns of it", 100, 50, 500, 36),
        *column(100, *first),
        *column(420, *second),
        piece("Below both of them, and across", 100, 300, 500),
    ]
    lines = read(*(turned(one, degrees) for one in whole))
    assert [line for line in lines if line] == [
        "Over all columns of it",
        *first,
        *second,
        "Below both of them, and across",
    ]
    assert lines[lines.index(second[0]) - 1] == ""


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("Espresso", "Latte", "Mocha", "Cocoa"), ("2.20", "3.40", "3.10", "3.80")),
        (
            ("Name of customer", "Date of the order", "Payment method", "Kind of parcel"),
            ("Marta Kowalska", "20 November 2026", "Credit card 4471", "letter box"),
        ),
        (LIST, ("large 3.20", "large 4.40", "large 4.10", "large 4.80")),
    ],
    ids=["menu", "form", "sizes"],
)
def test_the_columns_of_a_table_are_read_by_row(
    left: tuple[str, ...], right: tuple[str, ...]
) -> None:
    pieces = [*column(100, *left), *column(420, *right)]
    assert read(*pieces) == [f"{a} {b}" for a, b in zip(left, right, strict=True)]


@pytest.mark.parametrize("slant", [0, 3, -3])
def test_a_table_that_is_seen_from_the_side_is_read_by_row(slant: float) -> None:
    """Its lines may drift against each other by a part of their height."""
    names = ("Guest", "Arrival", "Breakfast", "Reception", "Wi-Fi")
    values = ("Ms Ingrid Falk", "25 November", "first floor", "dial nine", "Seeblick")
    right = [piece(one, 420, 100 + (30 + slant / 4) * n, 160) for n, one in enumerate(values)]
    assert read(*column(100, *names), *right) == [
        f"{name} {value}" for name, value in zip(names, values, strict=True)
    ]


CARD = ("LOST CAT", "Grey tabby tom, shy.", "Last seen on Sunday", "near the allotments.")
NOTE = ("Piano lessons", "Beginners to grade 8", "First lesson is free", "Call us after 5 pm")


def test_cards_side_by_side_are_read_one_after_the_other() -> None:
    """Both stand on the same lines."""
    assert read(*column(100, *CARD), *column(420, *NOTE)) == [*CARD, "", *NOTE]


def test_a_paragraph_begins_where_more_room_is_above_it() -> None:
    letter = [
        *column(100, "Dear neighbours,", "the water is off", "from 8 to 11."),
        *column(100, "Your house manager", y=240),
    ]
    assert read(*letter) == [*(one.text for one in letter[:3]), "", "Your house manager"]


def test_dots_between_a_thing_and_its_price_are_no_text() -> None:
    assert read(*column(100, "Soup.......4.50", "Wait ... 3 min", "and so on...")) == [
        "Soup 4.50",
        "Wait ... 3 min",
        "and so on...",
    ]


def test_many_pieces_are_put_in_order_in_little_time() -> None:
    """In whatever way they lie, three times as many as are read take no second."""
    rng = random.Random(5)
    for text in ("and so on with 3.40", "m", "soup of the day"):
        spots = [(rng.uniform(0, 4000), rng.uniform(0, 3000)) for _ in range(3 * MOST_LINES)]
        pieces = [piece(text, x, y, 12 * len(text)) for x, y in spots]
        began = time.process_time()
        assert len(sort_into_rows(pieces)) > 10
        assert time.process_time() - began < 1


def test_nothing_gives_no_rows() -> None:
    """An empty picture has no text."""
    assert sort_into_rows([]) == []


@pytest.mark.parametrize(
    ("text", "width", "height", "kept"),
    [
        ("O", 330, 330, False),
        ("0", 330, 330, False),
        ("●", 330, 330, False),
        ("0", 60, 110, True),
        ("OO", 660, 330, False),
        ("OK", 60, 40, True),
        ("800", 100, 50, True),
        ("—", 90, 10, False),
    ],
)
def test_round_things_are_no_letters(text: str, width: int, height: int, kept: bool) -> None:
    """A letter is narrower than it is high; a disc is not."""
    pieces, unread = select_legible([piece(text, 100, 100, width, height)])
    assert (pieces != []) is kept
    assert not unread


@pytest.mark.parametrize(
    ("text", "score", "kept"),
    [
        ("Best before 12.03.2027", 0.85, True),
        # Of what was drawn and blurred, nothing so unsure was right.
        ("Strauberry jam 45e g", 0.78, False),
        ("Salad ..... 5.20", 0.74, True),
        ("wwwmwwwmm", 0.99, False),
        ("++++ +++", 0.99, False),
        ("***", 0.99, False),
        ("mama", 0.99, True),
        ("0000", 0.99, True),
    ],
)
def test_print_that_is_read_with_doubt_is_left_out(text: str, score: float, kept: bool) -> None:
    pieces, unread = select_legible([replace(piece(text, 0, 0, 12 * len(text)), score=score)])
    assert (pieces != []) is kept
    assert unread is (not kept and score < 0.8)


def test_a_letter_is_not_many_times_wider_than_high() -> None:
    assert select_legible([piece("w", 0, 0, 900, 40)]) == ([], False)


@pytest.mark.parametrize("text", ["J", "88", "–1"])
def test_noise_is_no_word(text: str) -> None:
    """Of a sign or two alone the reader has to be sure; beside a figure they are its unit."""
    doubtful = replace(piece(text, 400, 300, 12 * len(text)), score=0.9)
    assert select_legible([doubtful])[0] == []
    assert select_legible([replace(doubtful, score=0.95)])[0] != []
    figure = piece("21.7", 300, 300)
    beside = replace(piece(text, 300 + figure.width + 3, 300, 12 * len(text)), score=0.75)
    assert len(select_legible([figure, beside])[0]) == 2


@pytest.mark.parametrize("text", ["ΠpuBeT", "αλρα"])
def test_words_in_letters_that_are_not_known_are_left_out(text: str) -> None:
    """A mixture of Greek and Latin letters is Cyrillic, misread; and the answer says that."""
    assert select_legible([piece(text, 0, 0)]) == ([], True)


def test_a_small_unit_belongs_to_the_figure_beside_it() -> None:
    """Though it stands higher than the figure's middle, and its decimals, too."""
    rows = sort_into_rows(
        [
            piece("21", 100, 100, 200, 160),
            piece(".7", 310, 180, 60, 80),
            piece("°C", 390, 100, 60, 60),
            piece("Indoor", 100, 300, 100, 30),
        ]
    )
    assert [row.text for row in rows] == ["21.7 °C", "Indoor"]


@pytest.mark.parametrize("quarters", [0, 1])
def test_print_that_runs_down_is_turned(quarters: int) -> None:
    """A picture held sideways reads in the same order."""
    pieces = [turned(one, 90 * quarters) for one in RECEIPT]
    if quarters:
        # The reader names corners by where they are, not by where the print begins.
        pieces = [
            TextPiece(one.text, one.score, one.corners[3:] + one.corners[:3]) for one in pieces
        ]
    rows = [row.text for row in sort_into_rows(turn_upright(pieces))]
    assert rows == ["CORNER SHOP", "Bread 3.20", "Total 12.40"]


# Sentences, the boxes of a form, and the parts of a line


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (
            ("It is closed in summer. Please write to", "us instead. Dogs wait", "(outside)."),
            ("It is closed in summer.", "Please write to us instead.", "Dogs wait (outside)."),
        ),
        (("Single £2.40· Return £4.10",), ("Single £2.40", "Return £4.10")),
        # No ends of sentences
        *(
            ((one,), (one,))
            for one in ("Dr. Jo Lee and Mrs. Wu", "Am 21. Dezember", "0800·220 042")
        ),
        *(((one,), (one,)) for one in ("Open 9.30 to 17.00", "Moving house? Call us")),
    ],
)
def test_each_sentence_is_a_row(lines: tuple[str, ...], found: tuple[str, ...]) -> None:
    """Also one that goes on in the next line."""
    assert [row.text for row in split_sentences(list(map(row_of, lines)))] == [*found]


def test_a_long_line_is_split_in_time_that_grows_with_it() -> None:
    assert len(split_sentences([row_of("word. Word " * 20_000)])) > 10_000


FORM = ("We left it with a neighbour", "It is in a safe place", "Collect it from the depot")
FONT = cv2.FONT_HERSHEY_SIMPLEX


def form(*signs: str, side: int = 26) -> Bgr:
    """A form: each line has a box in front, which is empty, has a tick or a cross, or is a ring."""
    paper = np.full((360, 900, 3), 225, np.uint8)
    for at, (line, sign) in enumerate(zip(FORM, signs, strict=True)):
        left, top = 60, 60 + 90 * at
        first, last = (left + 5, top + 5), (left + side - 5, top + side - 5)
        if sign == "ring":
            cv2.circle(paper, (left + side // 2, top + side // 2), side // 2, (20, 20, 20), 2)
        elif sign:
            cv2.rectangle(paper, (left, top), (left + side, top + side), (20, 20, 20), 2)
        if sign == "cross":
            cv2.line(paper, first, last, (90, 20, 20), 3)
            cv2.line(paper, (first[0], last[1]), (last[0], first[1]), (90, 20, 20), 3)
        if sign == "tick":
            hook = np.array([(left + 5, top + 12), (left + 11, top + 22), (left + 30, top - 4)])
            cv2.polylines(paper, [hook], False, (90, 20, 20), 3)
        cv2.putText(paper, line, (left + 44, top + 25), FONT, 1, (30, 30, 30), 2, cv2.LINE_AA)
    return paper


@pytest.mark.parametrize(
    ("signs", "told"),
    [
        (("tick", "box", "box"), (TICKED, EMPTY, EMPTY)),
        (("box", "cross", "box"), (EMPTY, TICKED, EMPTY)),
        (("ring", "ring", "ring"), ("", "", "")),
        # One square alone may be anything.
        (("", "box", ""), ("", "", "")),
    ],
)
@pytest.mark.parametrize("turned", [False, True], ids=["upright", "upside down"])
def test_boxes_in_front_of_lines_are_read_with_what_is_in_them(
    reader: TextReader, signs: tuple[str, ...], told: tuple[str, ...], turned: bool
) -> None:
    picture = form(*signs)
    if turned:
        picture = np.asarray(cv2.rotate(picture, cv2.ROTATE_180), np.uint8)
    rows = [row.text for row in sort_into_rows(reader.read_text(picture))]
    for row, sign, line in zip(rows, told, FORM, strict=True):
        assert row[0] == sign if sign else row[0] not in EMPTY + TICKED
        assert line.split()[-1] in row


def test_a_box_may_be_typed_and_its_row_is_told_with_it() -> None:
    texts = ["[x] With a neighbour", "[ ] At the depot", "[] Tomorrow", "[X]", "[a] Note"]
    pieces = [piece(text, 20, 40, 280, 30) for text in texts]
    read = [one.text for one in split_pieces(np.full((90, 400, 3), 200, np.uint8), pieces)]
    assert read == ["☑ With a neighbour", "☐ At the depot", "☐ Tomorrow", "[X]", "[a] Note"]
    assert ask("Is it at the depot?", view(*read)).startswith("It says: ☐ At the depot")


def test_wide_gaps_part_a_line_that_was_read_as_one(reader: TextReader) -> None:
    """The heads of a table stand over its columns; words of a sentence stay together."""
    heads, line = ("Block", "Row", "Seat", "Entrance"), "No dogs and no food in here"
    paper = np.full((260, 900, 3), 225, np.uint8)
    places = [*((60 + 140 * at, 80) for at in range(len(heads))), (60, 180)]
    for text, place in zip((*heads, line), places, strict=True):
        cv2.putText(paper, text, place, FONT, 1, (30, 30, 30), 2, cv2.LINE_AA)
    found = reader.read_text(paper)
    assert [one.text for one in found] == [*heads, line]
    assert all(abs(one.corners[0][0] - 60 - 140 * at) < 25 for at, one in enumerate(found[:4]))


TYPED = (
    "Work order no 3391",
    "Change of oil and filter      79",
    "Two hours of work on it      105",
    "Ready on Monday from 5 pm on",
)


def test_equally_wide_letters_keep_their_words_together() -> None:
    """As on a receipt: their words stand as far apart as columns do in other print."""
    paper = np.full((400, 800, 3), 225, np.uint8)
    pieces = []
    for line, text in enumerate(TYPED):
        top = 40 + 60 * line
        for at, letter in enumerate(text):
            cv2.putText(paper, letter, (40 + 20 * at, top + 26), FONT, 0.8, (30, 30, 30), 2)
        pieces.append(piece(" ".join(text.split()), 40, top, 20 * len(text), 36))
    found = [one.text for one in split_pieces(paper, pieces)]
    assert found == [part.strip() for text in TYPED for part in text.split("     ")]
