"""A server on a stand-in model, and a camera's encoder, once for each file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder
from tests.support.clients import Visitor, visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.running import Running, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake_server(request: pytest.FixtureRequest) -> AsyncIterator[FakeOpenAI]:
    """A model server of the file's MODEL."""
    async with FakeOpenAI(model=getattr(request.module, "MODEL", "fake-vl")) as fake:
        yield fake


@pytest_asyncio.fixture(loop_scope="module")
async def fake(fake_server: FakeOpenAI) -> FakeOpenAI:
    """The model server as if it were new."""
    one = fake_server
    one.behaviour, one.finish_reason = Behaviour.NORMAL, "stop"
    one.first_token = one.between_tokens = 0.0
    one.steps = None
    one.deltas_for = lambda _: None
    one.answer_for = lambda _body, _jpeg: ["I ", "see ", "a ", "cup."]
    one.requests.clear()
    one.count = one.most_running = 0
    return one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(fake_server: FakeOpenAI) -> AsyncIterator[Running]:
    async with running(
        engine="vllm",
        vllm_base_url=fake_server.base_url,
        rate_limit_per_minute=0,
        drain_seconds=1,
        max_concurrent_inferences=8,
    ) as run:
        yield run


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoder() -> AsyncIterator[LiveEncoder]:
    async with live_encoder() as encoder:
        yield encoder


@pytest_asyncio.fixture(loop_scope="module")
async def guest(run: Running, encoder: LiveEncoder, fake: FakeOpenAI) -> AsyncIterator[Visitor]:
    async with visitor(run, encoder) as one:
        yield one
