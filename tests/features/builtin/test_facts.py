"""Dates, times, prices, measures and contacts in rows of print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.builtin import facts
from server.features.builtin.wants import Want
from server.models.routing import plain


@pytest.mark.parametrize(
    ("rows", "text", "day"),
    [
        (["BEST BY FEB 05 2027"], "BEST BY FEB 05 2027", (2027, 2, 5)),
        (["LOT 4471B EXP 12/14/26"], "EXP 12/14/26 (2026-12-14)", (2026, 12, 14)),
        (["EXP.31/12/27"], "EXP. 31/12/27", (2027, 12, 31)),
        (["1 Liter mindestens haltbar bis:", "24.11.26"], "mindestens haltbar bis 24.11.26", None),
        (["USE OR FREEZE BY", "12/15/26"], "USE OR FREEZE BY 12/15/26 (2026-12-15)", None),
        (["賞味期限 27.2.12"], "賞味期限 27.2.12 (2027-02-12)", (2027, 2, 12)),
        (["da consumarsi entro: 03/2029"], "da consumarsi entro 03/2029", (2029, 3, None)),
        (["Dispensed 20/11/2026 EXP 08/2028"], "EXP 08/2028", (2028, 8, None)),
    ],
)
def test_an_expiry_date_is_told_with_the_words_before_it(
    rows: list[str], text: str, day: tuple[int, int, int | None] | None
) -> None:
    found = facts.find_expiry(rows)
    assert found is not None
    assert found.text == text
    assert (found.first, found.last) == (0, len(rows) - 1)
    if day is not None:
        assert (found.date.year, found.date.month, found.date.day) == day


@pytest.mark.parametrize(
    "rows", [[], ["Printed 12.03.2027"], ["Expert advice", "Call us"], ["Best before: see lid"]]
)
def test_another_date_is_no_expiry_date(rows: list[str]) -> None:
    assert facts.find_expiry(rows) is None


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("Turkey club 9.75", ["9.75"]),
        ("Kürbissuppe 6,50 €", ["6,50 €"]),
        ("みそラーメン 850円", ["850円"]),
        ("NET WT 0.72 lb $8.99/lb", ["$8.99"]),
        ("$5.99/LB $7.85", ["$7.85", "$5.99"]),
        ("3 € 5 €", ["3 €", "5 €"]),
        ("Kaugummi 50p", ["50p"]),
        ("Open 9.30 to 18.00 daily", []),
        ("12.03.2027", []),
    ],
)
def test_prices_are_as_written_those_by_weight_last(row: str, found: list[str]) -> None:
    assert facts.find_prices(row) == found


def test_a_price_by_weight_is_no_price_of_the_thing() -> None:
    assert not facts.has_piece_price("NET WT 0.72 lb $8.99/lb")
    assert facts.has_piece_price("TOTAL $6.47")
    assert facts.has_piece_price("Tee 2,40")


@pytest.mark.parametrize(
    ("row", "rank"),
    [
        ("AMOUNT DUE $104.38", 2),
        ("Total à payer 65,95 €", 2),
        ("TOTAL 23.20", 1),
        ("SUMME EUR 7,90", 1),
        ("Subtotal 20.00", 0),
        ("Coffee 2.00", 0),
    ],
)
def test_the_sum_to_pay_is_told_from_other_rows(row: str, rank: int) -> None:
    assert facts.rank_sum(row) == rank


@pytest.mark.parametrize(
    ("want", "row", "found"),
    [
        (Want.TEMPERATURE, "Bake at 425°F for 12 minutes", ["425°F"]),
        (Want.TEMPERATURE, "21,5 °C", ["21,5 °C"]),
        (Want.WEIGHT, "NET WT 103/4 OZ (305g)", ["10 3/4 OZ", "305g"]),
        (Want.WEIGHT, "2 L", ["2 L"]),
        (Want.DURATION, "8 bis 10 Minuten ziehen lassen", ["10 Minuten"]),
        (Want.DURATION, "0:48", ["0:48"]),
        (Want.WEIGHT, "Serial 12345678g2", []),
    ],
)
def test_measures(want: Want, row: str, found: list[str]) -> None:
    assert facts.find_measures(want, row) == found


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("Call 020 7946 0817", ["020 7946 0817"]),
        ("(0)30 1234567 or +49 30 1234567", ["+49 30 1234567"]),
        ("555-014-2210", ["555-014-2210"]),
        ("Tel. 555 0142", ["555 0142"]),
        ("LOT 4471 2290 08", []),
        ("EAN 4006381333931", []),
        ("12.03.2027", []),
    ],
)
def test_phone_numbers_are_written_like_one_or_named(row: str, found: list[str]) -> None:
    assert facts.find_phones(row) == found


def test_addresses() -> None:
    row = "Write to nadia@riverside.example or www.riverside.example/book."
    assert facts.find_emails(row) == ["nadia@riverside.example"]
    assert facts.find_urls(row) == ["www.riverside.example/book"]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("Departs 9:05 pm", ["9:05 pm"]),
        ("um 18.30 Uhr", ["18.30 Uhr"]),
        ("à 11h20", ["11h20"]),
        ("ratio 3:125", []),
    ],
)
def test_times(row: str, found: list[str]) -> None:
    assert facts.find_times(row) == found


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("Mon - Thu 10 - 6", {0, 1, 2, 3}),
        ("Mo- Fr 8.00 - 18.30", {0, 1, 2, 3, 4}),
        ("lunes a viernes", {0, 1, 2, 3, 4}),
        ("Sunday CLOSED", {6}),
        ("täglich", set(range(7))),
        ("do not open", set()),
        ("月曜日", {0}),
    ],
)
def test_weekdays_on_signs(text: str, days: set[int]) -> None:
    assert facts.find_weekdays(plain(text)) == days


@pytest.mark.parametrize(
    ("row", "tells"),
    [
        ("Saturday 9 - 5", True),
        ("Sunday CLOSED", True),
        ("9:30～17:00", True),
        ("本日休館", True),
        ("Corner Books", False),
        ("Fri", False),
    ],
)
def test_hours(row: str, tells: bool) -> None:
    assert bool(facts.find_hours(row)) is tells


@given(st.text(max_size=200))
def test_any_print_is_read_somehow(row: str) -> None:
    for finder in facts.FINDERS.values():
        finder(row)
    facts.find_expiry([row, row])
