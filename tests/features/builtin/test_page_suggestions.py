"""Questions that the page offers for the print and the code in front of the camera."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.test_page_answers import coded
from tests.browser.visitor import SHARP, Visit, started
from tests.support.running import running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_date_a_price_and_a_link_have_their_questions(visit: Visit) -> None:
    """One press asks; without them the usual ones are back."""
    async with running(engine="builtin") as run:
        page = await started(visit, run.base_url, **SHARP)
        offered, usual = page.find("#offered"), page.find("#quick-what")
        label = "text:THYME HONEY\nBEST BEFORE 12 MAR 2037\n4.50 EUR"
        await page.show(mode=label, textPx=40, clock=False)
        expires, costs = (
            offered.get_by_role("button", name=say(f"builtin.{one}"))
            for one in ("when_expires", "what_costs")
        )
        await expect(costs).to_be_visible()
        response = await page.tap(say("builtin.when_expires"))
        assert "12 MAR 2037" in response["text"]
        await page.show(mode=coded("https://example.org/menu"))
        await expect(offered.get_by_role("button", name=say("builtin.open_link"))).to_be_visible()
        await page.show(mode="clock")
        await expect(usual).to_be_visible()
        await expect(expires).to_have_count(0)
        await page.leave()
