"""The simulated visitor of a fleet's measurement does what the page does when something is lost, at a
real server.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from scripts.bench.fleet_peer import FleetPeer, FleetVisitor
from scripts.bench.live_encoder import LiveEncoder
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import free_port
from tests.support.running import Running, running

pytestmark = pytest.mark.slow

SECRET = "q7Vd0mZp3xKc9LwTfR2yBhN6sJgA1uEoXiC4"
# Longest wait for what a page does within seconds, on a busy machine (seconds)
PATIENT = 60.0


@asynccontextmanager
async def somebody(url: str, encoder: LiveEncoder) -> AsyncIterator[FleetVisitor]:
    """A person with a live camera who stays."""
    visitor = FleetVisitor(url, encoder, random.Random(1))
    staying = asyncio.create_task(visitor.stay())
    try:
        await until(lambda: visitor.seen or staying.done())
        yield visitor
        assert not staying.done()
    finally:
        staying.cancel()
        with suppress(asyncio.CancelledError):
            await staying
        await visitor.leave()


@asynccontextmanager
async def at_work(
    port: int = 0, **model: float
) -> AsyncIterator[tuple[FakeOpenAI, Running, FleetVisitor, Callable[[], Awaitable[None]]]]:
    """A model, a server, somebody at it, and what ends the server before the rest."""
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeOpenAI(**model))  # type: ignore[arg-type]
        server = await stack.enter_async_context(AsyncExitStack())
        run = await server.enter_async_context(running(port=port, **settings(fake)))
        encoder = await stack.enter_async_context(live_encoder())
        visitor = await stack.enter_async_context(somebody(run.base_url, encoder))
        yield fake, run, visitor, server.aclose


async def until(check: Callable[[], bool]) -> None:
    await soon(check, PATIENT)


def peer_of(visitor: FleetVisitor) -> FleetPeer:
    assert visitor.peer is not None
    return visitor.peer


def settings(model: FakeOpenAI) -> dict[str, str | int]:
    return {
        "engine": "vllm",
        "vllm_base_url": model.base_url,
        "jwt_secret_key": SECRET,
        "gateway_name": "h1",
        "rate_limit_per_minute": 0,
    }


async def test_a_lost_camera_is_offered_again() -> None:
    """The camera's connection alone goes: the session stays, the camera comes back by another offer,
    and a question of that time is answered.
    """
    async with at_work() as (_, run, visitor, _):
        await visitor.ask("What is this?")
        peer = peer_of(visitor)
        assert await run.program.webrtc.disconnect(peer.session_id)
        await until(lambda: peer.dark.is_set() or bool(visitor.aways))
        await visitor.ask("And now?")
        assert [asked.end for asked in visitor.asked] == ["ok", "ok"]
        assert visitor.peer is peer
        await until(lambda: visitor.aways[0].live is not None)
        assert [away.why for away in visitor.aways] == ["camera"]


async def test_a_lost_socket_is_opened_again() -> None:
    """The socket breaks while an answer comes: the same session goes on, and gets the same question
    again, which the server recognises; the camera stays as it is.
    """
    async with at_work(between_tokens=1.0) as (model, _, visitor, _):
        peer = peer_of(visitor)
        asking = asyncio.create_task(visitor.ask("What is this?"))
        await until(lambda: bool(visitor.asked) and visitor.asked[0].sent is not None)
        sent = visitor.asked[0].sent
        assert sent is not None
        await until(lambda: sent[1].first_delta_at is not None)
        assert peer._socket is not None
        peer._socket.transport.abort()
        async with asyncio.timeout(PATIENT):
            await asking
        [asked] = visitor.asked
        assert (asked.end, asked.again) == ("ok", True)
        assert visitor.peer is peer
        assert visitor.aways == []
        assert len(model.requests) == 1


async def test_a_server_that_comes_back_gets_camera_and_chat() -> None:
    """The server restarts: the page brings its chat and offers its camera again, and a question that
    was asked meanwhile is answered.
    """
    port = free_port()
    async with at_work(port) as (model, _, visitor, end_server):
        await visitor.ask("What is this?")
        await until(lambda: visitor.said.handover != "")
        await end_server()
        await until(lambda: peer_of(visitor).shut.is_set())
        asking = asyncio.create_task(visitor.ask("And now?"))
        async with running(port=port, **settings(model)) as again:
            async with asyncio.timeout(PATIENT):
                await asking
            assert [asked.end for asked in visitor.asked] == ["ok", "ok"]
            [session] = again.program.sessions.all()
            assert len(session.history) == 2
