"""Somebody waves on the page."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, started
from tests.support.running import running
from tests.support.words import say, table

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_waves_are_told(visit: Visit) -> None:
    """In the page's language; what the server refuses is said, too."""
    async with running(features="builtin,sample", sample_most_waves=2) as run:
        page = await visit(run.base_url, context_options={"locale": "de"})
        await page.find("#start").click()
        for count in (1, 2):
            await page.find("#more-open").click()
            await page.find("#more").get_by_text(say("sample.wave", language="de")).click()
            told = say("sample.waved", language="de", count=count)
            await expect(page.find("#log .note").last).to_have_text(told)
        await page.find("#more-open").click()
        await page.find("#wave").click()
        refused = str(table("de")["problem.conflict"])
        await expect(page.find("#log .note").last).to_have_text(refused)
        await page.leave()


async def test_it_is_off_unless_it_is_named(visit: Visit) -> None:
    async with running(features="builtin") as run:
        page = await started(visit, run.base_url)
        await page.find("#more-open").click()
        await expect(page.find("#torch")).to_be_attached()
        await expect(page.find("#wave")).not_to_be_attached()
        await page.leave()
