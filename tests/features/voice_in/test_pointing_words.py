"""Words that point are found in each language, with their time."""

from __future__ import annotations

import pytest

from server.features.voice_in.server_recogniser import WordTime
from server.features.voice_in.spoken_questions import Pointing, find_pointing


def timed(text: str) -> list[WordTime]:
    """One word a second, each half a second long."""
    return [WordTime(word, at, at + 0.5) for at, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("text", "word", "at"),
    [
        ("What is this?", "this", 2.25),
        ("THIS is what?", "THIS", 0.25),
        ("Was ist das hier, bitte?", "hier", 3.25),
        ("C'est quoi ça ?", "ça", 2.25),
        ("¿Qué es esto?", "esto", 2.25),
        ("Cos'è quello là?", "là", 2.25),
        ("O que é isso?", "isso", 3.25),
        ("Что это такое?", "это", 1.25),
        ("Is that this or that?", "that", 4.25),
        ("That's it", "That's", 0.25),
        ("Read these, then stop", "these", 1.25),
    ],
)
def test_the_last_word_that_points(text: str, word: str, at: float) -> None:
    """In its middle, without the marks around it."""
    assert find_pointing(timed(text)) == Pointing(word, pytest.approx(at))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "How many people?", "Wie viele Leute?", "thistle", "? !"])
def test_nothing_points(text: str) -> None:
    """The frame at the end of speech is meant."""
    assert find_pointing(timed(text)) is None
