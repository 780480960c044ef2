"""Glances: the page hears of things, print and codes, and at times nothing is looked at."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import av
import cv2
import numpy as np
import pytest

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core.errors import FrameWithheld
from server.core.frames import Frame
from server.core.messages import Chat, Hold, Release
from server.features.builtin.detector import ThingFinder
from server.features.builtin.glance import GlancePart, Glancer
from server.features.builtin.reader import TextReader
from server.media.picture.encode import Bgr
from server.media.picture.privacy import ClosedFilter, PrivacyFilter
from server.models.base import Capabilities
from server.session.part import SessionFeatures
from server.session.session import Session
from tests.features.builtin import scenes
from tests.features.builtin.scenes import photo
from tests.features.rooms import room, settings
from tests.support.clients import metric, sample, soon, visitor
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import LIMITS, Room
from tests.support.running import running

NOTHING = {
    "type": "glance",
    **dict.fromkeys(("text", "code", "link", "date", "price"), False),
    "people": 0,
    "things": [],
}
CAT = NOTHING | {"things": ["a cat"]}
LABEL = scenes.Scene([scenes.Sheet("##Thyme honey\n250 g")])
CODE = scenes.Scene([scenes.Barcode("https://example.org/menu")])
JAR = scenes.Scene([scenes.Sheet("##Thyme honey\nBEST BEFORE 12 MAR 2027\n4.50 €")])
MENU = scenes.Scene([scenes.Sheet("\n".join(f"##Soup {n}|{n}.50 €" for n in range(2, 7)))])


@pytest.fixture(scope="module")
def finder() -> ThingFinder:
    return ThingFinder()


class Stage:
    """A page that is open on a session, whose camera shows what a test says, half a minute between two pictures."""

    def __init__(self, one: Room, glancer: Glancer, step: float) -> None:
        self.one = one
        self.glancer = glancer
        # In the future: no look of a busy machine is late.
        self._times = itertools.count(time.monotonic() + step, step)
        one.session.socket_opened()
        one.camera()

    def frame(self, bgr: Bgr, captured: float | None = None) -> None:
        """A frame comes, which may begin a look."""
        height, width = (side // 2 * 2 for side in bgr.shape[:2])
        even = np.ascontiguousarray(bgr[:height, :width])
        image = av.VideoFrame.from_ndarray(even, format="bgr24").reformat(format="yuv420p")
        now = next(self._times) if captured is None else captured
        feed = self.one.session.camera.feed
        assert feed is not None
        # No packet before it, which after a slow look would make the camera frozen
        feed.frame(Frame("f", image, width, height, now, None, now, round(now * 90_000)))

    async def show(self, bgr: Bgr, captured: float | None = None) -> list[dict[str, Any]]:
        """Return what the page hears of a picture."""
        self.frame(bgr, captured)
        return await self.told()

    async def told(self) -> list[dict[str, Any]]:
        # A look begins at once, if one begins.
        await asyncio.sleep(0)
        await until(lambda: not self.glancer.busy, 20)
        kinds = ("glance", "error")
        return [message for message in await self.one.rest() if message["type"] in kinds]

    def counted(self, result: str) -> float:
        return sample(self.one.services.metrics, "glances_total", result=result)

    @property
    def looks(self) -> float:
        return sum(map(self.counted, ("done", "dropped", "failed")))


@asynccontextmanager
async def stage(
    heavy: ThreadPoolExecutor,
    reader: TextReader,
    finder: ThingFinder | None,
    *filters: PrivacyFilter,
    step: float = 30.0,
) -> AsyncIterator[Stage]:
    engine = FakeEngine(capabilities=Capabilities(wants_pixels=True))
    glancer = Glancer(engine, heavy, reader, finder)
    async with room(engine, *filters, builtin=lambda context: GlancePart(context, glancer)) as one:
        yield Stage(one, glancer, step)


@contextmanager
def blocked(heavy: ThreadPoolExecutor) -> Iterator[None]:
    """The worker pool has something else to do."""
    done = threading.Event()
    heavy.submit(done.wait, 20)
    try:
        yield
    finally:
        done.set()


@pytest.fixture
async def live(
    heavy: ThreadPoolExecutor, reader: TextReader, finder: ThingFinder
) -> AsyncIterator[Stage]:
    async with stage(heavy, reader, finder) as one:
        yield one


@pytest.mark.slow
async def test_each_scene_is_told_once(live: Stage) -> None:
    """And nothing is looked at while it stays the same, whatever its noise."""
    cat = photo("chelsea")
    assert await live.show(cat) == [CAT]
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 2, cat.shape)
        assert await live.show(np.clip(cat + noise, 0, 255).astype(np.uint8)) == []
    assert live.looks == 1
    assert await live.show(scenes.draw(LABEL)) == [NOTHING | {"text": True}]
    assert await live.show(scenes.draw(CODE)) == [NOTHING | {"code": True, "link": True}]
    assert await live.show(photo("astronaut")) == [NOTHING | {"people": 1}]
    assert await live.show(cat) == [CAT]
    assert live.counted("done") == live.looks == 5


async def test_a_date_and_a_price_are_told(live: Stage) -> None:
    """A menu has no price of one thing."""
    assert await live.show(scenes.draw(JAR)) == [
        NOTHING | {"text": True, "date": True, "price": True}
    ]
    assert await live.show(scenes.draw(MENU)) == [NOTHING | {"text": True}]


async def test_another_scene_with_the_same_things_is_no_news(live: Stage) -> None:
    cat = photo("chelsea")
    assert await live.show(cat) == [CAT]
    assert await live.show(np.ascontiguousarray(cat[:, ::-1])) == []
    assert live.counted("done") == 2


async def test_things_have_their_names_in_the_language_of_the_page(live: Stage) -> None:
    """Also after the page has changed it; English where there are no words of it."""
    cat, session = photo("chelsea"), live.one.session
    for language, name in (("de", "eine Katze"), ("pt-BR", "um gato"), ("fi", "a cat")):
        session.handle(settings(page_language=language))
        assert await live.show(cat) == [NOTHING | {"things": [name]}]
    session.handle(settings(guidance=False))
    assert await live.show(cat) == []
    assert live.looks == 3


async def test_a_look_every_two_seconds_at_most(
    heavy: ThreadPoolExecutor, reader: TextReader, finder: ThingFinder
) -> None:
    async with stage(heavy, reader, finder, step=0.5) as live:
        pictures = photo("chelsea"), photo("coffee"), scenes.draw(LABEL)
        for number in range(9):
            await live.show(pictures[number % 3])
        assert live.looks == 3


async def test_nothing_while_another_engine_answers(live: Stage) -> None:
    """Not even frames are sampled for it. Back again, everything is told anew."""
    one, cat = live.one, photo("chelsea")
    assert await live.show(cat) == [CAT]
    one.engines.current = FakeEngine("other")
    one.session.engine_changed()
    assert not one.session.camera.on_sample
    assert await live.show(scenes.draw(LABEL)) == []
    one.engines.current = one.engine
    one.session.engine_changed()
    await live.told()
    assert await live.show(cat) == [CAT]
    assert live.looks == 2


async def test_nothing_while_no_page_is_open(live: Stage, heavy: ThreadPoolExecutor) -> None:
    """The next page knows nothing, and hears of the same scene."""
    session, cat = live.one.session, photo("chelsea")
    session.socket_closed()
    assert await live.show(cat) == []
    session.socket_opened()
    assert await live.show(cat) == [CAT]
    with blocked(heavy):
        live.frame(scenes.draw(LABEL))
        await asyncio.sleep(0)
        session.socket_closed()
    assert await live.told() == []
    session.socket_opened()
    assert await live.show(cat) == [CAT]


async def test_nothing_while_the_picture_is_held(live: Stage) -> None:
    session = live.one.session
    live.frame(scenes.draw(LABEL), time.monotonic() + 0.05)
    await live.told()
    session.handle(Hold(type="hold"))
    live.frame(photo("chelsea"), time.monotonic() + 0.1)
    await live.one.until(lambda message: bool(message.get("held")))
    looks = live.looks
    assert await live.show(photo("coffee")) == []
    assert live.looks == looks
    session.handle(Release(type="release"))
    assert await live.show(photo("chelsea")) == [CAT]


async def test_nothing_while_a_question_runs(live: Stage) -> None:
    """Of this session, or of another one."""
    one, engine = live.one, live.one.engine
    engine.hold()
    one.session.handle(Chat(type="chat", content="What is this?"))
    assert await live.show(photo("chelsea")) == []
    assert await live.show(photo("coffee")) == []
    await until(lambda: engine.open == 1)
    assert await live.show(photo("chelsea")) == []
    assert live.looks == 0
    engine.release()
    await one.next("response")
    assert await live.show(photo("chelsea")) == [CAT]

    async with another(live) as guest:
        engine.hold()
        guest.session.handle(Chat(type="chat", content="What is this?"))
        guest.frame()
        await until(lambda: engine.open == 1)
        assert await live.show(scenes.draw(LABEL)) == []
        engine.release()
        await until(lambda: engine.open == 0)
    assert await live.show(scenes.draw(LABEL)) == [NOTHING | {"text": True}]


async def test_a_question_ends_a_look(
    live: Stage, heavy: ThreadPoolExecutor, reader: TextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of it is not done before the answer, and comes with a frame after it."""
    read: list[str] = []

    def any_text(*_: object) -> bool:
        read.append("text")
        return True

    one, engine = live.one, live.one.engine
    engine.hold()
    with monkeypatch.context() as patched:
        patched.setattr(reader, "has_text", any_text)
        with blocked(heavy):
            live.frame(photo("chelsea"))
            await asyncio.sleep(0)
            one.session.handle(Chat(type="chat", content="What is this?"))
        assert await live.told() == []
    assert live.counted("dropped") == 1
    assert read == []
    live.frame(photo("coffee"))
    engine.release()
    await one.next("response")
    assert await live.show(photo("chelsea")) == [CAT]


@asynccontextmanager
async def another(live: Stage) -> AsyncIterator[Room]:
    """A second session of the same server."""
    tools = live.one.services
    make: Any = lambda context: GlancePart(context, live.glancer)  # noqa: E731
    session = Session("h", LIMITS, tools, SessionFeatures(["builtin"], {"builtin": make}))
    try:
        guest = Room(live.one.engine, session, tools, live.one.engines)
        session.socket_opened()
        guest.camera()
        yield guest
    finally:
        await session.close("session_ended")


async def test_one_look_at_a_time_in_all_sessions(live: Stage, heavy: ThreadPoolExecutor) -> None:
    """A frame that meets another session's look is not looked at; the next one may be."""
    async with another(live) as guest:
        with blocked(heavy):
            live.frame(photo("chelsea"))
            await asyncio.sleep(0)
            guest.frame()
        assert await live.told() == [CAT]
        # One that waited would begin now.
        assert await live.told() == []
        assert live.looks == 1
        guest.frame()
        await live.told()
        assert live.looks == 2


async def test_a_late_look_is_dropped(live: Stage, heavy: ThreadPoolExecutor) -> None:
    """The camera may show something else by now."""
    assert await live.show(photo("chelsea"), time.monotonic() - 4) == []
    assert live.counted("dropped") == 1
    assert await live.show(photo("chelsea")) == [CAT]
    with blocked(heavy):
        live.frame(scenes.draw(LABEL))
        await asyncio.sleep(0)
        live.one.camera()
    assert await live.told() == []


class Blank(ClosedFilter):
    """Shows nothing of a picture, or withholds it."""

    name = "blank"
    withholds = False

    def _apply(self, bgr: Bgr) -> Bgr:
        if self.withholds:
            raise FrameWithheld("The picture was withheld.")
        return np.full_like(bgr, 127)


async def test_filters_run_before_a_look(
    heavy: ThreadPoolExecutor, reader: TextReader, finder: ThingFinder
) -> None:
    """A picture that one withholds makes no noise."""
    blank = Blank()
    async with stage(heavy, reader, finder, blank) as live:
        assert await live.show(photo("chelsea")) == [NOTHING]
        blank.withholds = True
        assert await live.show(scenes.draw(LABEL)) == []
        assert live.counted("failed") == 1


async def test_a_failed_look_makes_no_noise(
    live: Stage,
    reader: TextReader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And is not tried again while nothing changes."""

    def fail(bgr: Bgr) -> None:
        raise cv2.error("broken")

    with monkeypatch.context() as patched:
        patched.setattr(reader, "find_code_boxes", fail)
        assert await live.show(photo("chelsea")) == []
    assert live.counted("failed") == 1
    assert caplog.records == []
    assert await live.show(photo("chelsea")) == []
    assert live.looks == 1
    assert await live.show(scenes.draw(LABEL)) == [NOTHING | {"text": True}]


async def test_a_session_that_ends_in_a_look_leaves_nothing(
    live: Stage, heavy: ThreadPoolExecutor
) -> None:
    with blocked(heavy):
        live.frame(photo("chelsea"))
        await asyncio.sleep(0)
        assert live.glancer.busy
        await live.one.session.close("session_ended")
        assert not live.glancer.busy
    assert live.looks == 0


async def test_without_names_there_are_print_and_codes(
    heavy: ThreadPoolExecutor, reader: TextReader
) -> None:
    """NAME_THINGS is off."""
    async with stage(heavy, reader, None) as live:
        assert await live.show(photo("chelsea")) == [NOTHING]
        assert await live.show(scenes.draw(LABEL)) == [NOTHING | {"text": True}]


@pytest.mark.slow
@pytest.mark.parametrize("name_things", [True, False])
async def test_a_page_on_the_whole_server_hears_of_print(name_things: bool) -> None:
    """Only while the built-in engine answers; looks are counted."""
    encoder = LiveEncoder(Scene(1280, 720), rate=15)
    encoder.scene.text = "Thyme honey"
    encoder.scene.text_px = 60
    try:
        async with running(name_things=name_things) as run, visitor(run, encoder) as one:
            glance = await one.page.next("glance")
            assert glance == NOTHING | {"text": True}
            await soon(lambda: metric(run, "glances_total", result="done") >= 1)
    finally:
        await encoder.close()
