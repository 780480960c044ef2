"""The thing finder on photographs, and on pictures where nothing can be named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from server.features.builtin import detector
from server.features.builtin.detector import (
    CLASSIFIER,
    DETECTOR,
    FOLDER,
    DetectedThing,
    ModelFile,
    ThingFinder,
    load_classes,
    parse_ranges,
    resize_by_area,
    select_things,
)
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from tests.features.builtin import drawn, scenes
from tests.features.builtin.scenes import photo
from tests.support import onnx_model


@pytest.fixture(scope="module")
def finder() -> ThingFinder:
    return ThingFinder()


@pytest.mark.parametrize(
    ("name", "thing"),
    [("chelsea", "cat"), ("coffee", "cup"), ("astronaut", "person"), ("camera", "person")],
)
def test_both_models_name_a_thing(finder: ThingFinder, name: str, thing: str) -> None:
    found = finder.find(photo(name))
    assert [one.name for one in found if one.sure] == [thing]


@pytest.mark.parametrize("shape", [(720, 1280), (1440, 2560), (250, 900), (120, 90)])
def test_a_picture_is_squeezed_as_the_classifier_learned_it(shape: tuple[int, int]) -> None:
    """By the mean of what each pixel covers, within a level on average; a small one is blown up."""
    picture = np.asarray(cv2.resize(photo("coffee"), shape[::-1]), np.uint8)
    how = cv2.INTER_AREA if min(shape) > 224 else cv2.INTER_LINEAR
    whole = cv2.resize(picture, (224, 224), interpolation=how)[..., ::-1]
    apart = np.abs(resize_by_area(picture, 224) - whole)
    assert apart.mean() < 1.0


def test_a_box_is_where_the_thing_is(finder: ThingFinder) -> None:
    box = finder.find(photo("coffee"))[0].box
    assert box is not None
    # The cup without its saucer
    assert box.overlap(Box(170, 20, 415, 250)) > 0.8


def test_the_whole_picture_is_no_second_thing(finder: ThingFinder) -> None:
    """The saucer and the table around the cup are a cup to both models, too."""
    picture = cv2.resize(photo("coffee"), (1280, 720))
    (cup,) = finder.find_around(np.asarray(picture, np.uint8))
    assert cup.name == "cup"
    assert cup.box is not None
    assert cup.box.area < 0.3 * 1280 * 720


def test_what_the_detector_misnames_from_afar_is_looked_at_closer(finder: ThingFinder) -> None:
    """Both models have to say it of the closer look; a moment later the classifier alone is enough there."""
    wall = np.full((720, 1280, 3), (180, 190, 200), np.uint8)
    wall[200:520, 500:820] = cv2.resize(photo("orange"), (320, 320), interpolation=cv2.INTER_AREA)
    assert "orange" not in {box.label for box in finder.find_boxes(wall)}
    (found,) = finder.seek(wall, ["orange"])
    assert found.sure
    assert found.box is not None
    assert found.box.overlap(Box(500, 200, 820, 520)) > 0.6
    (again,) = finder.seek(wall, ["orange"], found.box)
    assert again.sure
    assert finder.seek(wall, ["apple"]) == []
    assert finder.seek(wall, ["sports ball"]) == []


@pytest.mark.parametrize(
    ("name", "step", "fruit"),
    [("fruits", 1, "orange"), ("citrus", 1, "orange"), ("apple", -1, "apple")],
)
def test_a_fruit_that_the_classifier_takes_for_another_has_the_detectors_name(
    finder: ThingFinder, name: str, step: int, fruit: str
) -> None:
    """The classifier says lemon, or pumpkin of the mirrored apple, but gives some weight to the name, too."""
    assert finder.find(np.ascontiguousarray(photo(name)[:, ::step]))[0].name == fruit


def test_one_that_is_unsure_is_silent(finder: ThingFinder) -> None:
    """The rocket is small and lit from behind."""
    assert finder.find(photo("rocket")) == []


@pytest.mark.parametrize("kind", ["wall", "noise", "text", "drawing", "stripes"])
def test_nothing_is_named_where_there_is_nothing(finder: ThingFinder, kind: str) -> None:
    assert finder.find(empty(kind)) == []


@pytest.mark.slow
def test_nothing_is_named_on_print_and_drawings(finder: ThingFinder) -> None:
    """Receipts, tables, codes, displays, colours and drawings: all drawn scenes without a photograph."""
    found = {
        name: [thing.name for thing in finder.find(scenes.draw(scene))]
        for name, scene in drawn.SCENES.items()
        if not any(isinstance(thing, scenes.Photo) for thing in scene.things)
    }
    assert len(found) >= 12
    assert {name: names for name, names in found.items() if names} == {}


def empty(kind: str) -> Bgr:
    bgr = np.full((720, 1280, 3), (205, 214, 220), np.uint8)
    if kind == "noise":
        return np.random.default_rng(1).integers(0, 255, bgr.shape, np.uint8)
    if kind == "text":
        for row in range(80, 680, 60):
            line = "The quick brown fox jumps over the lazy dog"
            cv2.putText(bgr, line, (60, row), cv2.FONT_HERSHEY_DUPLEX, 1.4, (30, 30, 30), 2)
    if kind == "drawing":
        cv2.rectangle(bgr, (400, 200), (860, 560), (60, 60, 200), 8)
        cv2.line(bgr, (400, 200), (860, 560), (60, 160, 60), 8)
    if kind == "stripes":
        bgr[:, ::40] = bgr[:, 1::40] = (90, 90, 90)
    return bgr


def test_a_small_thing_that_is_asked_about_is_looked_for_in_parts(finder: ThingFinder) -> None:
    """At its place in the whole picture."""
    bgr = np.full((720, 1280, 3), 150, np.uint8)
    bgr[330:530, 950:1250] = cv2.resize(photo("coffee"), (300, 200), interpolation=cv2.INTER_AREA)
    assert not finder.find(bgr)
    (cup,) = finder.find(bgr, ["cup"])
    assert cup.sure
    assert cup.box is not None
    assert cup.box.overlap(Box(1035, 341, 1158, 455)) > 0.5
    assert finder.find(bgr, ["dog"]) == []


def test_an_empty_table_is_no_person(finder: ThingFinder) -> None:
    """A box that fills the picture and is much wider than high needs a higher score."""
    table = np.full((720, 1280, 3), (60, 100, 150), np.uint8)
    doubtful = Box(13, 109, 1271, 712, "person", 0.65)
    assert finder.name_boxes(table, [doubtful]) == []
    for one in (replace(doubtful, confidence=0.8), replace(doubtful, x2=700)):
        assert [thing.name for thing in finder.name_boxes(table, [one])] == ["person"]


def test_a_box_around_a_better_one_is_no_second_thing() -> None:
    hand = Box(3, 293, 385, 716, "person", 0.88)
    around, beside = Box(0, 271, 891, 719, "person", 0.63), Box(300, 271, 891, 719, "person", 0.63)
    assert detector._remove_duplicates([hand, around]) == [hand]
    assert detector._remove_duplicates([hand, beside]) == [hand, beside]


def six_cups() -> Bgr:
    bgr = np.full((720, 1280, 3), 150, np.uint8)
    cup = cv2.resize(photo("coffee"), (255, 170), interpolation=cv2.INTER_AREA)
    for top in (60, 400):
        for left in (40, 480, 900):
            bgr[top : top + 170, left : left + 255] = cup
    return bgr


def test_things_that_are_counted_are_looked_at_closer(finder: ThingFinder) -> None:
    """Of six small cups the detector alone is sure of two."""
    bgr = six_cups()
    found = finder.find(bgr, ["cup"])
    more = finder.find_more(bgr, found, "cup")
    assert len(found) < len(select_things([*found, *more], ["cup"])) <= 6
    assert finder.find_more(bgr, found, "dog") == []
    one = finder.find(photo("coffee"))
    assert finder.find_more(photo("coffee"), one, "cup") == []


def test_a_slice_of_counted_things_is_no_further_one() -> None:
    """The sides of two cups were a third."""
    bgr = np.full((720, 1280, 3), 150, np.uint8)
    cup = cv2.resize(photo("coffee"), (510, 340), interpolation=cv2.INTER_AREA)
    bgr[100:440, 100:610] = cup
    bgr[100:440, 610:1120] = cup[:, ::-1]
    first, second = Box(150, 100, 560, 440, "cup", 0.9), Box(660, 100, 1070, 440, "cup", 0.9)
    between = Box(400, 100, 800, 440, "cup", 0.6)

    class Boxes(ThingFinder):
        def find_boxes(self, bgr: Bgr, least: float = 0) -> list[Box]:
            return [second, between] if bgr.shape[1] == 1280 else []

    found = [DetectedThing("cup", 0.9, first, sure=True)]
    assert [one.box for one in Boxes().find_more(bgr, found, "cup")] == [second]


def test_the_sure_ones_are_counted() -> None:
    sure, like = (
        DetectedThing("cup", 0.9, None, sure=True),
        DetectedThing("cup", 0.8, None, sure=False),
    )
    assert select_things([like, sure], ["cup"]) == [sure]
    assert select_things([like], ["cup"]) == [like]
    assert select_things([sure], ["dog"]) == []


def test_a_kind_of_a_thing_is_that_thing() -> None:
    wine, dog = (DetectedThing(name, 0.9, None, sure=True) for name in ("wine glass", "hot dog"))
    assert select_things([wine, dog], ["glass"]) == [wine]
    assert select_things([wine, dog], ["dog"]) == []
    assert {one for kinds in detector.KINDS.values() for one in kinds} <= load_classes().names


class Mistaken(ThingFinder):
    """Its detector takes all for a dog."""

    def find_boxes(self, bgr: Bgr, least: float = 0.5) -> list[Box]:
        height, width = bgr.shape[:2]
        return [Box(0, 0, width, height, "dog", 0.94)]


def test_what_is_surely_another_thing_is_not_what_is_asked_about() -> None:
    found = Mistaken().find(photo("chelsea"), ["dog"])
    assert [one.name for one in found] == ["cat"]


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (720, 2)])
def test_a_picture_of_any_size_is_looked_at(finder: ThingFinder, size: tuple[int, int]) -> None:
    assert finder.find(np.zeros((*size, 3), np.uint8)) == []


def test_another_file_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of an operator's, with another checksum or of another form: said once, and nothing is named."""
    own = ModelFile(FOLDER / DETECTOR)
    other = tmp_path / "other.onnx"
    other.write_bytes(onnx_model.turn_model(0.9))
    for wrong in (ModelFile(FOLDER / CLASSIFIER, "0" * 64), ModelFile(other), ModelFile(tmp_path)):
        caplog.clear()
        one = ThingFinder(own, wrong)
        assert one.find(photo("chelsea")) == one.find(photo("chelsea")) == []
        assert one.broken
        assert [record.message for record in caplog.records] == ["object detector failed to load"]


def test_ranges() -> None:
    assert parse_ranges("7-9 80") == [7, 8, 9, 80]
    known = load_classes()
    assert len(known.detector) == len(known.columns) == 80
    assert known.classifier[281] == known.detector[15] == "cat"
    assert known.names >= {detector.PERSON, "cup"}
