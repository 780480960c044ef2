"""Dates in rows of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.shared.dates import dates


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
    ],
)
def test_dates_are_found_in_any_form(row: str, expected: list[tuple[int, int, int | None]]) -> None:
    """Numbers, names of months, with and without a day."""
    assert [(date.year, date.month, date.day) for date in dates(row)] == expected


@given(st.text(max_size=120))
def test_no_text_breaks_it(text: str) -> None:
    """Whatever the reader makes of a scene."""
    assert all(1 <= one.month <= 12 for one in dates(text))
