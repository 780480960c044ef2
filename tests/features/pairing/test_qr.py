"""A QR code in a terminal: what a camera sees is what was meant."""

from __future__ import annotations

import pytest

from server.features.pairing.terminal import LEAST_QUIET, qr_columns, qr_lines
from tests.support.fakes_terminal import read_qr


@pytest.mark.parametrize(
    "text",
    [
        "https://192.168.100.100:65535/#pair=abcdefghijklmnopqrstuv",
        "https://[fd00:1234:5678:9abc:def0:1234:5678:9abc]:8000/#pair=abcdefghijklmnopqrstuv",
        "https://a.local:1/#pair=x",
    ],
)
def test_it_reads_back(text: str) -> None:
    """Drawn as the terminal draws it, a reader finds the very text, and it fits into 80 columns."""
    lines = qr_lines(text)
    assert read_qr("\n".join(lines)) == text
    assert qr_columns(text) <= 60


def test_an_ordinary_address_fits_a_small_terminal() -> None:
    """41 columns and 21 lines, which leaves three of a screen of 24."""
    text = "https://192.168.100.100:65535/#pair=abcdefghijklmnopqrstuv"
    assert (qr_columns(text), len(qr_lines(text))) == (41, 21)


def test_two_light_modules_around_it_are_enough() -> None:
    """The longest that so fits a screen of 24 lines reads back, and takes 41 columns and 21 lines,
    too.
    """
    text = f"https://{'a' * 64}:8000/#pair=abcdefghijklmnopqrstuv"
    lines = qr_lines(text, LEAST_QUIET)
    assert read_qr("\n".join(lines)) == text
    assert (len(text), qr_columns(text, LEAST_QUIET), len(lines)) == (106, 41, 21)
