"""Conditions in the languages of the page: what is understood in each, and what is left to a model."""

from __future__ import annotations

import pytest

from server.features.builtin.colours import NAMES
from server.features.builtin.conditions import Condition, Subject, spoken_condition, watch_words
from server.features.builtin.language import LANGUAGES, language
from tests.features.builtin.words import WORDS


@pytest.mark.parametrize("code", LANGUAGES)
def test_conditions_are_understood_in_every_language(code: str) -> None:
    """Ten or more in each: every subject, with what it names."""
    found: dict[str, str] = {}
    wanted = WORDS["conditions"][code]
    for text in wanted:
        read = spoken_condition(text)
        condition = read[0] if read else None
        found[text] = f"{condition.subject}:{condition.target}".rstrip(":") if condition else ""
    assert found == wanted
    subjects = {one.partition(":")[0] for one in found.values()} - {""}
    assert subjects == set(Subject) - {Subject.FACE, Subject.THING}
    assert len(found) >= 11


@pytest.mark.parametrize("code", LANGUAGES)
def test_faces_and_things_that_come_and_go(code: str) -> None:
    read = [spoken_condition(text) for text in WORDS["seen_or_gone"][code]]
    assert [one and one[0] for one in read] == [
        Condition(Subject.FACE),
        Condition(Subject.THING, "dog"),
        Condition(Subject.THING, "dog", gone=True),
    ]


@pytest.mark.parametrize("code", LANGUAGES)
def test_people_dogs_and_cars_that_come_and_leave(code: str) -> None:
    """Said as people say it to the page."""
    read = [spoken_condition(text) for text in WORDS["comes"][code]]
    found = [one and (one[0].target or one[0].subject, one[0].gone, one[1]) for one in read]
    wanted = [(name, gone, code) for name in ("person", "dog", "car") for gone in (False, True)]
    assert found == wanted


@pytest.mark.parametrize("code", LANGUAGES)
def test_near_misses_are_left_to_a_model(code: str) -> None:
    """A watch for a part of a condition would ring for something else."""
    found = {text: spoken_condition(text) for text in WORDS["refused"][code]}
    assert found == dict.fromkeys(WORDS["refused"][code])


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_colour_is_a_condition(code: str) -> None:
    """By its name alone, as answers call it."""
    words = watch_words(code)
    for name in NAMES:
        said = language(code).colour_name(name)
        assert spoken_condition(said) is not None, (code, name, said)
        assert words.words(said.casefold()) is not None


def test_a_condition_made_to_be_slow_is_read_at_once() -> None:
    """Parts that overlap have many ways to be put together; the number of looks stays small."""
    assert spoken_condition("当你" * 99 + "龘") is None
    assert spoken_condition("という" * 66 + "x" * 2) is None
    assert spoken_condition("the word " * 22) == spoken_condition("the word " * 22)
    assert spoken_condition("看到" * 99 + "红色") == (Condition(Subject.COLOUR, "red"), "zh")
