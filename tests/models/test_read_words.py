"""The words that ask for a text to be read on, and those that end it."""

from __future__ import annotations

import pytest

from server.core.frames import Detail, Route
from server.models.routing import (
    READ_PARTS,
    READ_WORDS,
    STOP_WORDS,
    choose,
    is_stop,
    plain,
    route_of,
    wants_reading,
)
from tests.support.languages import LANGUAGES


def test_every_language_has_words_for_both() -> None:
    """The same languages as in the other tables."""
    assert READ_WORDS.keys() | READ_PARTS.keys() == LANGUAGES
    assert STOP_WORDS.keys() == LANGUAGES


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_each_phrase_alone_is_read_on(language: str) -> None:
    """No other table takes one of them."""
    for phrase in (READ_WORDS | READ_PARTS)[language].split(","):
        assert route_of(phrase.strip()) is Route.READ, phrase


@pytest.mark.parametrize(
    "question",
    [
        "Read this to me",
        "Can you read this to me, please?",
        "READ IT TO ME!",
        "Lies mir das vor",
        "Kannst du mir das vorlesen?",
        "Lis-moi ça, s'il te plaît",
        "Léeme esto por favor",
        "Прочитай мне это",
        "读给我听",
    ],
)
def test_a_request_to_be_read_to_is_read_on(question: str) -> None:
    """In each language of the built-in engine."""
    assert wants_reading(plain(question))
    assert choose(question, Detail.AUTO, None) == (Route.READ, Detail.HIGH)


@pytest.mark.parametrize(
    "question",
    ["Read this", "Read me the price", "Lies das vor", "Lis-moi le prix", "What does it say?"],
)
def test_a_question_about_one_picture_stays_one(question: str) -> None:
    """Questions that were answered from one picture before still are."""
    assert route_of(question) is Route.DETAIL


def test_a_client_may_ask_for_it_or_for_less() -> None:
    """The route that a client names wins; low detail is one picture."""
    assert choose("Go on", Detail.AUTO, Route.READ) == (Route.READ, Detail.HIGH)
    assert choose("Read this to me", Detail.AUTO, Route.NOW) == (Route.NOW, Detail.LOW)
    assert choose("Read this to me", Detail.LOW, None) == (Route.NOW, Detail.LOW)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_each_word_alone_ends_it(language: str) -> None:
    """Also in upper case and with a mark behind it."""
    for word in STOP_WORDS[language].split(","):
        assert is_stop(word.strip()), word
        assert is_stop(f" {word.strip().upper()}!")


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("Stop, please.", True),
        ("Okay, stop", True),
        ("Danke, das reicht", True),
        ("Stop sign?", False),
        ("Where is the bus stop", False),
        ("Para qué sirve esto", False),
        ("", False),
        ("stop " * 30, False),
    ],
)
def test_only_a_whole_command_ends_it(text: str, ends: bool) -> None:
    """A question with such a word in it is a question."""
    assert is_stop(text) is ends
