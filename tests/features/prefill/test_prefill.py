"""The same picture again while nothing changes, and pictures ahead of their question."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.core.errors import EngineFailed
from server.core.frames import Frame, JobKind
from server.core.messages import (
    Chat,
    Confirm,
    DeleteAnswer,
    Settings,
    Typing,
)
from server.features.prefill import prefill
from server.features.prefill.likeness import SAMPLES, FrameSample
from server.features.prefill.prefill import Prefill
from server.models.base import Capabilities, EngineRequest
from server.models.prompts import make_chat_messages
from server.session.part import SessionContext, SessionPart
from tests.support.clients import sample
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import Room, make_frame, room

CACHES = Capabilities(prefix_cache=True)


def caching(**more: Any) -> FakeEngine:
    return FakeEngine(chunks=["A cup."], capabilities=CACHES, **more)


@pytest.fixture(autouse=True)
def looked(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[FrameSample]]:
    """Every look, as often as the loop comes round."""
    found: list[weakref.ref[FrameSample]] = []

    class Counted(FrameSample):
        def __init__(self, *about: Any) -> None:
            super().__init__(*about)
            found.append(weakref.ref(self))

    monkeypatch.setattr(prefill, "FrameSample", Counted)
    monkeypatch.setattr(prefill, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(prefill, "AWAKE_SECONDS", 0.0)
    monkeypatch.setattr(prefill, "AHEAD_SECONDS", 0.0)
    monkeypatch.setattr(prefill, "KNOWN_SECONDS", 0.0)
    return found


class Table:
    """A room whose camera looks at numbered scenes."""

    def __init__(self, one: Room, looked: list[weakref.ref[FrameSample]]) -> None:
        self.one = one
        self.looked = looked
        self._count = 0
        one.camera()

    def show(self, scene: int, **more: Any) -> Frame:
        self._count += 1
        # Fresh enough for any question before it
        captured = time.monotonic() + 0.02
        frame = make_frame(self._count, scene=scene, captured=captured, **more)
        feed = self.one.session.camera.feed
        assert feed is not None
        feed.packet_received(frame.arrived)
        feed.frame(frame)
        return frame

    async def watch(self, *scenes: int, looks: int = SAMPLES) -> None:
        """Show scenes in turn until all have been looked at as often as a scene is known by, and a moment longer."""
        for number in range(looks + 2):
            before, end = len(self.looked), time.monotonic() + 2
            self.show(scenes[number % len(scenes)])
            while len(self.looked) == before and time.monotonic() < end:
                await asyncio.sleep(0.001)

    async def ask(self, scene: int, text: str = "What?", **more: Any) -> dict[str, Any]:
        # The frame before was captured a moment ahead.
        await asyncio.sleep(0.03)
        self.one.session.handle(Chat(type="chat", content=text, **more))
        await asyncio.sleep(0)
        self.show(scene)
        return await self.one.next("response", "error")

    async def ask_on(self, scene: int, text: str = "What?", **more: Any) -> dict[str, Any]:
        """Ask, and look on until the scene is known."""
        answer = await self.ask(scene, text, **more)
        await self.watch(scene)
        return answer

    async def type(self, *scenes: int) -> None:
        """Press a key, show scenes, and let the picture go ahead, if it does."""
        self.one.session.handle(Typing(type="typing"))
        self.show(scenes[0])
        await self.watch(*scenes)
        # The looks after it find that nothing is to be sent.
        await self.watch(*scenes, looks=2)
        await until(lambda: self.one.services.inference.idle)

    @property
    def requests(self) -> list[EngineRequest]:
        return self.one.engine.requests

    def metric(self, name: str) -> float:
        return sample(self.one.services.metrics, name)


class Ear(SessionPart):
    """Hears somebody speak."""

    def __init__(self, context: SessionContext) -> None:
        self.expect = context.expect


@asynccontextmanager
async def table(
    looked: list[weakref.ref[FrameSample]],
    engine: FakeEngine | None = None,
) -> AsyncIterator[Table]:
    async with room(engine or caching(), prefill=Prefill, ear=Ear) as one:
        yield Table(one, looked)


def about_then(answer: dict[str, Any]) -> Any:
    """The time of an answer's frame, as another one may tell it."""
    return pytest.approx(answer["frame"]["captured_at"], abs=100)


def prompts(request: EngineRequest) -> list[str]:
    """The prompt as a list of its parts, pictures as their bytes' hash."""
    parts = []
    for message in make_chat_messages(request, [f"picture {hash(request.picture.jpeg)}"]):
        content = message["content"]
        if isinstance(content, str):
            parts.append(f"{message['role']}: {content}")
        else:
            parts += [f"{message['role']}: {part}" for part in content]
    return parts


@pytest.mark.parametrize("apart", [False, True])
async def test_an_unchanged_scene_sends_the_same_bytes(looked: Any, apart: bool) -> None:
    """The whole prompt of the question before stands at the beginning of the next one, also where the picture is a message."""
    able = Capabilities(prefix_cache=True, caches_messages=apart)
    async with table(looked, FakeEngine(chunks=["A cup."], capabilities=able)) as one:
        first = await one.ask_on(1, "What is it?")
        second = await one.ask_on(1, "Which colour?")
        third = await one.ask(1, "And how big?")
        assert "unchanged_since" not in first["frame"]
        assert second["frame"]["unchanged_since"] == about_then(first)
        assert third["frame"]["unchanged_since"] == about_then(first)
        assert second["frame"]["captured_at"] > first["frame"]["captured_at"]
        for earlier, later in ((0, 1), (1, 2)):
            before, after = (prompts(one.requests[n]) for n in (earlier, later))
            assert after[: len(before)] == before
        assert (len(one.requests[0].messages) == 3) is apart
        assert len(make_chat_messages(one.requests[0], [""])) == (3 if apart else 2)
        saved = one.metric("visual_tokens_saved_total")
        assert saved == 2 * one.requests[0].picture.visual_tokens


async def test_looks_of_a_moment_are_too_few(looked: Any) -> None:
    """They know neither the scene of the first question, nor that of a later one."""
    async with table(looked) as one:
        await one.ask(1)
        assert "unchanged_since" not in (await one.ask_on(1))["frame"]
        engine, one.one.engines.current = one.one.engine, FakeEngine()
        await asyncio.sleep(0.1)
        one.one.engines.current = engine
        assert "unchanged_since" not in (await one.ask_on(1))["frame"]
        assert "unchanged_since" in (await one.ask(1))["frame"]


async def test_a_picture_that_was_not_sent_is_not_named(looked: Any) -> None:
    """The question was refused before its turn; the next one is the first with this picture."""
    async with table(looked, FakeEngine()) as one:
        far = caching(elsewhere="far.example")
        one.one.engines.current = far
        refused = await one.ask_on(1)
        assert (refused["code"], far.requests) == ("not_confirmed", [])
        one.one.session.handle(Confirm(type="confirm", host="far.example"))
        first = await one.ask_on(1)
        assert "unchanged_since" not in first["frame"]
        assert (await one.ask(1))["frame"]["unchanged_since"] == about_then(first)


@pytest.mark.parametrize("how", ["failed", "deleted"])
async def test_a_picture_of_a_lost_prompt_is_not_named(looked: Any, how: str) -> None:
    """The engine may never have got it, or its answer is deleted."""
    error = EngineFailed("It broke.") if how == "failed" else None
    async with table(looked, caching(fail_at=0 if error else None, fail_with=error)) as one:
        answer = await one.ask_on(1, id="q")
        assert answer["type"] == ("error" if error else "response")
        one.one.engine.fail_at = None
        if not error:
            one.one.session.handle(DeleteAnswer(type="delete_answer", id="q"))
        assert "unchanged_since" not in (await one.ask(1))["frame"]


async def test_a_changed_scene_sends_a_new_picture_last(looked: Any) -> None:
    """One of the very last frame, too."""
    async with table(looked) as one:
        await one.ask_on(1)
        answer = await one.ask(2, "And now?")
        assert "unchanged_since" not in answer["frame"]
        old, new = one.requests
        assert old.picture.jpeg != new.picture.jpeg
        assert "picture" in prompts(new)[-2]
        assert one.metric("visual_tokens_saved_total") == 0


async def test_a_scene_that_changed_around_the_picture_is_not_known(looked: Any) -> None:
    """The mean of two scenes is none of them."""
    async with table(looked) as one:
        await one.ask(1)
        await one.watch(1, 2)
        await one.watch(1)
        assert "unchanged_since" not in (await one.ask(1))["frame"]


async def test_detail_or_a_thumbnail_needs_another_picture(looked: Any) -> None:
    """Small print is always looked at anew, and leaves the last picture as it is."""
    async with table(looked) as one:
        await one.ask_on(1)
        for _ in range(2):
            assert "unchanged_since" not in (await one.ask_on(1, detail="high"))["frame"]
        assert "unchanged_since" in (await one.ask_on(1))["frame"]
        one.one.session.handle(Settings(type="settings", thumbnails=True))
        answer = await one.ask_on(1)
        assert "unchanged_since" not in answer["frame"]
        assert answer["frame"]["thumbnail"]
        again = (await one.ask(1))["frame"]
        assert "unchanged_since" in again
        assert again["thumbnail"]


async def test_engines_without_a_cache_get_each_frame(looked: Any) -> None:
    """They would gain nothing."""
    async with table(looked, FakeEngine(chunks=["A cup."])) as one:
        for _ in range(2):
            assert "unchanged_since" not in (await one.ask(1))["frame"]
        one.one.session.handle(Typing(type="typing"))
        one.show(1)
        await asyncio.sleep(0.05)
        assert len(one.requests) == 2
        assert looked == []


# Ahead of a question


async def test_typing_sends_the_picture_ahead(looked: Any) -> None:
    """One token, which nobody gets; the question then begins as that prompt did."""
    async with table(looked) as one:
        await one.type(1)
        (ahead,) = one.requests
        assert (ahead.kind, ahead.max_tokens) == (JobKind.PREFILL, 1)
        rest = await one.one.rest()
        assert not [m for m in rest if m["type"] in ("started", "delta", "response")]
        answer = await one.ask(1, "What is it?")
        assert answer["frame"]["unchanged_since"] < answer["frame"]["captured_at"]
        before, after = (prompts(request) for request in one.requests)
        assert after[: len(before) - 1] == before[:-1]
        assert one.metric("pictures_ahead_total") == 1
        assert one.metric("visual_tokens_saved_total") == ahead.picture.visual_tokens


async def test_a_scene_that_moves_sends_nothing_ahead(looked: Any) -> None:
    async with table(looked) as one:
        await one.type(1, 2, 3)
        assert one.requests == []


@pytest.mark.parametrize("same", [True, False])
async def test_a_question_waits_for_its_own_picture_alone(looked: Any, same: bool) -> None:
    """Another one would only make the question slower; its own is computed once."""
    async with table(looked) as one:
        one.one.engine.hold()
        one.one.session.handle(Typing(type="typing"))
        one.show(1)
        await one.watch(1)
        await until(lambda: one.one.engine.open == 1)
        await asyncio.sleep(0.03)
        one.one.session.handle(Chat(type="chat", content="What?"))
        await asyncio.sleep(0)
        if same:
            one.show(1)
            await asyncio.sleep(0.1)
            assert len(one.requests) == 1
        else:
            one.show(2)
            await until(lambda: len(one.requests) == 2)
            await until(lambda: one.one.engine.aborted == 1)
        one.one.engine.release()
        assert (await one.one.next("response", "error"))["type"] == "response"
        assert [request.kind for request in one.requests] == [JobKind.PREFILL, JobKind.CHAT]
        bytes_of = [request.picture.jpeg for request in one.requests]
        assert (bytes_of[0] == bytes_of[1]) is same


async def test_the_frame_of_what_was_said_goes_ahead_at_once(looked: Any) -> None:
    """Its words are on their way; another pause sends none for the same."""
    async with table(looked) as one:
        ear = one.one.session.part("ear")
        frame = one.show(1)
        ear.expect(frame)
        await until(lambda: len(one.requests) == 1 and one.one.services.inference.idle)
        assert one.requests[0].kind is JobKind.PREFILL
        ear.expect(frame)
        await one.watch(1)
        assert len(one.requests) == 1


async def test_nothing_goes_ahead_while_anybody_waits(looked: Any) -> None:
    async with table(looked) as one:
        one.one.engine.hold()
        one.one.session.handle(Chat(type="chat", content="What?"))
        await asyncio.sleep(0)
        one.show(1)
        await until(lambda: one.one.engine.open == 1)
        one.one.session.handle(Typing(type="typing"))
        await one.watch(2)
        assert [request.kind for request in one.requests] == [JobKind.CHAT]
        one.one.engine.release()
        await one.one.next("response")


@pytest.mark.parametrize("why", ["consent", "tokens"])
async def test_nothing_goes_ahead_of_who_may_not(looked: Any, why: str) -> None:
    """Without consent, or with the tokens of the session's background work used."""
    far = caching(elsewhere="far.example" if why == "consent" else "")
    async with table(looked, FakeEngine()) as one:
        one.one.engines.current = far
        if why == "tokens":
            one.one.session.requests.allowance.record(JobKind.PREFILL, 10**9, time.monotonic())
        await one.type(1)
        assert far.requests == []


async def test_the_looks_go_with_the_session(looked: Any) -> None:
    async with table(looked) as one:
        await one.ask_on(1)
        assert [ref for ref in looked if ref() is not None]
        await one.one.session.close("session_ended")
        # A thread may still compare some.
        await until(lambda: bool(gc.collect() + 1) and all(ref() is None for ref in looked))
