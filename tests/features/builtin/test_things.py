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

from server.core.frames import Kind, Region
from server.features.builtin import detector
from server.features.builtin.beside import Beside
from server.features.builtin.conditions import ABLE
from server.features.builtin.detector import Thing, ThingFinder
from server.features.builtin.engine import BuiltinEngine, colours_of
from server.features.builtin.finder import Finder
from server.features.builtin.language import LANGUAGES, language
from server.features.builtin.reader import Reader
from server.features.builtin.thing_words import thing_words
from server.media.picture.grounding import Box
from server.models.base import Delta, EarlierPicture, EngineRequest, Finished
from server.shared import watch_answers
from server.shared.onnx_file import session
from tests.features.builtin.test_detector import photo
from tests.features.builtin.test_engine import ask, picture, put_code, request, scene, write
from tests.support.parts import at_night

pytestmark = pytest.mark.usefixtures("calculated_once")

Bgr = NDArray[np.uint8]

HELLO, HELP, BEYOND, WHERE = "Hello!", "What can you do?", "Why is it white?", "Where is the cup?"


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


@pytest.mark.parametrize(("kind", "needs"), [(Kind.CHAT, True), (Kind.DESCRIBE, False)])
async def test_an_unknown_thing_needs_a_model_where_somebody_asks(
    engine: BuiltinEngine, kind: Kind, needs: bool
) -> None:
    """Nobody asks for the texts of a running description."""
    asked = request(room(), "What is this?", kind=kind)
    chunks = [chunk async for chunk in engine.answer(asked)]
    assert "I do not know this thing" in "".join(
        one.text for one in chunks if isinstance(one, Delta)
    )
    assert isinstance(chunks[-1], Finished)
    assert chunks[-1].needs_model is needs


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("chelsea", "What is this?", "I see a cat."),
        ("chelsea", "Is there a cat?", "Yes, I see a cat."),
        ("chelsea", "Do you see a dog?", "I may miss it, but I do not see that: a dog."),
        (
            "chelsea",
            "How many cats are there?",
            "I see at least one: a cat; I cannot count for sure.",
        ),
        ("chelsea", "What colour is the cat?", "I see a cat; colour: brown, orange."),
        ("chelsea", "What animal is this?", "I see a cat."),
        (
            "crocodile",
            "What colour is the crocodile?",
            "In the middle: brown, beige.",
        ),
        ("chelsea", "What colour is the dog?", "In the middle: orange on brown."),
        (
            "apple",
            "What colour is the knife next to the apple?",
            "In the middle: orange, brown.",
        ),
        (
            "china",
            "Welche Farbe hat das Auto vor dem Turm?",
            "In der Mitte: weiß.",
        ),
        ("astronaut", "Is it a man or a woman?", "I see a person. I can't tell more."),
        ("chelsea", "Ist das eine Katze?", "Ja, ich sehe: eine Katze."),
        ("coffee", "What am I holding?", "I see a cup."),
        ("coffee", "Que vois-tu ?", "Je vois une tasse."),
        ("coffee", "这是什么？", "我看到杯子。"),
        (
            "astronaut",
            "How many people are there?",
            "I see at least one: a person; I cannot count for sure.",
        ),
    ],
)
async def test_things_are_named(
    engine: BuiltinEngine, name: str, question: str, answer: str
) -> None:
    assert (await ask(engine, photo(name), question)).split("\n")[0] == answer


@pytest.mark.parametrize("question", ["Is the cat asleep?", "Who is this?", "Is he happy?"])
async def test_what_a_name_does_not_answer_gets_a_no(engine: BuiltinEngine, question: str) -> None:
    """In one line, behind the cat that is seen."""
    answer = await ask(engine, photo("chelsea"), question)
    assert answer == "I see a cat. I can't tell more."


async def test_what_no_picture_tells_is_not_looked_for(engine: BuiltinEngine) -> None:
    """A text is read out, and not taken for the answer to "why"."""
    label = scene()
    cv2.putText(label, "Milk 1.25", (200, 360), cv2.FONT_HERSHEY_DUPLEX, 4, (30, 30, 30), 6)
    assert "1.25" in await ask(engine, label, "How much is the milk?")
    for question in ("Why is the milk so cheap?", "Should I buy it?", "How do I make it?"):
        assert await ask(engine, label, question) == "What I read: Milk 1.25. I can't tell more."


async def test_a_thing_that_nobody_knows(engine: BuiltinEngine) -> None:
    first = (await ask(engine, scene(), "What is this?")).split("\n")[0]
    assert first == "I do not know this thing. In the middle: white."


async def test_where_a_thing_is(engine: BuiltinEngine) -> None:
    """With a box around it."""
    asked = request(room(("coffee", 540)), "Where is the cup?", where=True)
    chunks = [chunk async for chunk in engine.answer(asked)]
    end = chunks[-1]
    assert isinstance(end, Finished)
    assert end.boxes
    assert [box.label for box in end.boxes] == ["a cup"]
    assert 540 < end.boxes[0].x1 < end.boxes[0].x2 < 1280


@pytest.mark.parametrize(
    ("question", "lines", "answer"),
    [
        (
            "Where is the money for the man who cleans?",
            ("Hi", "Money for the man", "is in the jug."),
            "jug",
        ),
        (
            "Where can I fill my bottle?",
            ("Mere", "2 Bird hide", "4 Drinking water"),
            "4 Drinking water. I can't tell more.",
        ),
        ("Where is the workshop?", ("Ann Roe", "Workshop 01273 555018", "12 Mill Road"), "12 Mill"),
    ],
)
async def test_print_tells_where_more_is_asked_than_a_thing(
    engine: BuiltinEngine, question: str, lines: tuple[str, ...], answer: str
) -> None:
    """And what is counted as a thing is not said to be missing."""
    page = write(np.full((720, 1280, 3), 245, np.uint8), list(lines), height=60, at=(100, 200))
    said = await ask(engine, page, question, where=True)
    assert answer in said
    assert "I may miss it" not in said


async def test_a_description_tells_who_came_and_who_went(engine: BuiltinEngine) -> None:
    views = [room(), room(("chelsea", 300)), room(("chelsea", 300)), room()]
    said = [
        await ask(engine, view, "", kind=Kind.DESCRIBE, session_id="came", own_language="en")
        for view in views
    ]
    assert said[1].startswith("New in view: a cat.")
    assert said[2].startswith("I see a cat.")
    assert said[3].startswith("No longer in view: a cat.")


async def test_where_it_was_when_it_was_seen_last(engine: BuiltinEngine) -> None:
    """The newest picture that has it; a box only in the present one."""
    captured = (10.0, 25.0, 40.0)
    views = (room(("coffee", 0)), room(("coffee", 560)), room())
    earlier = tuple(
        EarlierPicture(picture(view, captured=at), "At a time:")
        for view, at in zip(views[:2], captured[:2], strict=True)
    )
    changes = {"past": True, "earlier": earlier}
    asked = request(views[2], "Where did I put the cup?", **changes)
    asked = dataclasses.replace(asked, picture=picture(views[2], captured=40.0))
    *said, end = [chunk async for chunk in engine.answer(asked)]
    assert "".join(getattr(one, "text", "") for one in said) == "15 s ago I saw a cup on the right."
    assert isinstance(end, Finished)
    assert (end.boxes, end.pictures_left_out) == (None, 0)
    *_, unused = [
        chunk async for chunk in engine.answer(request(views[2], "What is this?", **changes))
    ]
    assert isinstance(unused, Finished)
    assert unused.pictures_left_out == 2
    shown = await ask(engine, views[1], "Where did I put the cup?", **changes)
    assert shown == "A cup: on the right."
    first = await ask(engine, views[1], "Where did I put the cup?", past=True)
    assert first == "A cup: on the right.", "with nothing remembered yet"
    nowhere = await ask(engine, views[2], "Where did I put the cat?", **changes)
    assert nowhere == "I may miss it, but I do not see that: a cat."


async def test_a_watch_for_a_thing(engine: BuiltinEngine) -> None:
    """It comes, and it leaves; each with its own confidence and place."""
    conditions = {"came": "a cat appears", "left": "the cat leaves", "dog": "a dog comes"}
    seen = []
    for view in (room(), room(("chelsea", 300))):
        question = watch_answers.question(conditions)
        text = await ask(engine, view, question, kind=Kind.WATCH, session_id="w")
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
    for question in (HELLO, HELP, BEYOND):
        said = [await ask(one, scene(), question, own_language=code) for one in (plain, engine)]
        assert said[0] != said[1], question
        assert said[1] in set(map(language(code).say, ("hello", "help", "cannot")))


@pytest.mark.parametrize("code", ["en", "ja", *at_night(*sorted({*LANGUAGES} - {"en", "ja"}))])
async def test_one_that_names_nothing_says_what_it_looks_for(
    heavy: ThreadPoolExecutor, engine: BuiltinEngine, code: str
) -> None:
    """And not that the thing is not there."""
    said = [
        await ask(one, scene(), WHERE, where=True, own_language=code)
        for one in (BuiltinEngine(heavy=heavy), engine)
    ]
    assert said[0] != said[1]
    assert said[1] == language(code).say("thing_missed", thing=thing_words(code).one("cup"))


async def test_the_status_tells_whether_things_are_named(
    heavy: ThreadPoolExecutor, engine: BuiltinEngine
) -> None:
    for one, named in ((BuiltinEngine(heavy=heavy), False), (engine, True)):
        for text in (one.status.detail, one.status.for_visitors):
            assert ("names common things" in text) is named


async def test_the_models_are_loaded_when_a_question_first_needs_them(
    heavy: ThreadPoolExecutor, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at the start nor for what is read; in the pool, so that nobody waits for it."""
    threads: list[str] = []

    def loaded(path: Path, sha256: str = "") -> Any:
        threads.append(threading.current_thread().name)
        return session(path, sha256)

    monkeypatch.setattr(detector, "session", loaded)
    engine = BuiltinEngine(heavy=heavy, reader=reader, finder=ThingFinder())
    await engine.warm()
    await ask(engine, scene(), "Read this")
    assert threads == []
    await ask(engine, photo("chelsea"), "What is this?")
    await ask(engine, photo("chelsea"), "Is there a cat?")
    assert [name.partition("_")[0] for name in threads] == ["heavy", "heavy"]


async def test_without_the_models_nothing_is_named(heavy: ThreadPoolExecutor) -> None:
    plain = BuiltinEngine(heavy=heavy)
    assert (await ask(plain, photo("chelsea"), "Is there a cat?")).startswith("I cannot tell that")
    assert plain.status.capabilities.cannot_watch is not None
    assert plain.status.capabilities.cannot_watch("a cat appears") == ABLE
    assert picture(photo("chelsea")).bgr is not None


def pointed(view: Bgr, part: tuple[float, float, float, float], question: str) -> EngineRequest:
    """A question about a part of a picture, which alone goes to the engine."""
    height, width = view.shape[:2]
    region = Region.around(part, width, height)
    shown = np.ascontiguousarray(
        view[region.top : region.bottom, region.left : region.right], np.uint8
    )
    asked = request(shown, question)
    sizes = {"source_width": width, "source_height": height, "region": region}
    return dataclasses.replace(
        asked, picture=dataclasses.replace(asked.picture, **sizes), part=part
    )


async def said(engine: BuiltinEngine, asked: EngineRequest) -> str:
    chunks = [chunk async for chunk in engine.answer(asked)]
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Delta))


LEFT, RIGHT = (0.0, 0.25, 0.42, 0.75), (0.43, 0.25, 0.985, 0.91)


async def test_what_a_part_shows_is_named_alone(engine: BuiltinEngine) -> None:
    """One of two things; a person who asks about both hears both."""
    view = room(("coffee", 545), ("chelsea", 0))
    for part, answer in ((LEFT, "I see a cat."), (RIGHT, "I see a cup.")):
        first = (await said(engine, pointed(view, part, "What is this?"))).split("\n")[0]
        assert first == answer
    assert (await said(engine, pointed(view, LEFT, "Is there a cup?"))).startswith(
        "I may miss it, but I do not see that: a cup."
    )


async def test_a_part_is_read_alone(engine: BuiltinEngine) -> None:
    """The line, and nothing of its neighbours, which are at the edges of its picture; and its code."""
    view = write(scene(), ["Monday closed", "Tuesday 9 to 17", "Friday 9 to 12"], height=24)
    put_code(view, "https://one.example", zxingcpp.BarcodeFormat.QRCode, at=(760, 60))
    put_code(view, "https://two.example", zxingcpp.BarcodeFormat.QRCode, at=(760, 420))
    line = (0.14, 0.205, 0.5, 0.265)
    assert await said(engine, pointed(view, line, "Read this.")) == "It reads: Tuesday 9 to 17"
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
    assert await said(engine, part) == "I see a cat. I can't tell more."
    assert (await said(engine, whole)).startswith("I see no change since")


async def test_where_something_is_in_a_part(engine: BuiltinEngine) -> None:
    """In words the place is one of the camera's whole picture."""
    view = room(("coffee", 545), ("chelsea", 0))
    asked = dataclasses.replace(pointed(view, RIGHT, "Where is the cup?"), where=True)
    assert await said(engine, asked) == "A cup: on the right."


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
    found = finder.at(view, *place, "de-AT")
    first = [(spot.kind, spot.box.label) for spot in found[:1]]
    assert first == ([(kind, label)] if kind else [])
    for spot in found:
        assert spot.box.x1 <= place[0] <= spot.box.x2


@pytest.fixture(scope="module")
def finder(reader: Reader) -> Finder:
    return Finder(reader, Beside(ThingFinder()))


def test_the_ground_around_a_thing_is_not_its_colour() -> None:
    """Of a box, grass may be the larger part; a thing of the ground's own colour keeps it."""
    meadow = np.full((400, 600, 3), (40, 150, 60), np.uint8)
    meadow[150:250, 200:400] = (20, 20, 20)
    cow = Thing("cow", 0.9, Box(130, 80, 470, 320), sure=True)
    assert [name for name, _ in colours_of(meadow, [cow], ["cow"])] == ["black"]
    frog = Thing("frog", 0.9, Box(0, 0, 600, 400), sure=True)
    assert colours_of(meadow, [frog], ["frog"])[0][0] == "green"
    meadow[::4, :200] = meadow[::4, 400:] = meadow[:150:4] = meadow[250::4] = (60, 220, 230)
    assert [name for name, _ in colours_of(meadow, [cow], ["cow"])] == ["black"]


def test_what_is_red_between_dark_parts_is_red() -> None:
    """Of a motorcycle in a brown garage the body, which nothing around it has the colour of."""
    garage = np.full((400, 600, 3), (60, 90, 130), np.uint8)
    garage[240:320, 120:480] = (25, 25, 25)
    garage[200:250, 200:400] = (40, 30, 200)
    garage[:, 60:90] = garage[:260, 510:540] = (140, 140, 140)
    motorcycle = Thing("motorcycle", 0.9, Box(60, 60, 540, 360), sure=True)
    seen = colours_of(garage, [motorcycle], ["motorcycle"])
    assert seen[0][0] == "red"


async def test_no_face_in_the_dark_is_said_with_the_dark(engine: BuiltinEngine) -> None:
    answer = await ask(engine, scene((8, 8, 8)), "Is anyone there?")
    assert answer.startswith("I see no face. The picture is dark.")


async def test_how_many_cups_are_counted_closer(engine: BuiltinEngine) -> None:
    bgr = np.full((720, 1280, 3), 150, np.uint8)
    cup = cv2.resize(photo("coffee"), (255, 170), interpolation=cv2.INTER_AREA)
    for top in (60, 400):
        for left in (40, 480, 900):
            bgr[top : top + 170, left : left + 255] = cup
    answer = await ask(engine, np.asarray(bgr, np.uint8), "How many cups are there?")
    assert answer == "I count at least 5: cups."
