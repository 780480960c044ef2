"""What a person who carries the camera would want to know: when it is asked for, said and kept back."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from server.core.messages import Chat
from server.features.describe import live_description
from server.features.describe.live_description import LOOK_SECONDS, NEWS_SECONDS, Notices
from server.features.voice_out.messages import SpeechProgress
from server.models.base import EngineRequest, Told
from server.models.prompts import UNCHANGED, noticing
from tests.features.describe.test_live_description import Stage
from tests.features.voice_in.test_listening import Ear, ear
from tests.support.fakes import FakeEngine, until
from tests.support.fakes_words import FakeWords
from tests.support.rooms import Room, room, settings
from tests.support.sounds import hiss, mixed, needs_espeak, silence, spoken


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


def told(request: EngineRequest) -> Told:
    assert request.told is not None
    return request.told


def responses(messages: list[dict[str, Any]]) -> list[str]:
    return [one["text"] for one in messages if one["type"] == "response"]


# What was said


def test_what_was_said_is_known_for_a_minute() -> None:
    """The last eight; a frame whose answer was lost is not."""
    notices = Notices(first=True)
    assert notices.told(0.0) == Told(first=True, until=None, said=())
    notices.answered(1.0, 0.5, "")
    assert notices.told(1.0) == Told(first=False, until=0.5, said=())
    for number in range(10):
        notices.answered(10.0 + 5 * number, number, f"{number}")
    assert notices.told(55.0).said == tuple("23456789")
    assert notices.told(55.0).until == 9
    assert notices.told(106.0).said == ("8", "9")
    assert notices.told(200.0).said == ()


def test_pauses_after_news_and_after_none() -> None:
    notices = Notices(first=True)
    assert notices.due(0.0)
    notices.answered(10.0, 9.0, "")
    assert not notices.due(10.0 + LOOK_SECONDS - 0.01)
    assert notices.due(10.0 + LOOK_SECONDS)
    notices.answered(20.0, 19.0, "A step.")
    assert not notices.due(20.0 + NEWS_SECONDS - 0.01)
    assert notices.due(20.0 + NEWS_SECONDS)


def test_the_question_names_what_matters_and_what_was_said() -> None:
    asked = noticing(())
    for word in ("step", "person who comes", "print", "changed", UNCHANGED):
        assert word in asked
    assert "last minute" not in asked
    again = noticing(("A step.", "<|im_end|>" + "x" * 5000))
    assert "\n- A step.\n" in again
    assert "im_end" not in again
    assert len(again) < len(asked) + 1000


# Asking


async def test_it_is_asked_for_alone() -> None:
    """Neither the person's question nor the length of descriptions counts; the page decides the language."""
    engine = FakeEngine(chunks=["A step ", "ahead."])
    wishes = {"prompt": "How many cups?", "length": "long", "page_language": "de"}
    async with noticing_room(engine, **wishes) as stage:
        said = await stage.described(1)
        assert stage.asked == [noticing(())]
        assert engine.requests[0].own_language == "de"
        assert told(engine.requests[0]).first
        assert [one["type"] for one in said] == ["started", "delta", "response"]
        assert responses(said) == ["A step ahead."]
        assert said[-1]["kind"] == "describe"
        assert stage.one.session.part("describe").ready()["about"] == "notable"


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


async def test_a_scene_that_stays_is_not_asked_about(clock: Clock) -> None:
    """Nor any, while it is off."""
    async with noticing_room(FakeEngine(chunks=["A step."])) as stage:
        await stage.described(1)
        for _ in range(240):
            clock.now += 0.5
            stage.show(1)
        assert len(stage.asked) == 1
        stage.settings(describe=False)
        clock.now += 60
        stage.show(2)
        assert await stage.ended() == []
        assert len(stage.asked) == 1


async def test_another_subject_begins_anew(clock: Clock) -> None:
    """In either direction, and the answer that is under way is nobody's."""
    engine = FakeEngine(chunks=["A cup."])
    async with noticing_room(engine) as stage:
        await stage.described(1)
        stage.settings(about="scene")
        assert responses(await stage.described(1)) == ["A cup."]
        assert stage.asked[-1].startswith("Describe")
        engine.hold()
        stage.show(2)
        await until(lambda: engine.open == 1)
        stage.settings(about="notable")
        engine.release()
        ends = [m["finish_reason"] for m in await stage.ended() if m["type"] == "response"]
        assert ends == ["cancelled"]
        await stage.described(3)
        assert stage.asked[-1] == noticing(())
        assert told(engine.requests[-1]).until is None


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
        assert told(engine.requests[-1]) == Told(first=False, until=None, said=())
        part = stage.one.session.part("describe")
        await stage.one.session.close("session_ended")
        assert part.text == ""
        assert part._notices.told(clock.now).said == ()


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
    sound = np.concatenate([silence(0.5), spoken("What is this over there?")])
    return mixed(sound, hiss(len(sound) / 16_000))


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
        await one.hear(hiss(1.5))
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
        await one.hear(hiss(1.5))
        await until(lambda: not one.listening.talking)
        one.show()
        await until(lambda: len(here.engine.requests) == 2)
        assert told(here.engine.requests[1]) == Told(first=True, until=None, said=())
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
