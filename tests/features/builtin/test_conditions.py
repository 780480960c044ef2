"""Conditions that the built-in engine understands, and those that it leaves to a model."""

from __future__ import annotations

import pytest

from server.features.builtin.conditions import Condition, Subject, read_condition

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
        ("du Rot siehst", COLOUR, "red"),
        ("etwas Rotes erscheint", COLOUR, "red"),
        ("tu vois du rouge", COLOUR, "red"),
        ("algo rojo", COLOUR, "red"),
        ("появится красный", COLOUR, "red"),
        ("出现红色", COLOUR, "red"),
        ("you see the word EXIT", WORD, "exit"),
        ("it says EXIT", WORD, "exit"),
        ("EXIT appears", WORD, "exit"),
        ("the word exit appears", WORD, "exit"),
        ("you read the text Hello", WORD, "hello"),
        ("the number 42", WORD, "42"),
        ("“Gleis 4”", WORD, "gleis 4"),
        ('the sign says "closed today"', WORD, "closed today"),
        ("du das Wort Ausgang siehst", WORD, "ausgang"),
        ("text appears", TEXT, ""),
        ("a QR code", CODE, ""),
        ("a barcode is visible", CODE, ""),
        ("ein QR-Code", CODE, ""),
        ("a person", PERSON, ""),
        ("you see a face", FACE, ""),
        ("somebody comes to the door", PERSON, ""),
        ("jemand kommt", PERSON, ""),
        ("quelqu'un", PERSON, ""),
        ("aparece una cara", FACE, ""),
        ("看到人", PERSON, ""),
        ("Tell me when a person comes.", PERSON, ""),
        ("Sag mir Bescheid, wenn ein Hund kommt", THING, "dog"),
        ("当出现狗的时候告诉我", THING, "dog"),
        ("a dog comes", THING, "dog"),
        ("you see a cup", THING, "cup"),
        ("ein Hund kommt", THING, "dog"),
        ("出现狗", THING, "dog"),
        ("something moves", MOTION, ""),
        ("there is motion", MOTION, ""),
        ("sich etwas bewegt", MOTION, ""),
        ("the light goes out", DARK, ""),
        ("someone turns off the light", DARK, ""),
        ("it gets dark in the room", DARK, ""),
        ("there is no light", DARK, ""),
        ("das Licht ausgeht", DARK, ""),
        ("es dunkel wird", DARK, ""),
        ("la lumière s’éteint", DARK, ""),
        ("il fait noir", DARK, ""),
        ("se apaga la luz", DARK, ""),
        ("погаснет свет", DARK, ""),
        ("станет темно", DARK, ""),
        ("灯灭了", DARK, ""),
        ("the light comes on", LIGHT, ""),
        ("it gets bright", LIGHT, ""),
        ("das Licht wieder angeht", LIGHT, ""),
        ("es hell wird", LIGHT, ""),
        ("la lumière s'allume", LIGHT, ""),
        ("se enciende la luz", LIGHT, ""),
        ("включится свет", LIGHT, ""),
        ("开灯", LIGHT, ""),
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
