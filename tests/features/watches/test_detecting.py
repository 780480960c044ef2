"""Watches that the detector looks for: a model confirms what it saw twice in a row, and is asked nothing else."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
import pytest_asyncio

from server.core.errors import EngineFailed
from server.core.frames import Picture
from server.features.watches.detecting import DetectionHistory
from server.features.watches.rule import has_overlap
from server.features.watches.watching import Watching
from server.media.picture.grounding import Box
from server.media.picture.privacy import ClosedFilter
from server.models.base import EngineRequest
from server.session.part import SessionContext
from server.shared.watch_answers import WatchAnswer
from tests.features.watches.test_watching import ABLE, THING, Blacken, Guard, guarded, reply
from tests.support.fakes import FakeEngine
from tests.support.rooms import make_frame

# Where the marked thing of a test's frames is, in pixels
PLACE = Box(120, 90, 200, 150)
COMES, GOES, OTHER = "a thing comes", "the thing leaves", "somebody laughs"
NEVER = "another thing comes"
NO, YES = WatchAnswer(False, 0.8, None, "No."), WatchAnswer(True, 0.8, PLACE, "A thing.")


class Eye:
    """Stands in for the detector: sees the bright thing, and knows of nothing else."""

    def __init__(self) -> None:
        self.looks: list[Mapping[str, str]] = []
        self.blind = False
        self.places: list[Box | None] = []
        # What it knows well enough to be asked in place of a model
        self.well = {COMES, GOES, NEVER}

    async def __call__(
        self,
        picture: Picture,
        conditions: Mapping[str, str],
        turn: int,
        near: Box | None,
        well: bool,
    ) -> dict[str, Sequence[WatchAnswer] | None] | None:
        self.looks.append(conditions)
        if self.blind:
            return None
        self.places.append(near)
        assert picture.bgr is not None
        there = picture.bgr[110:130, 150:170].mean() > 235
        gone = [dataclasses.replace(NO, seen=not there)]
        said = {COMES: [YES if there else NO], GOES: gone, NEVER: [NO]}
        known = self.well if well else said.keys()
        return {
            name: said[condition] if condition in known else None
            for name, condition in conditions.items()
        }

    def part(self, context: SessionContext) -> Watching:
        return Watching(context, detector=self)


@pytest.fixture
def eye() -> Eye:
    return Eye()


@pytest_asyncio.fixture
async def guard(eye: Eye) -> AsyncIterator[Guard]:
    async with guarded(watches=eye.part) as one:
        yield one


async def test_a_model_is_asked_once_to_confirm_and_then_it_alerts(guard: Guard) -> None:
    """Nothing is asked about a scene that changes; the request shows what was seen, and what was before."""
    guard.watch(condition=COMES)
    await guard.show(times=4)
    for scene in range(2, 6):
        await guard.show(scene)
    # The crop is wider than the thing: its place there is another one.
    guard.engine.chunks = reply(True, where=[250, 250, 750, 750])
    await guard.show(mark=True)
    assert guard.asked == 0
    await guard.show(mark=True, times=4)
    (request,) = guard.engine.requests
    assert request.picture.region is not None
    assert len(request.earlier) == 1
    (alert,) = guard.alerts()
    assert (alert["condition"], alert["reason"]) == (COMES, "So.")
    assert alert["region"] == pytest.approx([0.3, 64 / 240, 0.7, 176 / 240], abs=0.06)


@pytest.mark.slow
async def test_what_a_model_denies_stays_silent_for_longer_each_time(guard: Guard) -> None:
    """Asked again after 10, 20 and 40 s while the detector sees it all along; then a yes alerts."""
    guard.watch(condition=COMES)
    await guard.show(times=3)
    guard.engine.chunks = reply(False)
    asked = []
    for _ in range(170):
        await guard.show(mark=True)
        asked.append(guard.asked)
    assert guard.alerts() == []
    at = [asked.index(number) / 2 for number in (1, 2, 3, 4)]
    apart = [round(later - sooner) for sooner, later in itertools.pairwise(at)]
    assert apart == pytest.approx([10, 20, 40], abs=2)
    assert guard.counted("watch_confirmations", "no") == 4
    guard.engine.chunks = reply(True, where=THING)
    await guard.show(mark=True, times=170)
    assert len(guard.alerts()) == 1


async def test_it_leaves(guard: Guard) -> None:
    """Of what is gone nothing has a place, and none is asked for."""
    guard.watch(condition=GOES)
    await guard.show(mark=True, times=4)
    assert guard.asked == 0
    guard.engine.chunks = reply(True)
    await guard.show(times=4)
    (alert,) = guard.alerts()
    assert (alert["condition"], guard.asked) == (GOES, 1)


async def test_what_is_there_at_the_beginning_does_not_alert(guard: Guard) -> None:
    guard.engine.chunks = reply(True, where=THING)
    guard.watch(condition=COMES, repeat=True, cooldown=0)
    await guard.show(mark=True, times=6)
    assert (guard.asked, guard.alerts()) == (1, [])
    # It goes, and comes anew.
    await guard.show(times=8)
    await guard.show(mark=True, times=3)
    assert len(guard.alerts()) == 1


async def test_conditions_that_it_does_not_know_go_on_as_ever(guard: Guard) -> None:
    """Beside one that it knows, of which no common request speaks."""
    guard.watch("a", OTHER)
    guard.watch("b", COMES)
    await guard.calm()
    assert guard.asked == 2
    assert all(OTHER in one.question for one in guard.engine.requests)
    assert not any(COMES in one.question for one in guard.engine.requests)


async def test_a_detector_that_cannot_look_is_given_up(eye: Eye, guard: Guard) -> None:
    """And the model is asked as ever."""
    eye.blind = True
    guard.watch(condition=COMES)
    await guard.calm()
    assert guard.asked == 2
    await guard.alarm(where=[250, 250, 750, 750])
    assert len(guard.alerts()) == 1
    assert (len(eye.looks), guard.counted("watch_detector_looks", "failed")) == (1, 1)


async def test_an_engine_without_a_model_confirms_what_the_detector_saw() -> None:
    """It is asked about nothing else that the detector knows, well or not; a model is, about what it knows less well."""
    limited = dataclasses.replace(ABLE, cannot_watch=lambda condition: "")
    for capabilities, asked in ((limited, 0), (ABLE, 2)):
        eye = Eye()
        eye.well = {GOES}
        async with guarded(capabilities=capabilities, watches=eye.part) as guard:
            guard.watch(condition=COMES)
            await guard.calm()
            assert guard.asked == asked
            await guard.alarm(where=[250, 250, 750, 750])
            await guard.show(mark=True, times=2)
            assert len(guard.alerts()) == 1
            assert (len(eye.looks) > 1) is (capabilities is limited)


async def test_a_model_that_fails_is_asked_again_later(guard: Guard) -> None:
    """Not at each look: what failed counts like a no for a while."""
    failing = True

    def chunks(request: EngineRequest) -> list[str]:
        if failing:
            raise EngineFailed("gone")
        return reply(True, where=THING)(request)

    guard.watch(condition=COMES)
    await guard.show(times=3)
    guard.engine.chunks = chunks
    await guard.show(mark=True, times=12)
    # One that may pass is made three times.
    assert guard.asked == 3
    assert guard.counted("watch_confirmations", "failed") == 1
    failing = False
    await guard.show(mark=True, times=16)
    assert len(guard.alerts()) == 1


class Withhold(ClosedFilter):
    name = "withhold"

    def _apply(self, bgr: Any) -> Any:
        raise RuntimeError("nothing may pass")


@pytest.mark.parametrize("hide", [Blacken, Withhold])
async def test_it_sees_only_what_the_filters_let_through(hide: type[ClosedFilter]) -> None:
    """The thing is there, and nobody sees it; a frame that is withheld is not looked at."""
    eye = Eye()
    async with guarded(hide(), watches=eye.part) as guard:
        guard.watch(condition=COMES)
        await guard.show(mark=True, times=6)
        assert bool(eye.looks) is (hide is Blacken)
        assert guard.asked == 0


async def test_nothing_is_looked_at_without_consent(eye: Eye, guard: Guard) -> None:
    guard.one.engines.current = FakeEngine(capabilities=ABLE, elsewhere="gpu.example")
    guard.watch(condition=COMES)
    await guard.show(times=3)
    await guard.show(mark=True, times=6)
    assert (eye.looks, guard.alerts()) == ([], [])


async def test_in_the_dark_it_sees_nothing_leave(guard: Guard) -> None:
    """The light goes out over a thing: that is for the model, as ever."""
    guard.engine.chunks = reply(False)
    guard.watch(condition=GOES)
    await guard.show(mark=True, times=4)
    assert guard.asked == 0
    await guard.show(dark=True, times=8)
    assert guard.alerts() == []
    assert guard.counted("watch_confirmations", "no") == 0


async def looked_at(
    guard: Guard, eye: Eye, began: float, seconds: Sequence[float], **shown: bool
) -> list[float]:
    """Show frames captured at these seconds after `began`; return those at which the detector looked."""
    found = []
    for second in seconds:
        looks = len(eye.looks)
        guard.one.frame(scene=1, captured=began + second, **shown)
        await guard.quiet()
        if len(eye.looks) > looks:
            found.append(second)
    return found


async def test_it_looks_twice_a_second_at_rest(eye: Eye, guard: Guard) -> None:
    """However many frames come; sooner after a look that saw something new, since the next one decides."""
    guard.watch(condition=COMES)
    began = time.monotonic()
    at = await looked_at(guard, eye, began, [number / 30 for number in range(90)])
    assert at[:2] == pytest.approx([0, 0.2], abs=0.06)
    apart = [later - sooner for sooner, later in itertools.pairwise(at[1:])]
    assert apart == pytest.approx([0.5] * len(apart), abs=0.06)
    guard.engine.chunks = reply(True, where=[250, 250, 750, 750])
    seconds = [number / 30 for number in range(90, 130)]
    came = await looked_at(guard, eye, began, seconds, mark=True)
    assert came[0] < at[-1] + 0.55
    assert came[1] - came[0] == pytest.approx(0.2, abs=0.06)
    assert len(guard.alerts()) == 1


async def test_a_change_between_two_samples_is_looked_at_at_once(eye: Eye, guard: Guard) -> None:
    """Where it is, and what follows five times a second, for a second."""
    guard.watch(condition=NEVER)
    began = time.monotonic()
    watching, found = guard.one.session.part("watches"), []
    await looked_at(guard, eye, began, [0, 0.5, 1, 1.5, 2])
    assert not any(eye.places)
    for number in range(1, 30):
        looks = len(eye.looks)
        captured = began + 2 + number / 12
        watching.between(make_frame(scene=1, mark=number > 2, captured=captured))
        await guard.quiet()
        if len(eye.looks) > looks:
            found.append(number / 12)
    assert found[0] == pytest.approx(0.25, abs=0.01)
    apart = [later - sooner for sooner, later in itertools.pairwise(found)]
    assert apart[:4] == pytest.approx([0.2] * 4, abs=0.06)
    assert apart[-1] == pytest.approx(0.5, abs=0.06)
    place = next(one for one in eye.places if one is not None)
    assert has_overlap(place, PLACE)
    assert eye.places[-1] is None


# What was seen of one condition


def boxes(*places: Box) -> list[WatchAnswer]:
    return [dataclasses.replace(YES, where=place) for place in places]


def test_two_looks_in_a_row_have_to_agree() -> None:
    sightings = DetectionHistory()
    flickers = [sightings.take(one, at) for at, one in enumerate(([YES], [NO], [YES], [NO]))]
    assert flickers == [None] * 4
    assert sightings.take([NO], 4) == NO
    assert sightings.take([YES], 5) is None
    assert sightings.take([YES], 6) == YES


def test_a_place_that_was_denied_hides_no_other_one() -> None:
    """A coat that looks like a person, and then a person beside it."""
    coat, person = PLACE, Box(220, 40, 300, 200)
    sightings = DetectionHistory()
    sightings.deny(coat, 0.0)
    for at in (1, 2):
        seen = sightings.take(boxes(dataclasses.replace(coat, x2=204)), at)
    assert seen is not None
    assert (seen.seen, seen.where) == (False, None)
    for at in (3, 4):
        seen = sightings.take(boxes(coat, person), at)
    assert seen is not None
    assert (seen.seen, seen.where) == (True, person)
    for at in (11, 12):
        seen = sightings.take(boxes(coat), at)
    assert seen is not None
    assert seen.where == coat
