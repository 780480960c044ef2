"""Answers about things, from photographs, with the models that come with the program."""

from __future__ import annotations

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from server.core.frames import JobKind, Region
from server.features.builtin import detector
from server.features.builtin.beside import DetectorAid
from server.features.builtin.conditions import ABLE
from server.features.builtin.detector import ThingFinder
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.finder import Finder
from server.features.builtin.language import LANGUAGES, get_language
from server.features.builtin.reader import TextReader
from server.models.base import EngineRequest, ShownPicture
from server.shared import watch_answers
from server.shared.onnx_file import load_session
from tests.features.builtin.scenes import photo
from tests.features.builtin.test_detector import six_cups
from tests.features.builtin.test_engine import (
    answered,
    ask,
    picture,
    put_code,
    request,
    scene,
    write,
)

pytestmark = pytest.mark.usefixtures("calculated_once")

Bgr = NDArray[np.uint8]

HELLO, HELP, WHERE = "Hello!", "What can you do?", "Where is the cup?"


@pytest.fixture(scope="module")
def engine(heavy: ThreadPoolExecutor) -> BuiltinEngine:
    return BuiltinEngine(heavy=heavy, finder=ThingFinder())


def room(*things: tuple[str, int]) -> Bgr:
    """A grey room with photographs at these distances from its left side."""
    bgr = np.full((720, 1280, 3), 150, np.uint8)
    for name, left in things:
        shown = np.asarray(cv2.resize(photo(name), None, fx=1.2, fy=1.2), np.uint8)
        bgr[180 : 180 + shown.shape[0], left : left + shown.shape[1]] = shown
    return bgr


@pytest.mark.parametrize(("kind", "needs"), [(JobKind.CHAT, True), (JobKind.DESCRIBE, False)])
async def test_an_unknown_thing_needs_a_model_where_somebody_asks(
    engine: BuiltinEngine, kind: JobKind, needs: bool
) -> None:
    """Nobody asks for the texts of a running description."""
    text, end = await answered(engine, request(scene(), "What is this?", kind=kind))
    assert text == "I'm not sure what this is. In the middle: white."
    assert end.needs_model is needs


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("chelsea", "Ist das eine Katze?", "Ja. Ich sehe: eine Katze."),
        ("chelsea", "Do you see a dog?", "I don't see a dog, but I could be missing it."),
        ("chelsea", "What colour is the cat?", "A cat: brown"),
        # A name does not answer it.
        ("chelsea", "Is the cat asleep?", "I can't tell. I see a cat."),
        ("astronaut", "Is it a man or a woman?", "I can't tell. I see a person."),
        ("coffee", "这是什么？", "我看到杯子。"),
        ("astronaut", "How many people are there?", "I count at least 1: a person."),
    ],
)
async def test_things_are_named(
    engine: BuiltinEngine, name: str, question: str, answer: str
) -> None:
    assert (await ask(engine, photo(name), question)).startswith(answer)


@pytest.mark.parametrize(
    ("name", "colour"), [("chelsea", "brown"), ("dog", "brown"), ("bee", "brown")]
)
async def test_the_colour_of_it_is_that_of_the_thing_in_the_middle(
    engine: BuiltinEngine, name: str, colour: str
) -> None:
    """Not that of its eye or tongue, nor of the flower beside it."""
    assert await ask(engine, photo(name), "What color is it?") == f"In the middle: {colour}."


async def test_where_a_thing_is(engine: BuiltinEngine) -> None:
    """With a box around it."""
    text, end = await answered(engine, request(room(("coffee", 540)), WHERE, where=True))
    assert end.boxes
    assert (text, [box.label for box in end.boxes]) == ("A cup: on the right.", ["a cup"])
    assert 540 < end.boxes[0].x1 < end.boxes[0].x2 < 1280


async def test_print_tells_where_more_is_asked_than_a_thing(engine: BuiltinEngine) -> None:
    """And what is counted as a thing is not said to be missing."""
    lines = ["Hi", "Money for the man", "is in the jug."]
    page = write(np.full((720, 1280, 3), 245, np.uint8), lines, height=60, at=(100, 200))
    question = "Where is the money for the man who cleans?"
    said = await ask(engine, page, question, where=True)
    assert "jug" in said
    assert "I don't see" not in said


async def test_a_description_tells_who_came_and_who_went(engine: BuiltinEngine) -> None:
    views = [room(), room(("chelsea", 300)), room(("chelsea", 300)), room()]
    said = [
        await ask(engine, view, "", kind=JobKind.DESCRIBE, session_id="came", own_language="en")
        for view in views
    ]
    assert said[1].startswith("Just appeared: a cat.")
    assert said[2].startswith("I see a cat.")
    assert said[3].startswith("Gone: a cat.")


async def test_where_it_was_when_it_was_seen_last(engine: BuiltinEngine) -> None:
    """The newest picture that has it; a box only in the present one."""
    views = (room(("coffee", 0)), room(("coffee", 560)), room())
    earlier = tuple(
        ShownPicture(picture(view, captured=at), "At a time:")
        for view, at in zip(views[:2], (10.0, 25.0), strict=True)
    )
    changes = {"past": True, "earlier": earlier}
    question = "Where did I put the cup?"
    asked = request(views[2], question, **changes, picture=picture(views[2], captured=40.0))
    text, end = await answered(engine, asked)
    assert text == "15 s ago I saw a cup on the right."
    assert (end.boxes, end.pictures_left_out) == (None, 0)
    _, unused = await answered(engine, request(views[2], "What is this?", **changes))
    assert unused.pictures_left_out == 2
    for known in (changes, {"past": True}):
        assert await ask(engine, views[1], question, **known) == "A cup: on the right."
    nowhere = await ask(engine, views[2], "Where did I put the cat?", **changes)
    assert nowhere == "I don't see a cat, but I could be missing it."


async def test_a_watch_for_a_thing(engine: BuiltinEngine) -> None:
    """It comes, and it leaves; each with its own confidence and place."""
    conditions = {"came": "a cat appears", "left": "the cat leaves", "dog": "a dog comes"}
    seen = []
    for view in (room(), room(("chelsea", 300))):
        question = watch_answers.make_question(conditions)
        text = await ask(engine, view, question, kind=JobKind.WATCH, session_id="w")
        seen.append({one["id"]: one["seen"] for one in json.loads(text)["watches"]})
    assert seen == [
        {"came": False, "left": True, "dog": False},
        {"came": True, "left": False, "dog": False},
    ]
    assert engine.status.capabilities.cannot_watch is not None
    assert engine.status.capabilities.cannot_watch("a cat appears") == ""


@pytest.mark.parametrize("code", LANGUAGES)
async def test_one_that_names_nothing_does_not_say_that_it_does(
    heavy: ThreadPoolExecutor, engine: BuiltinEngine, code: str
) -> None:
    """It says of itself another sentence in each language, wherever it says it."""
    plain = BuiltinEngine(heavy=heavy)
    for question, key in ((HELLO, "hello"), (HELP, "help")):
        said = [await ask(one, scene(), question, own_language=code) for one in (plain, engine)]
        words = get_language(code)
        first = words.say("hello") if key == "hello" else ""
        can = [words.say(one) for one in ("help_plain", "help")]
        assert said == [words.join_sentence(first, one) for one in can]
        assert said[0] != said[1]


async def test_the_models_are_loaded_when_a_question_first_needs_them(
    heavy: ThreadPoolExecutor, reader: TextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at the start nor for what is read; in the pool, so that nobody waits for it."""
    threads: list[str] = []

    def loaded(path: Path, sha256: str = "") -> Any:
        threads.append(threading.current_thread().name)
        return load_session(path, sha256)

    monkeypatch.setattr(detector, "load_session", loaded)
    engine = BuiltinEngine(heavy=heavy, reader=reader, finder=ThingFinder())
    await engine.warm()
    await ask(engine, write(scene(), ["EXIT"], height=60), "Read this")
    assert threads == []
    await ask(engine, photo("chelsea"), "What is this?")
    await ask(engine, photo("chelsea"), "Is there a cat?")
    assert [name.partition("_")[0] for name in threads] == ["heavy", "heavy"]


async def test_without_the_models_nothing_is_named(
    heavy: ThreadPoolExecutor, engine: BuiltinEngine
) -> None:
    """Nor is it said to be missing."""
    plain = BuiltinEngine(heavy=heavy)
    assert (await ask(plain, photo("chelsea"), "Is there a cat?")).startswith("I can't tell.")
    looks_for = "I do not see it now. I read text, scan codes"
    assert (await ask(plain, scene(), WHERE, where=True)).startswith(looks_for)
    assert plain.status.capabilities.cannot_watch is not None
    assert plain.status.capabilities.cannot_watch("a cat appears") == ABLE
    for one, named in ((plain, False), (engine, True)):
        for text in (one.status.detail, one.status.for_visitors):
            assert ("names common things" in text) is named


def pointed(
    view: Bgr, part: tuple[float, float, float, float], question: str, **changes: Any
) -> EngineRequest:
    """A question about a part of a picture, which alone goes to the engine."""
    height, width = view.shape[:2]
    region = Region.around(part, width, height)
    shown = np.ascontiguousarray(
        view[region.top : region.bottom, region.left : region.right], np.uint8
    )
    sizes = {"source_width": width, "source_height": height, "region": region}
    return request(shown, question, picture=picture(shown, **sizes), part=part, **changes)


async def said(engine: BuiltinEngine, asked: EngineRequest) -> str:
    return (await answered(engine, asked))[0]


LEFT, RIGHT = (0.0, 0.25, 0.42, 0.75), (0.43, 0.25, 0.985, 0.91)


async def test_what_a_part_shows_is_named_alone(engine: BuiltinEngine) -> None:
    """One of two things, and where it is in the camera's whole picture."""
    view = room(("coffee", 545), ("chelsea", 0))
    for part, answer in ((LEFT, "I see a cat."), (RIGHT, "I see a cup.")):
        assert (await said(engine, pointed(view, part, "What is this?"))).startswith(answer)
    absent = await said(engine, pointed(view, LEFT, "Is there a cup?"))
    assert absent.startswith("I don't see a cup, but I could be missing it.")
    asked = pointed(view, RIGHT, WHERE, where=True)
    assert await said(engine, asked) == "A cup: on the right."


async def test_a_part_is_read_alone(engine: BuiltinEngine) -> None:
    """The line, and nothing of its neighbours, which are at the edges of its picture; and its code."""
    view = write(scene(), ["Monday closed", "Tuesday 9 to 17", "Friday 9 to 12"], height=24)
    put_code(view, "https://one.example", zxingcpp.BarcodeFormat.QRCode, at=(760, 60))
    put_code(view, "https://two.example", zxingcpp.BarcodeFormat.QRCode, at=(760, 420))
    line = (0.14, 0.205, 0.5, 0.265)
    assert await said(engine, pointed(view, line, "Read this.")) == "It says: Tuesday 9 to 17"
    fruit = ["Apples", "Bananas", "Cherries", "Dates", "Figs", "Grapes", "Lemons", "Plums"]
    listed = write(scene(), fruit)
    # Its first and last line are wholly in the picture, around the part.
    part = (0.1, 117 / 720, 0.5, 344 / 720)
    read = await said(engine, pointed(listed, part, "Read this."))
    assert [name in read for name in fruit] == [False, *[True] * 6, False]
    code = (0.58, 0.05, 0.78, 0.4)
    assert "one.example" in (found := await said(engine, pointed(view, code, "Scan this code.")))
    assert "two.example" not in found


async def test_the_colour_of_a_part(engine: BuiltinEngine) -> None:
    view = scene()
    view[200:500, 100:400], view[200:500, 800:1100] = (30, 25, 205), (60, 150, 40)
    for left, name in ((100, "red"), (800, "green")):
        part = (left / 1280, 200 / 720, (left + 300) / 1280, 500 / 720)
        assert name in (await said(engine, pointed(view, part, "What colour is this?")))


async def test_a_part_is_no_picture_to_compare_with(engine: BuiltinEngine) -> None:
    """Changes are known of the whole picture: a part says that it cannot, and changes nothing of it."""
    view = room(("chelsea", 60))
    whole = dataclasses.replace(request(view, "What has changed?"), session_id="pointed")
    await said(engine, whole)
    part = dataclasses.replace(pointed(view, LEFT, "What has changed?"), session_id="pointed")
    assert await said(engine, part) == "I can't tell. I see a cat."
    assert (await said(engine, whole)).startswith("I see no change since")


@pytest.mark.parametrize(
    ("place", "kind", "label"),
    [
        ((900, 400), "thing", "eine Tasse"),
        ((300, 400), "thing", "eine Katze"),
        ((320, 62), "text", "Open until noon"),
        ((1150, 80), "code", "QR code"),
        ((640, 40), "", ""),
    ],
)
async def test_what_is_at_a_place(
    finder: Finder, place: tuple[int, int], kind: str, label: str
) -> None:
    """The smallest first, with its name in a language, or its text."""
    view = room(("coffee", 545), ("chelsea", 0))
    write(view, ["Open until noon"], height=24, at=(200, 80))
    put_code(view, "https://one.example", zxingcpp.BarcodeFormat.QRCode, at=(1100, 20))
    found = finder.find_at(view, *place, "de-AT")
    first = [(spot.kind, spot.box.label) for spot in found[:1]]
    assert first == ([(kind, label)] if kind else [])
    for spot in found:
        assert spot.box.x1 <= place[0] <= spot.box.x2


@pytest.fixture(scope="module")
def finder(reader: TextReader) -> Finder:
    return Finder(reader, DetectorAid(ThingFinder()))


async def test_nobody_in_the_dark_is_said_with_the_dark(engine: BuiltinEngine) -> None:
    assert "The picture is dark." in await ask(engine, scene((8, 8, 8)), "Is anyone there?")


async def test_how_many_cups_are_counted_closer(engine: BuiltinEngine) -> None:
    answer = await ask(engine, six_cups(), "How many cups are there?")
    assert answer == "I count at least 5: cups."
