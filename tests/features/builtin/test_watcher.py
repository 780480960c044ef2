"""Watches without a model: what is seen where, over the engine's own interface."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp

from server.core.frames import JobKind, Picture
from server.features.builtin import watcher
from server.features.builtin.conditions import ABLE
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.lines import TextPiece
from server.features.builtin.reader import TextReader
from server.features.builtin.watcher import explain_unwatchable
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.models.base import Delta
from server.shared.watch_answers import (
    WatchAnswer,
    make_question,
    make_second_question,
    read_answers,
)
from tests.support.fakes import make_request

RED, ORANGE, GREY = (30, 30, 210), (20, 140, 240), (120, 120, 120)


@pytest.fixture
def engine(heavy: ThreadPoolExecutor, reader: TextReader) -> BuiltinEngine:
    return BuiltinEngine(heavy=heavy, reader=reader)


def plain(color: tuple[int, int, int] = GREY) -> Bgr:
    return np.full((360, 640, 3), color, np.uint8)


def spot(color: tuple[int, int, int], at: tuple[int, int] = (200, 100), side: int = 120) -> Bgr:
    bgr = plain()
    bgr[at[1] : at[1] + side, at[0] : at[0] + side] = color
    return bgr


async def ask(
    engine: BuiltinEngine, bgr: Bgr, text: str, frame_id: str = "f"
) -> dict[str, WatchAnswer]:
    high, wide = bgr.shape[:2]
    picture = Picture(frame_id, 1.0, None, wide, high, wide, high, 0, None, bgr, None, 0.0)
    request = make_request(text, picture, kind=JobKind.WATCH, max_tokens=4)
    chunks = [one async for one in engine.answer(request)]
    said = "".join(one.text for one in chunks if isinstance(one, Delta))
    return read_answers(said, {"w1", "w2", "w3"})


async def one(engine: BuiltinEngine, bgr: Bgr, condition: str, frame_id: str = "f") -> WatchAnswer:
    return (await ask(engine, bgr, make_question({"w1": condition}), frame_id))["w1"]


def around(box: Box | None, left: int, top: int, right: int, bottom: int) -> None:
    assert box is not None
    found = (box.x1, box.y1, box.x2, box.y2)
    assert np.allclose(found, (left, top, right, bottom), atol=12), found


async def test_red_is_seen_where_it_is_and_orange_is_not_red(engine: BuiltinEngine) -> None:
    seen = await one(engine, spot(RED), "you see red")
    assert seen.seen
    assert seen.confidence > 0.7
    around(seen.where, 200, 100, 320, 220)
    for other in (plain(), plain(ORANGE), spot(ORANGE), spot(RED, side=12)):
        assert not (await one(engine, other, "you see red")).seen
    assert (await one(engine, plain(ORANGE), "you see orange")).seen


async def test_a_word_may_be_in_print_that_was_not_read(
    engine: BuiltinEngine, reader: TextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither there nor not; what was read is there."""
    line = TextPiece("OPEN", 0.95, ((20.0, 20.0), (120.0, 20.0), (120.0, 50.0), (20.0, 50.0)))
    unread = replace(line, text="", score=0.0)
    asked = make_question({"w1": "you see the word CLOSED", "w2": "you see the word OPEN"})
    for print_of, known in (([line, unread], {"w2"}), ([line], {"w1", "w2"}), ([unread], set())):
        monkeypatch.setattr(reader, "read_text", lambda bgr, print_of=print_of: print_of)
        answers = await ask(engine, plain(), asked)
        assert answers.keys() - {"w3"} == known
        assert all(answers[name].seen is (name == "w2") for name in known)


@pytest.mark.parametrize(
    ("condition", "seen", "not_seen"),
    [
        ("you see red", "Red: in the middle.", "I do not see it now."),
        ("du Rot siehst", "Rot: in der Mitte.", "Das sehe ich gerade nicht."),
        ("赤いものが見えたら", "赤：中央。", "今は見えません。"),
        ("ترى شيئا أحمر", None, "لا أرى ذلك الآن."),
    ],
)
async def test_reasons_are_in_the_language_of_the_condition(
    engine: BuiltinEngine, condition: str, seen: str | None, not_seen: str
) -> None:
    found = await one(engine, spot(RED, (260, 120)), condition)
    assert found.seen
    assert seen is None or found.why == seen
    assert (await one(engine, plain(), condition)).why == not_seen
    assert "visible" not in found.why


async def test_all_conditions_are_answered_at_once(engine: BuiltinEngine) -> None:
    """One that needs a model has no answer, which is neither a yes nor a no."""
    found = await ask(engine, spot(RED), make_question({"w1": "red", "w2": "a cat", "w3": "green"}))
    assert {name: one.seen for name, one in found.items()} == {"w1": True, "w3": False}


async def test_the_second_look_is_understood_too(engine: BuiltinEngine) -> None:
    text = make_second_question("w2", "you see red", with_before=False)
    assert (await ask(engine, spot(RED), text))["w2"].seen


async def test_a_word_is_read_where_it_is(engine: BuiltinEngine) -> None:
    bgr = plain((235, 235, 235))
    cv2.putText(bgr, "EXIT", (380, 200), cv2.FONT_HERSHEY_SIMPLEX, 2.5, (20, 20, 20), 6)
    seen = await one(engine, bgr, "you see the word EXIT")
    assert seen.seen
    around(seen.where, 380, 145, 555, 205)
    assert not (await one(engine, bgr, "you see the word EXITS")).seen
    assert not (await one(engine, bgr, "it says OPEN")).seen
    assert (await one(engine, bgr, "text appears")).seen
    assert not (await one(engine, plain(), "text appears")).seen


async def test_a_code_is_seen_where_it_is(engine: BuiltinEngine) -> None:
    bgr = plain((255, 255, 255))
    code = np.asarray(
        zxingcpp.create_barcode("hello", zxingcpp.BarcodeFormat.QRCode).to_image(scale=5)
    )
    bgr[100 : 100 + code.shape[0], 300 : 300 + code.shape[1]] = code[..., None]
    seen = await one(engine, bgr, "a QR code")
    assert seen.seen
    assert seen.where is not None
    assert 290 < seen.where.x1 < seen.where.x2 < 310 + code.shape[1]
    assert not (await one(engine, plain(), "a QR code")).seen


async def test_a_face_is_where_the_finder_has_it(
    engine: BuiltinEngine, reader: TextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Box(10, 20, 90, 120, "", 0.8)]
    monkeypatch.setattr(reader, "find_faces", lambda bgr: found)
    seen = await one(engine, plain(), "somebody comes to the door")
    assert (seen.seen, seen.confidence) == (True, 0.8)
    around(seen.where, 10, 20, 90, 120)
    found.clear()
    assert not (await one(engine, plain(), "a face")).seen


async def test_motion_is_what_differs_from_the_frame_before(engine: BuiltinEngine) -> None:
    """A second look at a part of the same frame has the same answer; light alone is no motion."""
    condition = "something moves"
    assert not (await one(engine, plain(), condition, "f1")).seen
    seen = await one(engine, spot(RED), condition, "f2")
    assert seen.seen
    around(seen.where, 200, 100, 320, 220)
    assert (await one(engine, spot(RED)[90:230, 190:330], condition, "f2")).seen
    assert not (await one(engine, spot(RED), condition, "f3")).seen
    lighter = cv2.add(spot(RED), np.full((360, 640, 3), 25, np.uint8))
    assert not (await one(engine, np.asarray(lighter, np.uint8), condition, "f4")).seen
    engine.forget("s")
    assert not (await one(engine, plain(), condition, "f5")).seen


async def test_light_and_darkness_are_in_the_whole_picture(engine: BuiltinEngine) -> None:
    night = plain((9, 9, 9))
    dark = await one(engine, night, "the light goes out")
    assert dark.seen
    around(dark.where, 0, 0, 640, 360)
    assert not (await one(engine, night, "the light comes on")).seen
    assert not (await one(engine, plain(), "es dunkel wird")).seen
    assert (await one(engine, plain(), "es hell wird")).seen
    screen = night.copy()
    screen[100:220, 200:400] = 200
    assert not (await one(engine, screen, "it gets dark")).seen


def test_what_cannot_be_watched_is_said_with_what_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explain_unwatchable("you see red") == ""
    assert explain_unwatchable("the kettle boils") == ABLE

    def missing(name: str) -> Any:
        return None

    monkeypatch.setattr(watcher, "find_spec", missing)
    assert "face model" in explain_unwatchable("a face")
