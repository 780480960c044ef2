"""Conditions that the built-in engine understands in each language, and those that it leaves to a model."""

from __future__ import annotations

import pytest

from server.features.builtin.colours import NAMES
from server.features.builtin.conditions import (
    Condition,
    Subject,
    get_watch_words,
    parse_spoken_condition,
    read_condition,
)
from server.features.builtin.language import LANGUAGES, get_language
from tests.features.builtin.words import WORDS

WORD, TEXT, CODE = Subject.WORD, Subject.TEXT, Subject.CODE
COLOUR, FACE, MOTION = Subject.COLOUR, Subject.FACE, Subject.MOTION
PERSON, THING = Subject.PERSON, Subject.THING
LIGHT, DARK = Subject.LIGHT, Subject.DARK


@pytest.mark.parametrize(
    ("text", "subject", "target"),
    [
        ("you see red", COLOUR, "red"),
        ("something red appears", COLOUR, "red"),
        ("it turns orange", COLOUR, "orange"),
        ("gray", COLOUR, "grey"),
        ("you see the word EXIT", WORD, "exit"),
        ("it says EXIT", WORD, "exit"),
        ("EXIT appears", WORD, "exit"),
        ("the word exit appears", WORD, "exit"),
        ("you read the text Hello", WORD, "hello"),
        ("the number 42", WORD, "42"),
        ("“Gleis 4”", WORD, "gleis 4"),
        ('the sign says "closed today"', WORD, "closed today"),
        ("text appears", TEXT, ""),
        ("a QR code", CODE, ""),
        ("a barcode is visible", CODE, ""),
        ("a person", PERSON, ""),
        ("you see a face", FACE, ""),
        ("somebody comes to the door", PERSON, ""),
        ("Tell me when a person comes.", PERSON, ""),
        ("Sag mir Bescheid, wenn ein Hund kommt", THING, "dog"),
        ("当出现狗的时候告诉我", THING, "dog"),
        ("a dog comes", THING, "dog"),
        ("you see a cup", THING, "cup"),
        ("something moves", MOTION, ""),
        ("there is motion", MOTION, ""),
        ("the light goes out", DARK, ""),
        ("someone turns off the light", DARK, ""),
        ("it gets dark in the room", DARK, ""),
        ("there is no light", DARK, ""),
        ("the light comes on", LIGHT, ""),
        ("it gets bright", LIGHT, ""),
        ("noir", COLOUR, "black"),
    ],
)
def test_conditions_in_simple_words(text: str, subject: Subject, target: str) -> None:
    assert read_condition(text) == Condition(subject, target)


@pytest.mark.parametrize(
    "text",
    [
        *("a red car", "the kettle boils", "the light turns green", "you see a red face"),
        *("she leaves", "the dog barks", "nobody is there", "no red", "nothing moves"),
        *("it is not dark", "a dark car", "the light on the left", "the light does not go out"),
        *("red or green", "you see", "", "?", "door", "the red word"),
        *("somebody holds “stop” up", "it stops moving", "一只狗"),
    ],
)
def test_anything_more_is_left_to_a_model(text: str) -> None:
    """Every word counts: a watch for part of a condition would ring for something else."""
    assert read_condition(text) is None


@pytest.mark.parametrize("code", LANGUAGES)
def test_conditions_are_understood_in_every_language(code: str) -> None:
    """Ten or more in each: every subject, with what it names."""
    found: dict[str, str] = {}
    wanted = WORDS["conditions"][code]
    for text in wanted:
        read = parse_spoken_condition(text)
        condition = read[0] if read else None
        found[text] = f"{condition.subject}:{condition.target}".rstrip(":") if condition else ""
    assert found == wanted
    subjects = {one.partition(":")[0] for one in found.values()} - {""}
    assert subjects == set(Subject) - {Subject.FACE, Subject.THING}
    assert len(found) >= 11


@pytest.mark.parametrize("code", LANGUAGES)
def test_faces_and_things_that_come_and_go(code: str) -> None:
    read = [parse_spoken_condition(text) for text in WORDS["seen_or_gone"][code]]
    assert [one and one[0] for one in read] == [
        Condition(Subject.FACE),
        Condition(Subject.THING, "dog"),
        Condition(Subject.THING, "dog", gone=True),
    ]


@pytest.mark.parametrize("code", LANGUAGES)
def test_people_dogs_and_cars_that_come_and_leave(code: str) -> None:
    """Said as people say it to the page."""
    read = [parse_spoken_condition(text) for text in WORDS["comes"][code]]
    found = [one and (one[0].target or one[0].subject, one[0].gone, one[1]) for one in read]
    wanted = [(name, gone, code) for name in ("person", "dog", "car") for gone in (False, True)]
    assert found == wanted


@pytest.mark.parametrize("code", LANGUAGES)
def test_near_misses_are_left_to_a_model(code: str) -> None:
    """A watch for a part of a condition would ring for something else."""
    found = {text: parse_spoken_condition(text) for text in WORDS["refused"][code]}
    assert found == dict.fromkeys(WORDS["refused"][code])


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_colour_is_a_condition(code: str) -> None:
    """By its name alone, as answers call it."""
    words = get_watch_words(code)
    for name in NAMES:
        said = get_language(code).get_colour_name(name)
        assert parse_spoken_condition(said) is not None, (code, name, said)
        assert words.split(said.casefold()) is not None


def test_a_condition_made_to_be_slow_is_read_at_once() -> None:
    """Parts that overlap have many ways to be put together; the number of looks stays small."""
    assert parse_spoken_condition("当你" * 99 + "龘") is None
    assert parse_spoken_condition("という" * 66 + "x" * 2) is None
    assert parse_spoken_condition("the word " * 22) == parse_spoken_condition("the word " * 22)
    assert parse_spoken_condition("看到" * 99 + "红色") == (Condition(Subject.COLOUR, "red"), "zh")
