"""One Chromium and two servers for all browser tests; each test opens pages, and so sessions, of
its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from benchmarks.browser import chromium, find_shell, page_with_camera
from tests.browser.visitor import SLOWER, Visit, Visitor, slow_down
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.running import Running, running

# A name that leads to this machine and that the browser does not take for it.
ELSEWHERE = "camera.test"
# Of what most tests see; `visitor.SHARP` is the other.
SMALL_CAMERA: dict[str, Any] = {"width": 640, "height": 360, "fps": 15}

expect.set_options(timeout=15_000 if SLOWER == 1 else 40_000)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    args = ["--no-proxy-server", f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]
    async with chromium(args=args, executable=find_shell()) as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def builtin() -> AsyncIterator[Running]:
    """A server with the built-in engine."""
    async with running(rate_limit_per_minute=0, max_sessions=1000, allowed_hosts=ELSEWHERE) as run:
        yield run


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def model_server() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as model:
        yield model


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(model_server: FakeOpenAI) -> AsyncIterator[Running]:
    """A server with a model server behind it, which is `model`."""
    async with running(
        engine="vllm",
        vllm_base_url=model_server.base_url,
        rate_limit_per_minute=0,
        max_sessions=1000,
        allowed_hosts=ELSEWHERE,
    ) as run:
        yield run


@pytest_asyncio.fixture(loop_scope="session")
async def model(model_server: FakeOpenAI) -> FakeOpenAI:
    """The model server as new: it answers "I see a cup." at once."""
    model_server.behaviour = Behaviour.NORMAL
    model_server.models = [model_server.model]
    model_server.steps = None
    model_server.first_token = model_server.between_tokens = model_server.before_text = 0.0
    model_server.answer_for = lambda _body, _jpeg: ["I ", "see ", "a ", "cup."]
    model_server.requests.clear()
    return model_server


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Opens pages. Whatever they left in the browser's console in the end fails the test."""
    visitors: list[Visitor] = []
    async with AsyncExitStack() as stack:

        async def open_page(
            url: str, *, prepare: Callable[[Page], Awaitable[None]] | None = None, **options: Any
        ) -> Visitor:
            page = await stack.enter_async_context(
                page_with_camera(browser, **(SMALL_CAMERA | options))
            )
            await slow_down(page)
            if prepare is not None:
                await prepare(page)
            visitor = Visitor(page, url)
            visitors.append(visitor)
            await visitor.open()
            return visitor

        yield open_page
        for visitor in visitors:
            await visitor.leave()
    assert [problem for visitor in visitors for problem in visitor.problems] == []
