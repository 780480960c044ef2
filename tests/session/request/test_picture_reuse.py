"""The same picture again while nothing changes, and pictures ahead of their question."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from server.core.errors import EngineFailed
from server.core.frames import Frame, Kind, Picture, Role
from server.core.messages import (
    Chat,
    ClearRecall,
    Confirm,
    DeleteAnswer,
    Hold,
    Release,
    Settings,
    Typing,
)
from server.models.base import Capabilities, EngineRequest, Usage
from server.models.prompts import messages
from server.session.request import picture_reuse
from server.session.request.parts import Prepared, View
from server.session.request.picture_reuse import SentPictures
from tests.support.clients import sample
from tests.support.fakes import FakeEngine, make_job, make_picture, until
from tests.support.rooms import Room, live_room, make_frame, room

CACHES = Capabilities(prefix_cache=True)


def caching(**more: Any) -> FakeEngine:
    return FakeEngine(chunks=["A cup."], capabilities=CACHES, **more)


class Table:
    """A room whose camera looks at numbered scenes."""

    def __init__(self, one: Room) -> None:
        self.one = one
        self._count = 0
        one.camera()

    def show(self, scene: int) -> Frame:
        self._count += 1
        # Fresh enough for any question before it
        captured = time.monotonic() + 0.02
        frame = make_frame(self._count, scene=scene, captured=captured)
        feed = self.one.session.camera.feed
        assert feed is not None
        feed.heard(frame.arrived)
        feed.frame(frame)
        return frame

    async def ask(self, scene: int, text: str = "What?", **more: Any) -> dict[str, Any]:
        # The frame before was captured a moment ahead.
        await asyncio.sleep(0.03)
        self.one.session.handle(Chat(type="chat", content=text, **more))
        await asyncio.sleep(0)
        self.show(scene)
        return await self.one.next("response", "error")

    async def type(self, scene: int) -> None:
        """Show a scene, press a key, and let the picture go ahead, if it does."""
        self.show(scene)
        self.one.session.handle(Typing(type="typing"))
        reuse = self.one.session.reuse
        await until(lambda: not reuse.busy and self.one.services.inference.running == 0)

    @property
    def requests(self) -> list[EngineRequest]:
        return self.one.engine.requests

    def metric(self, name: str) -> float:
        return sample(self.one.services.metrics, name)


def about_then(answer: dict[str, Any]) -> Any:
    """The time of an answer's frame, as another one may tell it."""
    return pytest.approx(answer["frame"]["captured_at"], abs=100)


def prompts(request: EngineRequest) -> list[str]:
    """The prompt as a list of its parts, pictures as their bytes' hash."""
    parts = []
    for message in messages(request, f"picture {hash(request.picture.jpeg)}"):
        content = message["content"]
        if isinstance(content, str):
            parts.append(f"{message['role']}: {content}")
        else:
            parts += [f"{message['role']}: {part}" for part in content]
    return parts


async def test_an_unchanged_scene_sends_the_same_bytes() -> None:
    """The whole prompt of the question before stands at the beginning of the next one."""
    async with room(caching()) as one:
        table = Table(one)
        first = await table.ask(1, "What is it?")
        second = await table.ask(1, "Which colour?")
        third = await table.ask(1, "And how big?")
        assert "unchanged_since" not in first["frame"]
        assert second["frame"]["unchanged_since"] == about_then(first)
        assert third["frame"]["unchanged_since"] == about_then(first)
        assert second["frame"]["captured_at"] > first["frame"]["captured_at"]
        for earlier, later in ((0, 1), (1, 2)):
            before, after = (prompts(table.requests[n]) for n in (earlier, later))
            assert after[: len(before)] == before
        assert (
            table.metric("visual_tokens_saved_total") == 2 * table.requests[0].picture.visual_tokens
        )


async def test_a_picture_that_was_not_sent_is_not_named() -> None:
    """The question was refused before its turn; the next one is the first with this picture."""
    async with room(FakeEngine()) as one:
        table = Table(one)
        far = caching(elsewhere="far.example")
        one.engines.current = far
        refused = await table.ask(1)
        assert (refused["code"], far.requests) == ("not_confirmed", [])
        one.session.handle(Confirm(type="confirm", host="far.example"))
        first = await table.ask(1)
        assert "unchanged_since" not in first["frame"]
        assert (await table.ask(1))["frame"]["unchanged_since"] == about_then(first)


async def test_a_refused_question_leaves_the_last_sent_picture() -> None:
    """It shows another scene, and never got to the engine."""
    async with room(caching()) as one:
        table = Table(one)
        first = await table.ask(1)
        far = FakeEngine(capabilities=CACHES, elsewhere="far.example")
        near, one.engines.current = one.engines.current, far
        assert (await table.ask(2))["type"] == "error"
        one.engines.current = near
        again = await table.ask(1)
        assert again["frame"]["unchanged_since"] == about_then(first)


async def test_a_picture_of_a_failed_answer_is_not_named() -> None:
    """The engine may never have got it."""
    async with room(caching(fail_at=0, fail_with=EngineFailed("It broke."))) as one:
        table = Table(one)
        assert (await table.ask(1))["type"] == "error"
        one.engine.fail_at = None
        assert "unchanged_since" not in (await table.ask(1))["frame"]


async def test_a_changed_scene_sends_a_new_picture_last() -> None:
    async with room(caching()) as one:
        table = Table(one)
        await table.ask(1)
        answer = await table.ask(2, "And now?")
        assert "unchanged_since" not in answer["frame"]
        old, new = table.requests
        assert old.picture.jpeg != new.picture.jpeg
        assert "picture" in prompts(new)[-2]
        assert table.metric("visual_tokens_saved_total") == 0


async def test_a_picture_that_began_within_a_talk_stays_where_it_was() -> None:
    """Turns about another scene stay before it."""
    async with room(caching()) as one:
        table = Table(one)
        await table.ask(1, "One?")
        await table.ask(2, "Two?")
        await table.ask(2, "Three?")
        before, after = (prompts(request) for request in table.requests[1:])
        assert after[: len(before)] == before
        assert "One?" in before[1]


async def test_the_frame_is_still_captured_after_the_question() -> None:
    """An old frame of the unchanged scene answers nothing."""
    async with room(caching()) as one:
        table = Table(one)
        await table.ask(1)
        table.show(1)
        await asyncio.sleep(0.03)
        one.session.handle(Chat(type="chat", content="And now?"))
        await asyncio.sleep(0.05)
        assert len(table.requests) == 1
        table.show(1)
        await one.next("response")
        assert len(table.requests) == 2


async def test_other_detail_thumbnail_or_engine_needs_another_picture() -> None:
    async with room(caching()) as one:
        table = Table(one)
        await table.ask(1)
        assert "unchanged_since" not in (await table.ask(1, detail="high"))["frame"]
        assert "unchanged_since" in (await table.ask(1, detail="high"))["frame"]
        one.session.handle(Settings(type="settings", thumbnails=True))
        answer = await table.ask(1, detail="high")
        assert "unchanged_since" not in answer["frame"]
        assert answer["frame"]["thumbnail"]
        assert (await table.ask(1, detail="high"))["frame"]["thumbnail"]


async def test_engines_without_a_cache_get_each_frame() -> None:
    """They would gain nothing."""
    async with room(FakeEngine(chunks=["A cup."])) as one:
        table = Table(one)
        for _ in range(2):
            assert "unchanged_since" not in (await table.ask(1))["frame"]
        await table.type(1)
        assert len(table.requests) == 2


async def test_a_held_frame_stays_where_it_was_first_sent() -> None:
    async with room(caching()) as one:
        table = Table(one)
        await table.ask(1, "One?")
        one.session.handle(Hold(type="hold"))
        table.show(2)
        await one.until(lambda m: m["type"] == "status" and m["held"])
        for text in ("Two?", "Three?"):
            one.session.handle(Chat(type="chat", content=text))
            answer = await one.next("response")
            assert answer["frame"]["held"]
            assert "unchanged_since" not in answer["frame"]
        before, after = (prompts(request) for request in table.requests[1:])
        assert after[: len(before)] == before
        one.session.handle(Release(type="release"))


async def test_typing_sends_the_picture_ahead() -> None:
    """One token, which nobody gets; the question then begins as that prompt did."""
    async with room(caching()) as one:
        table = Table(one)
        await table.type(1)
        (ahead,) = table.requests
        assert (ahead.kind, ahead.max_tokens) == (Kind.PREFILL, 1)
        assert not [m for m in await one.rest() if m["type"] in ("started", "delta", "response")]
        answer = await table.ask(1, "What is it?")
        assert answer["frame"]["unchanged_since"] < answer["frame"]["captured_at"]
        before, after = (prompts(request) for request in table.requests)
        assert after[: len(before) - 1] == before[:-1]
        assert table.metric("pictures_ahead_total") == 1
        assert table.metric("visual_tokens_saved_total") == ahead.picture.visual_tokens


@pytest.mark.parametrize(("scene", "open_then"), [(1, 2), (2, 1)])
async def test_a_question_about_another_scene_ends_what_runs_ahead(
    scene: int, open_then: int
) -> None:
    """It would only make the question slower; that of the same scene has what the question needs."""
    async with room(caching()) as one:
        table = Table(one)
        one.engine.hold()
        table.show(1)
        one.session.handle(Typing(type="typing"))
        await until(lambda: one.engine.open == 1)
        await asyncio.sleep(0.03)
        one.session.handle(Chat(type="chat", content="What?"))
        await asyncio.sleep(0)
        table.show(scene)
        await until(lambda: len(table.requests) == 2)
        await until(lambda: one.engine.open == open_then)
        assert [request.kind for request in table.requests] == [Kind.PREFILL, Kind.CHAT]
        one.engine.release()
        assert (await one.next("response", "error"))["type"] == "response"


async def test_a_picture_goes_ahead_while_another_engine_watches() -> None:
    """The one that answers has nothing to do."""
    async with room(caching()) as one:
        table = Table(one)
        small = one.engines.roles[Role.WATCHES] = FakeEngine("watches")
        small.hold()
        job, _ = make_job("another", Kind.WATCH)
        job.role = Role.WATCHES
        one.services.inference.submit(job)
        await until(lambda: small.open == 1)
        table.show(1)
        one.session.handle(Typing(type="typing"))
        await until(lambda: len(table.requests) == 1)
        assert table.requests[0].kind is Kind.PREFILL
        small.release()


async def test_only_a_change_sends_another_one_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    async with room(caching()) as one:
        table = Table(one)
        monkeypatch.setattr(picture_reuse, "AHEAD_SECONDS", 0.0)
        for _ in range(3):
            await table.type(1)
        assert len(table.requests) == 1
        await table.type(2)
        assert len(table.requests) == 2


async def test_two_changes_at_once_send_one_ahead() -> None:
    async with room(caching()) as one:
        table = Table(one)
        await table.type(1)
        await table.type(2)
        assert len(table.requests) == 1


async def test_a_cancelled_one_makes_no_room_for_a_third(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody goes on and pauses again: the end of the first picture is not the end of the second."""
    monkeypatch.setattr(picture_reuse, "SAID_SECONDS", 0.0)
    async with room(caching()) as one:
        table = Table(one)
        reuse = one.session.reuse
        made: list[str] = []
        go = asyncio.Event()

        async def prepare(view: View, needs: Capabilities) -> Prepared:
            made.append(view.frame.id)
            await go.wait()
            raise EngineFailed("It was only counted.")

        monkeypatch.setattr(reuse, "prepare", prepare)
        reuse.said(table.show(1), None)
        await until(lambda: len(made) == 1)
        reuse.cancel_ahead()
        reuse.said(table.show(2), None)
        await until(lambda: len(made) == 2)
        assert reuse.busy
        reuse.said(table.show(3), None)
        await asyncio.sleep(0.01)
        assert made == ["f1", "f2"]
        go.set()
        await until(lambda: not reuse.busy)


async def test_nothing_goes_ahead_while_anybody_waits() -> None:
    async with room(caching()) as one:
        table = Table(one)
        one.engine.hold()
        one.session.handle(Chat(type="chat", content="What?"))
        await asyncio.sleep(0)
        table.show(1)
        await until(lambda: one.engine.open == 1)
        table.show(2)
        one.session.handle(Typing(type="typing"))
        await asyncio.sleep(0.05)
        assert [request.kind for request in table.requests] == [Kind.CHAT]
        one.engine.release()
        await one.next("response")


async def test_nothing_goes_ahead_without_consent() -> None:
    async with room(FakeEngine()) as one:
        table = Table(one)
        far = caching(elsewhere="far.example")
        one.engines.current = far
        await table.type(1)
        assert far.requests == []


async def test_saved_tokens_are_those_of_the_engines_own_count() -> None:
    async with room(caching(usage=Usage(300, 3, 40))) as one:
        table = Table(one)
        await table.ask(1)
        await table.ask(1)
        assert table.metric("visual_tokens_saved_total") == 40


async def test_the_picture_goes_with_the_session() -> None:
    async with room(caching()) as one:
        table = Table(one)
        await table.ask(1)
        await one.session.close("session_ended")
        assert one.session.reuse._sent is None


async def test_nothing_goes_ahead_of_a_session_that_used_its_tokens() -> None:
    async with room(caching()) as one:
        table = Table(one)
        one.session.requests.allowance._left = -1e9
        await table.type(1)
        assert table.requests == []


async def test_a_question_in_detail_compares_small_print() -> None:
    async with room(caching()) as one:
        table = Table(one)
        await table.ask(1, detail="high")
        fine = one.session.reuse._sent
        await table.ask(1)
        coarse = one.session.reuse._sent
        assert fine is not None
        assert coarse is not None
        assert fine.likeness.blocks == (120, 160)
        assert coarse.likeness.blocks == (60, 80)


# The pictures that engines got, for people who want to see them: bounds, and when they go.


def picture(size: int, *, pixels: bool = False) -> Picture:
    if pixels:
        return replace(make_picture(), jpeg=None, bgr=np.zeros((1, size // 3, 3), np.uint8))
    return make_picture(jpeg=bytes(size))


def test_number_and_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer pictures take the room of older ones; pixels count as in memory; all of it counts."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(picture_reuse, "MOST_PICTURES", 3)
    monkeypatch.setattr(picture_reuse, "MOST_BYTES", 100)
    sent = SentPictures(lambda what, number: counts.update({what: number}))
    ids = [sent.keep("q", picture(30)) or "" for _ in range(4)]
    assert len({*ids}) == 4
    assert [sent.get(id) is None for id in ids] == [True, False, False, False]
    assert sent.keep("q", picture(101)) is None
    assert sent.keep("r", picture(90, pixels=True))
    assert (len(sent), sent.size) == (1, 90)
    sent.drop("q")
    assert len(sent) == 1
    sent.drop("r")
    assert (len(sent), sent.size) == (0, 0)
    assert counts == {"kept": 5, "full": 4, "large": 1, "dropped": 1}


async def asked(one: Room, id: str) -> str:
    """Ask, and return the id of the picture that the answer names."""
    name: str = (await one.answered("What is this?", id=id))["frame"]["picture"]
    return name


@pytest.mark.parametrize("how", ["drop one", "drop all", "forget", "session ends"])
async def test_what_an_engine_got_is_kept_until_somebody_drops_it(how: str) -> None:
    """The very bytes, by the id in the answer; they go with the answer, on request, and with
    the session. A dropped answer leaves the history, and no other does.
    """
    engine = FakeEngine()
    async with live_room(engine) as one:
        session = one.session
        first, second = await asked(one, "q1"), await asked(one, "q2")
        for name, request in zip((first, second), engine.requests, strict=True):
            sent = session.sent_pictures.get(name)
            assert sent is not None
            assert sent.jpeg is not None
            assert sent.jpeg == request.picture.jpeg
        if how == "drop one":
            session.handle(DeleteAnswer(type="delete_answer", id="q1"))
        elif how == "drop all":
            session.handle(DeleteAnswer(type="delete_answer"))
        elif how == "forget":
            session.handle(ClearRecall(type="clear_recall"))
        else:
            await session.close("session_ended")
        gone = [session.sent_pictures.get(name) is None for name in (first, second)]
        assert gone == [True, how != "drop one"]
        left = {"drop one": 1, "drop all": 0, "forget": 2, "session ends": 0}[how]
        assert len(session.history) == left
        assert (session.sent_pictures.size > 0) == (how == "drop one")
        if how == "drop one":
            await asked(one, "q3")
            assert len(engine.requests[-1].turns) == 1
