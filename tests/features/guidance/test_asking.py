"""What a model is asked about a goal: which things, how often, what it sees, and what is made of its answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest

from server.core import messages as wire
from server.core.errors import EngineFailed
from server.core.frames import BoxUnit, Geometry, Kind, Region, Role
from server.features.guidance.guidance import Guidance
from server.features.guidance.leading import question
from server.features.guidance.scanning import Scanner
from server.media.picture.grounding import Box
from server.media.picture.privacy import PrivacyFilter
from server.models.base import Capabilities, EngineRequest
from server.session.part import SessionFeatures
from server.session.session import Session
from tests.features.guidance.test_guidance import Looks, nothing
from tests.features.guidance.test_leading import Finding, Paint, goal, look, targets
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import LIMITS, Room, room

SIZE: dict[str, Any] = {"width": 640, "height": 360}
BOXES = Capabilities(
    grounding=True, boxes=BoxUnit.THOUSANDTHS, geometry=Geometry(28, 3136, 12_845_056)
)
# At the side, and in the middle
SIDE, MIDDLE = Box(64, 144, 128, 216), Box(256, 144, 384, 216)


class Model(FakeEngine):
    """Says in its way where a thing is in the whole picture, and in a part of it."""

    def __init__(self, *places: Box, part: bool = True, sure: float | None = None) -> None:
        super().__init__(chunks=self.say, capabilities=BOXES)
        self.places = list(places)
        # What second looks see is there.
        self.part = part
        self.sure = sure

    def say(self, request: EngineRequest) -> list[str]:
        region = request.picture.region
        if region is None:
            region = Region(0, 0, request.picture.source_width, request.picture.source_height)
        elif not self.part:
            return ["[]"]
        return [f"[{','.join(self._entry(place, region) for place in self.places)}]"]

    def _entry(self, place: Box, region: Region) -> str:
        across, down = 1000 / region.width, 1000 / region.height
        edges = (
            (place.x1 - region.left) * across,
            (place.y1 - region.top) * down,
            (place.x2 - region.left) * across,
            (place.y2 - region.top) * down,
        )
        sure = f', "sure": {self.sure}' if self.sure is not None else ""
        return f'{{"bbox_2d": {[round(edge) for edge in edges]}, "label": "keys"{sure}}}'

    def looked_twice(self, count: int) -> bool:
        return len(self.parts) >= count

    @property
    def wholes(self) -> list[EngineRequest]:
        return [one for one in self.requests if one.picture.region is None]

    @property
    def parts(self) -> list[EngineRequest]:
        return [one for one in self.requests if one.picture.region is not None]


@asynccontextmanager
async def led(
    model: FakeEngine,
    *filters: PrivacyFilter,
    thing: str = "my keys",
    finding: Finding | None = None,
    **more: Any,
) -> AsyncIterator[Room]:
    seeker = (finding or Finding()).seeker
    async with room(model, *filters, looker=Looks().looker, seeker=seeker, **more) as one:
        one.session.socket_opened()
        one.camera()
        one.session.handle(goal(thing))
        yield one


async def settled(one: Room, check: Callable[[], bool]) -> None:
    """Wait until something holds and the model has nothing to do."""
    await until(check)
    await until(lambda: one.services.inference.idle)


async def test_what_nothing_here_knows_is_asked_of_the_model() -> None:
    """As background work at low detail. One answer is no find; the part around it makes it one."""
    model, finding = Model(SIDE), Finding()
    async with led(model, finding=finding) as one:
        (begun,) = await targets(one)
        assert (begun["kind"], begun["label"], begun["state"]) == ("thing", "my keys", "looking")
        one.frame(**SIZE)
        await settled(one, lambda: len(model.requests) == 2)
        told = await targets(one)
        assert [message["state"] for message in told][-1] == "found"
        assert told[-1]["box"] == pytest.approx([0.1, 0.4, 0.2, 0.6], abs=0.01)
        assert told[-1]["confirmed"]
        assert told[-1]["by_model"]
        assert told[-1]["captured_at"] > 1e12
        whole, part = model.requests
        assert [one.kind for one in model.requests] == [Kind.WATCH] * 2
        assert whole.question == question("my keys", BoxUnit.THOUSANDTHS, again=False)
        assert part.question == question("my keys", BoxUnit.THOUSANDTHS, again=True)
        assert '[{"bbox_2d": [x1, y1, x2, y2], "label": "its name", ' in whole.question
        assert part.picture.region == Region(6, 90, 186, 270)
        assert whole.turns == ()
        assert finding.looks == []


async def test_a_box_of_the_model_alone_is_heard_and_not_called_found() -> None:
    """And what its part denies is not there, however often the whole picture says so."""
    model = Model(SIDE, part=False)
    async with led(model) as one:
        now = time.monotonic()
        states: list[str] = []
        for number in range(6):
            one.frame(captured=now + 4.1 * number, **SIZE)
            await settled(one, partial(model.looked_twice, number + 1))
            states += [message["state"] for message in await targets(one)]
        assert "found" not in states
        assert states[-1] == "looking"


async def test_two_looks_that_agree_are_believed_where_nobody_looked_twice() -> None:
    model = Model(SIDE)
    async with led(model) as one:
        now = time.monotonic()
        model.hold()
        one.frame(captured=now, **SIZE)
        await until(lambda: model.open == 1)
        model.release()
        await until(lambda: len(model.parts) == 1)
        # The second look fails: nobody knows.
        model.fail_at, model.fail_with = 0, EngineFailed("away")
        await until(lambda: one.services.inference.idle)
        model.fail_at = None
        model.requests.clear()
        await targets(one)
        one.frame(captured=now + 5.2, **SIZE)
        await settled(one, lambda: len(model.wholes) == 1)
        found = (await targets(one))[-1]
        assert (found["state"], found["confirmed"]) == ("found", False)


@pytest.mark.parametrize("said", ["No keys.", "[]", '[{"bbox_2d": [1, 2]}]', "[[400,400,600,600]"])
async def test_an_answer_without_a_box_finds_nothing(said: str) -> None:
    model = FakeEngine(chunks=[said], capabilities=BOXES)
    async with led(model) as one:
        one.frame(**SIZE)
        await settled(one, lambda: len(model.requests) == 1)
        assert [message["state"] for message in await targets(one)] == ["looking"]


async def test_a_model_that_is_not_sure_finds_nothing() -> None:
    model = Model(SIDE, sure=0.4)
    async with led(model) as one:
        one.frame(**SIZE)
        await settled(one, lambda: len(model.requests) == 1)
        assert [message["state"] for message in await targets(one)] == ["looking"]


async def test_one_request_in_two_seconds_and_fewer_while_it_is_followed() -> None:
    """One at a time, however many frames come."""
    model = Model()
    async with led(model) as one:
        now = time.monotonic()
        model.hold()
        for step in range(10):
            one.frame(captured=now + step / 10, **SIZE)
        await until(lambda: model.open == 1)
        assert len(model.requests) == 1
        model.release()
        await until(lambda: one.services.inference.idle)
        for step in range(10, 100):
            one.frame(captured=now + step / 10, **SIZE)
            await until(lambda: one.services.inference.idle)
        assert len(model.requests) == 5
        # Found, it is looked for every four seconds; the second look counts as one, too.
        model.places = [SIDE]
        model.requests.clear()
        for step in range(100, 300):
            one.frame(captured=now + step / 10, **SIZE)
            await until(lambda: one.services.inference.idle)
        assert len(model.parts) == 1
        assert 4 <= len(model.wholes) <= 6


async def test_it_counts_against_the_sessions_allowance() -> None:
    model = Model()
    limits = replace(LIMITS, background_tokens_per_minute=60)
    async with led(model, limits=limits) as one:
        now = time.monotonic()
        for step in range(60):
            one.frame(captured=now + step / 2, **SIZE)
            await until(lambda: one.services.inference.idle)
        assert len(model.requests) == 1


async def test_it_is_not_asked_where_pictures_may_not_go() -> None:
    """Its words are print then, as where no model gives boxes; with consent it is a thing."""
    model = Model(SIDE)
    async with led(FakeEngine()) as one:
        (begun,) = await targets(one)
        assert (begun["kind"], begun["label"]) == ("text", "my keys")
        model.elsewhere = "gpu.example"
        one.engines.current = model
        await look(one, time.monotonic() + 0.5)
        assert model.requests == []
        await targets(one)
        one.session.handle(wire.Confirm(type="confirm", host="gpu.example"))
        one.frame(captured=time.monotonic() + 3, **SIZE)
        await settled(one, lambda: len(model.requests) == 2)
        told = await targets(one)
        assert [message["kind"] for message in told] == ["thing"] * len(told)
        assert told[-1]["state"] == "found"


async def test_filters_hold_for_the_whole_picture_and_for_the_part() -> None:
    model = Model(SIDE)
    async with led(model, Paint()) as one:
        one.frame(**SIZE)
        await settled(one, lambda: len(model.requests) == 2)
        for request in model.requests:
            assert request.picture.jpeg is not None
            seen = cv2.imdecode(np.frombuffer(request.picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert seen is not None
            assert np.abs(seen.astype(int) - 77).max() <= 2


async def test_a_withheld_picture_goes_to_no_model() -> None:
    model = Model(SIDE)
    async with led(model, Paint(withholds=True)) as one:
        one.frame(**SIZE)
        await until(lambda: one.services.inference.idle)
        assert model.requests == []
        assert [message["state"] for message in await targets(one)] == ["looking"]


@pytest.mark.parametrize("how", ["goal", "socket", "session"])
async def test_a_request_ends_with_its_goal(how: str) -> None:
    model = Model(SIDE)
    async with led(model) as one:
        await targets(one)
        model.hold()
        one.frame(**SIZE)
        await until(lambda: model.open == 1)
        if how == "goal":
            one.session.handle(goal(None))
        elif how == "socket":
            one.session.socket_closed()
        else:
            await one.session.close("session_ended")
        await until(lambda: model.open == 0)
        assert model.aborted == 1
        assert await targets(one) == []


async def test_an_answer_about_the_goal_before_is_not_used() -> None:
    model = Model(SIDE)
    async with led(model) as one:
        model.hold()
        one.frame(**SIZE)
        await until(lambda: model.open == 1)
        one.session.handle(goal("the stapler"))
        model.release()
        await until(lambda: one.services.inference.idle)
        told = await targets(one)
        assert (told[-1]["thing"], told[-1]["state"]) == ("the stapler", "looking")


async def test_two_sessions_ask_for_themselves() -> None:
    """The answer about one's picture leads the other nowhere."""
    model = Model(SIDE)
    async with led(model) as one:
        maker = {
            "guidance": lambda context: Guidance(
                context, Looks().looker, Finding().seeker, Scanner(nothing)
            )
        }
        other = Session("h", LIMITS, one.services, SessionFeatures(list(maker), dict(maker)))
        try:
            guest = Room(model, other, one.services, one.engines)
            guest.camera()
            other.handle(goal("my keys"))
            await targets(one)
            await targets(guest)
            one.frame(**SIZE)
            await settled(one, lambda: len(model.requests) == 2)
            assert {request.session_id for request in model.requests} == {"s"}
            assert (await targets(one))[-1]["state"] == "found"
            assert await targets(guest) == []
        finally:
            await other.close("session_ended")


async def test_nothing_is_asked_without_a_goal() -> None:
    model = Model(SIDE)
    async with led(model) as one:
        one.session.handle(goal(None))
        await targets(one)
        for step in range(20):
            one.frame(captured=time.monotonic() + step, **SIZE)
        await until(lambda: one.services.inference.idle)
        assert model.requests == []
        assert await targets(one) == []
        assert one.session.camera.on_sample is None


@pytest.mark.parametrize("words", ["“EXIT”", "the expiry date", "the QR code"])
async def test_print_and_codes_are_not_asked_of_the_model(words: str) -> None:
    model = Model(SIDE)
    async with led(model, thing=words) as one:
        (begun,) = await targets(one)
        assert begun["kind"] in ("text", "code")
        await look(one, time.monotonic() + 0.5)
        assert model.requests == []


async def test_the_engine_of_background_work_is_asked_first() -> None:
    answers, watches = Model(SIDE), Model(SIDE)
    async with led(answers, thing="the cup") as one:
        one.engines.roles[Role.WATCHES] = watches
        one.session.handle(goal("my keys"))
        one.frame(**SIZE)
        await settled(one, lambda: len(watches.requests) == 2)
        assert answers.requests == []


async def test_a_picture_that_waits_too_long_gives_way() -> None:
    """The model is busy with a question; then the newest picture is asked about, not the one of then."""
    model = Model(SIDE)
    model.capabilities = replace(BOXES, max_concurrency=1)
    async with led(model) as one:
        one.session.handle(goal(None))
        model.hold()
        one.session.handle(wire.Chat(type="chat", content="What is it?", id="q"))
        one.frame(captured=time.monotonic() + 0.05, **SIZE)
        await until(lambda: model.open == 1)
        one.session.handle(goal("my keys"))
        now = time.monotonic()
        for seconds in (1.0, 3.0, 5.5, 8.0):
            one.frame(captured=now + seconds, **SIZE)
        model.release()
        await settled(one, lambda: len(model.wholes) == 2)
        asked = model.wholes[-1]
        assert asked.kind is Kind.WATCH
        assert asked.picture.captured >= now + 5.5


class Seen(Finding):
    """The detector sees a cup, in whatever part of the picture it looks."""

    def __init__(self, place: Box) -> None:
        super().__init__()
        self.place = place

    async def find(self, bgr: Any, wish: Any, known: Any) -> Any:
        # The whole picture, and the square in its middle
        left = {(360, 640): 0, (360, 360): 140}[bgr.shape[:2]]
        place = self.place
        self.boxes = [replace(place, x1=place.x1 - left, x2=place.x2 - left)]
        return await super().find(bgr, wish, known)


@pytest.mark.parametrize("seen", [True, False])
async def test_the_model_looks_twice_at_what_the_detector_found(seen: bool) -> None:
    """In place of the detector's own second look; what the model denies twice is dropped."""
    model, finding = Model(MIDDLE, part=seen), Seen(MIDDLE)
    async with led(model, thing="the cup", finding=finding) as one:
        now = time.monotonic()
        told: list[dict[str, Any]] = []
        for number in range(24):
            await look(one, now + 0.3 * number)
            await until(lambda: one.services.inference.idle)
            told += await targets(one)
        assert model.wholes == []
        assert {bgr.shape[:2] for bgr, *_ in finding.looks} <= {(360, 640), (360, 360)}
        assert "the cup" in model.parts[0].question
        assert any(message["confirmed"] for message in told) is seen
        if seen:
            assert len(model.parts) == 1
        else:
            assert len(model.parts) >= 2
            found = [message["state"] for message in told].index("found")
            assert "looking" in [message["state"] for message in told[found:]]


async def test_the_detector_looks_twice_where_the_model_fails() -> None:
    model, finding = Model(MIDDLE), Finding(MIDDLE)
    model.fail_at, model.fail_with = 0, EngineFailed("away")
    async with led(model, thing="the cup", finding=finding) as one:
        now = time.monotonic()
        await look(one, now)
        finding.boxes = [Box(116, 144, 244, 216)]
        for number in range(1, 4):
            await look(one, now + 0.6 * number)
            await until(lambda: one.services.inference.idle)
        assert len(model.requests) == 1
        assert (192, 192) in {bgr.shape[:2] for bgr, *_ in finding.looks}
