"""Reading order and the fields found in rows of text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engines.builtin import fields
from server.engines.builtin.lines import Piece, reading_order


def piece(text: str, x: float, y: float, width: float = 100, height: float = 20) -> Piece:
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return Piece(text, 0.9, corners)


def turned(one: Piece, degrees: float) -> Piece:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return Piece(
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
    rows = reading_order([turned(one, degrees) for one in RECEIPT])
    assert [row.text for row in rows] == ["CORNER SHOP", "Bread 3.20", "Total 12.40"]


def test_pieces_of_different_height_share_a_row_only_when_level() -> None:
    """A big digit beside two small lines does not swallow both."""
    rows = reading_order(
        [piece("BIG", 0, 0, 100, 60), piece("up", 120, 2, 50, 14), piece("down", 120, 44, 50, 14)]
    )
    assert len(rows) == 3


def test_nothing_gives_no_rows() -> None:
    """An empty picture has no text."""
    assert reading_order([]) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("Best before 12.03.2027 LOT 4471-B", [(2027, 3, 12)]),
        ("EXP 2027-03-12", [(2027, 3, 12)]),
        ("MHD: 03/2027", [(2027, 3, None)]),
        ("BBE 12 MAR 27", [(2027, 3, 12)]),
        ("12MAR2027", [(2027, 3, 12)]),
        ("March 12, 2027", [(2027, 3, 12)]),
        ("à consommer avant le 1er février 2027", [(2027, 2, None)]),
        ("12 de marzo de 2027", [(2027, 3, 12)]),
        ("03/14/2027", [(2027, 3, 14)]),
        ("01.02.26 - 28.02.26", [(2026, 2, 1), (2026, 2, 28)]),
        ("192.168.10.20", []),
        ("Version 1.2.345", []),
        ("99.99.2027", []),
        ("3,49 EUR", []),
        ("Tel 030/1234567", []),
    ],
)
def test_dates_are_found_in_their_many_forms(
    row: str, expected: list[tuple[int, int, int | None]]
) -> None:
    """Numbers, month names in four languages, with and without a day."""
    assert [(date.year, date.month, date.day) for date in fields.dates(row)] == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["Packed 01.01.2026", "Best before 12.03.2027"], "12.03.2027"),
        (["Mindestens haltbar bis:", "12.03.2027"], "12.03.2027"),
        (["EXP. 2027-03"], "2027-03"),
        (["Packed 01.01.2026"], None),
    ],
)
def test_the_expiry_date_is_the_one_called_so(rows: list[str], expected: str | None) -> None:
    """In its row or in the next; another date is not taken for it."""
    found = fields.expiry(rows)
    assert (found.text if found else None) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["3,49 EUR"], ["3,49 EUR"]),
        (["€3.49"], ["€3.49"]),
        (["$ 1,299.00 each"], ["$ 1,299.00"]),
        (["Bread 3.20 €", "Total 12.40 €"], ["12.40 €", "3.20 €"]),
        (["Total 12.40"], ["12.40"]),
        (["450 g"], []),
        (["12.03.2027"], []),
        (["Version 3.20"], []),
    ],
)
def test_prices_need_a_currency_or_a_row_that_speaks_of_one(
    rows: list[str], expected: list[str]
) -> None:
    """The total comes first."""
    assert fields.prices(rows) == expected


def test_contacts_are_told_apart() -> None:
    """Phone, mail and address on one card; the barcode's digits are no phone number."""
    rows = ["Call +49 30 1234567", "info@example.org", "www.example.org/jam.", "4006381333931"]
    assert fields.phones(rows) == ["+49 30 1234567"]
    assert fields.emails(rows) == ["info@example.org"]
    assert fields.urls(rows) == ["www.example.org/jam"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("Tel. 030/1234567", ["030/1234567"]),
        ("(030) 123 45 67", ["(030) 123 45 67"]),
        ("Hotline 555-0199-22", ["555-0199-22"]),
        ("Order 20271234567", []),
        ("01.02.2026", []),
    ],
)
def test_phone_numbers_look_like_one_or_are_called_one(row: str, expected: list[str]) -> None:
    """Long digits alone are not dialled."""
    assert fields.phones([row]) == expected


def test_amounts_have_units() -> None:
    """Weight, volume and percentage are picked from them."""
    rows = ["Net wt. 450 g", "6 x 330 ml", "12,5 % vol", "230 V", "Room 12"]
    assert fields.weights(rows) == ["450 g"]
    assert fields.weights(["0,7 l"]) == ["0,7 l"]
    assert fields.percentages(rows) == ["12,5 %"]
    assert "230 V" in fields.amounts(rows)
    assert "12" not in " ".join(fields.amounts(["Room 12"]))


def test_times_and_numbers() -> None:
    """A time is no price; a number keeps what belongs to it."""
    assert fields.times(["Departs 14:35, arrives 9:05 pm"]) == ["14:35", "9:05 pm"]
    assert fields.numbers(["Gate B12, seat 14A.", "LOT 4471-B"]) == ["B12", "14A", "4471-B"]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("gluten free", True),
        ("GLUTEN-FREE", True),
        ("gluten frae", True),
        ("milk", False),
        ("oat", True),
        ("goat", False),
        ("", False),
    ],
)
def test_says_forgives_a_misread_letter_in_long_words_only(target: str, found: bool) -> None:
    """Case, spaces and hyphens do not matter."""
    assert (fields.says(["Oat drink", "Gluten free"], target) is not None) is found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["total"], "Total 12.40"),
        (["gate"], "Gate B12"),
        (["serial"], "Serial: SN 881-22"),
        (["dog"], None),
    ],
)
def test_lookup_finds_the_row_that_names_it(words: list[str], expected: str | None) -> None:
    """A row that only names a thing takes the next one with it."""
    assert fields.lookup(["Total 12.40", "Gate B12", "Serial:", "SN 881-22"], words) == expected


@given(st.text(max_size=120))
def test_no_text_breaks_the_finders(text: str) -> None:
    """Whatever the reader makes of a scene, the finders answer with pieces of it."""
    rows = [text]
    for find in (
        fields.prices,
        fields.emails,
        fields.urls,
        fields.phones,
        fields.amounts,
        fields.times,
        fields.numbers,
        fields.weights,
    ):
        assert isinstance(find(rows), list)
    fields.dates(text)
    fields.expiry(rows)
    fields.says(rows, text)
    fields.lookup(rows, text.split())
