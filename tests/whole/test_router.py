"""The engine through vLLM's own router, before three model servers that can misbehave."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from server.core.frames import Picture
from server.models.base import Delta
from server.models.openai.chat_client import Endpoint, TimeLimits
from server.models.openai.engine import SESSION_HEADER, OpenAIEngine, SessionKeys
from server.models.openai.upstream import Reason
from tests.support.fakes import make_request
from tests.support.fakes_openai import Behaviour, FakeOpenAI, Seen
from tests.support.programs import ran
from tests.support.real_router import RealRouter, real_router

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
LIMITS = TimeLimits(connect=2, first_token=15.0, between_tokens=10.0, total=30.0, probe=3.0)
KEYS = SessionKeys("s" * 32)
# Seconds within which a model server must hear of a cancelled question, with room for a busy machine
SOON = 2.0
# The same on a machine with nothing else to do
CANCELLED_WITHIN = 0.1


def picture(number: int = 0, size: int = 60_000) -> Picture:
    jpeg = b"\xff\xd8" + number.to_bytes(4, "big") + bytes(size) + b"\xff\xd9"
    return Picture("f1", 1.0, None, 1280, 720, 840, 448, 480, jpeg, None, None, 0.003)


@dataclass
class Routed:
    """An engine behind the router, and the servers behind that."""

    engine: OpenAIEngine
    router: RealRouter
    fakes: list[FakeOpenAI]
    retried: list[Reason] = field(default_factory=list)

    async def answer(self, session: str, number: int = 0, size: int = 60_000) -> str:
        request = make_request("What is this?", picture(number, size), session_id=session)
        async with asyncio.timeout(40):
            stream = self.engine.answer(request)
            return "".join([one.text async for one in stream if isinstance(one, Delta)])

    def server_of(self, session: str) -> FakeOpenAI:
        name = KEYS.of(session)
        found = {
            id(fake): fake
            for fake in self.fakes
            for seen in fake.requests
            if seen.headers[SESSION_HEADER.lower()] == name
        }
        assert len(found) == 1, session
        return next(iter(found.values()))

    def requests(self) -> list[Seen]:
        return [seen for fake in self.fakes for seen in fake.requests]


@pytest_asyncio.fixture
async def routed() -> AsyncIterator[Routed]:
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeOpenAI()) for _ in range(3)]
        for fake in fakes:
            fake.card = {"owned_by": "vllm"}
        router = await stack.enter_async_context(real_router(fakes))
        retried: list[Reason] = []
        engine = OpenAIEngine(
            "vllm",
            Endpoint(router.base_url),
            limits=LIMITS,
            session_key=KEYS.of,
            on_retry=retried.append,
        )
        stack.push_async_callback(engine.close)
        assert (await engine.probe()).ready, engine.status.detail
        yield Routed(engine, router, fakes, retried)


SESSIONS = [f"session-{n}" for n in range(30)]


async def test_each_session_keeps_to_one_server_and_all_have_as_many(routed: Routed) -> None:
    """With fresh pictures, which the router's own default would send to one server."""
    for number in range(3):
        for session in SESSIONS:
            assert await routed.answer(session, number) == "I see a cup."
    counts = Counter(id(routed.server_of(session)) for session in SESSIONS)
    assert sorted(counts.values()) == [10, 10, 10]


async def test_a_killed_server_is_not_seen_by_questions_without_a_token(routed: Routed) -> None:
    """Those that were on their way are asked again, and its sessions spread; others stay."""
    for session in SESSIONS:
        await routed.answer(session)
    before = {session: routed.server_of(session) for session in SESSIONS}
    lost = routed.fakes[0]
    for fake in routed.fakes:
        # Longer than a busy machine takes to ask all
        fake.first_token = 3.0
        fake.requests.clear()
    asked = [asyncio.create_task(routed.answer(session)) for session in SESSIONS]
    async with asyncio.timeout(30):
        while sum(fake.running for fake in routed.fakes) < len(SESSIONS):
            await asyncio.sleep(0.01)
    for fake in routed.fakes:
        # Of those that are asked again
        fake.first_token = 0.0
    await lost.close()
    assert await asyncio.gather(*asked) == ["I see a cup."] * len(SESSIONS)
    assert routed.retried
    for fake in routed.fakes:
        fake.requests.clear()
    for session in SESSIONS:
        assert await routed.answer(session) == "I see a cup."
    for session in SESSIONS:
        if before[session] is not lost:
            assert routed.server_of(session) is before[session]
    assert (await routed.engine.probe()).ready, routed.engine.status.detail


async def test_one_question_at_a_killed_server_is_answered_by_another(routed: Routed) -> None:
    """Also when nobody else has met the failure before it, unless the router's own check did."""
    await routed.answer("s")
    await routed.server_of("s").close()
    assert await routed.answer("s") == "I see a cup."
    assert routed.retried in ([], [Reason.FAILED], [Reason.FAILED] * 2)


async def test_one_question_on_its_way_at_a_killed_server_is_answered_by_another(
    routed: Routed,
) -> None:
    """Its stream had begun, without a token: this break tells the router nothing, and nobody else
    meets the failure. Both repeats may come before its health check does.
    """
    await routed.answer("s")
    lost = routed.server_of("s")
    for fake in routed.fakes:
        fake.requests.clear()
    lost.behaviour = Behaviour.KEEP_ALIVE_ONLY
    asked = asyncio.create_task(routed.answer("s"))
    async with asyncio.timeout(30):
        while not lost.running:
            await asyncio.sleep(0.01)
    # The router has passed the answer's beginning on.
    await asyncio.sleep(0.2)
    await lost.close()
    assert await asked == "I see a cup."
    assert routed.retried[0] is Reason.BROKEN


async def test_a_router_without_any_server_is_said(routed: Routed) -> None:
    """And used again when one is back."""
    for fake in routed.fakes:
        await fake.close()
    async with asyncio.timeout(30):
        while "ROUTER_WORKERS" not in (await routed.engine.probe()).detail:
            await asyncio.sleep(0.1)
        assert not routed.engine.status.ready
        await routed.fakes[1].start()
        while not (await routed.engine.probe()).ready:
            await asyncio.sleep(0.1)
    assert await routed.answer("s") == "I see a cup."


async def test_a_question_cancelled_before_its_token_is_closed_with_the_next_byte(
    routed: Routed,
) -> None:
    """The router hears of it when the server sends something: keep-alive comments are enough."""
    for fake in routed.fakes:
        fake.behaviour = Behaviour.KEEP_ALIVE_ONLY
    task = asyncio.create_task(routed.answer("s"))
    while not routed.requests():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (seen,) = routed.requests()
    await asyncio.wait_for(seen.done.wait(), SOON)
    assert seen.closed_early


async def test_a_cancelled_question_is_closed_at_its_server(routed: Routed) -> None:
    """While its answer comes, within a tenth of a second."""
    for fake in routed.fakes:
        fake.between_tokens = 0.05
        fake.answer_for = lambda _body, _jpeg: ["a "] * 400
    took = []
    for number in range(5):
        stream = routed.engine.answer(make_request(f"{number}?", picture()))
        await anext(stream)
        began = time.monotonic()
        await stream.aclose()
        seen = routed.requests()[-1]
        await asyncio.wait_for(seen.done.wait(), SOON)
        took.append(time.monotonic() - began)
        assert seen.closed_early
    # A busy machine may hold some of them up.
    assert min(took) < CANCELLED_WITHIN, took


async def test_the_router_changes_nothing_of_a_request(routed: Routed) -> None:
    """Neither the picture nor a field of it, up to four megabytes."""
    await routed.answer("s", 7, 3_000_000)
    (seen,) = routed.requests()
    assert seen.jpeg == picture(7, 3_000_000).jpeg
    assert seen.body["stream_options"] == {"include_usage": True}
    assert seen.body["model"] == "fake-vl"


async def test_a_request_has_one_id_through_router_and_server(routed: Routed) -> None:
    """The one of our log, without anything of the question."""
    request = make_request("What is this?", picture(), id="ab" * 16)
    assert [chunk async for chunk in routed.engine.answer(request)]
    (seen,) = routed.requests()
    assert seen.headers["x-request-id"] == "ab" * 16


async def test_discovery_health_and_metrics_work_through_it(routed: Routed) -> None:
    """The list of models with its details, the health of vLLM, the router's own counters."""
    status = routed.engine.status
    assert (status.model, status.capabilities.context_length) == ("fake-vl", 8192)
    assert status.capabilities.json_schema
    await routed.answer("s")
    reader, writer = await asyncio.open_connection("127.0.0.1", routed.router.metrics_port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    assert "vllm_router" in text


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "scripts" / "start_router.sh"), *arguments]
    env = {"PATH": "/usr/bin:/bin", **environment}
    return ran(command, env=env, timeout=20)


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--policy", "cache_aware"], {}, "ignores pictures"),
        ([], {"ROUTER_WORKERS": " , "}, "names no server"),
        ([], {"ROUTER_WORKERS": "http://a:1/v1"}, "remove it"),
        ([], {"ROUTER_WORKERS": "a:1"}, "not an address such as"),
    ],
)
def test_settings_of_the_router_that_do_not_hold_are_refused(
    arguments: list[str], environment: dict[str, str], words: str
) -> None:
    done = start(*arguments, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_router_that_is_not_there_is_said_with_what_to_do() -> None:
    done = start(ROUTER_PROGRAM="/nowhere/vllm-router")
    assert done.returncode == 1
    assert "bash scripts/router.sh --needed" in done.stderr


def test_what_the_router_is_started_with(tmp_path: Path) -> None:
    """Sticky sessions, no repeats of its own, each server of the list."""
    program = tmp_path / "router"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    done = start(ROUTER_PROGRAM=str(program), ROUTER_WORKERS="http://a:1,http://b:1 http://c:1")
    assert done.returncode == 0, done.stderr
    assert "--policy sticky_least_loaded" in done.stdout
    assert "--disable-retries" in done.stdout
    assert "--host 127.0.0.1 --port 8009" in done.stdout
    assert done.stdout.endswith("--worker-urls http://a:1 http://b:1 http://c:1\n")
