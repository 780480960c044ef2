"""Programs of a session: looks beside the person's chat, seen on the page, ended with the grant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from server.core.errors import (
    BadRequest,
    Busy,
    Conflict,
    Forbidden,
    FrameWithheld,
    NotConfirmed,
    NotFound,
    QwenCameraError,
    RateLimited,
    Unauthorized,
)
from server.core.frames import Detail, QuestionMode
from server.core.messages import Chat, Settings
from server.features.grants import programs as module
from server.features.grants.grants import Grant, Scope
from server.features.grants.program_question import MAX_WATCHES, ProgramQuestion
from server.features.grants.programs import PageClosed, SessionPrograms, get_programs
from server.features.recall.recalling import RecallLimits, register_counter
from server.features.watches.messages import Watch
from server.models.base import AnswerPreferences, Capabilities
from tests.features.rooms import room, settings
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import LIMITS, Filter, Room, withhold

LOOK = ProgramQuestion("Is the kettle on?")


@asynccontextmanager
async def looked_through(
    engine: FakeEngine | None = None, *filters: Any, rate: int = 600
) -> AsyncIterator[Room]:
    """A room with a live camera and an open page."""
    async with room(engine, *filters, grants=lambda context: SessionPrograms(context, rate)) as one:
        one.camera()
        one.frame()
        one.session.socket_opened()
        yield one


def grant_in(one: Room, *scopes: Scope, name: str = "Helper", seconds: float = 600) -> Grant:
    return get_programs(one.session).make(name, scopes or tuple(Scope), seconds)[0]


async def asks(
    one: Room,
    grant: Grant,
    question: ProgramQuestion = LOOK,
    on_text: Callable[[str], None] = lambda _: None,
) -> Any:
    """Ask, with frames that go on to come."""
    asked = asyncio.create_task(get_programs(one.session).ask(grant, question, on_text))
    await frames_until(one, asked)
    return await asked


async def frames_until(one: Room, over: asyncio.Task[Any] | Callable[[], object]) -> None:
    """Let frames come until a task is done, or a condition holds."""
    check = over.done if isinstance(over, asyncio.Task) else over
    async with asyncio.timeout(10):
        while not check():
            one.frame()
            await asyncio.sleep(0.01)


async def test_a_look_is_answered_and_shown() -> None:
    pieces: list[str] = []
    async with looked_through() as one:
        grant = grant_in(one)
        answer = await asks(one, grant, replace(LOOK, detail=Detail.HIGH), pieces.append)
        assert answer.text == "".join(pieces) == "A red cup."
        (request,) = one.engine.requests
        assert request.question == LOOK.words
        messages = await one.rest()
        first, last = (m for m in messages if m["type"] == "look")
        assert (first["state"], first["question"]) == ("looking", LOOK.words)
        assert first["name"] == "Helper"
        assert last["id"] == first["id"]
        assert (last["state"], last["text"]) == ("done", "A red cup.")
        assert last["image"].startswith("data:image/jpeg;base64,")
        listed = [m for m in messages if m["type"] == "programs"][-1]["programs"]
        assert [(p["name"], p["looks"]) for p in listed] == [("Helper", 1)]
        assert listed[0]["last_used"] is not None
        # The person's chat knows nothing of it.
        assert not [m for m in messages if m["type"] in ("started", "delta", "response")]


async def test_chats_are_apart() -> None:
    """A program gets none of the person's chat, language and length, and leaves nothing in it."""
    async with looked_through() as one:
        one.session.handle(Settings(type="settings", language="de"))
        one.session.handle(Chat(type="chat", content="My secret question", id="q"))
        await frames_until(one, asyncio.create_task(one.until(lambda m: m["type"] == "response")))
        await asks(one, grant_in(one))
        request = one.engine.requests[-1]
        assert request.turns == ()
        preferences = request.extra(AnswerPreferences)
        assert preferences is not None
        assert preferences.language == ""
        one.session.handle(Chat(type="chat", content="And now?", id="q2"))
        await frames_until(
            one, asyncio.create_task(one.until(lambda m: m.get("id") == "q2" and "text" in m))
        )
        assert [turn.question for turn in one.engine.requests[-1].turns] == ["My secret question"]


def both(one: Room, grant: Grant) -> tuple[Coroutine[Any, Any, Any], ...]:
    """A question, and a picture alone."""
    programs = get_programs(one.session)
    return programs.ask(grant, LOOK), programs.take_picture(grant)


async def test_only_with_its_scope() -> None:
    async with looked_through() as one:
        for look in both(one, grant_in(one, Scope.WATCH)):
            with pytest.raises(Forbidden):
                await look
        assert not one.engine.requests


async def test_nobody_looks_unseen() -> None:
    async with looked_through() as one:
        grant = grant_in(one)
        one.session.socket_closed()
        for look in both(one, grant):
            with pytest.raises(PageClosed, match="page of this camera is closed"):
                await look
        one.session.become_fixed([], lambda _: None, "hall")
        assert (await asks(one, grant)).text == "A red cup."


async def test_a_look_that_waits_is_not_taken_unseen() -> None:
    """The page closes while an earlier look runs: the next one in the line looks at nothing."""
    engine = FakeEngine()
    engine.hold()
    async with looked_through(engine) as one:
        grant = grant_in(one)
        first, waits = (
            asyncio.create_task(get_programs(one.session).ask(grant, LOOK)) for _ in range(2)
        )
        await asyncio.sleep(0)
        one.session.socket_closed()
        engine.release()
        await frames_until(one, first)
        await frames_until(one, waits)
        with pytest.raises(PageClosed, match="page of this camera is closed"):
            await waits
        assert len(engine.requests) <= 1


async def test_no_picture_without_consent() -> None:
    """An engine on another machine gets a program's question no sooner than the person's."""
    async with looked_through() as one:
        grant = grant_in(one)
        one.engine.elsewhere = "far.example"
        with pytest.raises(NotConfirmed):
            await get_programs(one.session).ask(grant, LOOK)
        assert not one.engine.requests
        failed = [m for m in await one.rest() if m["type"] == "look"][-1]
        assert (failed["state"], failed.get("image")) == ("failed", None)


async def test_filters_run_before_anything_leaves() -> None:
    async with looked_through(None, Filter(withhold)) as one:
        for look in both(one, grant_in(one)):
            task = asyncio.create_task(look)
            await frames_until(one, task)
            with pytest.raises(FrameWithheld):
                await task
        assert not one.engine.requests
        assert not any("image" in m for m in await one.rest())


async def test_one_tap_ends_it_while_it_looks() -> None:
    """The engine is stopped, the program hears that its access ended, and its token is dead."""
    engine = FakeEngine()
    engine.hold()
    async with looked_through(engine) as one:
        programs = get_programs(one.session)
        grant = grant_in(one)
        task = asyncio.create_task(programs.ask(grant, LOOK))
        await frames_until(one, lambda: engine.requests)
        assert programs.end(grant.id)
        with pytest.raises(Unauthorized):
            await task
        await until(lambda: not one.services.inference.running)
        with pytest.raises(Unauthorized):
            await programs.ask(grant, LOOK)
        messages = await one.rest()
        assert [m for m in messages if m["type"] == "look"][-1]["state"] == "failed"
        assert [m for m in messages if m["type"] == "programs"][-1]["programs"] == []


async def test_the_persons_question_goes_first() -> None:
    """With one place at the engine it takes the program's, which is asked again afterwards."""
    engine = FakeEngine(capabilities=Capabilities(max_concurrency=1))
    engine.hold()
    async with looked_through(engine) as one:
        asked = asyncio.create_task(get_programs(one.session).ask(grant_in(one), LOOK))
        await frames_until(one, lambda: engine.requests)
        one.session.handle(Chat(type="chat", content="Mine", id="q"))
        await frames_until(one, lambda: engine.requests[-1].question == "Mine")
        assert not asked.done()
        engine.release()
        await frames_until(one, asked)
        assert (await asked).text == "A red cup."
        assert [request.question for request in engine.requests] == [LOOK.words, "Mine", LOOK.words]


async def test_looks_have_a_rate_and_a_line() -> None:
    engine = FakeEngine()
    engine.hold()
    async with looked_through(engine, rate=24) as one:
        grant = grant_in(one)
        tasks = [asyncio.create_task(get_programs(one.session).ask(grant, LOOK)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await get_programs(one.session).ask(grant, LOOK)
        engine.release()
        for task in tasks:
            await frames_until(one, task)
            await task
        await asks(one, grant)
        await asks(one, grant)
        with pytest.raises(RateLimited):
            await get_programs(one.session).ask(grant, LOOK)


async def test_questions_are_bounded() -> None:
    async with looked_through() as one:
        grant = grant_in(one)
        for words in ("", "  \n", "x" * 4001):
            with pytest.raises(BadRequest if not words.strip() else QwenCameraError):
                await get_programs(one.session).ask(grant, replace(LOOK, words=words))
        assert not one.engine.requests
        answer = await asks(one, grant, replace(LOOK, max_tokens=100_000))
        assert answer.text
        assert one.engine.requests[-1].max_tokens <= LIMITS.max_tokens


async def keep(one: Room, scene: int, age: float) -> None:
    """A picture of a scene becomes one of the recent past."""

    def kept() -> float:
        return float(register_counter(one.services.metrics).labels("kept")._value.get())

    before = kept()
    one.frame(captured=time.monotonic() - age, scene=scene)
    await until(lambda: kept() > before)


async def test_the_past_before_its_access_stays_closed() -> None:
    """A program sees pictures of the past from its grant on, and none of before."""
    recall = RecallLimits(300.0, 2_000_000)
    past = replace(LOOK, route=QuestionMode.PAST)
    async with room(recall=recall, grants=lambda context: SessionPrograms(context, 600)) as one:
        one.session.handle(settings(recall=True))
        one.camera()
        one.session.socket_opened()
        await keep(one, 1, 40)
        await keep(one, 2, 20)
        early = grant_in(one, name="Early")
        early.since -= 30
        late = grant_in(one, name="Late")
        arrivals = one.session.camera._arrivals
        for grant, seen in ((early, 1), (late, 0)):
            asked = asyncio.create_task(get_programs(one.session).ask(grant, past))
            # The second question may find the frame of the first one fresh enough.
            while not asked.done() and arrivals._next is None:
                await asyncio.sleep(0)
            one.frame(scene=2)
            await asked
            assert len(one.engine.requests[-1].earlier) == seen, grant.name


async def test_without_a_kept_past_there_is_a_reason() -> None:
    async with looked_through() as one:
        with pytest.raises(Conflict, match="recent past"):
            await asks(one, grant_in(one), replace(LOOK, route=QuestionMode.PAST))
        assert (await asks(one, grant_in(one), replace(LOOK, words="What just happened?"))).text


async def test_the_list_empties_by_itself() -> None:
    async with looked_through() as one:
        grant = grant_in(one)
        await one.rest()
        grant.until = asyncio.get_running_loop().time() + 0.1
        get_programs(one.session)._on_change()
        listed = await one.until(lambda m: m["type"] == "programs" and not m["programs"])
        assert (listed["most"], listed["looks_per_minute"]) == (8, 600)


async def test_a_program_has_watches_of_its_own() -> None:
    async with looked_through() as one:
        programs = get_programs(one.session)
        one.session.handle(Watch(type="watch", id="mine", condition="the person's own"))
        grant, other = grant_in(one), grant_in(one, name="Other")
        id = programs.watches.add(grant, "the kettle boils")
        assert [w.condition for w in programs.watches.list_own(grant)] == ["the kettle boils"]
        assert programs.watches.list_own(other) == []
        for stranger, target in ((other, id), (grant, "mine"), (grant, "nothing")):
            with pytest.raises(NotFound):
                programs.watches.remove(stranger, target)
        for number in range(MAX_WATCHES - 1):
            programs.watches.add(grant, f"number {number}")
        with pytest.raises(Conflict):
            programs.watches.add(grant, "one more")
        programs.watches.remove(grant, id)
        programs.watches.add(grant, "one more")
        programs.end(grant.id)
        lists = [m for m in await one.rest() if m["type"] == "watches"]
        assert [w["id"] for w in lists[-1]["watches"]] == ["mine"]


async def test_a_slow_page_gets_words_without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 0)
    async with looked_through() as one:
        await asks(one, grant_in(one))
        last = [m for m in await one.rest() if m["type"] == "look"][-1]
        assert (last["state"], last.get("image")) == ("done", None)


async def test_the_end_of_its_access_ends_a_wait_for_alerts() -> None:
    """At once; an alert of after it goes to nobody."""
    async with looked_through() as one:
        programs = get_programs(one.session)
        grant = grant_in(one)
        task = asyncio.create_task(programs.watches.wait_alerts(grant, 0, 25.0))
        await asyncio.sleep(0)
        assert programs.end(grant.id)
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(task, 5)
