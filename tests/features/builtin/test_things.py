"""Answers about things, from photographs, with the models that come with the program."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from server.core.frames import Kind
from server.features.builtin.detector import ThingFinder
from server.features.builtin.engine import BuiltinEngine
from server.models.base import EarlierPicture, Finished
from server.shared import watch_answers
from tests.features.builtin.test_detector import photo
from tests.features.builtin.test_engine import ask, picture, request, scene


@pytest.fixture(scope="module")
def engine(heavy: ThreadPoolExecutor) -> BuiltinEngine:
    return BuiltinEngine(heavy=heavy, finder=ThingFinder())


def room(*things: tuple[str, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A grey room with photographs at these distances from its left side."""
    bgr = np.full((720, 1280, 3), 150, np.uint8)
    for name, left in things:
        shown = np.asarray(cv2.resize(photo(name), None, fx=1.2, fy=1.2), np.uint8)
        bgr[180 : 180 + shown.shape[0], left : left + shown.shape[1]] = shown
    return bgr


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("chelsea", "What is this?", "I see a cat."),
        ("chelsea", "Is there a cat?", "Yes, I see a cat."),
        ("chelsea", "Do you see a dog?", "I do not see that: a dog."),
        ("chelsea", "How many cats are there?", "I count one: a cat."),
        ("chelsea", "What colour is the cat?", "I see a cat; colour: brown, orange."),
        ("chelsea", "What animal is this?", "I see a cat."),
        ("chelsea", "Ist das eine Katze?", "Ja, ich sehe: eine Katze."),
        ("coffee", "What am I holding?", "I see a cup."),
        ("coffee", "Que vois-tu ?", "Je vois une tasse."),
        ("coffee", "这是什么？", "我看到杯子。"),
        ("astronaut", "How many people are there?", "I count one: a person."),
    ],
)
async def test_things_are_named(
    engine: BuiltinEngine, name: str, question: str, answer: str
) -> None:
    assert (await ask(engine, photo(name), question)).split("\n")[0] == answer


@pytest.mark.parametrize("question", ["Is the cat asleep?", "Who is this?", "Is he happy?"])
async def test_what_a_name_does_not_answer_gets_a_no(engine: BuiltinEngine, question: str) -> None:
    """And what is seen, below it."""
    first, _, second = (await ask(engine, photo("chelsea"), question)).partition("\n")
    assert first.startswith("I cannot tell that")
    assert second == "I see a cat."


async def test_a_thing_that_nobody_knows(engine: BuiltinEngine) -> None:
    first = (await ask(engine, scene(), "What is this?")).split("\n")[0]
    assert first == "I do not know this thing: it is white."


async def test_where_a_thing_is(engine: BuiltinEngine) -> None:
    """With a box around it."""
    asked = request(room(("coffee", 540)), "Where is the cup?", where=True)
    chunks = [chunk async for chunk in engine.answer(asked)]
    end = chunks[-1]
    assert isinstance(end, Finished)
    assert end.boxes
    assert [box.label for box in end.boxes] == ["a cup"]
    assert 540 < end.boxes[0].x1 < end.boxes[0].x2 < 1280


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
    nowhere = await ask(engine, views[2], "Where did I put the cat?", **changes)
    assert nowhere == "I do not see that: a cat."


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


async def test_without_the_models_nothing_is_named(heavy: ThreadPoolExecutor) -> None:
    plain = BuiltinEngine(heavy=heavy)
    assert (await ask(plain, photo("chelsea"), "Is there a cat?")).startswith("I cannot tell that")
    assert plain.status.capabilities.cannot_watch is not None
    assert "common thing" in plain.status.capabilities.cannot_watch("a cat appears")
    assert picture(photo("chelsea")).bgr is not None
