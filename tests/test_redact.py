"""What other programs say is shown on one line, without credentials and without what steers a terminal or hides."""

from __future__ import annotations

import pytest

from server.redact import plain, redact


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abc.def",
        "Authorization: Basic hunter2",
        "GET /v1?api_key=hunter2",
        "password: hunter2",
        "wss://somebody:hunter2@example.org/x",
        "token hf_abcdefghijklmnopqrst",
        "key sk-abcdefghijklmnopqrst",
        "https://somebody:hunter2@example.org/x",
        "eyJhbGciOiJIUzI1NiJ9.eyJzaWQiOiJ4In0.c2ln",
    ],
)
def test_credentials_are_hidden(text: str) -> None:
    """Each kind of them, wherever it stands in a line."""
    shown = redact(f"INFO {text} and so on")
    assert "(hidden)" in shown
    for secret in ("abc.def", "hunter2", "abcdefghijklmnopqrst", "c2ln"):
        assert secret not in shown


def test_a_line_is_plain() -> None:
    """Colours, titles, cursor movements, bells, line ends and marks that turn text round are gone; a tab is a space."""
    nasty = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07a\tb\x07\x00\r\n\u202egpj\u2066\u200bend\x9b2J"
    assert plain(nasty) == "red a bgpjend2J"


def test_words_in_any_script_stay() -> None:
    """What is no credential and no control character is left alone."""
    for text in ("Größe 100 % 模型 модель ████", "a key frame, the bearer, code 4401"):
        assert redact(plain(text)) == text
