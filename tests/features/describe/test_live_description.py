"""A running description: it asks at a change, and tells what is new."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from server.core.errors import EngineFailed
from server.core.frames import Frame, JobKind
from server.core.messages import Chat, Confirm
from server.features.describe import live_description
from server.features.describe.live_description import LOOK_SECONDS, NEWS_SECONDS
from server.features.describe.messages import Length
from server.features.describe.words import make_notable_question
from server.features.voice_out.messages import SpeechProgress
from server.models.base import EngineRequest
from server.models.prompts import UNCHANGED
from server.session.request.parts import SessionLimits
from server.shared.notices import NoticeContext
from tests.features.rooms import room, settings
from tests.features.voice_in.test_listening import Ear, ear
from tests.support.clients import sample
from tests.support.fakes import FakeEngine, make_job, until
from tests.support.fakes_words import FakeWords
from tests.support.rooms import LIMITS, Filter, Room, make_frame, withhold
from tests.support.sounds import make_hiss, make_silence, mix, needs_espeak, synthesise_espeak

# Seconds between two frames, by their capture time: each gets a look
STEP = 0.5


class Stage:
    """A room whose camera shows numbered scenes, two frames a second by their capture time."""

    def __init__(self, one: Room, step: float = STEP) -> None:
        self.one = one
        self._step = step
        self._times = itertools.count()
        self._begin = time.monotonic()
        one.camera()

    def settings(self, **fields: Any) -> None:
        self.one.session.handle(settings(**fields))

    def show(self, scene: int, **more: Any) -> Frame:
        number = next(self._times)
        frame = make_frame(number, scene=scene, captured=self._begin + self._step * number, **more)
        feed = self.one.session.camera.feed
        assert feed is not None
        feed.packet_received(time.monotonic())
        feed.frame(frame)
        return frame

    async def described(self, scene: int, **more: Any) -> list[dict[str, Any]]:
        """Show a scene and return the messages of its description, which has to come."""
        asked = len(self.one.engine.requests)
        self.show(scene, **more)
        await until(lambda: len(self.one.engine.requests) > asked)
        return await self.ended()

    async def ended(self) -> list[dict[str, Any]]:
        inference = self.one.services.inference
        await until(lambda: self.one.engine.open == 0 and inference.running == 0)
        kinds = ("started", "delta", "response", "unchanged", "error")
        return [m for m in await self.one.rest() if m["type"] in kinds]

    @property
    def asked(self) -> list[str]:
        return [request.question for request in self.one.engine.requests]


@asynccontextmanager
async def describing(
    chunks: Any = ("A cup.",), limits: SessionLimits = LIMITS, step: float = STEP, **wishes: Any
) -> AsyncIterator[tuple[Room, Stage]]:
    """A session that describes, with an engine that says this."""
    async with room(FakeEngine(chunks=chunks), limits=limits) as one:
        stage = Stage(one, step)
        stage.settings(describe=True, **wishes)
        yield one, stage


@asynccontextmanager
async def kept_busy() -> AsyncIterator[tuple[Room, Stage]]:
    """A session that describes once the engine's slots, which all answer others, are free: `release` it."""
    async with room(FakeEngine(chunks=["A cup."])) as one:
        stage = Stage(one)
        one.engine.hold()
        for number in range(one.services.inference.slots):
            one.services.inference.submit(make_job(f"other {number}")[0])
        stage.settings(describe=True)
        yield one, stage


async def only_request(one: Room) -> EngineRequest:
    """Let the engine go on; the one request of the session."""
    one.engine.release()
    await until(lambda: one.session.id in [r.session_id for r in one.engine.requests])
    (ours,) = [r for r in one.engine.requests if r.session_id == one.session.id]
    return ours


async def test_an_unchanged_scene_is_described_once() -> None:
    """Then nothing runs, however many frames come; a changed scene is described at once."""
    async with describing() as (one, stage):
        await stage.described(1)
        for _ in range(20):
            stage.show(1)
        assert len(stage.asked) == 1
        assert metric(one, "looks_total", why="same") == 20
        await stage.described(2)
        assert len(stage.asked) == 2


def told_once(request: EngineRequest) -> list[str]:
    """The first description, and that nothing is different after it."""
    return ["A table."] if "last answer" not in request.question else ["SA", "ME", "."]


async def test_a_change_is_asked_with_the_last_description() -> None:
    """It tells what is new; another view is described as a whole."""
    async with describing(["A ", "table."], length="medium") as (one, stage):
        await stage.described(1)
        assert stage.asked[-1].startswith("Describe in two or three sentences")
        # Its beginning may still be that of the one before.
        one.engine.chunks = ["A ", "lamp ", "came."]
        said = await stage.described(1, mark=True)
        assert "Your last answer about this camera was: A table." in stage.asked[-1]
        assert [m["type"] for m in said][:2] == ["started", "delta"]
        assert "".join(m["text"] for m in said if m["type"] == "delta") == "A lamp came."
        assert said[-1]["text"] == "A lamp came."
        await stage.described(2)
        assert "last answer" not in stage.asked[-1]


async def test_a_description_that_still_holds_is_not_repeated() -> None:
    """The client hears that it still holds, and nothing of the answer."""
    async with describing(told_once) as (one, stage):
        first = await stage.described(1)
        second = await stage.described(1, mark=True)
        assert [m["type"] for m in second] == ["unchanged"]
        assert second[0]["id"] == first[-1]["id"]
        assert abs(second[0]["looked_at"] / 1000 - time.time()) < 60
        assert metric(one, "descriptions_unchanged_total") == 1
        # Compared with the marked picture from now on.
        stage.show(1, mark=True)
        assert len(stage.asked) == 2


async def test_the_same_words_again_are_not_repeated() -> None:
    """The built-in engine knows no word for it, and models forget theirs."""
    async with describing(["A ", "table."]) as (_one, stage):
        await stage.described(1)
        assert [m["type"] for m in await stage.described(1, mark=True)] == ["unchanged"]


async def test_the_persons_own_question_is_asked_again_after_a_change() -> None:
    async with describing(["One."], prompt="How many cups?") as (_one, stage):
        await stage.described(1)
        await stage.described(1, mark=True)
        assert stage.asked[0] == "How many cups?"
        assert stage.asked[1].startswith(
            "How many cups?\nYour last answer about this camera was: One."
        )


async def test_the_newest_frame_takes_the_turn_of_one_that_waits() -> None:
    """While all slots answer others, one request waits, and it is about the newest frame."""
    async with kept_busy() as (one, stage):
        shown = [stage.show(scene) for scene in (1, 2, 3)]
        assert (await only_request(one)).picture.frame_id == shown[-1].id
        assert metric(one, "frames_replaced_total") == 2


async def test_while_one_runs_no_other_is_asked() -> None:
    """Its end is compared with the present scene, and the change is described then."""
    async with describing() as (one, stage):
        one.engine.hold()
        stage.show(1)
        await until(lambda: one.engine.open == 1)
        stage.show(2)
        assert len(stage.asked) == 1
        one.engine.release()
        await stage.ended()
        await stage.described(2)


async def test_a_failure_pauses_and_is_told_once() -> None:
    """Another engine ends the pause."""
    async with room(FakeEngine(fail_at=0, fail_with=EngineFailed("broken"))) as one:
        stage = Stage(one)
        stage.settings(describe=True)
        assert [m["type"] for m in await stage.described(1)] == ["started", "error"]
        stage.show(2)
        assert len(stage.asked) == 1
        # Nothing was to be confirmed, so that ends no pause.
        one.session.handle(Confirm(type="confirm", host=""))
        stage.show(2)
        assert len(stage.asked) == 1
        one.session.engine_changed()
        assert [m["type"] for m in await stage.described(3)] == ["started"]
        one.engine.fail_with = None
        one.session.engine_changed()
        assert (await stage.described(4))[-1]["type"] == "response"
        one.engine.fail_with = EngineFailed("broken")
        one.engine.chunks = ["Another."]
        assert [m["type"] for m in await stage.described(5)] == ["started", "error"]


@pytest.mark.parametrize(("rate", "looks"), [(0.5, 5), (2.0, 20), (30.0, 25)])
async def test_frames_are_compared_at_the_chosen_rate(rate: float, looks: int) -> None:
    """At most 2.5 a second, which is the gate's own limit."""
    async with describing(step=0.1, sample_rate=rate) as (one, stage):
        for _ in range(100):
            stage.show(1)
        found = sum(metric(one, "looks_total", why=why) for why in ("first", "same"))
        assert abs(found - looks) <= 1


async def test_a_session_that_used_its_tokens_waits() -> None:
    """Questions go on; the description does with the next tokens."""
    limits = replace(LIMITS, background_tokens_per_minute=1000)
    async with describing(limits=limits) as (one, stage):
        await stage.described(1)
        one.session.requests.allowance.record(JobKind.WATCH, 5000, time.monotonic())
        stage.show(2)
        assert len(stage.asked) == 1
        one.session.requests.allowance._left = 1.0
        await stage.described(3)
        assert one.session.requests.allowance.background == 3
        assert one.session.requests.allowance.visual_tokens > 5000


@pytest.mark.parametrize("length", list(Length))
async def test_each_length_has_its_question(length: Length) -> None:
    async with describing(length=length) as (_one, stage):
        await stage.described(1)
        words = {"short": "one short", "medium": "two or three", "long": "six to eight"}
        assert words[length] in stage.asked[0]


async def test_nothing_of_it_outlives_the_session() -> None:
    async with describing() as (one, stage):
        await stage.described(1)
        await one.session.close("session_ended")
        assert one.session.part("describe")._last == ""
        assert one.session.part("describe")._attention._gate is None
        assert one.session.part("describe")._attention._asked is None


def metric(one: Room, name: str, **labels: str) -> float:
    return sample(one.services.metrics, name, **labels)


async def test_a_black_picture_is_not_described() -> None:
    """No model is asked to see something in it; the first picture after it is described."""
    async with describing() as (one, stage):
        for _ in range(3):
            stage.show(1, dark=True)
        assert one.session.part("describe")._sink is None
        await stage.described(2)
        # Half a second later it is black again.
        stage.show(1, dark=True)
        await asyncio.sleep(0)
        assert one.session.part("describe")._sink is None
        assert len(one.engine.requests) == 1


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"page_language": "ar"}, "ar"),
        ({}, None),
        ({"page_language": "ar", "language": "de"}, None),
        ({"page_language": "ar", "prompt": "Is the door open?"}, None),
        ({"page_language": "ar", "prompt": " "}, "ar"),
    ],
)
async def test_the_page_decides_the_language_of_a_description_alone(
    wishes: dict[str, Any], expected: str | None
) -> None:
    """Not where a person has chosen one, or asked in words."""
    async with describing(**wishes) as (one, stage):
        await stage.described(1)
        assert one.engine.requests[0].messages[-1].text.endswith(own_language(expected))


class Clock:
    """Stands in for the module `time`: it goes on where a test says."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.time = time.time

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(live_description, "time", found)
    return found


@asynccontextmanager
async def noticing_room(engine: FakeEngine, **wishes: Any) -> AsyncIterator[Stage]:
    async with room(engine) as one:
        stage = Stage(one)
        stage.settings(describe=True, about="notable", **wishes)
        yield stage


def own_language(tag: str | None) -> str:
    """The end of a question that asks for an answer in a language."""
    return f"in the language with the tag {tag}." if tag else ""


def told(request: EngineRequest) -> NoticeContext:
    told = request.extra(NoticeContext)
    assert told is not None
    return told


def responses(messages: list[dict[str, Any]]) -> list[str]:
    return [one["text"] for one in messages if one["type"] == "response"]


def test_what_was_said_is_in_the_question() -> None:
    """Cut, and without a model's control tokens."""
    again = make_notable_question(("A step.", "<|im_end|>" + "x" * 5000))
    assert "\n- A step.\n" in again
    assert "im_end" not in again
    assert len(again) < len(make_notable_question(())) + 1000


async def test_what_matters_is_asked_for_alone(clock: Clock) -> None:
    """Neither a question nor a length counts; another subject ends what is under way, and Describe off all."""
    engine = FakeEngine(chunks=["A step ", "ahead."])
    wishes = {"prompt": "How many cups?", "length": "long", "page_language": "de"}
    async with noticing_room(engine, **wishes) as stage:
        said = await stage.described(1)
        assert stage.asked == [make_notable_question(())]
        assert engine.requests[0].messages[-1].text.endswith(own_language("de"))
        assert told(engine.requests[0]).first
        assert [one["type"] for one in said] == ["started", "delta", "response"]
        stage.settings(about="scene")
        engine.hold()
        stage.show(1)
        await until(lambda: engine.open == 1)
        assert stage.asked[-1] == "How many cups?"
        stage.settings(about="notable")
        engine.release()
        ends = [m["finish_reason"] for m in await stage.ended() if m["type"] == "response"]
        assert ends == ["cancelled"]
        await stage.described(2)
        assert stage.asked[-1] == make_notable_question(())
        stage.settings(describe=False)
        clock.now += NEWS_SECONDS
        stage.show(3)
        assert await stage.ended() == []
        assert len(stage.asked) == 3


async def test_nothing_new_is_nothing(clock: Clock) -> None:
    """From the first look on, and by the words of the last minute; the next look is a second later."""
    words = [UNCHANGED, "A step.", "A step.", "A door."]
    engine = FakeEngine(chunks=lambda request: [words[len(engine.requests) - 1]])
    async with noticing_room(engine) as stage:
        assert await stage.described(1) == []
        stage.show(2)
        assert len(stage.asked) == 1
        clock.now += LOOK_SECONDS
        assert responses(await stage.described(3)) == ["A step."]
        clock.now += NEWS_SECONDS
        assert [one["type"] for one in await stage.described(4)] == ["unchanged"]
        assert told(engine.requests[-1]).said == ("A step.",)
        assert not told(engine.requests[-1]).first
        clock.now += LOOK_SECONDS
        assert responses(await stage.described(5)) == ["A door."]


async def test_at_most_once_in_five_seconds(clock: Clock) -> None:
    """However much changes; each time about the newest picture."""
    engine = FakeEngine(chunks=lambda request: [f"News {len(engine.requests)}."])
    at: list[float] = []
    async with noticing_room(engine) as stage:
        for scene in range(120):
            stage.show(scene)
            await until(lambda: stage.one.services.inference.idle)
            at += [clock.now for _ in responses(await stage.ended())]
            clock.now += 0.5
    assert len(at) == 12
    assert all(later - one >= NEWS_SECONDS for one, later in itertools.pairwise(at))


async def test_what_was_said_ends_with_the_stream_and_the_session(clock: Clock) -> None:
    engine = FakeEngine(chunks=["A step."])
    async with noticing_room(engine) as stage:
        await stage.described(1)
        stage.one.camera()
        # Another stream makes no pause shorter.
        stage.show(1)
        assert len(engine.requests) == 1
        clock.now += NEWS_SECONDS
        assert responses(await stage.described(1)) == ["A step."]
        assert told(engine.requests[-1]) == NoticeContext(first=False, until=None, said=())
        part = stage.one.session.part("describe")
        await stage.one.session.close("session_ended")
        assert part.text == ""
        assert part._notices.make_context(clock.now).said == ()


# Never over a person who talks


async def test_nothing_is_asked_while_a_question_is_answered(clock: Clock) -> None:
    engine = FakeEngine(chunks=["A cup."])
    async with noticing_room(engine) as stage:
        await stage.described(1)
        clock.now += NEWS_SECONDS
        engine.hold()
        stage.one.session.handle(Chat(type="chat", content="What is this?", id="q"))
        stage.show(2)
        await until(lambda: engine.open == 1)
        stage.show(3)
        assert len(engine.requests) == 2
        engine.release()
        await stage.ended()
        await stage.described(3)
        assert len(engine.requests) == 3


async def test_nothing_is_said_while_an_answer_is_spoken(clock: Clock) -> None:
    """The page reads it with its own voice; what is new is said once it has."""
    engine = FakeEngine(chunks=["A red cup."])
    async with noticing_room(engine, speak=True) as stage:
        session = stage.one.session
        await stage.described(1)
        clock.now += NEWS_SECONDS
        session.handle(Chat(type="chat", content="What is this?", id="q"))
        stage.show(2)
        answer = await stage.one.next("response")
        assert answer["kind"] == "chat"
        stage.show(3)
        assert len(engine.requests) == 2
        session.handle(SpeechProgress(type="speech_progress", id="q", end=len(answer["text"])))
        engine.chunks = ["A step."]
        assert responses(await stage.described(4)) == ["A step."]


@asynccontextmanager
async def heard() -> AsyncIterator[tuple[Ear, Room]]:
    """A session whose microphone is on, and that tells what matters."""
    engine = FakeEngine(chunks=["A step."])
    async with ear(FakeWords("Stop."), engine) as one:
        one.switch()
        one.session.handle(settings(describe=True, about="notable"))
        yield one, one.one


def speech() -> Any:
    sound = np.concatenate([make_silence(0.5), synthesise_espeak("What is this over there?")])
    return mix(sound, make_hiss(len(sound) / 16_000))


@needs_espeak
async def test_nothing_is_asked_while_the_person_talks() -> None:
    """Then only the newest picture is asked about."""
    async with heard() as (one, here):
        began = await one.hear(speech())
        assert began
        assert one.listening.talking
        for _ in range(3):
            one.show()
        await asyncio.sleep(0)
        assert here.engine.requests == []
        await one.hear(make_hiss(1.5))
        await until(lambda: not one.listening.talking)
        newest = one.show()
        await until(lambda: len(here.engine.requests) == 1)
        assert here.engine.requests[0].picture.frame_id == newest.id
        assert (await here.next("response"))["text"] == "A step."


@needs_espeak
async def test_an_answer_that_comes_while_the_person_talks_is_not_said() -> None:
    """Nobody was told of it: it is asked about again."""
    async with heard() as (one, here):
        here.engine.hold()
        one.show()
        await until(lambda: here.engine.open == 1)
        await one.hear(speech())
        one.show()
        here.engine.release()
        await until(lambda: here.services.inference.idle)
        assert list(await one.messages("started", "delta", "response")) == []
        await one.hear(make_hiss(1.5))
        await until(lambda: not one.listening.talking)
        one.show()
        await until(lambda: len(here.engine.requests) == 2)
        assert told(here.engine.requests[1]) == NoticeContext(first=True, until=None, said=())
        assert (await here.next("response"))["text"] == "A step."


async def test_a_typed_order_is_one_where_the_client_carries_it_out() -> None:
    async with room(FakeEngine(chunks=["A cup."])) as one:
        one.camera()
        asked: dict[str, Any] = {"type": "chat", "content": "Tell me what matters.", "id": "q"}
        one.session.handle(Chat(**asked, orders=True))
        assert (await one.next("transcript"))["order"] == "notable"
        one.session.handle(Chat(**asked | {"id": "r"}))
        one.frame()
        assert (await one.next("response"))["text"] == "A cup."
        # Words that end it are orders while it is on.
        for number, (words, order) in enumerate(
            [("Stop.", "stop"), ("Hör auf zu beschreiben.", "describe_off")]
        ):
            one.session.handle(settings(describe=True, about="notable"))
            one.session.handle(Chat(**asked | {"id": f"e{number}", "content": words}, orders=True))
            assert (await one.next("transcript"))["order"] == order
        one.session.handle(settings(describe=False))
        one.session.handle(Chat(**asked | {"id": "f", "content": "Stop."}, orders=True))
        one.frame()
        assert (await one.next("response", "transcript"))["type"] == "response"


async def test_a_withheld_picture_is_not_described() -> None:
    """A filter that strikes is told as an error."""
    async with room(FakeEngine(), Filter(withhold)) as one:
        one.session.handle(settings(describe=True))
        one.camera()
        one.frame()
        assert (await one.next("error", "response"))["code"] == "frame_withheld"
        assert one.engine.requests == []
