"""Answers about safety and medicine: a second look at a part of the same frame, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.core.errors import EngineFailed, EngineRefused, FrameWithheld
from server.core.frames import Geometry, Picture
from server.core.messages import Cancel, Chat, ClientMessage
from server.features.pointing import twice
from server.features.pointing.pointing import Pointing
from server.media.picture.encode import decode
from server.media.picture.grounding import Box
from server.models.base import Capabilities, EngineRequest, PointedAt
from server.session.part import MakePart
from tests.features.rooms import room, settings
from tests.support.clients import sample
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import Room

ASKED = "What is the dose?"
SIZES = {"width": 640, "height": 360}
PLAIN = Capabilities(geometry=Geometry(20, 400, 10**8))
WARNING = "A second, closer look says otherwise: “It says 50 mg”."


def model(first: str, *others: str | Exception, **more: Any) -> FakeEngine:
    """Stands in for a model: answers one way about the whole picture, and others about each part after it."""
    left = list(others)

    def chunks(request: EngineRequest) -> list[str]:
        text: str | Exception = first
        if request.question.startswith("This is an enlarged part"):
            text = left.pop(0)
        if isinstance(text, Exception):
            raise text
        return [text[at : at + 5] for at in range(0, len(text), 5)]

    return FakeEngine(chunks=chunks, capabilities=PLAIN, **more)


async def ask(one: Room, question: str = ASKED, **more: Any) -> dict[str, Any]:
    """The response, with the text that came before it as "streamed"."""
    one.session.handle(Chat(type="chat", content=question, id="q", **more))
    if not one.session.camera.newest:
        one.camera()
    one.frame(**SIZES)
    streamed = ""
    while (message := await one.next("delta", "response", "error"))["type"] == "delta":
        streamed += message["text"]
    return {**message, "streamed": streamed}


def at_request(engine: FakeEngine, number: int, act: Callable[[], object]) -> None:
    """Act before the engine answers its request of this number."""
    original = engine.chunks
    assert callable(original)

    def chunks(request: EngineRequest) -> list[str]:
        if len(engine.requests) == number:
            act()
        return list(original(request))

    engine.chunks = chunks


def finding(
    lines: Sequence[Box] = (),
    things: Sequence[Box] = (),
    fails: Exception | None = None,
) -> MakePart:
    """A part that finds these in each picture."""

    async def find(picture: Picture, question: str, answer: str) -> Sequence[Box]:
        assert picture.bgr is not None
        return things

    async def read(bgr: NDArray[np.uint8]) -> Sequence[Box]:
        assert bgr.shape == (360, 640, 3)
        if fails is not None:
            raise fails
        return lines

    return lambda context: Pointing(context, find, read=read)


def counted(one: Room, result: str) -> float:
    return sample(one.services.metrics, "second_looks_total", result=result)


async def test_two_looks_that_differ_are_said_in_the_answer_and_remembered() -> None:
    """5 mg in the whole picture, 50 mg in the part."""
    engine = model("The dose is 5 mg.", "It says 50 mg.")
    async with room(engine) as one:
        found = await ask(one)
        assert found["text"].startswith(f"The dose is 5 mg.\n\n{WARNING}")
        assert "ask somebody" in found["text"]
        assert found["streamed"] == found["text"]
        looked = {"result": "differs", "text": "It says 50 mg.", "agreed": 0, "compared": 1}
        assert found["second_look"] == looked
        await ask(one, "What colour is it?")
        ((turn),) = one.engine.requests[-1].turns
        assert (turn.question, turn.answer) == (ASKED, found["text"])


async def test_the_sentence_is_in_the_chosen_language() -> None:
    async with room(model("Die Dosis ist 5 mg.", "50 mg")) as one:
        one.session.handle(settings(language="de-AT"))
        found = await ask(one, "Wie hoch ist die Dosis?")
        assert "Ein zweiter, näherer Blick sagt etwas anderes: „50 mg“." in found["text"]


async def test_a_session_counts_its_looks() -> None:
    """Of those that could be compared."""
    answers = ("5 mg", "It says 50 mg", "NONE", "5 mg")
    async with room(model("The dose is 5 mg.", *answers)) as one:
        looks = [(await ask(one))["second_look"] for _ in answers]
        assert [(one["result"], one["agreed"], one["compared"]) for one in looks] == [
            ("agrees", 1, 1),
            ("differs", 1, 2),
            ("unseen", 1, 2),
            ("agrees", 2, 3),
        ]
        assert "text" not in looks[2]


@pytest.mark.parametrize("error", [EngineFailed("gone"), EngineRefused("no")])
async def test_a_second_look_that_fails_leaves_the_answer(error: Exception) -> None:
    """The details say that it was not checked; there is no third look."""
    async with room(model("The dose is 5 mg.", error)) as one:
        found = await ask(one)
        assert (found["text"], found["finish_reason"]) == ("The dose is 5 mg.", "stop")
        assert found["second_look"] == {"result": "failed", "agreed": 0, "compared": 0}
        assert "closer" not in found
        assert (len(one.engine.requests), counted(one, "failed")) == (2, 1)


async def test_a_slow_second_look_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the engine's work on it ends."""
    monkeypatch.setattr(twice, "SECONDS", 1.0)
    engine = model("The dose is 5 mg.", "5 mg")
    at_request(engine, 2, engine.hold)
    async with room(engine) as one:
        found = await ask(one)
        assert (found["text"], found["finish_reason"]) == ("The dose is 5 mg.", "stop")
        assert found["second_look"]["result"] == "late"
        await until(lambda: engine.open == 0)
        # Nothing was asked where even the part was not found in time.
        assert engine.aborted == len(engine.requests) - 1


@pytest.mark.parametrize(
    "message", [Cancel(type="cancel", id="q"), Chat(type="chat", content="And?", id="r")]
)
async def test_stop_and_a_new_question_drop_the_second_look(message: ClientMessage) -> None:
    """The answer, which is whole, stays so, and is in the history."""
    engine = model("The dose is 5 mg.", "50 mg")
    at_request(engine, 2, engine.hold)
    async with room(engine) as one:
        asked = asyncio.ensure_future(ask(one))
        await until(lambda: len(engine.requests) == 2)
        one.session.handle(message)
        found = await asked
        assert (found["text"], found["finish_reason"]) == ("The dose is 5 mg.", "stop")
        assert found["second_look"]["result"] == "failed"
        await until(lambda: engine.aborted == 1)
        engine.release()
        one.session.handle(Chat(type="chat", content="What colour is it?", id="next"))
        one.frame(**SIZES)
        await one.until(lambda found: found["type"] == "response" and found["id"] == "next")
        assert [turn.answer for turn in engine.requests[-1].turns] == ["The dose is 5 mg."]


async def test_an_answer_that_is_stopped_or_empty_is_not_looked_at_again() -> None:
    engine = model("The dose is 5 mg.")
    engine.hold()
    async with room(engine) as one:
        asked = asyncio.ensure_future(ask(one))
        await until(lambda: len(engine.requests) == 1)
        one.session.handle(Cancel(type="cancel", id="q"))
        found = await asked
        assert found["finish_reason"] == "cancelled"
        assert "second_look" not in found
    async with room(model("")) as one:
        assert "second_look" not in await ask(one)
        assert len(one.engine.requests) == 1


async def test_other_questions_and_a_person_s_choice_are_as_ever() -> None:
    async with room(model("5 mg")) as one:
        found = await ask(one, "What is this?")
        assert ("second_look" in found, len(one.engine.requests)) == (False, 1)
        found = await ask(one, route="now")
        assert ("second_look" in found, len(one.engine.requests)) == (False, 2)
        assert one.engine.requests[1].question == ASKED


async def test_a_person_may_ask_for_it() -> None:
    """By the way to look, for any question; or by a doubt, which has the last answer before it."""
    async with room(model("It is 5 cm long.", "5 cm", "5 cm")) as one:
        found = await ask(one, "How long is it?", route="twice")
        assert found["second_look"]["result"] == "agrees"
        found = await ask(one, "Are you sure?")
        assert found["second_look"]["result"] == "agrees"
        assert [turn.question for turn in one.engine.requests[3].turns] == ["How long is it?"]


LINE = Box(300, 20, 420, 40, "Take 5 mg daily")
LOT = Box(20, 300, 120, 320, "LOT 4471")
CUP = Box(400, 200, 480, 300, "bottle", 0.9)


@pytest.mark.parametrize(
    ("answer", "lines", "things", "part"),
    [
        # Print with a number of the answer, before all else
        ("The dose is 5 mg.", [LOT, LINE], [CUP], LINE),
        # Things that the question names
        ("The dose is unknown.", [LOT, LINE], [CUP], CUP),
        ("The dose is 7 mg.", [LOT, LINE], [CUP], CUP),
        # Any print
        ("The dose is unknown.", [LOT], [], LOT),
    ],
    ids=["print of the answer", "things", "other print", "any print"],
)
async def test_it_looks_where_the_answer_is(
    answer: str, lines: list[Box], things: list[Box], part: Box
) -> None:
    async with room(model(answer, "NONE"), pointing=finding(lines, things)) as one:
        left, top, right, bottom = (await ask(one))["closer"]["crop"]
        assert left <= part.x1 < part.x2 <= right
        assert top <= part.y1 < part.y2 <= bottom
        assert (right - left) * (bottom - top) <= 640 * 360 / 2


async def test_a_search_that_finds_no_part_leaves_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reader breaks, print is all over, or it takes too long."""
    monkeypatch.setattr(twice, "FIND_SECONDS", 0.5)
    wide = Box(10, 10, 630, 350, "5 mg")

    async def slow(bgr: NDArray[np.uint8]) -> Sequence[Box]:
        await asyncio.Event().wait()
        return ()

    for part in (
        finding([LINE], fails=ValueError("broken")),
        finding([wide], [wide]),
        lambda context: Pointing(context, read=slow),
    ):
        async with room(model("The dose is 5 mg.", "5 mg"), pointing=part) as one:
            found = await ask(one)
            assert found["closer"]["crop"] == [160, 90, 480, 270]
            assert found["second_look"]["result"] == "agrees"


async def test_a_part_that_somebody_points_at_is_looked_at_closer() -> None:
    """Within it; the answer's pictures are those of the first look."""
    async with room(model("The dose is 5 mg.", "5 mg")) as one:
        found = await ask(one, part=(0.5, 0.5, 0.9, 0.9))
        first, second = one.engine.requests
        assert first.extra(PointedAt)
        assert first.earlier
        assert not second.extra(PointedAt)
        assert not second.earlier
        outer, inner = first.picture.region, second.picture.region
        assert outer is not None
        assert inner is not None
        assert outer.left < inner.left < inner.right < outer.right
        assert outer.top < inner.top < inner.bottom < outer.bottom
        assert found["closer"]["crop"] == [outer.left, outer.top, outer.right, outer.bottom]
        assert found["second_look"]["result"] == "agrees"


class Cover:
    """A privacy filter that blackens all of a picture, or withholds it."""

    def __init__(self, withheld: Callable[[], bool] = lambda: False) -> None:
        self.withheld = withheld
        self.seen = 0

    def apply(self, bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.seen += 1
        if self.withheld():
            raise FrameWithheld("withheld")
        return np.zeros_like(bgr)


async def test_the_part_is_filtered_too() -> None:
    """And so is what the print is looked for in."""
    found: list[int] = []

    async def read(bgr: NDArray[np.uint8]) -> Sequence[Box]:
        found.append(int(bgr.max()))
        return ()

    cover = Cover()
    engine = model("The dose is 5 mg.", "5 mg")
    async with room(engine, cover, pointing=lambda context: Pointing(context, read=read)) as one:
        await ask(one)
        for request in engine.requests:
            assert request.picture.jpeg is not None
            bgr = decode(request.picture.jpeg)
            assert bgr is not None
            assert bgr.max() < 16
        assert found == [0]
        assert cover.seen == 3


async def test_a_part_that_is_withheld_is_not_looked_at() -> None:
    engine = model("The dose is 5 mg.", "5 mg")
    async with room(engine, Cover(lambda: bool(engine.requests))) as one:
        found = await ask(one)
        assert (found["text"], found["second_look"]["result"]) == ("The dose is 5 mg.", "failed")
        assert len(engine.requests) == 1


async def test_another_machine_gets_no_part_without_consent() -> None:
    """An engine elsewhere takes over between the looks."""
    engine, other = model("The dose is 5 mg."), FakeEngine("other", elsewhere="gpu.example.org")
    async with room(engine) as one:
        at_request(engine, 1, lambda: setattr(one.engines, "current", other))
        found = await ask(one)
        assert (found["text"], found["second_look"]["result"]) == ("The dose is 5 mg.", "failed")
        assert not other.requests
