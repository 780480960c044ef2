"""The detector beside a model: boxes for an answer that has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.core.frames import Picture
from server.features.builtin.beside import DetectorAid, is_denied
from server.features.builtin.detector import FOLDER, ModelFile, ThingFinder
from server.features.builtin.language import LANGUAGES
from server.media.picture.encode import encode_jpeg
from tests.features.builtin.scenes import photo
from tests.features.builtin.test_spotting import before
from tests.features.builtin.words import WORDS
from tests.support.fakes import make_picture


@pytest.fixture(scope="module")
def beside() -> DetectorAid:
    return DetectorAid(ThingFinder())


def as_sent(name: str) -> Picture:
    """A photograph as a model got it."""
    height, width = photo(name).shape[:2]
    return replace(make_picture(jpeg=encode_jpeg(photo(name))), width=width, height=height)


@pytest.mark.parametrize("code", LANGUAGES)
def test_an_answer_that_denies_is_known(code: str) -> None:
    there, *gone = WORDS["denied"][code]
    assert not is_denied(there, code)
    assert all(is_denied(answer, code) for answer in gone)


def test_an_answer_in_another_language_than_its_question() -> None:
    """A Portuguese "no" is a place, an English one denies."""
    assert is_denied("There is no cup here, I see the table only.", "pt")
    assert not is_denied("The cup is on the table, where it was.", "fr")


@pytest.mark.parametrize(
    ("question", "label"), [("Where is the cup?", "a cup"), ("Wo ist die Tasse?", "eine Tasse")]
)
def test_it_finds_what_a_question_names(beside: DetectorAid, question: str, label: str) -> None:
    """In pixels of the very picture that the model got."""
    (box,) = beside.find_boxes(as_sent("coffee"), question, "There.")
    height, width = photo("coffee").shape[:2]
    assert box.label == label
    assert 0 <= box.x1 < width / 2 < box.x2 <= width
    assert 0 <= box.y1 < height / 2 < box.y2 <= height


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("coffee", "Where is the cup?", "I see no cup."),
        ("coffee", "Where is the cat?", "On the left."),
        ("coffee", "Where is it?", "On the left."),
        ("coffee", "", ""),
    ],
)
def test_it_finds_nothing_else(beside: DetectorAid, name: str, question: str, answer: str) -> None:
    assert beside.find_boxes(as_sent(name), question, answer) == []


def test_a_picture_that_cannot_be_looked_at_has_no_boxes(beside: DetectorAid) -> None:
    assert beside.find_boxes(make_picture(jpeg=b"none"), "Where is the cup?", "There.") == []
    gone = DetectorAid(ThingFinder(ModelFile(FOLDER / "gone.onnx")))
    assert gone.find_boxes(as_sent("coffee"), "Where is the cup?", "There.") == []


def test_it_looks_for_the_things_of_watches(beside: DetectorAid) -> None:
    """For those of its 80 classes, in the words of any language; a thing that is gone has no place."""
    conditions = {
        "came": "a cat appears",
        "here": "Sag mir Bescheid, wenn eine Katze kommt",
        "left": "the cat leaves",
        "gone": "the dog is gone",
        "none": "somebody comes to the door",
        "drum": "a drum appears",
        "odd": "the cat sleeps",
        "text": "you see the word exit",
    }
    found = beside.check_conditions(as_sent("chelsea"), conditions)
    assert found is not None
    assert [name for name, seen in found.items() if seen is None] == ["drum", "odd", "text"]
    first = {name: seen[0] for name, seen in found.items() if seen is not None}
    assert {name: (one.seen, one.where is not None) for name, one in first.items()} == {
        "came": (True, True),
        "here": (True, True),
        "left": (False, False),
        "gone": (True, False),
        "none": (False, False),
    }
    assert first["came"].confidence >= 0.7
    assert (first["came"].why, first["here"].why) == (
        "A cat: in the middle.",
        "Eine Katze: in der Mitte.",
    )


def test_what_is_not_in_a_part_of_the_picture_is_not_gone(beside: DetectorAid) -> None:
    """Looks at parts of the picture come in turn where nothing has changed."""
    bgr, _ = before("brick", "chelsea", 0.12, 40, 200)
    shown = replace(make_picture(jpeg=encode_jpeg(bgr)), width=bgr.shape[1], height=bgr.shape[0])
    for turn in range(6):
        found = beside.check_conditions(shown, {"gone": "the cat is gone"}, turn)
        assert found is not None
        assert [answer.seen for answer in found["gone"] or ()] == [False]


def test_it_says_when_it_cannot_look() -> None:
    gone = DetectorAid(ThingFinder(ModelFile(FOLDER / "gone.onnx")))
    assert gone.check_conditions(as_sent("chelsea"), {"w": "a cat appears"}) is None
    assert (
        DetectorAid(ThingFinder()).check_conditions(
            make_picture(jpeg=b"none"), {"w": "a cat comes"}
        )
        is None
    )
