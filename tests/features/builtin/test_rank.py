"""Rows of print that come closest to a question."""

from __future__ import annotations

import time

import pytest

from server.features.builtin import facts, rank
from server.features.builtin.lines import Row
from server.features.builtin.wants import Want
from tests.features.builtin.rows import row_of


def rows(*texts: str) -> list[Row]:
    return [row_of(text) for text in texts]


MENU = rows("Cheeseburger & fries 11.50", "Turkey club 9.75", "Apple pie 4.50")
LABEL = rows("Garden Gold", "TOMATO KETCHUP", "NET WT 20 OZ (567g)")


@pytest.mark.parametrize(
    ("text", "word", "named"),
    [
        ("Boxes of Tomatoes", "tomato", True),
        ("Vollmilch-Schokolade", "milch", True),
        ("Zutaten: Haselnüsse, Salz", "nusse", True),
        ("Machine washing at 30", "wash", True),
        ("BASMATI RCIE", "basmati", True),
        ("Pasport control", "passport", True),
        ("GATE B17", "porta", True),
        ("緑茶 500ml", "緑茶", True),
        ("Bus 12 Nordpark", "12", True),
        ("21.12 h", "12", False),
        ("Ticket", "tick", True),
        ("The bus leaves", "cat", False),
        ("Car park", "scar", False),
    ],
)
def test_a_word_is_found_inflected_compound_misread_or_as_a_synonym(
    text: str, word: str, named: bool
) -> None:
    assert rank.has_word(text, word) is named


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["turkey", "club"], ["Turkey club 9.75"]),
        (["apple"], ["Apple pie 4.50"]),
        (["pizza"], []),
        ([], []),
    ],
)
def test_the_row_with_most_words_and_a_price(words: list[str], found: list[str]) -> None:
    assert [row.text for row in rank.find_best_rows(MENU, words, facts.find_prices)] == found


def test_a_value_below_its_label_belongs_to_it() -> None:
    bill = rows("Twin Rivers Electric", "DUE DATE", "Dec 14, 2026", "Thank you")
    found = rank.find_best_rows(bill, ["due"], facts.FINDERS[Want.DATE])
    assert [row.text for row in found] == ["DUE DATE", "Dec 14, 2026"]


def test_half_of_the_words_are_needed_together() -> None:
    assert [row.text for row in rank.find_best_rows(LABEL, ["tomato", "fresh"])] == [
        "TOMATO KETCHUP"
    ]
    assert rank.find_best_rows(LABEL, ["tomato", "fresh", "organic"]) == []
    assert rank.find_best_rows(LABEL, ["tomato", "fresh", "organic"], least=0) != []


def test_a_heading_comes_with_what_it_heads() -> None:
    page = [*rows("Joe's Diner"), Row("Desserts", 20, apart=True), *rows("Pie", "Ice cream")]
    assert [row.text for row in rank.find_best_rows(page, ["desserts"])] == [
        "Desserts",
        "Pie",
        "Ice cream",
    ]


def test_readings_of_the_same_text_are_similar() -> None:
    assert rank.is_similar("CLOSED TODAY", "CLOSED T0DAY")
    assert not rank.is_similar("CLOSED TODAY", "OPEN")


def test_a_page_of_print_is_ranked_quickly() -> None:
    page = rows(*(f"Row {n} of a long page of print, with many words" for n in range(200)))
    begin = time.thread_time()
    rank.find_best_rows(page, [f"word{n}" for n in range(16)])
    assert time.thread_time() - begin < 1
