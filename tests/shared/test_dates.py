"""Dates in rows of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.shared.dates import find_date_order, find_dates


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
        ("12 мая 2027 г.", [(2027, 5, 12)]),
        ("12 травня 2027", [(2027, 5, 12)]),
        ("12 أبريل 2027", [(2027, 4, 12)]),
        ("12 जनवरी 2027", [(2027, 1, 12)]),
        ("保质期至2027年5月12日", [(2027, 5, 12)]),
        ("賞味期限 2027年5月", [(2027, 5, None)]),
        ("2027년 5월 12일까지", [(2027, 5, 12)]),
        ("01.02.26 - 28.02.26", [(2026, 2, 1), (2026, 2, 28)]),
        ("192.168.10.20", []),
        ("Version 1.2.345", []),
        ("99.99.2027", []),
        ("3,49 EUR", []),
        ("Tel 030/1234567", []),
        ("EXP 08 2027", [(2027, 8, None)]),
        ("Breakfast 7 - 10.30", []),
        # The month first
        ("BEST BY FEB 05 2027", [(2027, 2, 5)]),
        ("Enjoy by Nov. 9, 26", [(2026, 11, 9)]),
        ("JUL1428", [(2028, 7, 14)]),
        ("SELL BY OCT 03", [(None, 10, 3)]),
        # It may be of a year.
        ("SELL BY OCT 28", []),
        # Short names that are words, too, stand beside a year.
        ("30 GIU 2027", [(2027, 6, 30)]),
        ("Val. 08 SET 27", [(2027, 9, 8)]),
        ("15 PAZ 2028", [(2028, 10, 15)]),
        ("3 set di tazze", []),
        # The year first
        ("2027 AUG 03", [(2027, 8, 3)]),
        ("賞味期限 27.2.12", [(2027, 2, 12)]),
        ("유통기한 28/11/03", [(2028, 11, 3)]),
        ("有效期至 26-12-30", [(2026, 12, 30)]),
        # EXP stuck to it
        ("EXP.31/12/27", [(2027, 12, 31)]),
        ("LOT 88 EXP20280704", [(2028, 7, 4)]),
        ("EXP150928", [(2028, 9, 15)]),
        ("EXPNOV2028", [(2028, 11, None)]),
        ("BBE22MAR28", [(2028, 3, 22)]),
        # Which of the two it is nobody knows, and what the second number is.
        ("EXP120227", []),
        ("EXP 09/28", [(None, 9, None)]),
        # The package's country
        ("USE BY 02/05/27 DIST. BY DAIRY CO, TROY, NY 12180", [(2027, 2, 5)]),
        ("Net wt 12 oz, enjoy by 04-06-28", [(2028, 4, 6)]),
        ("à consommer avant le 02/05/27", [(2027, 5, 2)]),
        ("THT 03-04-2027", [(2027, 4, 3)]),
    ],
)
def test_dates_are_found_in_any_form(row: str, expected: list[tuple[int, int, int | None]]) -> None:
    """Numbers, names of months, with and without a day."""
    assert [(date.year, date.month, date.day) for date in find_dates(row)] == expected


@pytest.mark.parametrize(
    ("rows", "date", "meant"),
    [
        (["Crackers", "PACKED 01/25/27"], "06/07/27", "06/07/27 (2027-06-07)"),
        (["Made in Australia"], "06/07/27", "06/07/27 (2027-07-06)"),
        (["賞味期限"], "27.6.7", "27.6.7 (2027-06-07)"),
        # Two countries, none, and points or a name that need none
        (["Made in USA", "consumir antes de"], "06/07/27", "06/07/27"),
        (["Crackers"], "06/07/27", "06/07/27"),
        (["haltbar bis"], "06.07.27", "06.07.27"),
        (["Made in USA"], "JUN 07 27", "JUN 07 27"),
    ],
)
def test_a_package_tells_the_order_of_day_and_month(rows: list[str], date: str, meant: str) -> None:
    """By its words or another date; else it stays as it is written."""
    (found,) = find_dates(date, find_date_order(rows))
    assert found.clear == meant


def test_a_day_that_may_be_a_month_is_known_as_such() -> None:
    written = ("06/07/27", "06-07-2027", "06/06/27", "13/07/27", "06.07.27")
    assert [one.either for text in written for one in find_dates(text)] == [
        *(True, True, False, False, False)
    ]


@given(st.text(max_size=120))
def test_no_text_breaks_it(text: str) -> None:
    """Whatever the reader makes of a scene."""
    assert all(1 <= one.month <= 12 for one in find_dates(text))
