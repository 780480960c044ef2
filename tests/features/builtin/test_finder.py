"""The print that guidance finds in a frame, with the true detector: print of all sizes, cut and turned."""

from __future__ import annotations

import av
import numpy as np
import pytest

from server.features.builtin.finder import Finder
from server.features.builtin.reader import Reader
from server.features.builtin.seeking import sought
from server.shared.aim import Found, Hint, advise
from tests.features.builtin.scenes import Disc, Scene, Sheet, draw

TEXT = "Take one tablet daily\nwith a glass of water\nand keep out of reach\nof small children"


@pytest.fixture
def finder(reader: Reader) -> Finder:
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


def test_reading_goes_on_after_a_look(finder: Finder, reader: Reader) -> None:
    """The two share one reader, which keeps what a call asks of it."""
    bgr = draw(Scene((Sheet(TEXT, 30, columns=(400,), top=280),)))
    before = [piece.text for piece in reader.text(bgr)]
    finder.find(frame(sheet()))
    assert [piece.text for piece in reader.text(bgr)] == before != []


def test_faces_are_looked_for_where_there_is_no_print(finder: Finder, reader: Reader) -> None:
    """By the face model, if it is installed; none is found in a plain picture."""
    assert finder.find(frame(Scene())) == Found()


def test_without_a_reader_nobody_looked() -> None:
    broken = Reader()
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
    wish = sought(words, language)
    assert (wish.kind, wish.colours, wish.unknown) == ("colour", (colour,), False)
    disc = Disc(colour)
    found = finder.seek(draw(Scene((disc,))), wish)
    assert [(one.sure, one.alone) for one in found] == [(False, True)]
    assert found[0].box.encloses(*disc.at)
    assert finder.seek(draw(Scene()), wish) == []


@pytest.mark.parametrize("words", ["the red door", "my blue jacket", "red"])
def test_a_colour_alone_is_no_proof_of_a_thing(words: str) -> None:
    """Something else may be red, too."""
    assert (sought(words, "en").kind == "colour") is (words == "red")
