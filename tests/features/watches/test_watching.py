"""Watches at work: what is asked about which frame, what alerts with which picture, and what is kept."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import functools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import cv2
import numpy as np
import pytest

from server.core.frames import BoxUnit, Frame, JobKind
from server.core.sound import SOUND_RATE, Sound
from server.features.watches.alerts import MAX_ALERTS
from server.features.watches.messages import Watch
from server.features.watches.watching import Watching
from server.media.picture.privacy import ClosedFilter
from server.models.base import Capabilities, EngineRequest
from server.session.part import Alert, SessionPart
from server.shared.watch_answers import parse_conditions
from tests.features.describe.test_live_description import STEP, Stage
from tests.features.rooms import parser, room
from tests.session.request.test_builder import FakeEar
from tests.support.clients import sample
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import LIMITS, Room, make_frame
from tests.support.words import say

# The marked thing of a test's frames, 320x240, in thousandths of the picture and in shares
THING = [375.0, 375.0, 625.0, 625.0]
SHARES = [0.375, 0.375, 0.625, 0.625]
ABLE = Capabilities(grounding=True, boxes=BoxUnit.THOUSANDTHS, json_schema=True)


Where = list[float] | Callable[[EngineRequest], list[float]] | None


def middle(request: EngineRequest) -> list[float]:
    """The middle of a request's picture, in its pixels."""
    wide, high = request.picture.width, request.picture.height
    return [wide * 0.375, high * 0.375, wide * 0.625, high * 0.625]


def reply(
    seen: bool, *, where: Where = None, confidence: float = 0.9, why: str = "So."
) -> Callable[[EngineRequest], list[str]]:
    """The same answer about each condition of a request, in three pieces."""

    def chunks(request: EngineRequest) -> list[str]:
        place = where(request) if callable(where) else where
        entries = [
            {"id": name, "seen": seen, "sure": confidence, "where": place, "why": why}
            for name in parse_conditions(request.question)
        ]
        text = json.dumps({"watches": entries})
        return [text[:10], text[10:30], text[30:]]

    return chunks


class Guard:
    """A session with watches: scenes in, alerts and requests out."""

    def __init__(self, one: Room) -> None:
        self.one = one
        self.engine = one.engine
        self.stage = Stage(one)
        self.heard: list[dict[str, Any]] = []
        one.session.socket_opened()

    @property
    def asked(self) -> int:
        return len(self.engine.requests)

    @property
    def newest(self) -> Frame:
        frame = self.one.session.camera.newest
        assert frame is not None
        return frame

    def counted(self, name: str, result: str) -> float:
        """The value of a counter of results."""
        return sample(self.one.services.metrics, f"{name}_total", result=result)

    def say(self, **fields: Any) -> None:
        self.one.session.handle(parser().parse(json.dumps(fields)))

    def watch(self, id: str = "k", condition: str = "a thing appears", **more: Any) -> None:
        self.say(type="watch", id=id, condition=condition, **more)

    async def quiet(self) -> None:
        """Let all requests end, and read what was sent."""
        inference, runner = self.one.services.inference, self.one.session.part("watches")

        def calm() -> bool:
            return not len(runner.queue) and inference.running == 0

        await until(calm)
        await until(lambda: len(self.one.session.tasks) == 0)
        self.heard += await self.one.rest()

    async def show(self, scene: int = 1, *, times: int = 1, **more: Any) -> None:
        for _ in range(times):
            self.stage.show(scene, **more)
            await self.quiet()

    def alerts(self) -> list[dict[str, Any]]:
        return [m for m in self.heard if m["type"] == "alert" and "image" in m]

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [m for m in self.heard if m["type"] == "watches"][-1][
            "watches"
        ]
        return found

    def errors(self) -> list[tuple[str | None, str]]:
        return [(m.get("id"), m["code"]) for m in self.heard if m["type"] == "error"]

    async def calm(self) -> None:
        """A first look and one at the settled scene, both no: then nothing is to ask."""
        self.engine.chunks = reply(False)
        await self.show(times=4)

    async def alarm(self, **answer: Any) -> None:
        """The thing appears, and both looks see it."""
        self.engine.chunks = reply(True, **({"where": THING} | answer))
        await self.show(mark=True, times=2)


@asynccontextmanager
async def guarded(
    *filters: Any, capabilities: Capabilities = ABLE, calm: bool = False, **more: Any
) -> AsyncIterator[Guard]:
    """A session of an engine with these abilities. `calm`: with one watch, whose condition is known not to hold."""
    async with room(FakeEngine(capabilities=capabilities), *filters, **more) as one:
        guard = Guard(one)
        if calm:
            guard.watch()
            await guard.calm()
        yield guard


def decoded(jpeg: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def picture(url: str) -> Any:
    return decoded(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))


async def test_a_thing_that_appears_alerts_once_with_the_frame_that_shows_it(
    watched: Guard,
) -> None:
    """One request about the change, one second look, one alert; while nothing changes, nothing is asked."""
    assert [request.kind for request in watched.engine.requests] == [JobKind.WATCH] * 2
    await watched.show(times=20)
    assert len(watched.engine.requests) == 2
    # The second look's picture is the thing enlarged, so its place there is another one.
    await watched.alarm(where=[250, 250, 750, 750])
    (alert,) = watched.alerts()
    assert (alert["watch"], alert["condition"], alert["confidence"]) == (
        "k",
        "a thing appears",
        0.9,
    )
    assert alert["reason"] == "So."
    assert abs(alert["at"] / 1000 - time.time()) < 600
    shown = picture(alert["image"])
    assert shown.shape[:2] == (240, 320)
    assert shown[110:130, 150:170].mean() > 235
    # The first look's box is 160x120, so the crop is 256x224 in the middle, and the box its half.
    assert alert["region"] == pytest.approx([0.3, 64 / 240, 0.7, 176 / 240], abs=1e-3)
    assert watched.listed()[0]["state"] == "seen"
    # Once is once.
    await watched.show(times=3)
    await watched.show(mark=True, times=3)
    assert len(watched.alerts()) == 1


async def test_tell_me_when_the_dog_barks() -> None:
    """Nothing is seen to change: the sound is asked about, with a frame after its beginning, and alerts."""
    hears = Capabilities(audio_in=True, json_schema=True)
    bark = Sound(np.full(SOUND_RATE, 3, np.int16), 4.0)
    async with guarded(capabilities=hears) as guard:
        session = guard.one.session
        session.requests.audio_in = ear = FakeEar(bark)
        guard.watch(condition="the dog barks")
        await guard.calm()
        await guard.show(times=10)
        asked, last = guard.asked, guard.newest
        guard.engine.chunks = reply(True)
        session.part("watches").on_sound_event(last.captured)
        # Soon after it began the request would not have the sound.
        await guard.show()
        assert guard.asked == asked
        await guard.show(times=4)
        first, second = guard.engine.requests[asked : asked + 2]
        assert first.sound is bark
        assert second.sound is bark
        since, until = ear.asked[-1]
        assert since <= last.captured <= until
        assert [alert["condition"] for alert in guard.alerts()] == ["the dog barks"]


async def test_a_noisy_room_asks_within_bounds() -> None:
    """At most every three seconds; and never an engine that cannot hear."""
    for hears in (True, False):
        capabilities = dataclasses.replace(ABLE, audio_in=hears)
        async with guarded(capabilities=capabilities, calm=True) as guard:
            asked, frames = guard.asked, 40
            for _ in range(frames):
                guard.one.session.part("watches").on_sound_event(guard.newest.captured - 1)
                await guard.show()
            most = frames * STEP / 3 + 1 if hears else 0
            # Each may have one more at the settled scene.
            assert guard.asked - asked <= 2 * most
            assert (guard.asked > asked) is hears


async def test_a_change_between_two_samples_is_asked_about_at_once() -> None:
    """A frame that clearly differs need not wait for the next sample; the same bounds hold."""
    limits = dataclasses.replace(LIMITS, sample_rate=2)
    async with guarded(calm=True, limits=limits) as guard:
        guard.engine.chunks = reply(True, where=THING)
        asked, session = guard.asked, guard.one.session

        async def between(number: int) -> None:
            at = guard.newest.captured + 0.1
            feed = session.camera.feed
            assert feed is not None
            feed.packet_received(time.monotonic())
            feed.frame(make_frame(number, scene=1, mark=True, captured=at))
            await guard.quiet()

        allowance = session.requests.allowance
        left, allowance._left = allowance._left, -1.0
        await between(900)
        assert guard.asked == asked
        allowance._left = left
        await guard.show(times=2)
        await between(901)
        assert guard.asked == asked + 2
        assert len(guard.alerts()) == 1


async def test_the_second_look_has_the_crop_and_that_of_the_last_no(watched: Guard) -> None:
    """At the camera's own pixels, in other words, with a schema where the engine takes one."""
    await watched.alarm()
    first, second = watched.engine.requests[-2:]
    assert "Which of these" in first.question
    assert first.earlier == ()
    assert "did this begin between the two" in second.question
    assert second.schema is not None
    (before,) = second.earlier
    assert before.caption.startswith("Before")
    sizes = {(shown.width, shown.height) for shown in (before.picture, second.picture)}
    assert len(sizes) == 1
    crops = [decoded(shown.jpeg or b"") for shown in (before.picture, second.picture)]
    high, wide = crops[1].shape[:2]
    spots = [shown[high // 2, wide // 2].mean() for shown in crops]
    assert spots[1] > 235
    assert spots[0] < 215
    # The crop is 224 of 320 pixels wide.
    assert second.picture.width / second.picture.height < 1.1


@pytest.mark.parametrize("max_pictures", [1, None])
async def test_an_engine_of_one_picture_gets_the_crop_alone(max_pictures: int | None) -> None:
    able = Capabilities(boxes=BoxUnit.THOUSANDTHS, max_pictures=max_pictures)
    async with guarded(capabilities=able, calm=True) as guard:
        await guard.alarm()
        second = guard.engine.requests[-1]
        assert ("enlarged part" in second.question) == (max_pictures == 1)
        assert len(second.earlier) == (0 if max_pictures == 1 else 1)
        assert len(guard.alerts()) == 1


@pytest.mark.parametrize(
    ("boxes", "order"),
    [
        (BoxUnit.THOUSANDTHS, "[x1,y1,x2,y2]"),
        (BoxUnit.THOUSANDTHS_Y_FIRST, "[y1,x1,y2,x2]"),
        (None, "[x1,y1,x2,y2]"),
    ],
)
async def test_places_are_asked_for_in_the_models_own_order(
    boxes: BoxUnit | None, order: str
) -> None:
    """In both looks."""
    async with guarded(capabilities=Capabilities(boxes=boxes), calm=True) as guard:
        await guard.alarm()
        assert all(order in request.question for request in guard.engine.requests[-2:])
        assert len(guard.alerts()) == 1


async def test_what_the_model_missed_twice_is_asked_about_while_it_stays(guard: Guard) -> None:
    """Not once it went; and no more than three times."""
    guard.watch(repeat=True, cooldown=0)
    await guard.calm()
    await guard.show(mark=True, times=3)
    asked = guard.asked
    assert guard.alerts() == []
    guard.engine.chunks = reply(True, where=THING)
    await guard.show(mark=True, times=6)
    assert guard.asked == asked + 2
    assert len(guard.alerts()) == 1

    guard.engine.chunks = reply(False)
    await guard.show(times=12)
    await guard.show(mark=True, times=60)
    asked = guard.asked
    await guard.show(mark=True, times=60)
    assert guard.asked == asked


async def test_a_place_where_nothing_has_changed_does_not_alert(watched: Guard) -> None:
    await watched.alarm(where=[0, 0, 60, 60])
    assert watched.alerts() == []


async def test_errors_lose_nothing(guard: Guard) -> None:
    """A ninth watch, one that cannot be watched, unknown ids: each says so with its id, and the eight stay."""
    for number in range(8):
        guard.watch(f"k{number}", f"thing {number}")
    guard.watch("ninth")
    guard.watch("k1", "x" * 201)
    guard.watch("k2", "  ")
    guard.watch("k3", hours=[60, 60])
    guard.say(type="unwatch", id="nobody")
    guard.say(type="false_alarm", id="r9")
    guard.say(type="ack", id="r9")
    await guard.quiet()
    assert guard.errors() == [
        ("ninth", "conflict"),
        ("k1", "too_long"),
        ("k2", "bad_request"),
        ("k3", "bad_request"),
        ("nobody", "not_found"),
        ("r9", "not_found"),
    ]
    assert [one["condition"] for one in guard.listed()] == [f"thing {n}" for n in range(8)]
    guard.say(type="unwatch", id="k0")
    guard.watch("ninth")
    await guard.quiet()
    assert [one["id"] for one in guard.listed()][-1] == "ninth"


async def test_a_wrong_alert_raises_the_bar(guard: Guard) -> None:
    guard.watch(cooldown=0)
    await guard.calm()
    await guard.alarm(confidence=0.6)
    (alert,) = guard.alerts()
    before = guard.listed()[0]["threshold"]
    guard.say(type="false_alarm", id=alert["id"])
    await guard.quiet()
    assert guard.listed()[0]["threshold"] > max(before, 0.6)
    assert guard.listed()[0]["state"] == "looking"
    guard.engine.chunks = reply(False)
    await guard.show(times=4)
    await guard.alarm(confidence=0.6)
    assert len(guard.alerts()) == 1
    raised = guard.listed()[0]["threshold"]
    # The page brings it to its next session.
    async with guarded() as other:
        other.watch(threshold=raised)
        await other.quiet()
        assert other.listed()[0]["threshold"] == raised
        other.say(type="false_alarm", id=alert["id"])
        await other.quiet()
        assert other.errors() == [(alert["id"], "not_found")]


async def test_a_page_that_was_away_gets_what_it_missed_once(watched: Guard) -> None:
    """The watch goes on without a socket; the alert waits, and comes again until a page has shown it."""
    one = watched.one
    one.session.socket_closed()
    await watched.alarm()
    assert watched.alerts() == []
    one.session.socket_opened()
    one.session.greet()
    await watched.quiet()
    (alert,) = watched.alerts()
    assert not alert["acked"]
    assert watched.listed()[0]["state"] == "seen"
    watched.say(type="ack", id=alert["id"])
    one.session.socket_closed()
    one.session.socket_opened()
    await watched.quiet()
    assert [(one["id"], one["acked"]) for one in watched.alerts()] == [
        (alert["id"], False),
        (alert["id"], True),
    ]


class Phone(SessionPart):
    """Stands in for what sends alerts to a phone."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_alert(self, alert: Alert) -> None:
        self.heard.append(alert.condition)


@pytest.mark.parametrize(
    ("away_seconds", "own", "lasts"), [(3600, False, True), (3600, True, False), (0, False, False)]
)
async def test_a_session_lasts_while_another_device_is_watched(
    away_seconds: int, own: bool, lasts: bool
) -> None:
    """Without a page, for WATCH_AWAY_SECONDS; the page's own camera does not keep it. Alerts reach other parts."""
    part = functools.partial(Watching, away_seconds=away_seconds)
    phone = Phone()
    async with guarded(calm=True, watches=part, push=lambda _: phone) as guard:
        session = guard.one.session
        feed = session.camera.feed
        assert feed is not None
        feed.sender_controlled = own
        assert session.away_seconds == away_seconds
        session.socket_closed()
        before = session.last_activity
        await guard.show()
        assert (session.last_activity > before) is lasts
        await guard.alarm()
        assert phone.heard == ["a thing appears"]
        guard.watch("other")
        assert session.away_seconds == away_seconds
        guard.say(type="unwatch", id="other")
        guard.say(type="unwatch", id="k")
        assert session.away_seconds == 0


async def test_many_alerts_are_bounded_and_sent_two_at_a_time(guard: Guard) -> None:
    """The newest 16 are kept, and the outbox never holds more than two of them."""
    one = guard.one
    one.session.socket_closed()
    for part in range(3):
        for number in range(8):
            guard.watch(f"k{part}{number}", f"thing {part}{number}")
        await guard.calm()
        await guard.alarm()
    one.session.socket_opened()
    await guard.quiet()
    assert len(guard.alerts()) == 2
    seen = 0
    while seen < len(guard.alerts()):
        guard.say(type="ack", id=guard.alerts()[seen]["id"])
        seen += 1
        await guard.quiet()
    # Those of one answer come as their pictures are ready.
    watches = [alert["watch"] for alert in guard.alerts()]
    assert sorted(watches[:8]) == [f"k1{number}" for number in range(8)]
    assert sorted(watches[8:]) == [f"k2{number}" for number in range(8)]
    assert seen == MAX_ALERTS
    text = one.services.metrics.render().decode()
    assert "qwen_camera_alerts_dropped_total 8.0" in text


async def test_the_words_of_an_alarm_come_after_it(watched: Guard) -> None:
    """It goes out as soon as the answer says yes; its reason follows under the same id."""

    def chunks(request: EngineRequest) -> list[str]:
        if "Which of these" in request.question:
            return reply(True, where=THING, why="It is bright.")(request)
        watched.engine.hold(at=1)
        return [
            '{"watches": [{"id": "w1", "seen": true, "sure": 0.9, "where": [375, 375, 625, 625], "why": "',
            'A bright thing came."}]}',
        ]

    watched.engine.chunks = chunks
    watched.stage.show(1, mark=True)
    alarm = await watched.one.until(lambda m: m["type"] == "alert")
    assert alarm["reason"] == "It is bright."
    assert alarm["image"]
    watched.engine.release()
    words = await watched.one.until(lambda m: m["type"] == "alert")
    assert "image" not in words
    assert (words["id"], words["reason"]) == (alarm["id"], "A bright thing came.")
    await watched.quiet()


async def test_a_question_that_takes_the_slot_loses_no_alarm(watched: Guard) -> None:
    """The stopped request is made again about the same frame."""
    watched.engine.chunks = reply(True, where=THING)
    watched.engine.hold()
    watched.stage.show(1, mark=True)
    await until(lambda: watched.engine.open == 1)
    watched.one.services.inference.cancel_session("s", "preempted", questions=False)
    watched.engine.release()
    await watched.show(mark=True)
    assert len(watched.alerts()) == 1
    asked = [request.picture.frame_id for request in watched.engine.requests[2:]]
    assert len(set(asked)) == 1


async def test_it_says_why_it_cannot_watch() -> None:
    """No camera, an engine that is gone, no consent; what comes back is watched again."""
    async with room(FakeEngine(capabilities=ABLE)) as one:
        one.session.socket_opened()
        one.session.handle(Watch(type="watch", id="k", condition="a cat"))
        assert (await one.next("watches"))["watches"][0]["reason"] == "The camera is off."
        guard = Guard(one)
        await guard.calm()
        assert guard.listed()[0]["state"] == "looking"
        other = FakeEngine(capabilities=ABLE, elsewhere="gpu.example")
        one.engines.current = other
        one.session.engine_changed()
        await guard.show(mark=True)
        assert guard.listed()[0]["state"] == "cannot"
        assert "Agree on the page" in guard.listed()[0]["reason"]
        assert other.requests == []
        guard.say(type="confirm", host="gpu.example")
        other.chunks = reply(False)
        await guard.show(2, mark=True)
        assert len(other.requests) == 1
        assert guard.listed()[0]["state"] == "looking"
        other.ready = False
        one.session.engine_changed()
        await guard.quiet()
        assert "not available" in guard.listed()[0]["reason"]


async def test_too_dark_is_said_and_hardly_anything_is_asked(watched: Guard) -> None:
    """Once, and once more when the dark has settled: it may be what is watched for."""
    asked = watched.asked
    await watched.show(dark=True, times=6)
    assert watched.listed()[0]["reason"] == say("server.watch_dark")
    assert watched.asked == asked + 2
    # Nobody lights a screen: black says nothing of it.
    watched.say(type="settings", screen=True)
    await watched.show(dark=True)
    assert watched.listed()[0]["state"] == "looking"
    watched.say(type="settings", screen=False)
    await watched.show(dark=True)
    assert watched.listed()[0]["reason"] == "It is too dark to see anything."


async def test_what_an_engine_cannot_watch_is_said_when_it_is_added(guard: Guard) -> None:
    """Nothing is added then; a watch that was there keeps its place, and says so."""
    reason = "Only colours."
    narrow = Capabilities(cannot_watch=lambda text: "" if text == "red" else reason)
    guard.watch("cat", "a cat")
    guard.one.engines.current = FakeEngine(capabilities=narrow)
    guard.one.session.engine_changed()
    guard.watch("dog", "a dog")
    guard.watch("red", "red")
    await guard.quiet()
    assert guard.errors() == [("dog", "bad_request")]
    cat, red = guard.listed()
    assert (cat["id"], cat["reason"], red["id"]) == ("cat", reason, "red")
    assert red["reason"] != reason


class Blacken(ClosedFilter):
    """A privacy filter that leaves no picture recognisable."""

    name = "blacken"

    def _apply(self, bgr: Any) -> Any:
        bgr[:] = 0
        return bgr


async def test_evidence_is_filtered() -> None:
    """The alert's picture, both looks, and the picture of the last no."""
    async with guarded(Blacken(), calm=True) as guard:
        await guard.alarm()
        (alert,) = guard.alerts()
        assert picture(alert["image"]).max() < 10
        for request in guard.engine.requests:
            for shown in (request.picture, *(one.picture for one in request.earlier)):
                assert decoded(shown.jpeg or b"").max() < 10


async def test_nothing_is_left_after_the_session(guard: Guard) -> None:
    """Frames, pictures, alerts, orders: all gone, and no task with them."""
    guard.watch(repeat=True)
    await guard.calm()
    await guard.alarm()
    runner = guard.one.session.part("watches")
    assert len(runner.alerts) == 1
    assert len(runner.frames) > 0
    await guard.one.session.close("session_ended")
    assert len(runner.alerts) == len(runner.frames) == len(runner.rule) == 0
    assert not runner.queue.again


async def test_frames_are_bounded(guard: Guard) -> None:
    """A request that never ends, and a scene that always changes: a handful of frames is kept."""
    guard.watch()
    guard.engine.hold()
    for scene in range(40):
        guard.stage.show(scene)
        await asyncio.sleep(0)
    assert len(guard.one.session.part("watches").frames) <= 3
    guard.engine.release()
    guard.engine.chunks = reply(False)
    await guard.quiet()


async def test_another_camera_is_not_compared_with_the_one_before(watched: Guard) -> None:
    frames = watched.one.session.part("watches").frames
    assert len(frames) == 1
    watched.one.session.camera.open_connection()
    assert len(frames) == 0


async def test_a_camera_that_comes_anew_while_a_change_waits_is_watched(watched: Guard) -> None:
    """The change of the camera before is asked about, compared with nothing, and the watch goes on."""
    watched.engine.hold()
    watched.stage.show(1, mark=True)
    await until(lambda: watched.engine.open == 1)
    asked = watched.asked
    for _ in range(2):
        watched.stage.show(2)
    watched.one.session.camera.open_connection()
    watched.engine.release()
    await watched.quiet()
    assert watched.asked == asked + 1
    watched.one.camera()
    await watched.calm()
    await watched.alarm()
    assert len(watched.alerts()) == 1
