"""One Chromium and two servers for all browser tests; each test opens pages, and so sessions, of
its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from benchmarks.browser import chromium, page_with_camera
from tests.browser.visitor import SHELL, SLOWER, Visit, Visitor, called, slow_down
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.running import Running, running

# A name that leads to this machine and that the browser does not take for it.
ELSEWHERE = "camera.test"
# The window of most tests, as `page_with_camera` has it
PHONE = (390, 844)
# Of what most tests see; `visitor.SHARP` is the other.
SMALL_CAMERA: dict[str, Any] = {"width": 640, "height": 360, "fps": 8}

expect.set_options(timeout=15_000 if SLOWER == 1 else 40_000)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    args = ["--no-proxy-server", f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]
    async with chromium(args=args, executable=SHELL) as browser:
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


@asynccontextmanager
async def visits(browser: Browser) -> AsyncIterator[Visit]:
    """Open pages. Whatever they left in the browser's console in the end is an error."""
    visitors: list[Visitor] = []
    async with AsyncExitStack() as stack:

        async def open_page(
            url: str,
            *,
            scripts: Sequence[str] = (),
            prepare: Callable[[Page], Awaitable[None]] | None = None,
            **options: Any,
        ) -> Visitor:
            page = await stack.enter_async_context(
                page_with_camera(browser, **(SMALL_CAMERA | options))
            )
            await slow_down(page)
            for script in scripts:
                await page.add_init_script(called(script))
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


class Kept:
    """One live page, for tests that leave it as it was, but for what was asked on it."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._stack = AsyncExitStack()
        self._page: Visitor | None = None

    async def open(self, url: str) -> Visitor:
        if self._page is None:
            visit = await self._stack.enter_async_context(visits(self._browser))
            self._page = await visit(url)
            await self._page.start()
        return self._page

    async def close(self) -> None:
        self._page = None
        await self._stack.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kept(browser: Browser) -> AsyncIterator[Kept]:
    kept = Kept(browser)
    yield kept
    await kept.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, kept: Kept) -> AsyncIterator[Visit]:
    """Opens pages of the test's own. One of the tests before would only take time beside them."""
    await kept.close()
    async with visits(browser) as visit:
        yield visit


@pytest_asyncio.fixture(loop_scope="session")
async def page(
    request: pytest.FixtureRequest, server: Running, model: FakeOpenAI, kept: Kept
) -> AsyncIterator[Visitor]:
    """A live page on a phone, the one of the test before unless that has failed or used `visit`."""
    failed = request.session.testsfailed
    page = await kept.open(server.base_url)
    yield page
    if request.session.testsfailed > failed:
        with suppress(AssertionError):
            await kept.close()
    else:
        await page.resize(*PHONE)
        assert page.problems == []
