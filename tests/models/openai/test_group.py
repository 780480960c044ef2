"""Several model servers as one engine."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from server.core.errors import EngineError, EngineTimeout, EngineUnavailable
from server.core.frames import Kind, Picture
from server.models.base import Delta, EngineRequest, EngineState
from server.models.openai.chat_client import Endpoint, TimeLimits
from server.models.openai.engine import (
    SESSION_HEADER,
    EngineGroup,
    OpenAIEngine,
    SessionKeys,
    by_preference,
)
from server.models.openai.upstream import Reason
from tests.support.fakes_openai import Behaviour, FakeOpenAI, Seen
from tests.support.timing import AT_ONCE_SECONDS, NEVER_SECONDS

LIMITS = TimeLimits(connect=1, first_token=5.0, between_tokens=2.0, total=8.0, probe=1.0)
PICTURE = Picture("f1", 1.0, None, 1280, 720, 840, 448, 480, b"\xff\xd8\xff\xd9", None, None, 0.003)
KEYS = SessionKeys("s" * 32)


class Group:
    """A group with three servers, and what it reported."""

    def __init__(self, fakes: list[FakeOpenAI], model: str = "") -> None:
        self.fakes = fakes
        self.retried: list[Reason] = []
        self.busy = 0
        self.engine = EngineGroup(
            "vllm",
            [
                OpenAIEngine(
                    "vllm", Endpoint(fake.base_url, model=model), limits=LIMITS, session_key=KEYS.of
                )
                for fake in fakes
            ],
            session_key=KEYS.of,
            limits=LIMITS,
            on_retry=self.retried.append,
            on_busy=self._busy,
        )

    def _busy(self) -> None:
        self.busy += 1

    async def answer(self, session: str) -> str:
        request = EngineRequest(session, Kind.CHAT, "What is this?", PICTURE)
        async with asyncio.timeout(20):
            stream = self.engine.answer(request)
            return "".join([one.text async for one in stream if isinstance(one, Delta)])

    def seen(self, session: str) -> list[tuple[FakeOpenAI, Seen]]:
        """The requests of a session, with the server that got them."""
        name = KEYS.of(session)
        return [
            (fake, seen)
            for fake in self.fakes
            for seen in fake.requests
            if seen.headers[SESSION_HEADER.lower()] == name
        ]

    def server_of(self, session: str) -> FakeOpenAI:
        servers = {id(fake): fake for fake, _ in self.seen(session)}
        assert len(servers) == 1
        return next(iter(servers.values()))


@pytest_asyncio.fixture
async def group() -> AsyncIterator[Group]:
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeOpenAI()) for _ in range(3)]
        one = Group(fakes)
        stack.push_async_callback(one.engine.close)
        await one.engine.probe()
        yield one


SESSIONS = [f"session-{n}" for n in range(30)]


async def test_each_session_keeps_to_one_server_and_all_get_some(group: Group) -> None:
    for _ in range(4):
        await asyncio.gather(*(group.answer(session) for session in SESSIONS))
    counts = Counter(group.server_of(session).port for session in SESSIONS)
    assert len(counts) == 3
    assert min(counts.values()) >= 3
    assert sum(fake.count for fake in group.fakes) == 120


async def test_a_lost_server_is_not_noticed_and_moves_nobody_else(group: Group) -> None:
    """No question without a token fails; the others stay where they were, and it is used again later."""
    for session in SESSIONS:
        await group.answer(session)
    before = {session: group.server_of(session) for session in SESSIONS}
    lost = group.fakes[1]
    await lost.close()
    answers = await asyncio.gather(*(group.answer(session) for session in SESSIONS))
    assert answers == ["I see a cup."] * len(SESSIONS)
    assert set(group.retried) <= {Reason.REFUSED, Reason.BROKEN}
    for session in SESSIONS:
        servers = [fake for fake, _ in group.seen(session)]
        if before[session] is not lost:
            assert set(map(id, servers)) == {id(before[session])}
    # Its state is known: nobody asks it any more.
    await group.engine.probe()
    repeats = len(group.retried)
    await asyncio.gather(*(group.answer(session) for session in SESSIONS))
    assert len(group.retried) == repeats
    assert group.engine.status.ready
    assert "2 of 3 model servers answer" in group.engine.status.detail
    assert f"127.0.0.1:{lost.port}" in group.engine.status.detail
    assert group.engine.states() == {EngineState.READY: 2, EngineState.UNREACHABLE: 1}
    await lost.start()
    await group.engine.probe()
    count = lost.count
    await asyncio.gather(*(group.answer(session) for session in SESSIONS))
    assert lost.count - count == sum(fake is lost for fake in before.values())
    assert group.engine.status.detail == ""


async def test_a_failing_server_is_asked_last_for_a_while(group: Group) -> None:
    """One that lists its models and fails at each question costs one repeat in five seconds."""
    bad = group.fakes[0]
    bad.behaviour = Behaviour.INTERNAL
    for session in SESSIONS:
        assert await group.answer(session) == "I see a cup."
    assert bad.count < 5
    assert group.retried == [Reason.FAILED] * bad.count


async def test_a_silent_server_is_asked_last_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs and still lists its models fails one question, and not each of its sessions'."""
    monkeypatch.setattr(f"{__name__}.LIMITS", dataclasses.replace(LIMITS, first_token=0.5))
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeOpenAI()) for _ in range(2)]
        group = Group(fakes)
        stack.push_async_callback(group.engine.close)
        await group.engine.probe()
        for session in SESSIONS:
            await group.answer(session)
        hung = fakes[0]
        mine = [session for session in SESSIONS if group.server_of(session) is hung]
        hung.behaviour = Behaviour.SILENT
        with pytest.raises(EngineTimeout):
            await group.answer(mine[0])
        monkeypatch.setattr("server.models.openai.engine._REST_SECONDS", 0.0)
        asked = hung.count
        for session in mine:
            assert await group.answer(session) == "I see a cup."
        assert hung.count == asked


async def test_a_full_server_sends_the_question_on_and_keeps_its_sessions(group: Group) -> None:
    """Another one has room, so there are not too many questions; when all are full, there are."""
    session = "session-0"
    await group.answer(session)
    own = group.server_of(session)
    own.behaviour = Behaviour.BUSY
    assert await group.answer(session) == "I see a cup."
    assert (group.retried, group.busy) == ([Reason.BUSY], 0)
    own.behaviour = Behaviour.NORMAL
    count = own.count
    await group.answer(session)
    assert own.count == count + 1
    for fake in group.fakes:
        fake.behaviour = Behaviour.BUSY
    with pytest.raises(EngineUnavailable, match="busy"):
        await group.answer(session)
    assert group.busy == 1


async def test_nothing_is_asked_elsewhere_after_the_first_token(group: Group) -> None:
    for fake in group.fakes:
        fake.behaviour = Behaviour.DIES
    with pytest.raises(EngineError, match="mid-answer"):
        await group.answer("session-0")
    assert sum(fake.count for fake in group.fakes) == 1
    assert group.retried == []


async def test_a_closed_answer_is_closed_at_its_server(group: Group) -> None:
    for fake in group.fakes:
        fake.between_tokens = NEVER_SECONDS
    stream = group.engine.answer(EngineRequest("s", Kind.CHAT, "What?", PICTURE))
    await anext(stream)
    await stream.aclose()
    _, seen = group.seen("s")[0]
    await asyncio.wait_for(seen.done.wait(), AT_ONCE_SECONDS)
    assert seen.closed_early


async def test_without_any_server_each_is_named(group: Group) -> None:
    for fake in group.fakes:
        await fake.close()
    status = await group.engine.probe()
    assert status.state is EngineState.UNREACHABLE
    assert all(f"127.0.0.1:{fake.port}" in status.detail for fake in group.fakes)
    with pytest.raises(EngineUnavailable):
        await group.answer("session-0")


async def test_a_model_that_only_some_serve_is_named(group: Group) -> None:
    """Most have the one that answers; the others are not asked."""
    group.fakes[0].models = ["other-vl"]
    status = await group.engine.probe()
    assert (status.state, status.model) == (EngineState.READY, "fake-vl")
    assert "other-vl" in status.detail
    assert str(group.fakes[0].port) in status.detail
    for session in SESSIONS:
        await group.answer(session)
    assert group.fakes[0].count == 0


async def test_a_wanted_model_is_asked_for_where_it_is() -> None:
    """MODEL_NAME wins, however few have it."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeOpenAI()) for _ in range(3)]
        fakes[2].models = ["fake-vl", "other-vl"]
        group = Group(fakes, "other-vl")
        stack.push_async_callback(group.engine.close)
        status = await group.engine.probe()
        assert (status.model, status.ready) == ("other-vl", True)
        assert "1 of 3" in status.detail
        assert "does not serve other-vl" in status.detail
        await group.answer("s")
        assert fakes[2].count == 1


async def test_abilities_are_those_that_all_have(group: Group) -> None:
    group.fakes[0].card = {"owned_by": "vllm", "root": "Qwen/Qwen2.5-VL-7B-Instruct"}
    group.fakes[1].card = dict(group.fakes[0].card)
    group.fakes[1].max_model_len = 4096
    group.fakes[2].card = dict(group.fakes[0].card)
    capabilities = (await group.engine.probe()).capabilities
    assert capabilities.context_length == 4096
    assert (capabilities.json_schema, capabilities.grounding) == (True, True)
    group.fakes[2].card = {}
    capabilities = (await group.engine.probe()).capabilities
    assert (capabilities.json_schema, capabilities.grounding) == (False, False)
    assert capabilities.boxes is None


async def test_answers_at_a_time_are_those_of_all_together(group: Group) -> None:
    """Each llama.cpp says how many it takes; one that does not say leaves it open."""
    for fake, slots in zip(group.fakes, (1, 2, 4), strict=True):
        fake.card, fake.others = {"owned_by": "llamacpp"}, {"/props": {"total_slots": slots}}
        await fake.close()
    await group.engine.probe()
    for fake in group.fakes:
        await fake.start()
    assert (await group.engine.probe()).capabilities.max_concurrency == 7
    for fake in group.fakes[:1]:
        fake.card = {}
        await fake.close()
        await group.engine.probe()
        await fake.start()
    assert (await group.engine.probe()).capabilities.max_concurrency is None


async def test_a_change_of_a_servers_state_is_logged_once(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    """With its address and the reason."""
    lost = group.fakes[0]
    await lost.close()
    with caplog.at_level(logging.INFO, "server.models.openai.engine"):
        await group.engine.probe()
        await group.engine.probe()
        await lost.start()
        await group.engine.probe()
    lines = [(one.levelname, getattr(one, "reason", "")) for one in caplog.records]
    assert [level for level, _ in lines] == ["WARNING", "INFO"]
    assert all(str(lost.port) in reason for _, reason in lines)


async def test_other_machines_are_all_named(group: Group) -> None:
    """A visitor confirms them together, whichever of them answers."""
    for number, member in enumerate(group.engine._members.values()):
        other = ["gpu1.example", "", "gpu2.example"][number]
        member._server.status = dataclasses.replace(member.status, elsewhere=other)
    assert group.engine.status.elsewhere == "gpu1.example, gpu2.example"


def test_a_group_needs_different_addresses() -> None:
    one = OpenAIEngine("vllm", Endpoint("http://127.0.0.1:9/v1"))
    with pytest.raises(ValueError, match="another address"):
        EngineGroup("vllm", [one, one], session_key=str)


# Sessions keep to their server, and only those of a lost one move

SERVERS = [f"http://10.0.0.{n}:8001/v1" for n in range(1, 5)]
MANY = [f"{n:032x}" for n in range(2000)]


def test_a_session_has_the_same_order_however_the_servers_are_listed() -> None:
    for session in MANY[:50]:
        assert by_preference(session, SERVERS) == by_preference(session, SERVERS[::-1])
        assert sorted(by_preference(session, SERVERS)) == SERVERS


def test_sessions_spread_evenly() -> None:
    counts = Counter(by_preference(session, SERVERS)[0] for session in MANY)
    assert all(400 < counts[server] < 600 for server in SERVERS)


def test_only_the_sessions_of_a_lost_server_move_and_spread() -> None:
    """They go to their second choice, and come back with the server."""
    lost = SERVERS[1]
    left = [one for one in SERVERS if one != lost]
    moved = Counter[str]()
    for session in MANY:
        before, after = by_preference(session, SERVERS), by_preference(session, left)
        if before[0] == lost:
            assert after[0] == before[1]
            moved[after[0]] += 1
        else:
            assert after[0] == before[0]
    assert all(moved[one] > 100 for one in left)
