"""Sentences of print, the boxes of a form, and the parts of a line."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from server.features.builtin.lines import EMPTY, TICKED, reading_order, sentences
from server.features.builtin.reader import Reader
from server.features.builtin.shapes import looked_at
from tests.features.builtin.rows import piece, row_of
from tests.features.builtin.scenes import Bgr
from tests.features.builtin.test_answers import ask, view


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
    assert [row.text for row in sentences(list(map(row_of, lines)))] == [*found]


def test_a_long_line_is_split_in_time_that_grows_with_it() -> None:
    assert len(sentences([row_of("word. Word " * 20_000)])) > 10_000


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
    reader: Reader, signs: tuple[str, ...], told: tuple[str, ...], turned: bool
) -> None:
    picture = form(*signs)
    if turned:
        picture = np.asarray(cv2.rotate(picture, cv2.ROTATE_180), np.uint8)
    rows = [row.text for row in reading_order(reader.text(picture))]
    for row, sign, line in zip(rows, told, FORM, strict=True):
        assert row[0] == sign if sign else row[0] not in EMPTY + TICKED
        assert line.split()[-1] in row


def test_a_box_may_be_typed_and_its_row_is_told_with_it() -> None:
    texts = ["[x] With a neighbour", "[ ] At the depot", "[] Tomorrow", "[X]", "[a] Note"]
    pieces = [piece(text, 20, 40, 280, 30) for text in texts]
    read = [one.text for one in looked_at(np.full((90, 400, 3), 200, np.uint8), pieces)]
    assert read == ["☑ With a neighbour", "☐ At the depot", "☐ Tomorrow", "[X]", "[a] Note"]
    assert ask("Is it at the depot?", view(*read)).startswith("It says: ☐ At the depot")


def test_wide_gaps_part_a_line_that_was_read_as_one(reader: Reader) -> None:
    """The heads of a table stand over its columns; words of a sentence stay together."""
    heads, line = ("Block", "Row", "Seat", "Entrance"), "No dogs and no food in here"
    paper = np.full((260, 900, 3), 225, np.uint8)
    places = [*((60 + 140 * at, 80) for at in range(len(heads))), (60, 180)]
    for text, place in zip((*heads, line), places, strict=True):
        cv2.putText(paper, text, place, FONT, 1, (30, 30, 30), 2, cv2.LINE_AA)
    found = reader.text(paper)
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
    found = [one.text for one in looked_at(paper, pieces)]
    assert found == [part.strip() for text in TYPED for part in text.split("     ")]
