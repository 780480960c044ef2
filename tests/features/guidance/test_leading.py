"""The way to a thing in a session: when it is looked for, what the client hears, what nobody sees, and when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from server.core import messages as wire
from server.core.errors import EngineFailed
from server.core.frames import BoxUnit, Geometry, JobKind, Region, Role
from server.features.builtin.seeking import SearchHit, SearchTarget
from server.features.guidance.leading import Seeker, get_look_counter, make_question
from server.features.guidance.messages import Goal, TargetLost
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.media.picture.privacy import PrivacyFilter
from server.models.base import Capabilities, EngineRequest
from server.models.routing import STOP_WORDS
from tests.features.guidance.test_guidance import Finds, Looks, beside, counting
from tests.features.rooms import room, settings
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import LIMITS, Filter, Room, withhold

SIZE: dict[str, Any] = {"width": 640, "height": 360}
SIDE = Box(64, 144, 128, 216)
MIDDLE = Box(256, 144, 384, 216)


class Finding(Finds):
    """Finds what a test says."""

    def __init__(self, *boxes: Box) -> None:
        super().__init__()
        self.boxes = list(boxes)
        self.seeker = Seeker(self.find)

    async def find(
        self, bgr: Bgr, wish: SearchTarget, known: Box | None
    ) -> tuple[list[SearchHit], float]:
        await self.look(bgr, wish, known)
        return [SearchHit(box, sure=True) for box in self.boxes], self.seconds


def goal(thing: str | None = "the cup") -> Goal:
    return Goal(type="goal", thing=thing)


@asynccontextmanager
async def led(
    *boxes: Box,
    model: FakeEngine | None = None,
    filters: Sequence[PrivacyFilter] = (),
    thing: str | None = "the cup",
    finding: Finding | None = None,
    **more: Any,
) -> AsyncIterator[tuple[Room, Finding]]:
    """A session whose person is led to a thing, and what looks for it, which finds these boxes."""
    finding = finding or Finding(*boxes)
    looker, seeker = Looks().looker, finding.seeker
    async with room(model, *filters, looker=looker, seeker=seeker, **more) as one:
        one.session.socket_opened()
        one.camera()
        if thing is not None:
            one.session.handle(goal(thing))
        yield one, finding


counted = counting(get_look_counter)


async def look(one: Room, at: float) -> None:
    """A frame captured at this time is looked at."""
    results = ("done", "failed", "withheld")
    before = sum(counted(one, result) for result in results)
    one.frame(captured=at, **SIZE)
    await until(lambda: sum(counted(one, result) for result in results) > before)


def takes_frames(one: Room) -> bool:
    camera = one.session.camera
    return bool(camera.on_sample or camera.on_between)


async def targets(one: Room) -> list[dict[str, Any]]:
    return [message for message in await one.rest() if message["type"] == "target"]


async def test_the_client_hears_where_it_is() -> None:
    """At once that it is looked for; then its place in shares, its name in the page's language, and the frame's time."""
    async with led(SIDE, thing=None) as (one, finding):
        one.session.handle(settings(page_language="de"))
        one.session.handle(goal("die Tasse"))
        (begun,) = await targets(one)
        assert (begun["state"], begun["thing"], begun["label"]) == (
            "looking",
            "die Tasse",
            "eine Tasse",
        )
        assert "box" not in begun
        now = time.monotonic()
        await look(one, now)
        (maybe,) = await targets(one)
        assert (maybe["state"], "metres" in maybe) == ("maybe", False)
        await look(one, now + 0.3)
        (found,) = await targets(one)
        assert (found["state"], found["kind"], found["box"]) == (
            "found",
            "thing",
            [0.1, 0.4, 0.2, 0.6],
        )
        # A cup of 10 cm in a ninth of the width
        assert found["metres"] == pytest.approx(0.77, abs=0.01)
        assert not found["by_model"]
        assert not found["near"]
        assert not found["confirmed"]
        assert found["captured_at"] > 1e12
        assert finding.looks[0][1].names == ("cup",)


async def test_four_looks_a_second_and_fewer_of_costly_ones() -> None:
    """A look that takes 50 ms of a core is followed by half a second without one: a tenth of it."""
    async with led() as (one, finding):
        began = time.monotonic()
        await look(one, began)
        for step in range(1, 10):
            one.frame(captured=began + step * 0.02, **SIZE)
        assert len(finding.looks) == 1
        await look(one, began + 0.26)
        finding.seconds = 0.05
        await look(one, began + 0.6)
        one.frame(captured=began + 1.0, **SIZE)
        assert len(finding.looks) == 3
        await look(one, began + 1.15)


async def test_what_the_page_has_lost_is_looked_for_at_once() -> None:
    """Once between two looks that are due, and the pause that this leaves out follows it."""
    async with led(SIDE) as (one, finding):
        lost = TargetLost(type="target_lost")
        now = time.monotonic()
        # What was not found cannot be lost.
        one.session.handle(lost)
        await look(one, now)
        one.frame(captured=now + 0.1, **SIZE)
        assert len(finding.looks) == 1
        # A look that costs half a second's pause
        finding.seconds = 0.05
        await look(one, now + 0.3)
        one.session.handle(lost)
        await look(one, now + 0.4)
        assert len(finding.looks) == 3
        one.session.handle(lost)
        # Half a second for it, and 0.36 that were left of the pause before
        one.frame(captured=now + 1.2, **SIZE)
        assert len(finding.looks) == 3
        await look(one, now + 1.3)


async def test_near_it_is_looked_at_again_at_full_resolution() -> None:
    async with led(MIDDLE) as (one, finding):
        now = time.monotonic()
        await look(one, now)
        # In the square around it
        finding.boxes = [Box(116, 144, 244, 216)]
        one.frame(captured=now + 0.3, **SIZE)
        await until(lambda: len(finding.looks) == 2)
        # The part around it: the thing is larger there, and at another place.
        finding.boxes = [Box(32, 60, 160, 132)]
        await until(lambda: len(finding.looks) == 3)
        part, _, known = finding.looks[2]
        assert part.shape[:2] == (192, 192)
        assert known is None
        await until(lambda: counted(one, "done") == 2)
        (found,) = await targets(one)
        assert found["near"]
        assert found["confirmed"]


async def test_a_second_look_that_sees_nothing_confirms_nothing() -> None:
    """And a thing that is denied twice is looked for anew."""
    async with led(MIDDLE) as (one, finding):

        async def looked(count: int) -> None:
            await until(lambda: len(finding.looks) == count)

        now = time.monotonic()
        await look(one, now)
        for number in (1, 3):
            finding.boxes = [Box(116, 144, 244, 216)]
            one.frame(captured=now + 0.3 * number, **SIZE)
            await looked(number + 1)
            # The part around it
            finding.boxes = []
            await looked(number + 2)
            await until(lambda: not one.session.part("guidance").leading.looks.running)
        told = await targets(one)
        assert not any(message["confirmed"] for message in told)
        assert [message["state"] for message in told][-1] == "looking"


PAINT, WITHHOLD = Filter(lambda bgr: np.full_like(bgr, 77)), Filter(withhold)


async def test_filters_hold_for_each_look_and_each_part() -> None:
    """What looks sees nothing else: neither in the whole picture, nor in its middle, nor in the second look."""
    async with led(MIDDLE, filters=(PAINT,)) as (one, finding):
        now = time.monotonic()
        await look(one, now)
        finding.boxes = [Box(116, 144, 244, 216)]
        await look(one, now + 0.3)
        finding.boxes = []
        for number in range(2, 8):
            await look(one, now + 0.3 * number)
        sizes = {bgr.shape[:2] for bgr, *_ in finding.looks}
        assert sizes == {(360, 640), (192, 192), (360, 360)}
        assert all((bgr == 77).all() for bgr, *_ in finding.looks)


async def test_a_withheld_picture_is_not_looked_at() -> None:
    async with led(MIDDLE, filters=(WITHHOLD,)) as (one, finding):
        await look(one, time.monotonic())
        assert counted(one, "withheld") == 1
        assert finding.looks == []
        assert [one["state"] for one in await targets(one)] == ["looking"]


async def test_two_sessions_never_lead_each_other() -> None:
    """Each is led by its own frames alone, though they share what looks."""
    async with led(SIDE) as (one, finding):
        async with beside(one, seeker=finding.seeker) as guest:
            await one.rest()
            now = time.monotonic()
            await look(one, now)
            guest.frame(captured=now + 0.2, **SIZE)
            await look(one, now + 0.4)
            assert len(finding.looks) == 2
            assert [message["state"] for message in await targets(one)] == ["found"]
            assert await targets(guest) == []
            guest.session.handle(goal("the bottle"))
            assert [message["thing"] for message in await targets(guest)] == ["the bottle"]
            await look(guest, now + 0.8)
            assert await targets(one) == []
            assert finding.looks[-1][1].names == ("bottle",)
            # One look at a time: the other's frame is dropped meanwhile.
            finding.open.clear()
            guest.frame(captured=now + 1.2, **SIZE)
            await until(lambda: len(finding.looks) == 4)
            one.frame(captured=now + 1.2, **SIZE)
            assert counted(one, "busy") == 1
            finding.open.set()
        assert not finding.seeker.busy


async def test_a_goal_ends_with_the_socket_and_with_the_session() -> None:
    """Nothing looks for it, and no target waits for a page that knows nothing of it."""
    async with led(SIDE) as (one, finding):
        one.session.socket_closed()
        assert await targets(one) == []
        one.session.socket_opened()
        one.frame(captured=time.monotonic() + 1, **SIZE)
        assert finding.looks == []
        one.session.handle(goal())
        finding.open.clear()
        one.frame(captured=time.monotonic() + 2, **SIZE)
        await until(lambda: len(finding.looks) == 1)
        await one.session.close("session_ended")
        assert not finding.seeker.busy


async def test_a_goal_takes_the_place_of_the_one_before() -> None:
    """Also of a look that is on its way: the cup's place is not the bottle's."""
    async with led(SIDE) as (one, finding):
        now = time.monotonic()
        await look(one, now)
        finding.open.clear()
        one.frame(captured=now + 0.3, **SIZE)
        await until(lambda: len(finding.looks) == 2)
        one.session.handle(goal("the bottle"))
        finding.open.set()
        await until(lambda: counted(one, "done") == 2)
        told = [(message["thing"], message["state"]) for message in await targets(one)]
        assert told == [("the bottle", "looking")]


async def test_a_held_picture_is_not_the_way() -> None:
    """Somebody looks at what was; nothing is looked for until it is released."""
    async with led(SIDE) as (one, finding):
        one.session.handle(wire.Hold(type="hold"))
        while one.session.part("guidance")._context.held_frame is None:
            one.frame(**SIZE)
            await asyncio.sleep(0.02)
        before = len(finding.looks)
        one.frame(captured=time.monotonic() + 5, **SIZE)
        assert len(finding.looks) == before
        one.session.handle(wire.Release(type="release"))
        await look(one, time.monotonic() + 6)


@pytest.mark.parametrize(
    ("words", "order", "condition"),
    [("Guide me to the cup.", "guide_to", "the cup"), ("What is around me?", "scan", "")],
)
async def test_a_typed_order_is_the_clients_where_it_carries_orders_out(
    words: str, order: str, condition: str
) -> None:
    """Programs get an answer to the same words; so does everybody without guidance."""
    given: dict[str, Any] = {"type": "chat", "content": words}
    async with led(thing=None) as (one, _):
        one.session.handle(wire.Chat(**given, id="q1", orders=True))
        heard = await one.next("transcript")
        assert (heard["id"], heard["text"], heard["final"]) == ("q1", "", True)
        assert (heard["order"], heard.get("condition", "")) == (order, condition)
        one.session.handle(wire.Chat(**given, id="q2"))
        await until(lambda: one.session.answering)
        one.frame()
        assert (await one.next("started", "transcript"))["id"] == "q2"
    async with room() as plain:
        plain.camera()
        plain.session.handle(wire.Chat(**given, id="q3", orders=True))
        plain.frame()
        assert (await plain.next("started", "transcript"))["type"] == "started"


@pytest.mark.parametrize("hints", [True, False])
async def test_a_typed_name_alone_is_a_goal_while_guided(hints: bool) -> None:
    """With hints on or another goal; a question, and a name without guidance, are answered."""

    async def ask(id: str, content: str) -> str:
        one.session.handle(wire.Chat(type="chat", content=content, id=id, orders=True))
        one.frame()
        heard = await one.next("started", "transcript")
        assert heard["id"] == id
        return f"{heard.get('order')} {heard.get('condition')}"

    async with led(thing=None if hints else "the bottle") as (one, _):
        if hints:
            assert await ask("q1", "the cup") == "None None"
            one.session.handle(settings(guidance=True))
        assert await ask("q2", "the cup") == "guide_to the cup"
        assert await ask("q3", "What is this?") == "None None"
        one.session.handle(settings(guidance=False))
        one.session.handle(goal(None))
        assert await ask("q4", "the cup") == "None None"


@pytest.mark.parametrize("language", sorted(STOP_WORDS))
async def test_a_typed_stop_ends_it(language: str) -> None:
    """The client carries it out; without a goal, and for programs, the same word is a question."""
    stop = STOP_WORDS[language].split(",")[0]
    async with led() as (one, _):
        one.session.handle(wire.Chat(type="chat", content=stop, id="q1", orders=True))
        heard = await one.next("transcript")
        assert (heard["id"], heard["text"], heard["final"]) == ("q1", "", True)
        assert heard["order"] == "stop"
        assert not one.session.answering
        one.session.handle(wire.Chat(type="chat", content=stop, id="q2"))
        await until(lambda: one.session.answering)
        one.session.handle(goal(None))
        one.session.handle(wire.Chat(type="chat", content=stop, id="q3", orders=True))
        one.frame()
        assert (await one.next("started", "transcript"))["id"] == "q3"


BOXES = Capabilities(
    grounding=True, boxes=BoxUnit.THOUSANDTHS, geometry=Geometry(28, 3136, 12_845_056)
)


class Model(FakeEngine):
    """Says in its way where a thing is in the whole picture, and in a part of it."""

    def __init__(self, *places: Box, part: bool = True) -> None:
        super().__init__(chunks=self.say, capabilities=BOXES)
        self.places = list(places)
        # What second looks see is there.
        self.part = part

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
        return f'{{"bbox_2d": {[round(edge) for edge in edges]}, "label": "keys"}}'

    @property
    def wholes(self) -> list[EngineRequest]:
        return [one for one in self.requests if one.picture.region is None]

    @property
    def parts(self) -> list[EngineRequest]:
        return [one for one in self.requests if one.picture.region is not None]


@asynccontextmanager
async def led_by_model(
    model: FakeEngine, *filters: PrivacyFilter, thing: str = "my keys", **more: Any
) -> AsyncIterator[Room]:
    async with led(model=model, filters=filters, thing=thing, **more) as (one, _):
        yield one


async def settled(one: Room, check: Callable[[], bool]) -> None:
    """Wait until something holds and the model has nothing to do."""
    await until(check)
    await until(lambda: one.services.inference.idle)


async def test_what_nothing_here_knows_is_asked_of_the_model() -> None:
    """As background work at low detail. One answer is no find; the part around it makes it one."""
    model, finding = Model(SIDE), Finding()
    async with led_by_model(model, finding=finding) as one:
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
        assert [one.kind for one in model.requests] == [JobKind.WATCH] * 2
        assert whole.question == make_question("my keys", BoxUnit.THOUSANDTHS, again=False)
        assert part.question == make_question("my keys", BoxUnit.THOUSANDTHS, again=True)
        assert '[{"bbox_2d": [x1, y1, x2, y2], "label": "its name", ' in whole.question
        assert part.picture.region == Region(6, 90, 186, 270)
        assert whole.turns == ()
        assert finding.looks == []


async def test_a_box_of_the_model_alone_is_heard_and_not_called_found() -> None:
    """And what its part denies is not there, however often the whole picture says so."""
    model = Model(SIDE, part=False)
    async with led_by_model(model) as one:
        now = time.monotonic()
        states: list[str] = []
        for number in range(6):
            one.frame(captured=now + 4.1 * number, **SIZE)
            await settled(one, lambda looks=number + 1: len(model.parts) >= looks)  # type: ignore[misc]
            states += [message["state"] for message in await targets(one)]
        assert "found" not in states
        assert states[-1] == "looking"


async def test_two_looks_that_agree_are_believed_where_nobody_looked_twice() -> None:
    model = Model(SIDE)
    async with led_by_model(model) as one:
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


@pytest.mark.slow
async def test_one_request_in_two_seconds_and_fewer_while_it_is_followed() -> None:
    """One at a time, however many frames come."""
    model = Model()
    async with led_by_model(model) as one:
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
    async with led_by_model(model, limits=limits) as one:
        now = time.monotonic()
        for step in range(60):
            one.frame(captured=now + step / 2, **SIZE)
            await until(lambda: one.services.inference.idle)
        assert len(model.requests) == 1


async def test_it_is_not_asked_where_pictures_may_not_go() -> None:
    """Its words are print then, as where no model gives boxes; with consent it is a thing."""
    model = Model(SIDE)
    async with led_by_model(FakeEngine()) as one:
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
    async with led_by_model(model, PAINT) as one:
        one.frame(**SIZE)
        await settled(one, lambda: len(model.requests) == 2)
        for request in model.requests:
            assert request.picture.jpeg is not None
            seen = cv2.imdecode(np.frombuffer(request.picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert seen is not None
            assert np.abs(seen.astype(int) - 77).max() <= 2


async def test_a_withheld_picture_goes_to_no_model() -> None:
    model = Model(SIDE)
    async with led_by_model(model, WITHHOLD) as one:
        one.frame(**SIZE)
        await until(lambda: one.services.inference.idle)
        assert model.requests == []
        assert [message["state"] for message in await targets(one)] == ["looking"]


@pytest.mark.parametrize("how", ["goal", "socket", "session"])
async def test_a_request_ends_with_its_goal(how: str) -> None:
    model = Model(SIDE)
    async with led_by_model(model) as one:
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


async def test_the_engine_of_background_work_is_asked_first() -> None:
    answers, watches = Model(SIDE), Model(SIDE)
    async with led_by_model(answers, thing="the cup") as one:
        one.engines.roles[Role.WATCHES] = watches
        one.session.handle(goal("my keys"))
        one.frame(**SIZE)
        await settled(one, lambda: len(watches.requests) == 2)
        assert answers.requests == []


async def test_a_picture_that_waits_too_long_gives_way() -> None:
    """The model is busy with a question; then the newest picture is asked about, not the one of then."""
    model = Model(SIDE)
    model.capabilities = replace(BOXES, max_concurrency=1)
    async with led_by_model(model) as one:
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
        assert asked.kind is JobKind.WATCH
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
    async with led_by_model(model, thing="the cup", finding=finding) as one:
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
    async with led_by_model(model, thing="the cup", finding=finding) as one:
        now = time.monotonic()
        await look(one, now)
        finding.boxes = [Box(116, 144, 244, 216)]
        for number in range(1, 4):
            await look(one, now + 0.6 * number)
            await until(lambda: one.services.inference.idle)
        assert len(model.requests) == 1
        assert (192, 192) in {bgr.shape[:2] for bgr, *_ in finding.looks}
