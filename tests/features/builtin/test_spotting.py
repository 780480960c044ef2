"""The search that runs some times a second: small things, look-alikes, doubtful boxes, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from server.features.builtin.detector import ThingFinder
from server.features.builtin.spotting import spot
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from tests.features.builtin.scenes import photo

WIDTH, HEIGHT = 1280, 720


@pytest.fixture(scope="module")
def finder() -> ThingFinder:
    return ThingFinder()


def before(ground: str, name: str, share: float, left: int, top: int) -> tuple[Bgr, Box]:
    """A photograph that takes up so much of a picture, and its place."""
    bgr = np.asarray(cv2.resize(photo(ground), (WIDTH, HEIGHT)), np.uint8)
    shown = photo(name)
    scale = math.sqrt(share * WIDTH * HEIGHT / (shown.shape[0] * shown.shape[1]))
    shown = np.asarray(cv2.resize(shown, None, fx=scale, fy=scale), np.uint8)
    high, wide = shown.shape[:2]
    bgr[top : top + high, left : left + wide] = shown
    return bgr, Box(left, top, left + wide, top + high)


def labels(boxes: Sequence[Box]) -> set[str]:
    return {box.label for box in boxes}


def test_a_dog_that_the_detector_takes_for_a_cat_is_a_dog(finder: ThingFinder) -> None:
    bgr, place = before("brick", "dog", 0.08, 300, 200)
    assert labels(finder.find_boxes(bgr, 0.7)) == {"cat"}
    (dog,) = spot(finder, bgr, {"dog"})
    assert place.x1 < (dog.x1 + dog.x2) / 2 < place.x2
    assert spot(finder, bgr, {"cat"}) == []
    assert labels(spot(finder, bgr, {"cat", "dog"})) == {"dog"}


def test_a_small_thing_is_seen_where_something_changed(finder: ThingFinder) -> None:
    """Or seen before, in one look; else when it is the turn of its part of the picture."""
    bgr, place = before("palace", "chelsea", 0.04, 1000, 420)
    assert labels(finder.find_boxes(bgr, 0.7)).isdisjoint({"cat"})
    for turn in range(3):
        assert labels(spot(finder, bgr, {"cat"}, turn, place)) == {"cat"}
    assert any(spot(finder, bgr, {"cat"}, turn) for turn in range(6))


def test_nothing_is_seen_of_what_is_not_there(finder: ThingFinder) -> None:
    names = {"person", "cat", "dog", "car"}
    for ground in ("coffee", "fruits", "windmill", "raccoon", "notebook"):
        bgr = np.asarray(cv2.resize(photo(ground), (WIDTH, HEIGHT)), np.uint8)
        assert [spot(finder, bgr, names, turn) for turn in range(6)] == [[]] * 6


@pytest.fixture
def passes(finder: ThingFinder, monkeypatch: pytest.MonkeyPatch) -> list[Bgr]:
    """The pictures that the detector was given."""
    seen: list[Bgr] = []
    boxes = finder.find_boxes

    def counted(bgr: Bgr, least: float = 0.5) -> list[Box]:
        seen.append(bgr)
        return boxes(bgr, least)

    monkeypatch.setattr(finder, "find_boxes", counted)
    return seen


STILL = ("building", "board", "plant", "notebook", "coins")


def test_a_look_near_a_change_is_at_most_three_of_the_detectors(
    finder: ThingFinder, passes: list[Bgr]
) -> None:
    """At the whole picture, a part of it, and one box; at the whole alone where that shows all."""
    spot(finder, before("building", "camera", 0.2, 300, 200)[0], {"person"})
    assert len(passes) == 1
    for ground in STILL:
        bgr = np.asarray(cv2.resize(photo(ground), (WIDTH, HEIGHT)), np.uint8)
        passes.clear()
        spot(finder, bgr, {"person", "car"}, 0, Box(600, 300, 680, 420))
        assert 2 <= len(passes) <= 3


@pytest.mark.parametrize("ground", STILL)
def test_where_nothing_has_changed_a_look_is_one_of_the_detectors(
    finder: ThingFinder, passes: list[Bgr], ground: str
) -> None:
    """At the whole picture and at its squares in turn; one in four is closer, at what it may have seen."""
    bgr = np.asarray(cv2.resize(photo(ground), (WIDTH, HEIGHT)), np.uint8)
    for turn in range(8):
        before = len(passes)
        spot(finder, bgr, {"person", "car"}, turn)
        assert len(passes) - before <= (1 if turn % 4 else 2)
        assert (passes[before] is bgr) == (turn % 2 == 0)
    passes.clear()
    for turn in range(8):
        spot(finder, bgr, {"person", "car"}, turn, whole=True)
    assert sum(one is bgr for one in passes) == 8
    assert len(passes) <= 10


def test_somebody_who_stays_is_seen_in_one_look_of_the_detectors(
    finder: ThingFinder, passes: list[Bgr]
) -> None:
    """One pass looks where the last look saw somebody; what else is watched for is sought as at rest."""
    bgr, place = before("building", "camera", 0.2, 300, 200)
    names = {"person", "cat", "dog", "car"}
    (seen,) = spot(finder, bgr, names, 0, place)
    passes.clear()
    for turn in range(8):
        assert labels(spot(finder, bgr, names, turn, seen)) == {"person"}
    assert len(passes) <= 12
