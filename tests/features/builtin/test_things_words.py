"""The things that the detector and the classifier name, and their words in each language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import server.features.builtin.language as module
from server.features.builtin.conditions import Subject, read_condition
from server.features.builtin.detector import parse_ranges
from server.features.builtin.intents import understand
from server.features.builtin.language import LANGUAGES
from server.features.builtin.seeking import find_things, parse_target
from server.features.builtin.wants import Want
from server.models.routing import plain
from tests.models.test_routing import PLACES, PLACES_TO_GO
from tests.support.words import say

FOLDER = Path(module.__file__).with_name("things")
IMAGENET = 1000


def read(name: str) -> dict[str, Any]:
    """Return a file's content; a key that stands twice fails."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        assert len(found) == len(pairs), sorted(key for key, _ in pairs)
        return found

    text = (FOLDER / f"{name}.json").read_text("utf-8")
    content: dict[str, Any] = json.loads(text, object_pairs_hook=once)
    return content


CLASSES = read("classes")
IDS = {*CLASSES["detector"], *CLASSES["classifier"]}


def test_each_class_has_one_name() -> None:
    """Ranges are numbers of classes, and no class has two everyday names."""
    assert len(set(CLASSES["detector"])) == len(CLASSES["detector"]) == 80
    assert sorted(set(CLASSES["detector_columns"])) == CLASSES["detector_columns"]
    assert len(CLASSES["detector_columns"]) == 80
    named = [number for ranges in CLASSES["classifier"].values() for number in parse_ranges(ranges)]
    assert len(named) == len(set(named))
    assert set(named) < set(range(IMAGENET))


def test_the_two_lists_of_classes_agree() -> None:
    """The classes that bear a detection out belong to a detector's thing; they hold those of the
    same name.
    """
    assert set(CLASSES["agrees"]) < set(CLASSES["detector"])
    for id, ranges in CLASSES["agrees"].items():
        found = parse_ranges(ranges)
        assert found, id
        assert len(found) == len(set(found)), id
        assert set(found) < set(range(IMAGENET)), id
        assert set(found) >= set(parse_ranges(CLASSES["classifier"].get(id, ""))), id


def test_there_is_a_file_for_each_language() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*LANGUAGES, "classes"}


@pytest.mark.parametrize("code", LANGUAGES)
def test_each_thing_has_words(code: str) -> None:
    """A phrase for one, the plural, and at least one word to ask for it."""
    things = read(code)
    assert set(things) == IDS
    for id, words in things.items():
        assert set(words) == {"one", "many", "forms"}, id
        assert all(text and text == text.strip() for text in words.values()), id


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_word_asks_for_one_thing_only(code: str) -> None:
    """No word, and no beginning of words (*), belongs to two things, as questions are compared."""
    owner: dict[str, str] = {}
    for id, words in read(code).items():
        for form in words["forms"].split(", "):
            assert form == form.lower().strip(), id
            assert form.strip("*"), id
            assert not set("*,") & set(form[:-1]), (id, form)
            assert owner.setdefault(plain(form), id) == id, form
    for form, id in owner.items():
        word = form.rstrip("*")
        for end in range(1, len(word) + 1):
            if " " not in word[end:]:
                assert owner.get(f"{word[:end]}*", id) == id, form


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_the_page_suggests_is_understood(code: str) -> None:
    """Questions and conditions that it offers where this engine answers, in its language."""
    asked = understand(say("stage.how_many_people", language=code), code)
    assert (asked.want, asked.things) == (Want.THING, ("person",))
    conditions = {
        "watch.person_comes": (Subject.PERSON, False),
        "watch.person_leaves": (Subject.THING, True),
        "watch.something_moves": (Subject.MOTION, False),
    }
    for words, wanted in conditions.items():
        found = read_condition(say(words, language=code))
        assert found is not None, words
        assert (found.subject, found.gone) == wanted


@pytest.mark.parametrize(("language", "words", "thing"), [(a, b, c) for a, _, b, c in PLACES_TO_GO])
def test_what_is_sought_is_the_thing(language: str, words: str, thing: str) -> None:
    """Of the words of an order to a way."""
    assert parse_target(words, language).names == (thing,)


@pytest.mark.parametrize(("language", "words", "thing"), [(a, b, c) for a, _, b, c in PLACES])
def test_a_thing_once_seen_is_found_in_its_words(language: str, words: str, thing: str) -> None:
    assert find_things(words, language)[:1] == ((thing,) if thing else ())
