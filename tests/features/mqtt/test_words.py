"""A model's words as a state: one line, short, whole sentences where they fit."""

from __future__ import annotations

import pytest

from server.features.mqtt.discovery import MOST_STATE, one_line, shorten


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("A red car.", "A red car."),
        ("", ""),
        ("two\nlines\tand\u2028more\x00\u202e", "two lines and more"),
        # Whole sentences that fit
        ("A" * 150 + ". " + "B" * 200 + ".", "A" * 150 + "."),
        ("甲" * 200 + "。" + "乙" * 200, "甲" * 200 + "。"),
        # Too little of one; no end of a sentence: 3.5
        ("A dog. " + "x" * 300, "A dog. " + "x" * 247 + "…"),
        ("y" * 120 + " 3.5 " + "z" * 300, "y" * 120 + " 3.5 " + "z" * 129 + "…"),
        # Whole words else
        ("word " * 100, "word " * 49 + "word…"),
        ("x" * 999, "x" * 254 + "…"),
    ],
)
def test_shorten(text: str, short: str) -> None:
    found = shorten(text)
    assert found == short
    assert len(found) <= MOST_STATE


def test_one_line_is_bounded() -> None:
    """Of an endless text only a part is looked at."""
    assert len(one_line("a b " * 1_000_000)) <= 4000
