"""Fixtures that tests of several engines share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from server.models.openai.chat_client import Endpoint, TimeLimits
from server.models.openai.engine import OpenAIEngine
from tests.models.asking import PATIENT, QUICK, Build
from tests.support.fakes_openai import FakeOpenAI


@pytest.fixture
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[FakeOpenAI]:
    """A model server as the file's SERVER has it."""
    async with FakeOpenAI(**getattr(request.module, "SERVER", {})) as server:
        yield server


@pytest.fixture
async def build(fake: FakeOpenAI) -> AsyncIterator[Build]:
    async with AsyncExitStack() as stack:

        def make(
            name: str = "vllm", *, limits: TimeLimits | None = QUICK, url: str = "", **endpoint: Any
        ) -> OpenAIEngine:
            others = {key: endpoint.pop(key) for key in _OF_ENGINES & endpoint.keys()}
            at = Endpoint(url or fake.base_url, **endpoint)
            engine = OpenAIEngine(name, at, limits=limits, **others)
            stack.push_async_callback(engine.close)
            return engine

        yield make


_OF_ENGINES = {"session_key", "on_retry", "transport"}


@pytest.fixture
async def engine(request: pytest.FixtureRequest, build: Build) -> OpenAIEngine:
    """One that was probed, where the file's PROBED says so."""
    one = build(limits=PATIENT)
    if getattr(request.module, "PROBED", False):
        await one.probe()
    return one
