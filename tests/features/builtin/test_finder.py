"""The print that guidance finds in a frame, with the true detector, and all that a picture shows around somebody."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.features.builtin.beside import DetectorAid
from server.features.builtin.detector import ThingFinder
from server.features.builtin.finder import Finder, FoundObject
from server.features.builtin.reader import TextReader
from server.features.builtin.seeking import is_name, parse_target
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.shared.aim import Found, Hint, advise
from tests.features.builtin.scenes import Disc, Scene, Sheet, draw, photo
from tests.support.words import LANGUAGES, table

TEXT = "Take one tablet daily\nwith a glass of water\nand keep out of reach\nof small children"


@pytest.fixture
def finder(reader: TextReader) -> Finder:
    return Finder(reader)


def frame(scene: Scene) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(draw(scene), format="bgr24").reformat(format="yuv420p")


def sheet(size: int = 30, left: int = 400, top: int = 280, turn: int = 0) -> Scene:
    """Four lines of print on paper; what lies outside of the picture is cut off."""
    return Scene((Sheet(TEXT, size, columns=(left,), top=top),), turn=turn)


def hint(found: Found) -> Hint:
    advice = advise(found, None)
    assert advice is not None
    return advice.hint


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (sheet(), Hint.GOOD),
        (sheet(turn=8), Hint.GOOD),
        (sheet(turn=90, left=200), Hint.GOOD),
        (sheet(20, left=500), Hint.GOOD),
        (sheet(12, left=500, top=330), Hint.CLOSER),
        (sheet(left=-40), Hint.LEFT_EDGE),
        (sheet(left=1050), Hint.RIGHT_EDGE),
        (sheet(top=15), Hint.UPPER_EDGE),
        (sheet(top=612), Hint.LOWER_EDGE),
        (sheet(150, left=-40), Hint.BACK),
        (sheet(24, left=30), Hint.LEFT),
        (Scene(), Hint.NOTHING),
        (Scene((Disc("red"),)), Hint.NOTHING),
    ],
    ids=lambda value: value.value if isinstance(value, Hint) else "",
)
def test_print_leads_to_its_hint(finder: Finder, scene: Scene, expected: Hint) -> None:
    assert hint(finder.find(frame(scene))) is expected


@pytest.mark.parametrize(("size", "turn"), [(20, 0), (30, 0), (30, 12), (60, 0), (60, 5)])
def test_letters_are_measured_at_their_own_size(finder: Finder, size: int, turn: int) -> None:
    """Also turned ones: a detector's box is up to three times as high."""
    lines = finder.find(frame(sheet(size, left=200, top=200, turn=turn))).lines
    assert len(lines) >= 3
    for line in lines:
        assert 0.5 * size < line.height * 1280 < 1.15 * size


def test_a_thorough_look_finds_smaller_print(finder: Finder) -> None:
    image = frame(sheet(9, left=500, top=330))
    assert len(finder.find(image).lines) < len(finder.find(image, thorough=True).lines) == 4


def test_reading_goes_on_after_a_look(finder: Finder, reader: TextReader) -> None:
    """The two share one reader, which keeps what a call asks of it."""
    bgr = draw(Scene((Sheet(TEXT, 30, columns=(400,), top=280),)))
    before = [piece.text for piece in reader.read_text(bgr)]
    finder.find(frame(sheet()))
    assert [piece.text for piece in reader.read_text(bgr)] == before != []


def test_without_a_reader_nobody_looked() -> None:
    broken = TextReader()
    broken._ocr_failed = True
    assert Finder(broken).find(frame(sheet())) == Found(looked=False)


def test_any_size_of_frame_is_looked_at(finder: Finder) -> None:
    for width, height in ((16, 16), (64, 1000), (1920, 1080), (320, 240)):
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        image = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        assert finder.find(image) == Found()


@pytest.mark.parametrize(
    ("words", "language", "colour"),
    [
        ("something red", "en", "red"),
        ("the red thing", "en", "red"),
        ("etwas Rotes", "de", "red"),
        ("quelque chose de bleu", "fr", "blue"),
        ("algo verde", "es", "green"),
        ("что-то зелёное", "ru", "green"),
        ("红色的东西", "zh", "red"),
        ("赤いもの", "ja", "red"),
    ],
)
def test_somebody_is_led_to_a_colour(
    finder: Finder, words: str, language: str, colour: str
) -> None:
    """To its largest spot, which nothing could contradict."""
    wish = parse_target(words, language)
    assert (wish.kind, wish.colours, wish.unknown) == ("colour", (colour,), False)
    disc = Disc(colour)
    found = finder.seek(draw(Scene((disc,))), wish)
    assert [(one.sure, one.alone) for one in found] == [(False, True)]
    assert found[0].box.encloses(*disc.at)
    assert finder.seek(draw(Scene()), wish) == []


@pytest.mark.parametrize("words", ["the red door", "my blue jacket", "red"])
def test_a_colour_alone_is_no_proof_of_a_thing(words: str) -> None:
    """Something else may be red, too."""
    assert (parse_target(words, "en").kind == "colour") is (words == "red")


@pytest.mark.parametrize(
    ("words", "language"),
    [
        *(("cup", "en"), ("The cup.", "en"), ("my keys", "en"), ("exit", "en"), ("the red door", "en")),
        *(("Tasse", "de"), ("meine Brille", "de"), ("l'ascenseur", "fr"), ("la taza", "es")),
        *(("la mia borsa", "it"), ("minha bolsa", "pt"), ("de fiets", "nl"), ("kubek", "pl")),
        *(("мой ключ", "ru"), ("чашка", "uk"), ("benim çantam", "tr"), ("杯子", "zh"), ("私の鍵", "ja")),
        *(("컵", "ko"), ("الكوب", "ar"), ("कप", "hi"), ("something red", "en"), ("QR code", "en")),
    ],
)  # fmt: skip
def test_a_name_alone(words: str, language: str) -> None:
    assert is_name(words, language)


@pytest.mark.parametrize(
    ("words", "language"),
    [
        *(("is it warm", "en"), ("where is the cup", "en"), ("what about the cup", "en")),
        *(("the cup is gone", "en"), ("tell me more", "en"), ("thanks", "en"), ("People?", "en")),
        *(("was ist das", "de"), ("lies das vor", "de"), ("c'est quoi", "fr"), ("Leggi questo", "it")),
        *(("这是什么", "zh"), ("これは何", "ja"), ("что это", "ru"), ("ما هذا", "ar"), ("यह क्या है", "hi")),
    ],
)  # fmt: skip
def test_a_question_is_no_name(words: str, language: str) -> None:
    assert not is_name(words, language)


@pytest.mark.parametrize("code", sorted(one.stem for one in LANGUAGES.iterdir()))
def test_a_suggested_question_is_no_name(code: str) -> None:
    words = table(code)
    for id in ("what_is_this", "read_this", "scan_this", "what_colour", "how_many_people"):
        assert not is_name(str(words[f"stage.{id}"]), code), id


# All that a picture shows for somebody who looks around


@pytest.fixture(scope="module")
def looking(reader: TextReader) -> Finder:
    return Finder(reader, DetectorAid(ThingFinder()))


def room(*photos: tuple[str, int], sign: str = "") -> Bgr:
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


def test_things_have_their_places(looking: Finder) -> None:
    """The surest of what has one; nothing that fills the picture."""
    found = looking.find_around(room(("coffee", 120), ("chelsea", 740)), ())
    names = {one.name: round((one.box.x1 + one.box.x2) / 2) for one in found}
    assert names.keys() == {"cup", "cat"}
    assert 150 < names["cup"] < 600
    assert names["cat"] > 740
    assert all(one.kind == "thing" and one.sure for one in found)
    assert looking.find_around(room(), ()) == []


def test_what_is_known_is_not_looked_at_again(
    looking: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detector still sees it; that alone is not sure."""
    seen = room(("chelsea", 500))
    (cat,) = looking.find_around(seen, ())
    looked: list[Bgr] = []
    plain = ThingFinder._classify

    def classify(self: ThingFinder, bgr: Bgr) -> NDArray[np.float32]:
        looked.append(bgr)
        return plain(self, bgr)

    monkeypatch.setattr(ThingFinder, "_classify", classify)
    box = cat.box
    known = Box(box.x1, box.y1, box.x2, box.y2, "cat")
    assert [(one.name, one.sure) for one in looking.find_around(seen, (known,))] == [("cat", False)]
    assert looked == []
    elsewhere = Box(0, 0, 100, 100, "cat")
    assert [one.sure for one in looking.find_around(seen, (elsewhere,))] == [True]


@pytest.mark.slow
def test_a_short_sign_is_read_and_a_page_is_not(looking: Finder) -> None:
    seen = room(sign="EXIT")
    assert looking.find_around(seen, ()) == []
    (sign,) = looking.find_around(seen, (), "signs")
    assert (sign.kind, sign.name, sign.sure) == ("text", "EXIT", True)
    assert 440 < (sign.box.x1 + sign.box.x2) / 2 < 840
    page = np.full((720, 1280, 3), 250, np.uint8)
    for row in range(12):
        words = "the quick brown fox jumps over the lazy dog"
        cv2.putText(
            page, words, (60, 60 + 54 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (10, 10, 10), 3
        )
    assert looking.find_around(page, (), "signs") == []


class Stub:
    """A reader that finds what a test says."""

    def __init__(self, faces: list[Box] | None, codes: list[Box]) -> None:
        self.faces, self.codes = faces, codes

    def find_code_boxes(self, bgr: Bgr) -> list[Box]:
        return self.codes

    def find_faces(self, bgr: Bgr) -> list[Box] | None:
        return self.faces

    def find_lines(self, bgr: Bgr) -> None:
        raise AssertionError("nothing is to be read")

    def read_text(self, bgr: Bgr) -> list[object]:
        raise AssertionError("nothing is to be read")


def test_faces_are_people_and_codes_are_codes() -> None:
    """Also where nothing names things; of a person whom the detector sees the face is no other one."""
    face, code = Box(10, 10, 40, 50), Box(60, 60, 90, 90)
    found = Finder(Stub([face], [code])).find_around(room(), (), "faces")  # type: ignore[arg-type]
    assert found == [
        FoundObject("code", "code", code, True),
        FoundObject("thing", "person", face, True),
    ]
    people = Finder(Stub([face], []), DetectorAid(ThingFinder()))  # type: ignore[arg-type]
    named = people.find_around(photo("astronaut"), (), "faces")
    assert [one.name for one in named] == ["person"]
    assert Finder(Stub(None, [])).find_around(room(), (), "faces") == []  # type: ignore[arg-type]
