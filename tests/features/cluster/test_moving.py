"""A gateway that drains sends its people to another one, with their chat and after their answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.features.cluster.gateways import SECRET, gateways
from tests.support.clients import Page, open_page, take_token
from tests.support.fakes_openai import FakeOpenAI
from tests.support.redis_server import redis_server
from tests.support.running import Running, running

pytestmark = pytest.mark.slow


async def arrive(run: Running, handover: dict[str, str] | None = None) -> tuple[Page, str]:
    """A page that keeps hand-overs, and its token."""
    granted = await take_token(run)
    page = await open_page(run, granted["token"], granted["session_id"])
    await page.next("ready")
    if handover is not None:
        await page.send(type="resume", **handover)
    await page.send(type="settings", handover=True)
    return page, granted["token"]


async def test_people_go_on_at_another_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: None
) -> None:
    """A page is asked to go when its answer is whole, others at once. Its chat is known at the other
    gateway, and an old client gets its 1013.
    """
    async with (
        FakeOpenAI() as model,
        redis_server(tmp_path) as redis,
        gateways(redis, "h1", "h2", engine="vllm", vllm_base_url=model.base_url) as (one, two),
    ):
        asks, asks_token = await arrive(one)
        idle, _ = await arrive(one)
        old = await open_page(one)
        await old.next("ready")
        # Its chat so far. Nothing is before the camera: the history is written as an answer does it.
        session = next(s for s in one.program.sessions.list_all() if s.id in str(asks.seen))
        session.history.add("What is this?", "A cup.")
        busy = {session}
        monkeypatch.setattr(type(session), "answering", property(lambda self: self in busy))
        draining = asyncio.create_task(one.program.drain())
        assert (await idle.next("moved", timeout=30))["type"] == "moved"
        assert not [m for m in await asks.ponged() if m["type"] == "moved"]
        busy.clear()
        signed = (await asks.next("handover", timeout=30))["handover"]
        await asks.next("moved", timeout=30)
        await asks.close()
        await idle.close()
        # New people, and the page that was asked, get a place at the other one from either.
        assert (await take_token(one))["session_id"].startswith("h2-")
        again, _ = await arrive(two, {"handover": signed, "token": asks_token})
        assert (await again.next("resumed"))["turns"] == 1
        new = next(s for s in two.program.sessions.list_all() if len(s.history))
        assert [turn.answer for turn in new.history.all()] == ["A cup."]
        assert (await old.closed(timeout=30))[0] == 1013
        await draining
        assert len(one.program.sessions) <= 1
        # Somebody else who found the hand-over has no token of its session.
        other, _ = await arrive(two, {"handover": signed, "token": "x"})
        assert (await other.next("error"))["code"] == "handover_refused"
        await again.close()
        await other.close()


async def test_a_gateway_alone_sends_nobody_away() -> None:
    """There is nowhere to go: its pages come back after its restart, with their chat."""
    async with running(gateway_name="h1", jwt_secret_key=SECRET) as run:
        page, _ = await arrive(run)
        await run.program.drain()
        assert (await page.closed(timeout=30))[0] == 1013
        assert "moved" not in [m["type"] for m in page.seen]
