"""The frames that watches ask about, in light and dark: what an engine that sees brightness is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import pytest_asyncio

from server.core.errors import EngineFailed
from server.features.builtin.engine import BuiltinEngine
from server.models.base import EngineRequest
from tests.features.rooms import room
from tests.features.watches.test_watching import ABLE, Guard, decoded, guarded, picture, reply
from tests.support.fakes import FakeEngine
from tests.support.rooms import LIMITS, Room


class Lamp(Guard):
    """A guarded room with a lamp; the engine sees whether it is dark."""

    def __init__(self, one: Room) -> None:
        super().__init__(one)
        self.engine.chunks = dark_is(True)

    async def light(self, times: int = 1) -> None:
        await self.show(1, times=times)

    async def night(self, times: int = 1, *, black: bool = False) -> None:
        """A dark room, or a covered camera."""
        for _ in range(times):
            self.stage.show(1, dark=black, dim=not black)
            await self.quiet()


def dark_is(wanted: bool) -> Callable[[EngineRequest], list[str]]:
    """Answers that see darkness, or light. No place is named, since it is everywhere."""

    def chunks(request: EngineRequest) -> list[str]:
        dark = decoded(request.picture.jpeg or b"").mean() < 25
        return reply(bool(dark) is wanted)(request)

    return chunks


@pytest_asyncio.fixture
async def lamp() -> AsyncIterator[Lamp]:
    async with room(FakeEngine(capabilities=ABLE)) as one:
        yield Lamp(one)


@pytest.mark.parametrize("black", [False, True])
async def test_the_light_that_goes_out_alerts_once_with_a_dark_frame(
    lamp: Lamp, black: bool
) -> None:
    """One request and its second look, beside a light picture; then it rests, and says that it is too dark."""
    lamp.watch(condition="the light goes out", repeat=True)
    await lamp.light(times=4)
    asked = lamp.asked
    await lamp.night(times=4, black=black)
    (alert,) = lamp.alerts()
    assert picture(alert["image"]).mean() < 25
    assert lamp.asked == asked + 2
    (before,) = lamp.engine.requests[-1].earlier
    assert decoded(before.picture.jpeg or b"").mean() > 60
    await lamp.night(times=20, black=black)
    assert lamp.asked == asked + 2
    assert lamp.listed()[0]["reason"] == "It is too dark to see anything."
    await lamp.light()
    assert lamp.asked == asked + 3
    assert len(lamp.alerts()) == 1


@pytest.mark.parametrize("looks", [1, 2])
async def test_a_hand_that_passes_is_no_darkness(lamp: Lamp, looks: int) -> None:
    """Nothing is asked about a picture that is dark for less than a second, nor about the light after it."""
    lamp.watch(condition="the light goes out", repeat=True)
    await lamp.light(times=4)
    asked = lamp.asked
    for _ in range(5):
        await lamp.night(times=looks, black=True)
        await lamp.light(times=3)
    assert lamp.asked == asked
    assert lamp.alerts() == []


async def test_the_light_that_comes_on_alerts(lamp: Lamp) -> None:
    """The dark at the beginning is a state like any other."""
    lamp.engine.chunks = dark_is(False)
    lamp.watch(condition="the light comes on")
    await lamp.night(times=8)
    assert lamp.asked == 2
    await lamp.light(times=2)
    (alert,) = lamp.alerts()
    assert picture(alert["image"]).mean() > 60


async def test_dark_pictures_are_asked_about_once(lamp: Lamp) -> None:
    """A no has its look at the settled scene; then nothing is asked until the light is on."""
    lamp.engine.chunks = reply(False)
    lamp.watch(condition="a cat comes in")
    await lamp.light(times=4)
    asked = lamp.asked
    await lamp.night(times=30)
    assert lamp.asked == asked + 2
    # Motion in the dark looks like noise.
    await lamp.show(1, mark=True, dim=True, times=4)
    assert lamp.asked == asked + 2
    await lamp.light(times=6)
    assert lamp.asked == asked + 4
    assert lamp.alerts() == []


async def test_a_request_that_failed_in_the_dark_is_made_later(lamp: Lamp) -> None:
    lamp.watch(condition="the light goes out")
    await lamp.light(times=4)
    lamp.engine.fail_at, lamp.engine.fail_with = 0, EngineFailed("It failed.", public=True)
    await lamp.night(times=4)
    assert lamp.alerts() == []
    lamp.engine.fail_at = None
    await lamp.night(times=8)
    assert len(lamp.alerts()) == 1


async def test_without_a_model_the_light_is_watched_too() -> None:
    """From the camera's frames to the alert, with the built-in engine."""
    with ThreadPoolExecutor(1, "heavy") as heavy:
        async with room() as one:
            one.engines.current = BuiltinEngine(heavy=heavy)
            lamp = Lamp(one)
            lamp.watch("out", "das Licht ausgeht", repeat=True)
            lamp.watch("on", "the light comes on", repeat=True)
            await lamp.light(times=8)
            assert lamp.alerts() == []
            await lamp.night(times=5)
            assert [alert["watch"] for alert in lamp.alerts()] == ["out"]


async def test_each_comparison_is_reported_to_whom_wants_it(watched: Guard) -> None:
    """Its strength, its place and whether the engine is asked; nothing without the wish."""
    assert not [m for m in watched.heard if m["type"] == "change"]
    watched.say(type="settings", watch_changes=True)
    await watched.show()
    await watched.show(mark=True)
    calm, found, *_ = [m for m in watched.heard if m["type"] == "change"]
    assert {calm["about"], found["about"]} == {"watches"}
    assert (calm["why"], calm["asks"], calm.get("region")) == ("same", False, None)
    assert (found["why"], found["asks"]) == ("object", True)
    assert found["value"] >= 1 > calm["value"]
    left, top, right, bottom = found["region"]
    assert 0.3 < left < 0.5 < right < 0.7
    assert 0.3 < top < 0.5 < bottom < 0.7


async def test_a_person_sets_what_counts_as_a_change() -> None:
    """From the server's setting on: of a faint thing nothing is asked, and with more of it something is."""
    async with guarded(calm=True, limits=replace(LIMITS, sensitivity=0.25)) as guard:
        asked = guard.asked
        await guard.show(faint=True, times=4)
        assert guard.asked == asked
        guard.say(type="settings", sensitivity=4)
        await guard.show(faint=True, times=2)
        assert guard.asked > asked


async def test_what_appears_while_something_larger_goes_alerts(watched: Guard) -> None:
    """Both have changed, and the smaller one is what is watched for: its place counts as changed."""
    watched.engine.chunks = reply(True, where=[390, 390, 610, 610])
    await watched.show(mark=True, beside=True, times=2)
    assert len(watched.alerts()) == 1
