"""News for a person who carries the camera, without a model: rules, and rendered scenes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import av
import cv2
import numpy as np
import pytest

from server.core.frames import Frame
from server.features.builtin.detector import ThingFinder
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.language import get_language
from server.features.builtin.notable import (
    Look,
    News,
    Noticer,
    SeenThing,
    find_news,
    is_close,
    make_sentences,
    select_large_rows,
)
from server.features.builtin.reader import TextReader
from server.features.describe import live_description
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.models.base import Chunk, EngineRequest
from server.shared.notices import NoticeContext
from tests.features.builtin import scenes
from tests.features.builtin.rows import row_of
from tests.features.builtin.scenes import photo
from tests.features.describe.test_live_description import Clock
from tests.features.rooms import room, settings
from tests.support.fakes import FakeEngine
from tests.support.rooms import Room

NOTICES = get_language("en").say("notices")


def sight(name: str, high: float, *, x: float = 0.5, sure: bool = True) -> SeenThing:
    return SeenThing(name, Box(x - high / 4, 0.5 - high / 2, x + high / 4, 0.5 + high / 2), sure)


def told(until: float | None = 1e9, *said: str, first: bool = False) -> NoticeContext:
    return NoticeContext(first, until, said)


# Rules


def test_large_in_the_middle_is_close() -> None:
    assert is_close(sight("chair", 0.34), 0.0, ())
    assert not is_close(sight("chair", 0.32), 0.0, ())
    assert not is_close(sight("chair", 0.9, x=0.2), 0.0, ())
    assert not is_close(sight("chair", 0.9, x=0.8), 0.0, ())


def test_what_grows_by_half_in_two_seconds_is_close() -> None:
    """The same thing, at the same place; not one that is far away."""
    before = [Look(10.0, (sight("chair", 0.18, sure=False),))]
    assert is_close(sight("chair", 0.28), 12.0, before)
    assert not is_close(sight("chair", 0.26), 12.0, before)
    assert not is_close(sight("chair", 0.28), 12.1, before)
    assert not is_close(sight("bench", 0.28), 12.0, before)
    assert not is_close(sight("chair", 0.28, x=0.7), 12.0, before)
    assert not is_close(sight("chair", 0.14), 10.5, [Look(10.0, (sight("chair", 0.05),))])


def test_what_is_known_is_no_news() -> None:
    """What two models do not agree on is none, either."""
    look = Look(5.0, (sight("chair", 0.5), sight("person", 0.2), sight("bed", 0.6, sure=False)))
    first = find_news(look, (), ())
    assert first == News(close=("chair",), came=("person",))
    known = [Look(4.0, look.sights, close=frozenset({"chair"}))]
    assert find_news(look, known, ()) == News()


def test_those_that_come_are_counted() -> None:
    """By the most of the last looks: one look may miss somebody. A thing comes by itself no more than a chair."""
    two = Look(3.0, (sight("person", 0.2, x=0.1), sight("person", 0.2, x=0.9)))
    one, none = Look(2.0, two.sights[:1]), Look(1.0)
    assert find_news(two, [none], ()).came == ("person", "person")
    assert find_news(two, [one, none], ()).came == ("person",)
    assert find_news(two, [two, none, none], ()).came == ()
    assert find_news(Look(1.0, (sight("chair", 0.2),)), [none], ()).came == ()
    crowd = Look(4.0, tuple(sight("person", 0.2, x=0.1 * n) for n in range(9)))
    assert len(find_news(crowd, [none], ()).came) == 3
    more = Look(5.0, (*crowd.sights, sight("person", 0.2)))
    assert find_news(more, [crowd], ()).came == ()


def test_print_is_new_once() -> None:
    """Also where it is read a little differently, or was out of view for a moment."""
    look = Look(5.0, rows=("Platform", "Gate 7"))
    assert find_news(look, [Look(4.0, rows=("Platforn",))], ()).rows == ("Gate 7",)
    assert find_news(look, [Look(4.0)], ("It says: Platform · Gate 7",)).rows == ()


def test_only_few_large_words_count() -> None:
    rows = [
        row_of("EXIT", 90),
        row_of("Please keep this door closed at all times", 95),
        row_of("3", 99),
        row_of("Gate 7", 60),
        row_of("Platform", 50),
        row_of("Ring twice", 30),
    ]
    assert select_large_rows(rows) == ("EXIT", "Gate 7", "Platform")


def test_the_most_urgent_comes_first_and_two_at_most() -> None:
    found = News(("chair", "cup"), ("person", "person"), ("EXIT",))
    assert make_sentences(found, "en", first=False, things=True) == [
        "Close ahead: a chair and a cup.",
        "Just appeared: people.",
    ]
    assert make_sentences(News(rows=("EXIT",)), "en", first=False, things=True) == ["It says: EXIT"]
    assert make_sentences(News(came=("dog",)), "en", first=True, things=True) == [
        "I see a dog.",
        NOTICES,
    ]
    assert make_sentences(News(), "en", first=False, things=True) == []


def noticer() -> Noticer:
    return Noticer(None, sessions=2)


def test_a_lost_answer_is_news_again() -> None:
    """Its look counts for nothing, whatever came."""
    one = noticer()
    look = Look(2.0, (sight("dog", 0.2),))
    assert one.find_news("s", Look(1.0), told(None), "en") == ""
    assert one.find_news("s", look, told(1.0), "en") == "Just appeared: a dog."
    again = Look(3.0, look.sights)
    assert one.find_news("s", again, told(1.0), "en") == "Just appeared: a dog."
    assert one.find_news("s", Look(4.0, look.sights), told(3.0), "en") == ""
    # A stream that begins anew knows nothing.
    assert one.find_news("s", Look(5.0, look.sights), told(None), "en") == "Just appeared: a dog."


def test_a_thing_that_stays_close_is_told_once() -> None:
    """Also one that was told since it grew; again after it was gone."""
    one = noticer()
    far, near = (sight("chair", 0.18),), (sight("chair", 0.3),)
    assert one.find_news("s", Look(1.0, far), told(None), "en") == ""
    assert one.find_news("s", Look(2.5, near), told(), "en") == "Close ahead: a chair."
    for at in (8.0, 9.0, 10.0, 11.0):
        assert one.find_news("s", Look(at, near), told(), "en") == ""
    for at in (12.0, 13.0, 14.0):
        assert one.find_news("s", Look(at), told(), "en") == ""
    assert (
        one.find_news("s", Look(15.0, (sight("chair", 0.5),)), told(), "en")
        == "Close ahead: a chair."
    )


def test_print_without_room_is_news_next_time() -> None:
    one = noticer()
    look = Look(2.0, (sight("chair", 0.5), sight("dog", 0.2, x=0.9)), ("EXIT",))
    assert one.find_news("s", Look(1.0), told(None), "en") == ""
    assert one.find_news("s", look, told(), "en") == "Close ahead: a chair. Just appeared: a dog."
    later = Look(8.0, look.sights, look.rows)
    assert one.find_news("s", later, told(), "en") == "It says: EXIT"


def test_looks_of_two_sessions_are_kept() -> None:
    """Of a third one the session that looked longest ago is dropped; a session that ends is, too."""
    one = noticer()
    for session in "abc":
        one.find_news(session, Look(1.0, (sight("dog", 0.2),)), told(None), "en")
    assert len(one) == 2
    assert (
        one.find_news("a", Look(2.0, (sight("dog", 0.2),)), told(), "en") == "Just appeared: a dog."
    )
    one.forget("a")
    assert len(one) == 1


# Rendered scenes, in virtual time


class Wrapped(FakeEngine):
    """The built-in engine, whose requests are noted."""

    def __init__(self, engine: BuiltinEngine) -> None:
        super().__init__("builtin", capabilities=engine.status.capabilities)
        self.engine = engine

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        self.open += 1
        try:
            async for chunk in self.engine.answer(request):
                yield chunk
        finally:
            self.open -= 1


class Walk:
    """A session with the built-in engine; two pictures a second of virtual time."""

    def __init__(self, one: Room, clock: Clock) -> None:
        self.one, self.clock = one, clock
        self._numbers = itertools.count()
        rng = np.random.default_rng(5)
        self._noise = [rng.normal(0, 2, (720, 1280, 1)).astype(np.int16) for _ in range(5)]
        one.camera()
        one.session.handle(settings(describe=True, about="notable"))

    async def see(self, bgr: Bgr) -> list[str]:
        """Show a picture; return what is said of it."""
        return await self._show(self._image(bgr, 0))

    async def stay(self, bgr: Bgr, seconds: float) -> list[str]:
        """Show a picture with a camera's noise for a while."""
        images = [self._image(bgr, number) for number in range(len(self._noise))]
        shown = itertools.islice(itertools.cycle(images), round(2 * seconds))
        return [said for image in shown for said in await self._show(image)]

    def _image(self, bgr: Bgr, number: int) -> av.VideoFrame:
        shown = np.clip(bgr + self._noise[number], 0, 255).astype(np.uint8)
        return av.VideoFrame.from_ndarray(shown, format="bgr24").reformat(format="yuv420p")

    async def _show(self, image: av.VideoFrame) -> list[str]:
        self.clock.now += 0.5
        now = self.clock.now
        frame = Frame(
            f"f{next(self._numbers)}",
            *(image, image.width, image.height, now, None, now, round(now * 90_000)),
        )
        feed = self.one.session.camera.feed
        assert feed is not None
        feed.packet_received(time.monotonic())
        feed.frame(frame)
        async with asyncio.timeout(20):
            # Not in turns of the loop: the look's thread needs the processor.
            while not self.one.services.inference.idle:
                await asyncio.sleep(0.002)
        return [m["text"] for m in await self.one.rest() if m["type"] == "response"]


@pytest.fixture(scope="module")
def engine(heavy: ThreadPoolExecutor, reader: TextReader) -> BuiltinEngine:
    return BuiltinEngine(heavy=heavy, reader=reader, finder=ThingFinder())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(live_description, "time", found)
    return found


@asynccontextmanager
async def walk(engine: BuiltinEngine, clock: Clock) -> AsyncIterator[Walk]:
    async with room(Wrapped(engine)) as one:
        yield Walk(one, clock)
    engine.forget("s")


def wall(name: str = "", high: int = 0, x: int = 640) -> Bgr:
    """A grey room with a photograph so high in front of it, whose middle is at `x`."""
    bgr = np.full((720, 1280, 3), (150, 165, 170), np.uint8)
    cv2.rectangle(bgr, (0, 560), (1280, 720), (95, 100, 110), -1)
    if name:
        thing = photo(name)
        wide = round(thing.shape[1] * high / thing.shape[0])
        thing = np.asarray(cv2.resize(thing, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)
        top, left = 360 - high // 2, x - wide // 2
        bgr[top : top + high, max(0, left) : left + wide] = thing[:, max(0, -left) :][
            :, : 1280 - left
        ]
    return bgr


async def test_a_still_scene_is_silence(engine: BuiltinEngine, clock: Clock) -> None:
    """For two minutes: once it says what it notices and what not."""
    async with walk(engine, clock) as one:
        assert await one.stay(wall(), 120) == [NOTICES]
        assert len(one.one.engine.requests) <= 2


async def test_somebody_who_comes_is_told_once(engine: BuiltinEngine, clock: Clock) -> None:
    async with walk(engine, clock) as one:
        await one.stay(wall(), 8)
        assert await one.stay(wall("astronaut", 430, 1060), 20) == ["Just appeared: a person."]
        assert await one.stay(wall(), 20) == []


@pytest.mark.slow
async def test_a_thing_that_comes_nearer_is_told(engine: BuiltinEngine, clock: Clock) -> None:
    """Not while it is far, and once when it is close."""
    async with walk(engine, clock) as one:
        assert await one.stay(wall("coffee", 200), 8) == [NOTICES]
        heard = []
        for high in range(210, 640, 10):
            heard += [(high, said) for said in await one.see(wall("coffee", high))]
        assert [said for _, said in heard] == ["Close ahead: a cup."]


async def test_a_new_sign_is_read(engine: BuiltinEngine, clock: Clock) -> None:
    """Not a page full of print."""
    sign = scenes.draw(
        scenes.Scene([scenes.Sheet("##EXIT", size=60, top=260)], ground=(150, 165, 170))
    )
    page = scenes.draw(
        scenes.Scene([scenes.Sheet("\n".join(["Nothing on this page matters"] * 14))])
    )
    async with walk(engine, clock) as one:
        await one.stay(wall(), 8)
        assert await one.stay(sign, 20) == ["It says: EXIT"]
        assert await one.stay(page, 20) == []


async def test_a_word_that_is_cut_off_is_not_read(reader: TextReader) -> None:
    """It would be another one."""
    sign = cv2.putText(wall(), "EXIT", (500, 300), cv2.FONT_HERSHEY_DUPLEX, 4, scenes.INK, 9)
    shown = np.asarray(sign, np.uint8)
    assert [one.text for one in reader.read_large_text(shown)] == ["EXIT"]
    assert reader.read_large_text(np.ascontiguousarray(shown[:, 600:])) == []
    assert reader.read_large_text(np.ascontiguousarray(shown[:, :700])) == []


async def test_what_is_there_at_first_is_told_with_what_cannot_be_noticed(
    engine: BuiltinEngine, clock: Clock
) -> None:
    """In the language of the page."""
    async with walk(engine, clock) as one:
        one.one.session.handle(settings(page_language="de"))
        (said,) = await one.stay(wall("coffee", 500), 5)
        words = get_language("de")
        assert said == f"{words.say('close', things='eine Tasse')} {words.say('notices')}"
