"""A page that does not arrive whole: the network changed, or broke, while it was loaded."""

from __future__ import annotations

import asyncio
import functools

import pytest
from playwright.async_api import Page, Request, Route, expect

from tests.browser.visitor import Visit, bounds
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The browser's own words for what it could not load
LOST = "Failed to load resource"


class Losing:
    """Files of the page that do not arrive: all requests for them break in the first `loads` loads
    of the page.
    """

    def __init__(self, *names: str, loads: int) -> None:
        self.names = names
        self.loads = loads
        # Loads of the page so far
        self.loaded = 0

    async def prepare(self, page: Page) -> None:
        page.on("request", self._count)
        for name in self.names:
            await page.route(f"**/client/{name}", self._answer)

    def _count(self, request: Request) -> None:
        self.loaded += request.is_navigation_request()

    async def _answer(self, route: Route) -> None:
        if self.loaded <= self.loads:
            await route.abort("connectionreset")
        else:
            await route.continue_()


@pytest.mark.parametrize("name", ["client.js", "style.css", "core/chat/chat.css"])
async def test_what_is_lost_once_is_loaded_again(visit: Visit, builtin: Running, name: str) -> None:
    """By itself, and then the page works."""
    losing = Losing(name, loads=1)
    page = await visit(builtin.base_url, prepare=losing.prepare)
    page.expect(LOST)
    await expect(page.find("#partial")).to_have_count(0)
    loaded = "() => performance.getEntriesByType('navigation')[0].type === 'reload'"
    await page.page.wait_for_function(loaded, polling=100)
    await page.start()
    assert losing.loaded == 2


async def test_a_press_that_came_too_early_counts(visit: Visit, builtin: Running) -> None:
    """The button is there before what it does: a slow network makes nobody press twice."""
    held = asyncio.Event()

    async def prepare(page: Page) -> None:
        async def answer(route: Route) -> None:
            await held.wait()
            await route.continue_()

        await page.route("**/client/client.js", answer)
        # Loading is not over until that module is there.
        page.goto = functools.partial(page.goto, wait_until="commit")  # type: ignore[method-assign]

    page = await visit(builtin.base_url, prepare=prepare)
    await page.start_button.click()
    held.set()
    await expect(page.state).to_have_text(say("page.live"))


async def test_a_press_counts_on_the_page_that_is_loaded_again(
    visit: Visit, builtin: Running
) -> None:
    """Once: whoever loads the page again later starts nothing."""
    losing = Losing("core/live/peer.js", loads=1)
    page = await visit(builtin.base_url, prepare=losing.prepare)
    page.expect(LOST)
    await page.start_button.click()
    await expect(page.state).to_have_text(say("page.live"))
    assert losing.loaded == 2
    await page.page.reload()
    await expect(page.find("#partial")).to_have_count(0)
    await page.page.wait_for_timeout(300)
    await expect(page.state).to_have_text(say("page.camera_off"))


async def test_what_is_lost_for_good_is_told(visit: Visit, builtin: Running) -> None:
    """After one more try, in words; it is not tried for ever."""
    losing = Losing("core/live/peer.js", loads=100)
    page = await visit(builtin.base_url, prepare=losing.prepare)
    page.expect(LOST)
    note = page.page.get_by_text(say("page.partial"))
    await expect(note).to_be_visible(timeout=8000)
    box = await bounds(note)
    assert box["height"] > 15
    await page.page.wait_for_timeout(1500)
    assert losing.loaded == 2


async def test_without_any_script_it_is_told_later(visit: Visit, builtin: Running) -> None:
    """By the style alone: a slow network may only be slow."""
    losing = Losing("client.js", "boot.js", loads=100)
    page = await visit(builtin.base_url, prepare=losing.prepare)
    page.expect(LOST)
    note = page.page.get_by_text(say("page.partial"))
    await expect(note).to_be_hidden()
    await expect(note).to_be_visible(timeout=15_000)
