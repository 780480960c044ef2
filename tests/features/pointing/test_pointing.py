"""Questions about where something is: boxes in the frame's pixels, words without a list, one second look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.core.errors import EngineFailed
from server.core.frames import BoxUnit, Geometry, Picture
from server.core.messages import Cancel, Chat, ClientMessage, DeleteAnswer
from server.features.pointing.pointing import Pointing
from server.media.picture.grounding import Box
from server.models.base import Capabilities, EngineRequest
from server.session.part import SessionContext
from tests.features.pointing.test_twice import SIZES, ask, at_request
from tests.features.rooms import room
from tests.support.clients import sample
from tests.support.fakes import FakeEngine, until

ASKED = "Where is the cup?"


def qwen(*answers: str, unit: BoxUnit = BoxUnit.THOUSANDTHS, **more: Any) -> FakeEngine:
    """An engine that gives these answers, one after the other, in small pieces."""
    left = list(answers)

    def chunks(_request: EngineRequest) -> list[str]:
        text = left.pop(0)
        return [text[at : at + 5] for at in range(0, len(text), 5)]

    capabilities = Capabilities(grounding=True, boxes=unit, geometry=Geometry(20, 400, 10**8))
    return FakeEngine(chunks=chunks, capabilities=capabilities, **more)


def boxes(*edges: int, sure: float = 0.9) -> str:
    return f'[{{"bbox_2d": {list(edges)}, "label": "cup", "sure": {sure}}}]'


def fail() -> None:
    raise EngineFailed("gone")


LARGE, SMALL = boxes(0, 0, 500, 500), boxes(0, 0, 50, 50)
POINT = '[{"point_2d": [500, 500], "label": "tip"}]'


@pytest.mark.parametrize(
    ("answers", "text", "found"),
    [
        # Only a list: its labels are the words.
        ([LARGE], "cup", [{"label": "cup", "box": [0, 0, 320, 180], "confidence": 0.9}]),
        # The page shows that it was looked for.
        (["I cannot see a cup.\n[]"], "I cannot see a cup.", []),
        # A point is looked at again, and stays one.
        ([f"There.\n{POINT}"] * 2, "There.", [{"label": "tip", "point": [320, 180]}]),
        # A second look that says nothing changes nothing; and there is no third.
        (
            [f"Left.\n{SMALL}", "Hm."],
            "Left.",
            [{"label": "cup", "box": [0, 0, 32, 18], "confidence": 0.9}],
        ),
    ],
    ids=["a list", "nothing", "a point", "a second look"],
)
async def test_words_and_boxes(answers: list[str], text: str, found: list[Any]) -> None:
    """One request for each answer; the words come as a delta, too."""
    async with room(qwen(*answers)) as one:
        response = await ask(one, ASKED)
        assert response["text"] == response["streamed"] == text
        assert response["boxes"] == found
        assert len(one.engine.requests) == len(answers)


@pytest.mark.parametrize("unit", list(BoxUnit))
async def test_a_small_box_is_looked_at_again_at_full_resolution(unit: BoxUnit) -> None:
    """The second picture is the part around it; its box is mapped back to the frame."""
    scale = (0.64, 0.36) if unit is BoxUnit.PIXELS else (1.0, 1.0)
    small = boxes(*(round(edge * scale[at % 2]) for at, edge in enumerate((500, 500, 550, 550))))
    # The part is a quarter of each side around the middle of the box, so 160x90, and its left half is in the answer.
    half = {BoxUnit.PIXELS: (80, 80), BoxUnit.THOUSANDTHS: (500, 1000)}.get(unit, (1000, 500))
    engine = qwen("In the middle.\n" + small, "Yes.\n" + boxes(0, 0, *half), unit=unit)
    async with room(engine) as one:
        response = await ask(one, ASKED)
        first, second = engine.requests
        assert second.question != first.question
        assert (second.picture.width, second.picture.height) == (160, 80)
        (box,) = response["boxes"]
        left, top = 0.525 * 640 - 80, 0.525 * 360 - 45
        assert box["box"] == pytest.approx([left, top, left + 80, top + 90], abs=2)
        assert response["text"] == response["streamed"] == "In the middle."


async def test_the_second_picture_is_kept_for_its_session() -> None:
    """The answer names it with its size, tokens and part; it goes with the answer, as the first one does."""
    engine = qwen(f"Left.\n{SMALL}", "[]")
    async with room(engine) as one:
        response = await ask(one, ASKED)
        sent = [request.picture for request in engine.requests]
        # Cut out of the very frame of the first look
        assert sent[0].frame_id == sent[1].frame_id
        assert (sent[1].source_width, sent[1].source_height) == (640, 360)
        frame, closer = response["frame"], response["closer"]
        for told, picture in zip((frame, closer), sent, strict=True):
            kept = one.session.sent_pictures.get(told["picture"])
            assert kept is not None
            assert kept.jpeg == picture.jpeg
        second = sent[1]
        size = (closer["width"], closer["height"], closer["visual_tokens"])
        assert size == (second.width, second.height, second.visual_tokens)
        assert second.region is not None
        region = second.region
        assert closer["crop"] == [region.left, region.top, region.right, region.bottom]
        assert "crop" not in frame
        one.session.handle(DeleteAnswer(type="delete_answer", id="q"))
        assert len(one.session.sent_pictures) == 0


async def test_boxes_beyond_the_picture_are_counted_in_both_looks() -> None:
    """Those that were cut, and those that were left out."""
    first, second = boxes(990, 0, 1010, 20), boxes(0, 0, 2000, 2000)
    async with room(qwen("Right.\n" + first, second)) as one:
        await ask(one, ASKED)
        for result in ("clamped", "dropped"):
            assert sample(one.services.metrics, "boxes_beyond_total", result=result) == 1


async def test_a_second_look_can_take_it_back() -> None:
    """Then the answer is the second one's, and nothing is pointed at."""
    engine = qwen("On the left.\n" + boxes(0, 0, 300, 300, sure=0.3), "It is a bowl.\n[]")
    async with room(engine) as one:
        response = await ask(one, ASKED)
        assert (response["text"], response["boxes"]) == ("It is a bowl.", [])


async def test_a_second_look_that_fails_changes_nothing() -> None:
    """The first one is an answer, too."""
    engine = qwen(f"On the left.\n{SMALL}", "")
    at_request(engine, 2, fail)
    async with room(engine) as one:
        response = await ask(one, ASKED)
        assert (response["type"], response["text"]) == ("response", "On the left.")
        assert [box["box"] for box in response["boxes"]] == [[0, 0, 32, 18]]


async def test_it_is_stopped_in_the_second_look() -> None:
    """The answer so far stays, and the engine's work ends."""
    engine = qwen(f"On the left.\n{SMALL}", "Yes.\n" + boxes(0, 0, 500, 500))
    async with room(engine) as one:
        at_request(engine, 2, engine.hold)
        asked = asyncio.ensure_future(ask(one, ASKED))
        await until(lambda: len(engine.requests) == 2)
        one.session.handle(Cancel(type="cancel", id="q"))
        response = await asked
        assert (response["finish_reason"], response["text"]) == ("cancelled", "On the left.")
        await until(lambda: engine.open == 0)
        assert engine.aborted == 1


class Finder:
    """Stands in for the detector: finds the same box in each picture, once it may."""

    def __init__(self, *found: Box) -> None:
        self.found = found
        self.asked: list[tuple[Picture, str, str]] = []
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, picture: Picture, question: str, answer: str) -> tuple[Box, ...]:
        self.asked.append((picture, question, answer))
        await self.may.wait()
        return self.found

    def part(self, context: SessionContext) -> Pointing:
        return Pointing(context, self)


# In the model's picture of 320x180
CUP = Box(0, 0, 160, 90, "a cup", 0.8)
COARSE = Capabilities(geometry=Geometry(20, 400, 320 * 180))


async def test_the_detector_finds_boxes_for_a_model_that_gives_none() -> None:
    """In the very picture that the model got; the answer says who found them."""
    finder = Finder(CUP)
    engine = FakeEngine(chunks=("On the ", "left."), capabilities=COARSE)
    async with room(engine, pointing=finder.part) as one:
        response = await ask(one, ASKED)
        assert (response["text"], response["streamed"]) == ("On the left.", "On the left.")
        assert (response["boxes"], response["boxes_by"]) == (
            [{"label": "a cup", "box": [0, 0, 320, 180], "confidence": 0.8}],
            "detector",
        )
        ((picture, question, answer),) = finder.asked
        assert picture is engine.requests[0].picture
        assert (question, answer) == (ASKED, "On the left.")
        # A question that does not ask where costs nothing.
        response = await ask(one, "What is this?")
        assert ("boxes" in response, len(finder.asked)) == (False, 1)


@pytest.mark.parametrize(
    ("message", "reason"),
    [(Cancel(type="cancel"), "cancelled"), (Chat(type="chat", content="And?"), "replaced")],
    ids=["cancel", "another question"],
)
async def test_an_answer_ends_without_boxes_when_it_is_stopped(
    message: ClientMessage, reason: str
) -> None:
    """While the detector still looks: at once, with its words, and once."""
    finder = Finder(CUP)
    finder.may.clear()
    async with room(FakeEngine(), pointing=finder.part) as one:
        one.session.handle(Chat(type="chat", content=ASKED, id="q"))
        one.camera()
        one.frame(**SIZES)
        await until(lambda: bool(finder.asked))
        one.session.handle(message)
        response = await one.next("response")
        assert (response["id"], response["text"]) == ("q", "A red cup.")
        assert (response["finish_reason"], "boxes" in response) == (reason, False)
        finder.may.set()
        one.frame(**SIZES)
        await asyncio.sleep(0)
        assert "q" not in [m["id"] for m in await one.rest() if m["type"] == "response"]
