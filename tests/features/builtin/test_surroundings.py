"""All that a picture shows for somebody who looks around."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.features.builtin.beside import Beside
from server.features.builtin.detector import ThingFinder
from server.features.builtin.finder import Finder
from server.features.builtin.reader import Reader
from server.features.builtin.surroundings import Around
from server.media.picture.grounding import Box
from tests.features.builtin.test_detector import photo

U8 = NDArray[np.uint8]


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder(Reader(), Beside(ThingFinder()))


def room(*photos: tuple[str, int], sign: str = "") -> U8:
    """A wall with photographs at these pixels from the left, and a sign above."""
    wall = np.full((720, 1280, 3), (170, 180, 185), np.uint8)
    for name, left in photos:
        small = photo(name)
        wide = round(small.shape[1] * 330 / small.shape[0])
        wall[300:630, left : left + wide] = cv2.resize(small, (wide, 330))
    if sign:
        cv2.rectangle(wall, (480, 60), (800, 190), (255, 255, 255), -1)
        cv2.putText(wall, sign, (500, 150), cv2.FONT_HERSHEY_SIMPLEX, 2.4, (20, 20, 20), 7)
    return wall


def test_things_have_their_places(finder: Finder) -> None:
    """The surest of what has one; nothing that fills the picture."""
    found = finder.around(room(("coffee", 120), ("chelsea", 740)), ())
    names = {one.name: round((one.box.x1 + one.box.x2) / 2) for one in found}
    assert names.keys() == {"cup", "cat"}
    assert 150 < names["cup"] < 600
    assert names["cat"] > 740
    assert all(one.kind == "thing" and one.sure for one in found)
    assert finder.around(room(), ()) == []


def test_what_is_known_is_not_looked_at_again(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detector still sees it; that alone is not sure."""
    seen = room(("chelsea", 500))
    (cat,) = finder.around(seen, ())
    looked: list[U8] = []
    plain = ThingFinder._classify

    def classify(self: ThingFinder, bgr: U8) -> NDArray[np.float32]:
        looked.append(bgr)
        return plain(self, bgr)

    monkeypatch.setattr(ThingFinder, "_classify", classify)
    box = cat.box
    known = Box(box.x1, box.y1, box.x2, box.y2, "cat")
    assert [(one.name, one.sure) for one in finder.around(seen, (known,))] == [("cat", False)]
    assert looked == []
    elsewhere = Box(0, 0, 100, 100, "cat")
    assert [one.sure for one in finder.around(seen, (elsewhere,))] == [True]


@pytest.mark.slow
def test_a_short_sign_is_read_and_a_page_is_not(finder: Finder) -> None:
    seen = room(sign="EXIT")
    assert finder.around(seen, ()) == []
    (sign,) = finder.around(seen, (), "signs")
    assert (sign.kind, sign.name, sign.sure) == ("text", "EXIT", True)
    assert 440 < (sign.box.x1 + sign.box.x2) / 2 < 840
    page = np.full((720, 1280, 3), 250, np.uint8)
    for row in range(12):
        words = "the quick brown fox jumps over the lazy dog"
        cv2.putText(
            page, words, (60, 60 + 54 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (10, 10, 10), 3
        )
    assert finder.around(page, (), "signs") == []


class Stub:
    """A reader that finds what a test says."""

    def __init__(self, faces: list[Box] | None, codes: list[Box]) -> None:
        self.faces, self.codes = faces, codes

    def code_boxes(self, bgr: U8) -> list[Box]:
        return self.codes

    def face_boxes(self, bgr: U8) -> list[Box] | None:
        return self.faces

    def lines(self, bgr: U8) -> None:
        raise AssertionError("nothing is to be read")

    def text(self, bgr: U8) -> list[object]:
        raise AssertionError("nothing is to be read")


def test_faces_are_people_and_codes_are_codes() -> None:
    """Also where nothing names things; of a person whom the detector sees the face is no other one."""
    face, code = Box(10, 10, 40, 50), Box(60, 60, 90, 90)
    found = Finder(Stub([face], [code])).around(room(), (), "faces")  # type: ignore[arg-type]
    assert found == [Around("code", "code", code, True), Around("thing", "person", face, True)]
    people = Finder(Stub([face], []), Beside(ThingFinder()))  # type: ignore[arg-type]
    named = people.around(photo("astronaut"), (), "faces")
    assert [one.name for one in named] == ["person"]
    assert Finder(Stub(None, [])).around(room(), (), "faces") == []  # type: ignore[arg-type]
