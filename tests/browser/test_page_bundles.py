"""Chromium's camera beside other media, in every bundle policy, and a connection that goes on when
a track is stopped.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.browser.bundles import CLOSE, NEGOTIATE, OFFER, ORDERS, POLICIES, STOP_FIRST
from tests.support.clients import soon
from tests.support.running import Running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def call(page: Page, function: str, *arguments: Any) -> Any:
    return await page.evaluate(f"(given) => ({function})(...given)", [*arguments])


async def shown(run: Running, session: str) -> None:
    """A picture that was not there before has come."""
    camera = run.program.sessions.find(session).camera
    before = camera.newest
    await soon(lambda: camera.newest is not None and camera.newest is not before, 10)


def ports(sdp: str) -> list[str]:
    """Of its media sections."""
    return [line.split()[1] for line in sdp.splitlines() if line.startswith("m=")]


async def test_every_bundle_policy(browser: Browser, builtin: Running) -> None:
    """Audio, a second video or a data channel beside the camera, first and last: it connects and is
    seen.
    """
    page = await browser.new_page()
    await page.goto(f"{builtin.base_url}/")
    await page.evaluate(NEGOTIATE)
    for policy in POLICIES:
        for order in ORDERS:
            result = await call(page, OFFER, policy, order)
            assert result.get("state") == "connected", (policy, order, result)
            await shown(builtin, result["session"])
            await call(page, CLOSE)
    await page.close()


async def test_a_stopped_track_leaves_the_camera(browser: Browser, builtin: Running) -> None:
    """The new offer's rejected section is answered with port 0, outside of the group; what is left
    is seen.
    """
    page = await browser.new_page()
    await page.goto(f"{builtin.base_url}/")
    await page.evaluate(NEGOTIATE)
    for policy, order in itertools.product(POLICIES, ("video video", "audio video")):
        first = await call(page, OFFER, policy, order)
        await shown(builtin, first["session"])
        again = await call(page, STOP_FIRST, first["session"], first["token"])
        assert ports(again["sdp"])[0] == "0", (policy, order)
        assert again.get("state") == "connected", (policy, order, again)
        assert ports(again["answer"])[0] == "0", (policy, order)
        assert "a=group:BUNDLE 1\r\n" in again["answer"], (policy, order)
        await shown(builtin, first["session"])
        await shown(builtin, first["session"])
        await call(page, CLOSE)
    await page.close()
